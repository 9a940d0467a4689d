/* vec_math.h - exp2 and tanh of a vector, the same text for every instruction set.
 *
 * NO INCLUDE GUARD: each vec_*.h includes it once with ATTN_VEC(op) naming its own operations
 * and undefines that afterwards.  NaN in gives NaN out; -inf gives exactly 0 from exp2. */

/* 2^x, relative error below 1.5e-7.  Results under 2^-126 are 0; x above 127.5 is the caller's error.
 * Round to an integer n and a rest in [-1/2, 1/2]; the polynomial is the minimax of (2^f - 1) / f in
 * relative error with 2^0 = 1 exact (9.2e-8 before rounding), so that merging weights of 1 change no bit. */
ATTN_INLINE ATTN_VEC(vec) ATTN_VEC(exp2)(ATTN_VEC(vec) x)
{
    x = ATTN_VEC(max)(ATTN_VEC(set1)(-127.0f), x);
    const ATTN_VEC(vec) n = ATTN_VEC(round)(x);
    const ATTN_VEC(vec) f = x - n;
    ATTN_VEC(vec) p = ATTN_VEC(set1)(1.326473876e-03f);
    p = ATTN_VEC(fma)(p, f, ATTN_VEC(set1)(9.671516679e-03f));
    p = ATTN_VEC(fma)(p, f, ATTN_VEC(set1)(5.550733753e-02f));
    p = ATTN_VEC(fma)(p, f, ATTN_VEC(set1)(2.402224202e-01f));
    p = ATTN_VEC(fma)(p, f, ATTN_VEC(set1)(6.931469776e-01f));
    p = ATTN_VEC(fma)(p, f, ATTN_VEC(set1)(1.0f));
    return ATTN_VEC(scale2)(p, n);
}

/* tanh(x): 1 - 2 / (e^(2|x|) + 1) away from 0, and near 0 the odd polynomial of Cephes tanhf
 * (Moshier, netlib, coefficients of its published table), because there the difference cancels. */
ATTN_INLINE ATTN_VEC(vec) ATTN_VEC(tanh)(ATTN_VEC(vec) x)
{
    const ATTN_VEC(vec) one = ATTN_VEC(set1)(1.0f);
    const ATTN_VEC(vec) a = ATTN_VEC(abs)(x);
    const ATTN_VEC(vec) e = ATTN_VEC(exp2)(ATTN_VEC(min)(ATTN_VEC(set1)(40.0f), a * ATTN_VEC(set1)(2.885390082f)));
    const ATTN_VEC(vec) far = ATTN_VEC(copysign)(one - ATTN_VEC(set1)(2.0f) / (e + one), x);
    const ATTN_VEC(vec) z = x * x;
    ATTN_VEC(vec) p = ATTN_VEC(set1)(-5.70498872745e-3f);
    p = ATTN_VEC(fma)(p, z, ATTN_VEC(set1)(2.06390887954e-2f));
    p = ATTN_VEC(fma)(p, z, ATTN_VEC(set1)(-5.37397155531e-2f));
    p = ATTN_VEC(fma)(p, z, ATTN_VEC(set1)(1.33314422036e-1f));
    p = ATTN_VEC(fma)(p, z, ATTN_VEC(set1)(-3.33332819422e-1f));
    return ATTN_VEC(select_lt)(a, ATTN_VEC(set1)(0.625f), ATTN_VEC(fma)(p * z, x, x), far);
}
