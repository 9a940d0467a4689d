/* finish_cuda.cuh - the end of a row on a GPU: dividing by the sum, the sink logit, storing o, lse or a partial result.
 *
 * Included by the CUDA forward templates after unit_cuda.cuh, no guard. */

ATTN_DEVICE int ATTN_FN(_has_sinks)(const ATTN_FN(_args) *a)
{
    const attn_params *p = &a->p;
    return ATTN_SINK_LOGITS && p->sink_logits && !(p->flags & ATTN_LSE_NO_SINK);
}

/* The sink logit of head h, in log2; -inf: there is none. */
ATTN_DEVICE float ATTN_FN(_sink_of)(const ATTN_FN(_args) *a, int h)
{
    const attn_params *p = &a->p;
    return ATTN_FN(_has_sinks)(a) ? p->sink_logits[h] * ATTN_LOG2E : ATTN_NEG_INF;
}

/* What a row's o is multiplied with, from its greatest score m (log2), its sum l and the sink logit z; *lse in log2,
 * sink included. */
ATTN_DEVICE float ATTN_FN(_finish_beside)(float z, float m, float l, float *lse)
{
    const float top = attn__max(m, z), zero = top == ATTN_NEG_INF ? 0.0f : top;
    const float own = attn__exp2(m - zero), total = l * own + attn__exp2(z - zero);
    *lse = zero + attn__log2(total);
    return total == 0.0f ? 0.0f : own * attn__reciprocal(total);
}
ATTN_DEVICE float ATTN_FN(_finish)(const ATTN_FN(_args) *a, int h, float m, float l, float *lse)
{
    if (ATTN_FN(_has_sinks)(a))
        return ATTN_FN(_finish_beside)(ATTN_FN(_sink_of)(a, h), m, l, lse);
    *lse = l == 0.0f ? ATTN_NEG_INF : m + attn__log2(l);
    return l == 0.0f ? 0.0f : attn__reciprocal(l);
}

/* An lse (log2) in the base that the caller wants. */
ATTN_DEVICE float ATTN_FN(_lse_of)(const ATTN_FN(_args) *a, float lse)
{
    return a->p.flags & ATTN_LSE_BASE2 ? lse : lse * ATTN_LN2;
}

/* Stores the lse (log2) of position i and head h. */
ATTN_DEVICE void ATTN_FN(_put_lse)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, int i, int h, float lse)
{
    const attn_params *p = &a->p;
    if (p->lse)
        p->lse[u->b * p->lse_stride[0] + h * p->lse_stride[1] + u->base_q + i] = ATTN_FN(_lse_of)(a, lse);
}

/* Element of o where position i of head h begins. */
ATTN_DEVICE int64_t ATTN_FN(_o_at)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, int i, int h)
{
    const attn_tensor *o = &a->p.o;
    return (int64_t)u->b * o->stride[0] + (u->base_q + i) * o->stride[1] + (int64_t)h * o->stride[2];
}

/* Stores one element of o, of any type. */
ATTN_DEVICE void ATTN_FN(_put_o)(const ATTN_FN(_args) *a, int64_t at, float x)
{
    const attn_tensor *o = &a->p.o;
    if (o->dtype == ATTN_F32)
        ((float *)o->data)[at] = x;
    else
        ((uint16_t *)o->data)[at] =
            (uint16_t)(o->dtype == ATTN_F16 ? attn__pack_f16(x, 0.0f) : attn__pack_bf16(x, 0.0f));
}

/* Reads one again. */
ATTN_DEVICE float ATTN_FN(_get_o)(const ATTN_FN(_args) *a, int64_t at)
{
    const attn_tensor *o = &a->p.o;
    if (o->dtype == ATTN_F32)
        return ((const float *)o->data)[at];
    const uint16_t x = ((const uint16_t *)o->data)[at];
    return o->dtype == ATTN_F16 ? attn__low_f16(x) : attn__low_bf16(x);
}

/* Where the partial results of a row lie: of part 0 at `zero`, of part s after it at first + s * step. */
typedef struct ATTN_FN(_parts) {
    int count;
    int64_t zero, first, step;
} ATTN_FN(_parts);

ATTN_DEVICE int64_t ATTN_FN(_part_at)(const ATTN_FN(_parts) *parts, int s)
{
    return s ? parts->first + s * parts->step : parts->zero;
}

/* Row of the partial results, within one part, of a row of the unit. */
ATTN_DEVICE int64_t ATTN_FN(_part_row)(const ATTN_FN(_args) *a, const ATTN_FN(_unit) *u, int row)
{
    const int64_t head = (int64_t)u->b * a->heads + u->g;
    return head * ATTN_FN(_group)(a) * a->p.seq_q + u->row0 + row;
}
