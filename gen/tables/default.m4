// default.m4 - what the archive holds unless it is told otherwise: every head_dim, every ratio and every
// flag, in each type, for each kind of GPU and each instruction set.  Order is preference: a call is served by the
// first row that accepts it and that the machine can execute.  A GPU's rows serve tensors of a GPU alone, those
// of a CPU tensors of the host (attn_params.device).
//
// Few query rows against a long cache, paged or not, as at each step of a decoder; few enough (rows) that reading the
// cache is all there is to it.  Up to 8 rows half of the tensor cores' work is padding, which costs nothing there.
//
//       KERNEL   ARCH  DTYPE  HEAD_DIM     GQA  FLAGS  TILE_Q TILE_K TUNE
attn_each([[T]], (bf16, f16), [[
attn_row(decode,  sm90, T,     128,         any, all,    8,    16,    warps=8+rows=8)
attn_row(decode,  sm90, T,     128,         any, all,    16,   16,    warps=8+rows=16)
attn_row(decode,  sm90, T,     128,         any, all,    32,   16,    warps=4+rows=128)
attn_row(decode,  sm90, T,     64,          any, all,    16,   32,    warps=8+rows=16)
attn_row(decode,  sm90, T,     64,          any, all,    32,   16,    warps=8+rows=128)
attn_row(decode,  sm90, T,     192/128,     any, all,    16,   16,    warps=6+rows=64)
attn_row(decode,  sm90, T,     16..128,     any, all,    16,   16,    warps=8+rows=64)
attn_row(decode,  sm90, T,     16..256,     any, all,    16,   16,    warps=4+rows=64)
attn_row(decode,  sm80, T,     128,         any, all,    16,   16,    warps=3+rows=64)
attn_row(decode,  sm80, T,     16..128,     any, all,    16,   16,    warps=3+rows=64)
attn_row(decode,  sm80, T,     16..256,     any, all,    8,    16,    warps=2+rows=32)
]])
//
// What some rows of decode spill has not been timed apart from the rest.
//
// The same with K and V of 8 or 4 bits, whatever the scales.
//
//       KERNEL   ARCH  DTYPE     HEAD_DIM GQA  FLAGS  TILE_Q TILE_K TUNE
attn_each([[T]], (bf16, f16), [[
attn_row(decode,  sm90, T:narrow, 128,     any, all,    8,    32,    warps=8+rows=8)
attn_row(decode,  sm90, T:narrow, 64,      any, all,    16,   32,    warps=8+stages=3+rows=64)
attn_row(decode,  sm90, T:narrow, 16..128, any, all,    16,   16,    warps=8+stages=3+rows=64+spill=52)
attn_row(decode,  sm90, T:narrow, 16..256, any, all,    8,    16,    warps=6+stages=2+rows=32+spill=24)
attn_row(decode,  sm80, T:narrow, 16..128, any, all,    16,   16,    warps=4+rows=64+spill=36)
attn_row(decode,  sm80, T:narrow, 16..256, any, all,    8,    16,    warps=4+rows=32+spill=156)
]])
//
// Latent caches, paged or not, of any number of query rows: V is the first dims of K.
//
//       KERNEL   ARCH  DTYPE  HEAD_DIM     GQA  FLAGS  TILE_Q TILE_K TUNE
attn_each([[T]], (bf16, f16), [[
attn_row(mla,     sm90, T,     576/512,     any, all,    64,   48,    stages=3)
]])
//
// Hopper, where tensors are dense or packed: TMA cannot follow a page table.  What a decoder needs has rows of its
// own, then what changes scores in one way, then head dims in between, then everything (docs/performance.md).  At 64,
// short prompts are cut into 256 rows, of which four warpgroups have a quarter each, or under a diagonal into 128, of
// which the last ones waste less.
//
//       KERNEL   ARCH  DTYPE  HEAD_DIM     GQA  FLAGS  TILE_Q TILE_K TUNE
attn_each([[T]], (bf16, f16), [[
attn_row(forward, sm90, T,     64,          any, varlen,                             256,   64,    stages=4+rows=1024)
attn_row(forward, sm90, T,     64,          any, causal+varlen,                      128,   128,   stages=4+rows=1024)
attn_row(forward, sm90, T,     64,          any, causal+varlen,                      192,   96,    stages=3)
attn_row(forward, sm90, T,     96,          any, causal+varlen,                      128,   128,   stages=2)
attn_row(forward, sm90, T,     128,         any, causal+varlen,                      128,   128,   stages=2)
attn_row(forward, sm90, T,     192/128,     any, causal+varlen,                      128,   112,   stages=2)
attn_row(forward, sm90, T,     192,         any, causal+varlen,                      128,   80,    stages=2)
attn_row(forward, sm90, T,     256,         any, causal+varlen,                      128,   64,    stages=2)
attn_row(forward, sm90, T,     64,          any, causal+window+sink_logits+varlen,   192,   96,    stages=3)
attn_row(forward, sm90, T,     128,         any, causal+window+sink_logits+varlen,   128,   128,   stages=2)
attn_row(forward, sm90, T,     64,          any, causal+softcap,                     128,   128,   stages=4)
attn_row(forward, sm90, T,     64,          any, causal+alibi,                       192,   96,    stages=3)
attn_row(forward, sm90, T,     128,         any, causal+softcap,                     128,   128,   stages=2)
attn_row(forward, sm90, T,     128,         any, causal+alibi,                       128,   128,   stages=2)
attn_row(forward, sm90, T,     64,          any, causal+bias,                        128,   128,   stages=2)
attn_row(forward, sm90, T,     128,         any, causal+bias,                        128,   128,   stages=2)
attn_row(forward, sm90, T,     64,          any, causal+bool_mask,                   128,   128,   stages=4)
attn_row(forward, sm90, T,     128,         any, causal+bool_mask,                   128,   128,   stages=2)
attn_row(forward, sm90, T,     16..64,      any, causal+varlen,                      192,   96,    stages=3)
attn_row(forward, sm90, T,     16..96,      any, causal+varlen,                      128,   128,   stages=2)
attn_row(forward, sm90, T,     16..128,     any, causal+varlen,                      128,   128,   stages=2)
attn_row(forward, sm90, T,     16..192,     any, causal+varlen,                      128,   80,    stages=2)
attn_row(forward, sm90, T,     16..256,     any, causal+varlen,                      128,   64,    stages=2)
attn_row(forward, sm90, T,     192/128,     any, all,                                128,   96,    none)
attn_row(forward, sm90, T,     16..64,      any, all,                                128,   128,   stages=4)
attn_row(forward, sm90, T,     16..128,     any, all,                                128,   128,   stages=2)
attn_row(forward, sm90, T,     16..256,     any, all,                                128,   64,    stages=2)
]])
//
// GPUs with tensor cores: the commonest head dims with what a decoder needs, then everything, padded to the next
// width.  A wider flag list costs 5 % and more, an unused width its share of the products (docs/performance.md).
//
//       KERNEL   ARCH  DTYPE  HEAD_DIM     GQA  FLAGS  TILE_Q TILE_K TUNE
attn_each([[T]], (bf16, f16), [[
attn_row(forward, sm80, T,     64,          any, causal, 128,  128,   blocks=2+spill=16) // on sm_80
attn_row(forward, sm80, T,     96,          any, causal, 128,  64,    blocks=2)
attn_row(forward, sm80, T,     128,         any, causal, 128,  64,    blocks=2+spill=64)
attn_row(forward, sm80, T,     256,         any, causal, 64,   64,    stages=1+blocks=2)
attn_row(forward, sm80, T,     192/128,     any, all,    64,   64,    stages=1+blocks=2)
attn_row(forward, sm80, T,     16..64,      any, all,    128,  64,    blocks=2)
attn_row(forward, sm80, T,     16..128,     any, all,    128,  48,    blocks=2)
attn_row(forward, sm80, T,     16..256,     any, all,    64,   64,    stages=1+blocks=2)
]])
attn_row(forward, sm75, f16,   16..64,      any, all,    64,   64,    stages=1+blocks=2)
attn_row(forward, sm75, f16,   16..128,     any, all,    64,   32,    stages=1+blocks=2)
//
// Any GPU: f32, and what the rows above cannot read (strides, alignment, head dims above 256).  The first row of 128
// needs 181 KB of shared memory, the second one 73; of any head dim the first one 58, others the 48 that each GPU has.
//
attn_row(forward, simt, f32,   64,          any, causal, 128,  64,    blocks=2)
attn_row(forward, simt, f32,   128,         any, causal, 128,  128,   warps=8)
attn_row(forward, simt, f32,   128,         any, causal, 64,   64,    blocks=2)
attn_row(forward, simt, f32,   any,         any, all,    64,   64,    blocks=2)
attn_row(forward, simt, f32,   any,         any, all,    64,   32,    blocks=2)
attn_each([[T]], (bf16, f16), [[
attn_row(forward, simt, T,     any,         any, all,    64,   64,    blocks=2)
]])
attn_each([[T]], (f32, bf16, f16), [[
attn_row(forward, simt, T:narrow, any,      any, all,    64,   64,    blocks=2)
]])
//
// Beside attention: new tokens into a cache, partial results into one.  A CPU needs no row for them.
//
attn_row(append,  simt, any,   any,         any, none,   none, none,  none)
attn_row(merge,   simt, any,   any,         any, none,   none, none,  none)
//
// CPUs.
//
//       KERNEL   ARCH    DTYPE  HEAD_DIM GQA  FLAGS TILE_Q TILE_K TUNE
attn_row(forward, avx512bf16, bf16, any, any, all,  192,   128,   none)
attn_each([[T]], (f32, f16, bf16), [[
attn_row(forward, avx512, T,     any,     any, all,  192,   128,   none)
attn_row(forward, avx2,   T,     any,     any, all,  192,   128,   none)
attn_row(forward, cpu,    T,     any,     any, all,  192,   128,   none)
]])
attn_each([[T]], (f32, f16, bf16), [[
attn_row(forward, avx512, T:narrow, any,  any, all,  192,   128,   none)
attn_row(forward, avx2,   T:narrow, any,  any, all,  192,   128,   none)
attn_row(forward, cpu,    T:narrow, any,  any, all,  192,   128,   none)
]])
//
// Attention Residuals: HEAD_DIM is the hidden size, TILE_Q the queries and TILE_K the blocks that it serves at most.
// Tensor cores for what they have; the others for f32, more blocks, other rows, and for phase 2, where nothing is gained.
//
//       KERNEL         ARCH  DTYPE HEAD_DIM    GQA  FLAGS TILE_Q TILE_K TUNE
attn_each([[T]], (bf16, f16), [[
attn_row(res1,          sm80, T,    8..512,     any, none, 64,    8,     warps=4+blocks=10)
attn_row(res1,          sm80, T,    520..2048,  any, none, 64,    8,     warps=8+blocks=4)
attn_row(res1,          sm80, T,    2056..4096, any, none, 64,    8,     warps=8+blocks=2)
attn_row(res1,          sm80, T,    4104..7168, any, none, 64,    8,     warps=14)
attn_row(res1,          sm80, T,    8..512,     any, none, 64,    16,    warps=4+blocks=3)
attn_row(res1,          sm80, T,    520..2048,  any, none, 64,    16,    warps=8+blocks=2)
attn_row(res1,          sm80, T,    2056..4096, any, none, 64,    16,    warps=16)
]])
attn_row(res1_backward, sm80, bf16, 8..512,     any, none, 8,     8,     warps=4+blocks=3+spill=8)
attn_row(res1_backward, sm80, bf16, 520..2048,  any, none, 8,     8,     warps=8)
attn_row(res1_backward, sm80, bf16, 2056..4096, any, none, 4,     8,     warps=12+spill=100)
attn_row(res1_backward, sm80, bf16, 4104..7168, any, none, 2,     8,     warps=12+spill=92)
attn_each([[T]], (f32, bf16, f16), [[
attn_row(res1,          simt, T,    any,        any, none, 64,    64,    warps=8+blocks=2)
attn_row(res1_backward, simt, T,    any,        any, none, 64,    64,    warps=8+blocks=2)
attn_row(res2_backward, simt, T,    8..512,     any, none, 1,     1,     warps=2+blocks=8)
attn_row(res2_backward, simt, T,    520..2048,  any, none, 1,     1,     warps=8+blocks=2)
attn_row(res2_backward, simt, T,    any,        any, none, 1,     1,     warps=16+spill=8) // f16, kernel_any
]])
attn_each([[T]], (bf16, f16), [[
attn_row(res2,          simt, T,    8..512,     any, none, 1,     1,     warps=1+blocks=16)
attn_row(res2,          simt, T,    520..2048,  any, none, 1,     1,     warps=4+blocks=9)
attn_row(res2,          simt, T,    2056..4096, any, none, 1,     1,     warps=8+blocks=4)
attn_row(res2,          simt, T,    any,        any, none, 1,     1,     warps=8+blocks=3+spill=24) // f16
]])
attn_row(res2,          simt, f32,  2056..4096, any, none, 1,     1,     warps=8+blocks=3)
attn_row(res2,          simt, f32,  any,        any, none, 1,     1,     warps=16)
attn_each([[K]], (res1, res1_backward), [[
attn_each([[T]], (f32, f16, bf16), [[
attn_row(K,          avx512,  T,    any,        any, none, 64,    64,    none)
attn_row(K,          avx2,    T,    any,        any, none, 64,    64,    none)
attn_row(K,          cpu,     T,    any,        any, none, 64,    64,    none)
]])
]])
attn_each([[K]], (res2, res2_backward), [[
attn_each([[T]], (f32, f16, bf16), [[
attn_row(K,          avx512,  T,    any,        any, none, 1,     1,     none)
attn_row(K,          avx2,    T,    any,        any, none, 1,     1,     none)
attn_row(K,          cpu,     T,    any,        any, none, 1,     1,     none)
]])
]])
