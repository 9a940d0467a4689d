// default.m4 - what the archive holds unless it is told otherwise: every head_dim, every ratio and every
// flag, in each type and for each instruction set.  Order is preference: a call is served by the
// first row that accepts it and that this processor can execute.
//
//       KERNEL   ARCH    DTYPE  HEAD_DIM GQA  FLAGS TILE_Q TILE_K TUNE
attn_row(forward, avx512bf16, bf16, any, any, all,  192,   128,   none)
attn_each([[T]], (f32, f16, bf16), [[
attn_row(forward, avx512, T,     any,     any, all,  192,   128,   none)
attn_row(forward, avx2,   T,     any,     any, all,  192,   128,   none)
attn_row(forward, cpu,    T,     any,     any, all,  192,   128,   none)
]])
