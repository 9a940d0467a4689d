// ci.m4 - a small table that still takes the machinery everywhere: specialised rows ahead of general ones, each
// kind of column, each arch.  Tiles are small where that makes a test short.
//
//       KERNEL   ARCH  DTYPE    HEAD_DIM GQA  FLAGS          TILE_Q TILE_K TUNE
attn_row(decode,  sm90, bf16,    128,     any, all,           8,     16,    warps=2+rows=12)
attn_row(decode,  sm90, f16,     16..64,  any, all,           32,    16,    warps=2+stages=3+rows=160)
attn_row(decode,  sm80, bf16,    64,      any, all,           16,    32,    warps=4+rows=160)
attn_row(decode,  sm80, f16,     192/128, 3,   causal+varlen+paged, 8, 16,  warps=3+stages=1)
attn_row(forward, sm90, f16,     128,     any, causal,        128,   128,   none)
attn_row(forward, sm90, bf16,    64,      any, all,           128,   64,    none)
attn_row(forward, sm80, bf16,    128,     3,   causal,        64,    32,    warps=2)
attn_row(forward, sm80, bf16,    64,      any, all,           64,    64,    blocks=2)
attn_row(forward, sm80, f16,     16..40,  any, all,           32,    32,    warps=2)
attn_row(forward, sm80, f16,     192/128, any, none,          64,    64,    stages=1)
attn_row(forward, sm80, bf16,    256,     any, causal,        64,    64,    stages=1)
attn_row(forward, sm80, f16,     16..256, any, all,           32,    32,    warps=2)
attn_row(forward, sm75, f16,     64,      any, causal+varlen, 64,    64,    none)
attn_row(forward, simt, bf16,    64,      any, causal,        64,    32,    none)
attn_row(forward, simt, f16:f32, any,     any, none,          64,    32,    none)
attn_row(forward, simt, f32,     any,     any, all,           64,    32,    none)

attn_row(forward, cpu,  f32,     64,      3,   causal,        64,    64,    none)
attn_row(forward, cpu,  f32,     192/128, any, causal,        64,    64,    none)
attn_row(forward, cpu,  f32,     40,      any, none,          64,    64,    none)
attn_row(forward, avx2, f32:f16, 128,     any, causal+paged,  64,    64,    none)
attn_row(forward, avx512bf16, bf16, 128,  any, all,           64,    64,    none)
attn_each([[A]], (avx512, avx2, cpu), [[
attn_row(forward, A,    f32,     any,     any, all,           192,   128,   none)
]])
