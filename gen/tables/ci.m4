// ci.m4 - a small table that still takes the machinery everywhere: specialised rows ahead of general ones, each
// kind of column, each arch.  Tiles are small where that makes a test short.
//
//       KERNEL   ARCH  DTYPE    HEAD_DIM GQA  FLAGS          TILE_Q TILE_K TUNE
attn_row(decode,  sm90, bf16,    128,     any, all,           8,     16,    warps=2+rows=12)
attn_row(decode,  sm90, f16,     16..64,  any, all,           32,    16,    warps=2+stages=3+rows=160)
attn_row(decode,  sm80, bf16,    64,      any, all,           16,    32,    warps=4+rows=160)
attn_row(decode,  sm80, f16,     192/128, 3,   causal+varlen+paged, 8, 16,  warps=3+stages=1)
attn_row(decode,  sm90, bf16:narrow, 128, any, all,           8,     16,    warps=2+rows=12)
attn_row(decode,  sm80, f16:narrow, 16..96, any, causal+window+varlen+paged+scaled, 16, 32, warps=2+stages=3+rows=100+spill=16)
attn_row(mla,     sm90, bf16,    576/512, any, all,           64,    48,    none)
attn_row(mla,     sm90, f16,     192/128, any, all,           64,    32,    stages=2)
attn_row(forward, sm90, f16,     128,     any, causal,        128,   64,    none)
attn_row(forward, sm90, bf16,    64,      any, all,           128,   64,    none)
attn_row(forward, sm90, f16,     64,      any, causal+window+softcap+alibi+varlen, 128, 64, none)
attn_row(forward, sm90, bf16,    64,      any, causal+bias, 192, 48, none)
attn_row(forward, sm90, bf16,    32,      any, causal+varlen, 128,   32,    none)
attn_row(forward, sm90, bf16,    32,      any, causal+bool_mask, 64, 128, none)
attn_row(forward, sm80, bf16,    128,     3,   causal,        64,    32,    warps=2)
attn_row(forward, sm80, bf16,    64,      any, all,           64,    64,    blocks=2)
attn_row(forward, sm80, f16,     16..40,  any, all,           32,    32,    warps=2)
attn_row(forward, sm80, f16,     192/128, any, none,          64,    64,    stages=1)
attn_row(forward, sm80, bf16,    256,     any, causal,        64,    64,    stages=1)
attn_row(forward, sm80, f16,     16..256, any, all,           32,    32,    warps=2)
attn_row(forward, sm75, f16,     64,      any, causal+varlen, 64,    64,    none)
attn_row(forward, simt, bf16,    64,      any, causal,        48,    32,    none)
attn_row(forward, simt, f16:f32, any,     any, none,          64,    128,   none)
attn_row(forward, simt, f32,     any,     any, all,           64,    32,    none)
attn_row(forward, simt, f32:narrow, 64,  any, causal+varlen+paged+scaled, 64, 64, none)
attn_row(forward, simt, bf16:narrow, any, any, all,           64,    32,    none)
attn_row(append,  simt, any,     any,     any, none,          none,  none,  none)
attn_row(merge,   simt, any,     any,     any, none,          none,  none,  none)

attn_row(forward, cpu,  f32,     64,      3,   causal,        64,    64,    none)
attn_row(forward, cpu,  f32,     192/128, any, causal,        64,    64,    none)
attn_row(forward, cpu,  f32,     40,      any, none,          64,    64,    none)
attn_row(forward, avx2, f32:f16, 128,     any, causal+paged,  64,    64,    none)
attn_row(forward, avx2, f16:narrow, any,  any, all,           64,    64,    none)
attn_row(forward, cpu,  f32:narrow, any,  any, all,           64,    64,    none)
attn_row(forward, avx512bf16, bf16, 128,  any, all,           64,    64,    none)
attn_each([[A]], (avx512, avx2, cpu), [[
attn_row(forward, A,    f32,     any,     any, all,           192,   128,   none)
]])
//
// Attention Residuals: HEAD_DIM is the hidden size, TILE_Q queries, TILE_K blocks.
//       KERNEL         ARCH  DTYPE HEAD_DIM GQA  FLAGS TILE_Q TILE_K TUNE
attn_row(res1,          sm80, bf16, 8..640,  any, none, 8,     8,     warps=2+blocks=2)
attn_row(res1,          sm80, f16,  8..384,  any, none, 64,    16,    warps=3)
attn_row(res1_backward, sm80, bf16, 8..256,  any, none, 8,     8,     warps=2)
attn_row(res1_backward, sm80, bf16, 264..512, any, none, 2,    8,     warps=2)
attn_each([[T]], (f32, bf16), [[
attn_row(res1,          simt, T,    any,     any, none, 64,    64,    warps=2)
attn_row(res1_backward, simt, T,    any,     any, none, 64,    64,    warps=2)
attn_row(res2,          simt, T,    8..1024, any, none, 1,     1,     warps=2)
attn_row(res2,          simt, T,    any,     any, none, 1,     1,     warps=8)
attn_row(res2_backward, simt, T,    8..512,  any, none, 1,     1,     warps=2)
attn_row(res2_backward, simt, T,    any,     any, none, 1,     1,     warps=16)
]])
attn_each([[A]], (avx512, avx2, cpu), [[
attn_each([[K]], (res1, res1_backward), [[
attn_row(K,             A,    f32,  any,     any, none, 64,    64,    none)
attn_row(K,             A,    bf16, any,     any, none, 64,    64,    none)
]])
attn_each([[K]], (res2, res2_backward), [[
attn_row(K,             A,    f16,  any,     any, none, 1,     1,     none)
attn_row(K,             A,    bf16, any,     any, none, 1,     1,     none)
]])
]])
