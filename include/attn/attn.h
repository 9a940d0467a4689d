/* attn.h - the C API of attn; with ATTN_NAME defined, also one CPU instance.
 *
 * Two uses:
 *   #include <attn/attn.h>                     types and the archive's functions
 *   #define ATTN_NAME my_attn ... then include it   defines `const attn_instance my_attn`
 * The parameter block is described in docs/parameters.md; what each feature
 * means, to the last bound, in docs/semantics.md.  C11 and C++.
 *
 * Conventions.  i = query row 0..seq_q-1, j = key 0..seq_k-1, shift = seq_k - seq_q,
 * h = query head, h / (heads_q / heads_k) its KV head.  Strides are in ELEMENTS,
 * int64, and may be anything (0 broadcasts); lengths and tables are int32 and are
 * read where the kernel runs.  All memory of a call lies in one place: see attn_params.device.
 * An all-zero field means its default.  No call allocates, prints, aborts or
 * keeps a pointer; all are thread-safe and take no lock. */
#ifndef ATTN_ATTN_H
#define ATTN_ATTN_H

#include <stddef.h>
#include <stdint.h>
#include <attn/param.h>
#include <attn/res.h>

#define ATTN_VERSION_MAJOR 0
#define ATTN_VERSION_MINOR 1
#define ATTN_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/* What every call answers.  attn_status_name gives the name as text; the reason
 * in words, with the field, its value and what is allowed, is in attn_info.text
 * after attn_query and in the buffer of attn_explain. */
typedef enum attn_status {
    ATTN_OK = 0,
    ATTN_ERR_ARG = 1,         /* a field is missing, out of range or contradicts another */
    ATTN_ERR_UNSUPPORTED = 2, /* legal, but no instance of the list serves it */
    ATTN_ERR_WORKSPACE = 3,   /* the workspace is NULL, misaligned or smaller than attn_query said */
    ATTN_ERR_ARCH = 4,        /* an instance serves it, but not on this machine */
    ATTN_ERR_CUDA = 5         /* the CUDA runtime refused; cudaGetLastError() has its reason */
} attn_status;

/* A tensor of four dimensions in the caller's memory. */
typedef struct attn_tensor {
    void *data;        /* first element; inputs are only read.  NULL = absent */
    int64_t stride[4]; /* elements from one [0] batch (or page), [1] token, [2] head, [3] dim to the
                          next.  All four 0 = compact in that order of dimensions: [batch, seq, head,
                          dim], packed varlen [token, head, dim], pages [page, token, head, dim] */
    int32_t dtype;     /* ATTN_F32 ...; 0 = the type of q (q itself must say) */
    int32_t dim_block; /* x of vLLM's K cache [page, head, dim/x, token, x]: dim d lies at
                          (d / x) * stride[3] + d % x.  0 = d * stride[3] */
} attn_tensor;

/* Scales of a quantised tensor: real value = scale * (stored - zero). */
typedef struct attn_scale {
    const float *scale; /* f32; NULL = no scale.  Only attn_append_kv with ATTN_APPEND_SCALES writes to it */
    const float *zero;  /* zero points in stored units, same shape and strides; NULL = symmetric */
    int64_t stride[4];  /* elements from one [0] batch, [1] token, [2] KV head, [3] group of dims to the next; 0 =
                           shared along it, so all 0 = one scale a tensor.  Scales of tokens lie as the tokens do:
                           with stride[1] and pages, [0] is the page; packed, stride[0] is 0 */
    int32_t group;      /* dims that share a scale: 32, 64, 128, or 0 = the whole head_dim */
    int32_t reserved;   /* 0 */
} attn_scale;

/* Block-sparse schedule: which key tiles each query tile computes, softmax exact over those. */
typedef struct attn_schedule {
    const int32_t *row_ptr; /* CSR, [heads or 1][q_tiles + 1]; NULL = no CSR */
    const int32_t *col_idx; /* CSR, key tile numbers, ascending within a row */
    const int32_t *runs;    /* or runs: [heads or 1][q_tiles][2] = first key tile, count */
    int64_t head_stride;    /* elements of row_ptr (or runs) between query heads; 0 = shared */
    int32_t tile_q, tile_k; /* rows and keys of a tile: 16, 64 or 128 */
} attn_schedule;

