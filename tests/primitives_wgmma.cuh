/* primitives_wgmma.cuh - the kernel of one width PRIM_N of wgmma; included by primitives.cuh once for each.
 *
 * in: an image of shared memory of p[0] bytes, then 8 words of each thread, A of the two steps for RS, then PRIM_N / 2
 * floats of each, what D is before.  Two steps, that is K = 32 (64):
 *     p[1], p[2], p[3], p[4], p[5]    A: start, lead, stride, swizzle, bytes to the next step
 *     p[6] ... p[10]                  the same of B
 *     p[11]  which product, by its number below (4 on: only widths 8, 64, 128, 192, 256); p[12]  keep
 * out: D.  C11 and CUDA; no guard. */
ATTN_GLOBAL(PRIM_CAT(prim_wgmma_, PRIM_N), prim_args, 128, 1)
{
#if ATTN_HAS_WGMMA
    ATTN_SHARED(smem);
    const int t = (int)threadIdx.x;
    const uint32_t base = attn__shared_address(smem);
    const uint32_t *words = (const uint32_t *)(const void *)(a.in + a.p[0]) + 8 * t;
    const float *before = (const float *)(const void *)(a.in + a.p[0] + 128 * 32) + PRIM_N / 2 * t;
    float *out = (float *)(void *)a.out + PRIM_N / 2 * t, d[PRIM_N / 2];
    uint32_t r[8];
    prim_fill(smem, a.in, a.p[0]);
    attn__fence_async();
    __syncthreads();
    ATTN_UNROLL for (int i = 0; i < PRIM_N / 2; ++i)
        d[i] = before[i];
    ATTN_UNROLL for (int i = 0; i < 8; ++i)
        r[i] = words[i];
    const uint64_t a0 = attn__wgmma_desc(base + (uint32_t)a.p[1], (uint32_t)a.p[2], (uint32_t)a.p[3], a.p[4]);
    const uint64_t b0 = attn__wgmma_desc(base + (uint32_t)a.p[6], (uint32_t)a.p[7], (uint32_t)a.p[8], a.p[9]);
    const uint64_t a1 = a0 + (uint64_t)(a.p[5] / 16), b1 = b0 + (uint64_t)(a.p[10] / 16);
    const int keep = a.p[12];
    /* All in each case: a branch between the fence and the products would make the compiler fence them again. */
#define PRIM_PRODUCTS(number, first, second) \
    case number:                             \
        attn__wgmma_pin(d, PRIM_N / 2);      \
        attn__wgmma_pin_a(r, 8);             \
        attn__wgmma_fence();                 \
        first;                               \
        second;                              \
        attn__wgmma_commit();                \
        ATTN_WGMMA_WAIT(0);                  \
        attn__wgmma_pin(d, PRIM_N / 2);      \
        attn__wgmma_pin_a(r, 8);             \
        break;
#define PRIM_SS(number, type, a_major, b_major)                                        \
    PRIM_PRODUCTS(number, ATTN_WGMMA_SS(PRIM_N, type, a_major, b_major, d, a0, b0, keep), \
                  ATTN_WGMMA_SS(PRIM_N, type, a_major, b_major, d, a1, b1, 1))
#define PRIM_RS(number, type, b_major)                                     \
    PRIM_PRODUCTS(number, ATTN_WGMMA_RS(PRIM_N, type, b_major, d, r, b0, keep), \
                  ATTN_WGMMA_RS(PRIM_N, type, b_major, d, r + 4, b1, 1))
    switch (a.p[11]) {
        PRIM_SS(0, ATTN_BF16, ATTN_K_MAJOR, ATTN_K_MAJOR)
        PRIM_SS(1, ATTN_BF16, ATTN_K_MAJOR, ATTN_MN_MAJOR)
        PRIM_RS(2, ATTN_BF16, ATTN_K_MAJOR)
        PRIM_RS(3, ATTN_BF16, ATTN_MN_MAJOR)
#if PRIM_N == 8 || PRIM_N % 64 == 0
        PRIM_SS(4, ATTN_BF16, ATTN_MN_MAJOR, ATTN_K_MAJOR)
        PRIM_SS(5, ATTN_BF16, ATTN_MN_MAJOR, ATTN_MN_MAJOR)
        PRIM_SS(6, ATTN_F16, ATTN_K_MAJOR, ATTN_K_MAJOR)
        PRIM_SS(7, ATTN_F16, ATTN_K_MAJOR, ATTN_MN_MAJOR)
        PRIM_SS(8, ATTN_F16, ATTN_MN_MAJOR, ATTN_K_MAJOR)
        PRIM_SS(9, ATTN_F16, ATTN_MN_MAJOR, ATTN_MN_MAJOR)
        PRIM_RS(10, ATTN_F16, ATTN_K_MAJOR)
        PRIM_RS(11, ATTN_F16, ATTN_MN_MAJOR)
        PRIM_SS(12, ATTN_E4M3, ATTN_K_MAJOR, ATTN_K_MAJOR)
        PRIM_SS(13, ATTN_E5M2, ATTN_K_MAJOR, ATTN_K_MAJOR)
        PRIM_RS(14, ATTN_E4M3, ATTN_K_MAJOR)
        PRIM_RS(15, ATTN_E5M2, ATTN_K_MAJOR)
#endif
    }
#undef PRIM_PRODUCTS
#undef PRIM_SS
#undef PRIM_RS
    ATTN_UNROLL for (int i = 0; i < PRIM_N / 2; ++i)
        out[i] = d[i];
#endif
}
#undef PRIM_N
