/* pair_cuda.cuh - pairs of 16-bit numbers in one register, as the tensor-core templates hold P and V.
 *
 * Included by forward_sm80.cuh, forward_sm90.cuh, mla_sm90.cuh and decode_sm80.cuh after plan_cuda.cuh, no guard;
 * launch_cuda.cuh undoes its macros. */

#if ATTN_DTYPE == ATTN_BF16
#define ATTN_PACK(low, high) attn__pack_bf16(low, high)
#define ATTN_LOW(pair)       attn__low_bf16(pair)
#define ATTN_HIGH(pair)      attn__high_bf16(pair)
#else
#define ATTN_PACK(low, high) attn__pack_f16(low, high)
#define ATTN_LOW(pair)       attn__low_f16(pair)
#define ATTN_HIGH(pair)      attn__high_f16(pair)
#endif

/* A pair of V as a pass of a unit needs it: 1 what is finite, 0 for the rest; 2 a 1 for each that is +inf or NaN, else
 * 0; 3 the same of -inf. */
ATTN_DEVICE uint32_t ATTN_FN(_split_pair)(int pass, uint32_t x)
{
    const uint32_t exponents = ATTN_DTYPE == ATTN_BF16 ? 0x7f807f80u : 0x7c007c00u; /* all set in what is not finite */
    const uint32_t lowest = ATTN_DTYPE == ATTN_BF16 ? 0x00800080u : 0x04000400u;    /* bit of each exponent */
    const uint32_t one = ATTN_DTYPE == ATTN_BF16 ? 0x3f80u : 0x3c00u;
    const uint32_t mantissa = x & ~exponents & 0x7fff7fffu;
    /* One bit for each of the two elements, its lowest. */
    const uint32_t not_finite = ((x & exponents) + lowest) >> 15 & 0x00010001u;
    const uint32_t nan = (mantissa + 0x7fff7fffu) >> 15, sign = (pass == 2 ? ~x : x) >> 15;
    return pass == 1 ? x & ~(not_finite * 0xffffu) : (not_finite & (nan | sign)) * one;
}

/* The word of the lane whose number differs in the bits of `mask`. */
ATTN_DEVICE uint32_t ATTN_FN(_swap)(uint32_t x, int mask)
{
    return __float_as_uint(attn__shuffle_xor(__uint_as_float(x), mask));
}

/* Among four lanes that have pairs of the same row: word e of lane q becomes word q of lane e. */
ATTN_DEVICE void ATTN_FN(_exchange)(uint32_t *x)
{
    const int q = attn__lane() % 4;
    uint32_t y = ATTN_FN(_swap)(q & 1 ? x[0] : x[1], 1), z = ATTN_FN(_swap)(q & 1 ? x[2] : x[3], 1);
    x[0] = q & 1 ? y : x[0], x[1] = q & 1 ? x[1] : y;
    x[2] = q & 1 ? z : x[2], x[3] = q & 1 ? x[3] : z;
    y = ATTN_FN(_swap)(q & 2 ? x[0] : x[2], 2);
    z = ATTN_FN(_swap)(q & 2 ? x[1] : x[3], 2);
    x[0] = q & 2 ? y : x[0], x[2] = q & 2 ? x[2] : y;
    x[1] = q & 2 ? z : x[1], x[3] = q & 2 ? x[3] : z;
}