/* One attention call.  Zero it, set struct_size, set what you need. */
typedef struct attn_params {
    uint32_t struct_size; /* sizeof(attn_params); required.  A shorter (older) struct is read as if
                             padded with zeros; a longer one must be zero beyond what this version knows */
    uint32_t flags;       /* ATTN_LSE_BASE2 ...; unknown bits are refused */

    /* Sizes. */
    int32_t batch;      /* sequences; 0 is legal and does nothing */
    int32_t heads_q;    /* query heads, >= 1 */
    int32_t heads_k;    /* KV heads, >= 1, divides heads_q */
    int32_t head_dim;   /* of q and k, >= 1 */
    int32_t head_dim_v; /* of v and o; 0 = head_dim */
    int32_t seq_q;      /* query rows of a sequence; varlen: of the longest */
    int32_t seq_k;      /* keys of a sequence; varlen and paged: of the longest */
    int32_t total_q;    /* varlen: rows of q, o and columns of lse in all = cu_seqlens_q[batch]; else 0 */

    /* Tensors. */
    attn_tensor q;         /* [batch, seq_q, heads_q, head_dim] or, with cu_seqlens_q, [total_q, heads_q, head_dim] */
    attn_tensor k;         /* [batch, seq_k, heads_k, head_dim], packed with cu_seqlens_k, or pages */
    attn_tensor v;         /* the same with head_dim_v.  May overlap k (MLA: v = first dims of k) */
    attn_tensor o;         /* [batch, seq_q, heads_q, head_dim_v], strides free of q's; dtype f32, f16, bf16 */
    float *lse;            /* log of the sum of exp of a row's visible scores; NULL = not wanted.
                              f32 [batch, heads_q, seq_q], varlen [heads_q, total_q]; the last is contiguous */
    int64_t lse_stride[2]; /* elements between batches and between heads; both 0 = compact */
    int32_t device;        /* where all memory of this call lies, the workspace too: ATTN_DEVICE_CPU, ATTN_DEVICE_CUDA.
                              0 = CUDA if the list has a CUDA instance and a device is there, else CPU.  Host
                              memory on a machine with a GPU must say ATTN_DEVICE_CPU */

    /* Scores: s = scale q.k; then softcap, bias and ALiBi, masks, softmax; f32 throughout. */
    float scale;               /* 0 = 1/sqrt(head_dim).  Finite */
    float softcap;             /* c > 0: s = c tanh(s / c); 0 = off */
    const float *alibi_slopes; /* s += slope (j - (i + shift)); f32 [heads_q], >= 0 usually; NULL = off */
    int64_t alibi_stride;      /* elements between batches' slopes; 0 = shared */
    attn_tensor bias;          /* added to s; f32 or q's type; strides [batch, head, query, key], key stride 1,
                                  others 0 to broadcast.  All four 0 = compact [batch, heads_q, seq_q, seq_k].
                                  -inf hides the key */

    /* Which keys a query sees: all of these must allow it. */
    int32_t causal;           /* ATTN_CAUSAL_NONE, _BOTTOM_RIGHT (j <= i + shift), _TOP_LEFT (j <= i) */
    int32_t window;           /* 1: window_left and window_right apply; 0: they do not */
    int32_t window_left;      /* i + shift - left <= j; -1 = infinite.  A model's sliding_window W is W - 1 here */
    int32_t window_right;     /* j <= i + shift + right; -1 = infinite */
    int32_t chunk;            /* C > 0: floor(j / C) == floor((i + shift) / C) (Llama 4); 0 = off */
    int32_t sink_tokens;      /* S > 0: keys j < S are visible whatever the window says (StreamingLLM) */
    const float *sink_logits; /* f32 [heads_q]: raw logit z_h that joins the denominator alone (gpt-oss); NULL = off */
    attn_tensor mask;         /* ATTN_BOOL or ATTN_BIT, true = attend; strides as bias (for ATTN_BIT in bits,
                                 rows start on a byte) */
    attn_schedule schedule;   /* block-sparse; all zero = dense */

    /* Sequences of different length (int32, [batch + 1] or [batch]; NULL = off). */
    const int32_t *cu_seqlens_q; /* [batch + 1] first row of each sequence in packed q and o, from 0 */
    const int32_t *cu_seqlens_k; /* [batch + 1] the same for packed k and v */
    const int32_t *seqused_q;    /* [batch] rows in use of each sequence, <= its place; rows beyond are not written */
    const int32_t *seqused_k;    /* [batch] keys in use of each sequence; required with a block table */

    /* Paged KV: k and v are caches, stride[0] is between pages.  Either form. */
    int32_t page_size;          /* tokens a page, >= 1; 0 = not paged */
    int32_t num_pages;          /* pages in the cache, to check tables in a debug build; 0 = unknown */
    const int32_t *block_table; /* [batch, max_pages] page numbers, with seqused_k */
    int64_t block_table_stride; /* elements between sequences; 0 = ceil(seq_k / page_size) */
    const int32_t *page_indptr; /* or CSR: [batch + 1] first entry of each sequence in page_indices, */
    const int32_t *page_indices;   /* page numbers, */
    const int32_t *last_page_len;  /* and [batch] tokens in each sequence's last page, 1..page_size */

    /* Quantised inputs. */
    attn_scale q_scale, k_scale, v_scale;

    /* Dropout on P, row sum unaffected: keep if u > p, times 1 / (1 - p); Philox4x32-10. */
    float dropout_p;                        /* 0 <= p < 1; 0 = off */
    uint64_t dropout_seed, dropout_offset;

    /* RoPE of q inside the kernel. */
    int32_t rope_style;          /* ATTN_ROPE_NONE, _HALF_SPLIT, _INTERLEAVED */
    int32_t rope_dim;            /* rotated dims, even, <= head_dim; 0 = head_dim */
    float rope_base;             /* 0 = 10000 */
    const float *rope_cos;       /* [positions, rope_dim / 2]; NULL = computed from rope_base */
    const float *rope_sin;       /* the same */
    const int32_t *rope_offset;  /* [batch] position of the first row in use; NULL = shift */

    /* How the work is cut; affects speed and rounding, never meaning. */
    int32_t num_splits; /* parts the keys of a row are cut into; 0 = chosen.  <= 1024 */
    int32_t split_size; /* keys a part instead, for results that do not depend on lengths; 0 = by num_splits */
    int32_t threads;    /* CPU: threads to use; 0 = OpenMP's maximum (1 without OpenMP) */

    const void *user; /* for ATTN_SCORE_MOD and ATTN_MASK of a header-mode instance, as `user` there */
} attn_params;

