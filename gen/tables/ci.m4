// ci.m4 - a small table that still takes the machinery everywhere: specialised rows ahead of general ones, each
// kind of column, each CPU arch.
//
//       KERNEL   ARCH    DTYPE    HEAD_DIM GQA  FLAGS         TILE_Q TILE_K TUNE
attn_row(forward, cpu,    f32,     64,      3,   causal,       64,    64,    none)
attn_row(forward, cpu,    f32,     192/128, any, causal,       64,    64,    none)
attn_row(forward, cpu,    f32,     40,      any, none,         64,    64,    none)
attn_row(forward, avx2,   f32:f16, 128,     any, causal+paged, 64,    64,    none)
attn_row(forward, avx512bf16, bf16,  128,   any, all,          64,    64,    none)
attn_each([[A]], (avx512, avx2, cpu), [[
attn_row(forward, A,      f32,     any,     any, all,          192,   128,   none)
]])
