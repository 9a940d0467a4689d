// table.m4 - the one instance that this project calls.
//       KERNEL   ARCH DTYPE HEAD_DIM GQA  FLAGS TILE_Q TILE_K TUNE
attn_row(forward, cpu, f32,  8,       any, none, 32,    32,    none)