/* Merge of two or more partial results over disjoint keys: split-KV, cascade, ring.
 * lse = log sum exp(lse_n); o = sum exp(lse_n - lse) o_n.  All -inf gives o = 0, lse = -inf.
 * Partials must leave the sink logit out (ATTN_LSE_NO_SINK); it is added here, once. */
typedef struct attn_merge_params {
    uint32_t struct_size; /* sizeof(attn_merge_params); required */
    uint32_t flags;       /* ATTN_LSE_BASE2: every lse in and out is in base 2 */
    int32_t parts;        /* partial results, >= 1 */
    int32_t batch, seq_q, heads_q, head_dim_v;
    attn_tensor part_o;         /* [batch, seq_q, heads_q, head_dim_v] of part 0; f32, f16, bf16; dtype required */
    int64_t part_o_stride;      /* elements from one part to the next; 0 = compact */
    const float *part_lse;      /* [parts, batch, heads_q, seq_q], the last contiguous */
    int64_t part_lse_stride[3]; /* elements between parts, batches, heads; all 0 = compact */
    const float *sink_logits;   /* [heads_q] or NULL */
    attn_tensor o;              /* result; dtype 0 = f32.  May be part 0 itself */
    float *lse;                 /* [batch, heads_q, seq_q] or NULL */
    int64_t lse_stride[2];      /* between batches, heads; both 0 = compact */
    int32_t threads;            /* CPU: 0 = OpenMP's maximum */
    int32_t device;             /* where all memory of the call lies, as in attn_params */
} attn_merge_params;

/* New tokens for a KV cache.  The cache, its tables and lengths, the types and scales of what is stored, and RoPE are
 * those of the attention call that follows, an attn_params: its query rows are the new tokens, its k and v the cache,
 * and the lengths of its keys count the new tokens already.  So the rows of a sequence go to the last places of it,
 * where bottom-right causality sees them; the same attn_params serves both calls. */
typedef struct attn_append_params {
    uint32_t struct_size; /* sizeof(attn_append_params); required */
    uint32_t flags;       /* ATTN_APPEND_SCALES */
    attn_tensor k;        /* new keys [batch, seq_q, heads_k, head_dim], packed with cu_seqlens_q; f32, f16, bf16,
                             dtype 0 = the type of q.  Rotated if rope_style says so.  NULL = none */
    attn_tensor v;        /* new values, the same with head_dim_v.  NULL = none: with MLA they are in k */
    attn_tensor q;        /* where q goes, rotated, as q with strides of its own; f32, f16, bf16.  It must not
                             overlap q.  NULL = nowhere */
} attn_append_params;

struct attn_instance;

/* Runs an instance on parameters that attn_run has validated and the instance accepts. */
typedef attn_status attn_launch_fn(const attn_params *p, void *workspace, size_t workspace_bytes, void *stream);

/* Bytes of workspace for the best speed (least = 0) or to run at all (least = 1). */
typedef size_t attn_workspace_fn(const attn_params *p, int least);

/* The same for ATTN_KERNEL_APPEND and ATTN_KERNEL_MERGE, whose parameters are not those of attention. */
typedef attn_status attn_append_fn(const attn_params *p, const attn_append_params *a, void *stream);
typedef attn_status attn_merge_fn(const attn_merge_params *p, void *stream);
/* The same of an instance of Attention Residuals. */
typedef attn_status attn_res_launch_fn(const attn_res_params *p, void *workspace, size_t workspace_bytes, void *stream);
typedef size_t attn_res_workspace_fn(const attn_res_params *p, int least);

/* What a kernel needs to know of a CUDA device. */
typedef struct attn_device {
    int32_t cc;     /* compute capability: 90 = 9.0; 0 = there is no device */
    int32_t sms;    /* multiprocessors */
    int32_t shared; /* bytes of shared memory that a block may have */
    int32_t l2;     /* bytes of L2 cache */
} attn_device;

/* Describes the calling thread's current CUDA device; all 0 if there is none. */
typedef void attn_device_fn(attn_device *d);

/* One compiled kernel describes itself; made by template/end.h from the macros it was compiled with. */
typedef struct attn_instance {
    const char *name;     /* attn_forward_avx2_f32_d128_q192k128_causal: docs/naming.md */
    int32_t kernel;       /* ATTN_KERNEL_... */
    int32_t arch;         /* ATTN_ARCH_... */
    int32_t dtype;        /* of q; 0 = any */
    int32_t kv_dtype;     /* of k and v; 0 = any */
    int32_t head_dim;     /* 0 = any */
    int32_t head_dim_v;   /* 0 = any */
    int32_t head_dim_min; /* head_dim: exactly those two.  Less: each from here to head_dim and head_dim_v */
    int32_t gqa;          /* heads_q / heads_k it serves; 0 = any */
    int32_t rows;         /* query rows of a KV head, seq_q * heads_q / heads_k, that it serves at most; 0 = any */
    uint32_t features;    /* ATTN_HAS(CAUSAL) | ...: what it can do, not what it must be given */
    uint32_t user;        /* 1 = compiled with ATTN_SCORE_MOD, 2 = with ATTN_MASK, 3 = both */
    int32_t tile_q;       /* query rows of a tile; ATTN_KERNEL_RES...: pseudo-queries that it serves, at most */
    int32_t tile_k;       /* keys of a tile; ATTN_KERNEL_RES...: blocks that it serves, at most */
    int32_t row_align;    /* rows of q, k, v are contiguous and begin at multiples of so many bytes; 0 = any strides */
    int32_t shared;       /* bytes of shared memory that a block needs; 0 on a CPU */
    attn_workspace_fn *workspace; /* NULL for a kernel that needs none */
    attn_launch_fn *launch;
    attn_device_fn *device; /* NULL = a CPU instance */
    attn_append_fn *append; /* ATTN_KERNEL_APPEND has this instead of launch, */
    attn_merge_fn *merge;   /* and ATTN_KERNEL_MERGE this */
    attn_res_workspace_fn *res_workspace; /* of ATTN_KERNEL_RES..., where the two of attention are NULL; else NULL */
    attn_res_launch_fn *res_launch;
} attn_instance;

/* What attn_query found. */
typedef struct attn_info {
    const attn_instance *instance; /* the one that would run; NULL if refused */
    size_t workspace;              /* bytes it wants, 64-byte aligned; any amount down to workspace_least runs */
    size_t workspace_least;        /* with fewer threads or splits */
    char text[256];                /* why it was refused; "" if it was not */
} attn_info;

/* What an instance with ATTN_DEBUG has found, in the first bytes of the workspace, when it answers ATTN_ERR_ARG: a
 * number of a length or a table that is not from least to most. */
typedef struct attn_finding {
    int32_t content;  /* ATTN_CONTENT_...: of which field; 0 = all is right */
    int32_t sequence; /* 0 .. batch - 1 */
    int32_t position; /* of the number in the field; in block_table: in the row of its sequence */
    int32_t value;
    int32_t least, most;
} attn_finding;

/* ---- the archive: libattn.a, and instantiations/attn.c alone --------------------------------- */

/* All instances in order of preference; *n is their number. */
const attn_instance *const *attn_instances(size_t *n);

/* Which instance serves p and with how much workspace, or why none does (info->text).
 * Reads fields only, no tensor, table or length.  ERR_ARG: p or info is NULL, or a field is wrong. */
attn_status attn_query(const attn_params *p, attn_info *info);

/* Writes into buf (len bytes, always terminated) which instance serves p, or why the nearest ones do
 * not and which row of a table would.  Answers what attn_query answers. */
attn_status attn_explain(const attn_params *p, char *buf, size_t len);

/* Computes o and lse.  workspace: 64-byte-aligned, workspace_bytes of it, where the kernel runs; content
 * free; unused by others until the call has finished.  stream: cudaStream_t, or NULL on a CPU. */
attn_status attn_forward(const attn_params *p, void *workspace, size_t workspace_bytes, void *stream);

/* Writes new tokens into the cache of p, a call of attention; see attn_append_params.  Of p it reads what says where
 * tokens go: sizes, q if it is to be rotated, k, v, lengths, tables, k_scale and v_scale, rope_..., device, threads.
 * Needs no workspace.  A token without a place, because lengths or a table are wrong, is not written; on a CPU the
 * answer is then ATTN_ERR_ARG. */
attn_status attn_append_kv(const attn_params *p, const attn_append_params *a, void *stream);

/* Merges partial results; see attn_merge_params.  Needs no workspace. */
attn_status attn_merge(const attn_merge_params *p, void *stream);

/* What those two would answer, and why, in words: as attn_explain. */
attn_status attn_append_explain(const attn_params *p, const attn_append_params *a, char *buf, size_t len);
attn_status attn_merge_explain(const attn_merge_params *p, char *buf, size_t len);

/* Attention Residuals; kernel: ATTN_KERNEL_RES1 ...  As attn_query and attn_explain. */
attn_status attn_res_query(int32_t kernel, const attn_res_params *p, attn_info *info);
attn_status attn_res_explain(int32_t kernel, const attn_res_params *p, char *buf, size_t len);

/* Each computes what res.h says; workspace and stream as of attn_forward. */
attn_status attn_res_phase1(const attn_res_params *p, void *workspace, size_t workspace_bytes, void *stream);
attn_status attn_res_phase2(const attn_res_params *p, void *workspace, size_t workspace_bytes, void *stream);
attn_status attn_res_phase1_backward(const attn_res_params *p, void *workspace, size_t workspace_bytes, void *stream);
attn_status attn_res_phase2_backward(const attn_res_params *p, void *workspace, size_t workspace_bytes, void *stream);

/* The current CUDA device, by the archive's CUDA instances.  ATTN_ERR_ARCH, and all fields 0, if there is none or the
 * archive has no CUDA instance; ERR_ARG: device is NULL. */
attn_status attn_query_device(attn_device *device);

/* Keys of a tile that suit a cache: 64 up to 4 MB of L2 (and without a device), 128 up to 8 MB, 256 above.  For those
 * who cut attention themselves, in tiles that several blocks read at once; NULL = the current device. */
int32_t attn_recommended_tile(const attn_device *device);

/* ALiBi slopes of `heads` heads into slopes[heads] (host).  family: ATTN_ALIBI_PRESS (2^(-8 (h+1)/n) for
 * n = the power of two <= heads, then every other one of 2n) or ATTN_ALIBI_MPT (of the next power of two p:
 * 2^(-8 (h+1)/p), odd places first).  ERR_ARG: NULL, heads < 1 or an unknown family. */
attn_status attn_alibi_slopes(float *slopes, int32_t heads, int32_t family);

/* Writes into buf (len bytes, always terminated) what a finding says: "block_table[1][3] 99: must be 0 to 4"; copy it
 * from the workspace first, which is the device's.  Answers ATTN_OK if all is right, else ATTN_ERR_ARG. */
attn_status attn_debug_text(const attn_finding *f, char *buf, size_t len);

/* "ATTN_OK" ..., or "ATTN_ERR_?" for a number that is none. */
const char *attn_status_name(attn_status status);

/* "0.1.0" of the archive; ATTN_VERSION_* are those of this header. */
const char *attn_version(void);

#ifdef __cplusplus
}
#endif
#endif /* ATTN_ATTN_H */

#ifdef ATTN_NAME
#include <attn/instance.h>
#endif
