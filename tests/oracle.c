/* oracle.c - attention by the book, in float64; see oracle.h. */
#include "oracle.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---------------------------------------------------------------------------------- */

int64_t oracle_size(int dtype) { return dtype == ATTN_F32 ? 4 : dtype == ATTN_F16 || dtype == ATTN_BF16 ? 2 : 1; }

int64_t oracle_bytes(int dtype, int64_t n) { return dtype == ATTN_INT4 ? (n + 1) / 2 : n * oracle_size(dtype); }

/* An 8-bit float; e4m3 has no infinity, and one NaN of each sign. */
static double decode8(int dtype, unsigned bits)
{
    int fraction_bits = dtype == ATTN_E4M3 ? 3 : 2, bias = dtype == ATTN_E4M3 ? 7 : 15;
    int exponent = (int)(bits & 127) >> fraction_bits, fraction = (int)bits & ((1 << fraction_bits) - 1);
    double sign = bits & 128 ? -1 : 1;
    if (dtype == ATTN_E4M3 ? (bits & 127) == 127 : exponent == 31)
        return dtype == ATTN_E5M2 && !fraction ? sign * INFINITY : NAN;
    return sign * ldexp(exponent ? fraction + (1 << fraction_bits) : fraction,
                        (exponent ? exponent : 1) - bias - fraction_bits);
}

/* The code of the nearest: its magnitude counts up from 0. */
static unsigned encode8(int dtype, double value)
{
    unsigned low = 0, high = dtype == ATTN_E4M3 ? 0x7e : 0x7b, sign = signbit(value) ? 128 : 0;
    value = fabs(value);
    if (isnan(value))
        return sign | 127;
    if (value >= decode8(dtype, high))
        return sign | high;
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (decode8(dtype, middle) <= value)
            low = middle;
        else
            high = middle;
    }
    double below = value - decode8(dtype, low), above = decode8(dtype, high) - value;
    return sign | (below < above || (below == above && low % 2 == 0) ? low : high);
}

static double encode_int(int dtype, double value)
{
    double most = dtype == ATTN_INT8 ? 127 : 7;
    return isnan(value) ? 0 : nearbyint(fmax(-most, fmin(most, value)));
}

/* Decodes sign, exponent, fraction of a 16-bit format. */
static double decode16(unsigned bits, int fraction_bits, int bias)
{
    int exponent_bits = 15 - fraction_bits;
    int exponent = (int)(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    int fraction = (int)(bits & ((1u << fraction_bits) - 1));
    double sign = bits & 0x8000u ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1)
        return fraction ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(fraction, 1 - bias - fraction_bits);
    return sign * ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

static unsigned encode16(double value, int fraction_bits, int bias)
{
    int exponent_bits = 15 - fraction_bits, exponent;
    unsigned sign = signbit(value) ? 0x8000u : 0, infinite = ((1u << exponent_bits) - 1) << fraction_bits;
    if (isnan(value))
        return sign | infinite | 1u << (fraction_bits - 1);
    if (isinf(value))
        return sign | infinite;
    frexp(value, &exponent); /* |value| in [2^(exponent - 1), 2^exponent) */
    exponent -= 1;
    if (value == 0 || exponent < 1 - bias)
        exponent = 1 - bias;
    /* Counted in the last place; a carry out of the fraction runs into the exponent, as it must. */
    double steps = nearbyint(ldexp(fabs(value), fraction_bits - exponent));
    double code = steps + ldexp(exponent + bias - 1, fraction_bits);
    return sign | (code >= infinite ? infinite : (unsigned)code);
}

/* Every 16-bit code decoded once: loading is most of what small cases do. */
static const double *table16(int dtype)
{
    static double tables[2][65536];
    static int ready[2];
    int which = dtype == ATTN_BF16;
    if (!ready[which]) {
        for (unsigned bits = 0; bits < 65536; bits++)
            tables[which][bits] = which ? decode16(bits, 7, 127) : decode16(bits, 10, 15);
        ready[which] = 1;
    }
    return tables[which];
}

double oracle_load(int dtype, const void *data, int64_t index)
{
    if (dtype == ATTN_INT4) {
        int nibble = ((const unsigned char *)data)[index >= 0 ? index / 2 : -((1 - index) / 2)] >> (index & 1) * 4 & 15;
        return nibble >= 8 ? nibble - 16 : nibble;
    }
    if (dtype == ATTN_INT8)
        return ((const signed char *)data)[index];
    if (dtype == ATTN_E4M3 || dtype == ATTN_E5M2)
        return decode8(dtype, ((const unsigned char *)data)[index]);
    const char *at = (const char *)data + index * oracle_size(dtype);
    if (dtype == ATTN_F32) {
        float f;
        memcpy(&f, at, sizeof f);
        return f;
    }
    uint16_t bits;
    memcpy(&bits, at, sizeof bits);
    return table16(dtype)[bits];
}

void oracle_store(int dtype, void *data, int64_t index, double value)
{
    unsigned char *bytes = data;
    if (dtype == ATTN_INT4) {
        unsigned shift = (unsigned)(index & 1) * 4, nibble = (unsigned)(int)encode_int(dtype, value) & 15;
        bytes[index / 2] = (unsigned char)((bytes[index / 2] & ~(15u << shift)) | nibble << shift);
        return;
    }
    if (dtype == ATTN_INT8 || dtype == ATTN_E4M3 || dtype == ATTN_E5M2) {
        bytes[index] = (unsigned char)(dtype == ATTN_INT8 ? (int)encode_int(dtype, value) : (int)encode8(dtype, value));
        return;
    }
    char *at = (char *)data + index * oracle_size(dtype);
    if (dtype == ATTN_F32) {
        float f = (float)value;
        memcpy(at, &f, sizeof f);
        return;
    }
    uint16_t bits = (uint16_t)(dtype == ATTN_BF16 ? encode16(value, 7, 127) : encode16(value, 10, 15));
    memcpy(at, &bits, sizeof bits);
}

double oracle_round(int dtype, double value)
{
    if (dtype == ATTN_F32)
        return (float)value;
    if (dtype == ATTN_INT8 || dtype == ATTN_INT4)
        return encode_int(dtype, value);
    if (dtype > ATTN_BF16)
        return decode8(dtype, encode8(dtype, value));
    return table16(dtype)[dtype == ATTN_BF16 ? encode16(value, 7, 127) : encode16(value, 10, 15)];
}

/* ---- where things are ------------------------------------------------------------------------- */

static int type_of(const attn_params *p, const attn_tensor *t) { return t->dtype ? t->dtype : p->q.dtype; }

/* The strides of a tensor, with "all four 0" replaced by the compact form of dims[0..3]. */
static void strides(const attn_tensor *t, int64_t d1, int64_t d2, int64_t d3, int64_t out[4])
{
    memcpy(out, t->stride, 4 * sizeof *out);
    if (out[0] == 0 && out[1] == 0 && out[2] == 0 && out[3] == 0) {
        out[3] = 1;
        out[2] = d3;
        out[1] = d2 * d3;
        out[0] = d1 * d2 * d3;
    }
}

static int64_t dim_offset(const attn_tensor *t, const int64_t stride[4], int64_t d)
{
    return t->dim_block ? d / t->dim_block * stride[3] + d % t->dim_block : d * stride[3];
}

static int64_t dim_v(const attn_params *p) { return p->head_dim_v ? p->head_dim_v : p->head_dim; }

int64_t oracle_rows(const attn_params *p, int64_t b)
{
    if (p->seqused_q)
        return p->seqused_q[b];
    return p->cu_seqlens_q ? p->cu_seqlens_q[b + 1] - p->cu_seqlens_q[b] : p->seq_q;
}

int64_t oracle_keys(const attn_params *p, int64_t b)
{
    if (p->page_indptr) {
        int64_t pages = p->page_indptr[b + 1] - p->page_indptr[b];
        return pages ? (pages - 1) * p->page_size + p->last_page_len[b] : 0;
    }
    if (p->seqused_k)
        return p->seqused_k[b];
    return p->cu_seqlens_k ? p->cu_seqlens_k[b + 1] - p->cu_seqlens_k[b] : p->seq_k;
}

int64_t oracle_first_row(const attn_params *p, int64_t b) { return p->cu_seqlens_q ? p->cu_seqlens_q[b] : 0; }

static int64_t q_index(const attn_params *p, int64_t b, int64_t i, int64_t h, int64_t d)
{
    int64_t s[4];
    strides(&p->q, p->seq_q, p->heads_q, p->head_dim, s);
    return (p->cu_seqlens_q ? 0 : b * s[0]) + (oracle_first_row(p, b) + i) * s[1] + h * s[2] + dim_offset(&p->q, s, d);
}

int64_t oracle_o_index(const attn_params *p, int64_t b, int64_t i, int64_t h, int64_t d)
{
    int64_t s[4];
    strides(&p->o, p->seq_q, p->heads_q, dim_v(p), s);
    return (p->cu_seqlens_q ? 0 : b * s[0]) + (oracle_first_row(p, b) + i) * s[1] + h * s[2] + dim_offset(&p->o, s, d);
}

int64_t oracle_lse_index(const attn_params *p, int64_t b, int64_t i, int64_t h)
{
    int64_t s0 = p->lse_stride[0], s1 = p->lse_stride[1], columns = p->cu_seqlens_q ? p->total_q : p->seq_q;
    if (s0 == 0 && s1 == 0) {
        s1 = columns;
        s0 = p->heads_q * columns;
    }
    return (p->cu_seqlens_q ? 0 : b * s0) + h * s1 + oracle_first_row(p, b) + i;
}

/* Key or value j of a sequence: in pages, packed, or in its own row of the batch. */
int64_t oracle_kv_index(const attn_params *p, const attn_tensor *t, int64_t dims, int64_t b, int64_t j, int64_t g,
                        int64_t d)
{
    int64_t s[4];
    if (p->page_size) {
        int64_t page = j / p->page_size;
        if (p->page_indptr)
            page = p->page_indices[p->page_indptr[b] + page];
        else
            page = p->block_table[b * (p->block_table_stride ? p->block_table_stride
                                                             : (p->seq_k + p->page_size - 1) / p->page_size) +
                                  page];
        strides(t, p->page_size, p->heads_k, dims, s);
        return page * s[0] + j % p->page_size * s[1] + g * s[2] + dim_offset(t, s, d);
    }
    strides(t, p->seq_k, p->heads_k, dims, s);
    if (p->cu_seqlens_k)
        return (p->cu_seqlens_k[b] + j) * s[1] + g * s[2] + dim_offset(t, s, d);
    return b * s[0] + j * s[1] + g * s[2] + dim_offset(t, s, d);
}

/* A scale per token lies as the token does; others are by sequence. */
int64_t oracle_scale_index(const attn_params *p, const attn_scale *s, int64_t b, int64_t j, int64_t g, int64_t d)
{
    int64_t index = g * s->stride[2] + (s->group ? d / s->group : 0) * s->stride[3];
    if (!s->stride[1])
        return index + b * s->stride[0];
    /* A tensor of one dim and these strides. */
    attn_tensor as = {NULL, {s->stride[0], s->stride[1], 0, 1}, ATTN_F32, 0};
    return index + oracle_kv_index(p, &as, 1, b, j, 0, 0);
}

int64_t oracle_position(const attn_params *p, int64_t b)
{
    return p->rope_offset ? p->rope_offset[b] : oracle_keys(p, b) - oracle_rows(p, b);
}

void oracle_rotate(const attn_params *p, int64_t position, double *x)
{
    int64_t dims = p->rope_dim ? p->rope_dim : p->head_dim, half = dims / 2;
    double base = p->rope_base != 0 ? (double)p->rope_base : 10000;
    if (!p->rope_style)
        return;
    for (int64_t n = 0; n < half; n++) {
        int64_t first = p->rope_style == ATTN_ROPE_INTERLEAVED ? 2 * n : n;
        int64_t second = p->rope_style == ATTN_ROPE_INTERLEAVED ? 2 * n + 1 : n + half;
        double angle = (double)position * pow(base, -2.0 * (double)n / (double)dims), c = cos(angle), s = sin(angle);
        double a = x[first], b = x[second];
        if (p->rope_cos) {
            int64_t row = position > 0 ? position : 0;
            c = (double)p->rope_cos[row * half + n];
            s = (double)p->rope_sin[row * half + n];
        }
        x[first] = a * c - b * s;
        x[second] = b * c + a * s;
    }
}

/* Bias and mask: [batch, head, query, key]. */
static int64_t score_index(const attn_params *p, const attn_tensor *t, const oracle_place *at)
{
    int64_t s[4];
    strides(t, p->heads_q, p->seq_q, t->dtype == ATTN_BIT ? (p->seq_k + 7) / 8 * 8 : p->seq_k, s);
    return at->batch * s[0] + at->head * s[1] + at->i * s[2] + at->j * s[3];
}

/* ---- which keys are visible ------------------------------------------------------------------- */

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

static int visible(const attn_params *p, const oracle_hooks *hooks, const oracle_place *at)
{
    int64_t i = at->i, j = at->j, shift = at->seq_k - at->seq_q;
    if (p->causal == ATTN_CAUSAL_BOTTOM_RIGHT && j > i + shift)
        return 0;
    if (p->causal == ATTN_CAUSAL_TOP_LEFT && j > i)
        return 0;
    if (p->window && j >= p->sink_tokens) {
        if (p->window_left >= 0 && j < i + shift - p->window_left)
            return 0;
        if (p->window_right >= 0 && j > i + shift + p->window_right)
            return 0;
    }
    if (p->chunk && floor_div(j, p->chunk) != floor_div(i + shift, p->chunk))
        return 0;
    if (p->mask.data) {
        int64_t index = score_index(p, &p->mask, at);
        const unsigned char *bytes = p->mask.data;
        if (p->mask.dtype == ATTN_BIT ? !(bytes[index / 8] >> index % 8 & 1) : !bytes[index])
            return 0;
    }
    if (p->bias.data && oracle_load(type_of(p, &p->bias), p->bias.data, score_index(p, &p->bias, at)) == -INFINITY)
        return 0;
    return !hooks || !hooks->visible || hooks->visible(p->user, at);
}

/* ---- one row ---------------------------------------------------------------------------------- */

/* The keys and values of one KV head of one sequence; f is for the plain implementation. */
typedef struct head_data {
    double *k, *v, *k_norm;
    float *kf, *vf;
    double *q, *s, *m, *acc; /* one query; its scores; their condition; its sum */
    float *qf, *sf, *accf;
    int64_t *seen; /* visible keys, ascending */
} head_data;

static double dot(const double *a, const double *b, int64_t n)
{
    double sum[4] = {0, 0, 0, 0};
    int64_t d = 0;
    for (; d + 4 <= n; d += 4)
        for (int u = 0; u < 4; u++)
            sum[u] += a[d + u] * b[d + u];
    for (; d < n; d++)
        sum[0] += a[d] * b[d];
    return sum[0] + sum[1] + (sum[2] + sum[3]);
}

static float dotf(const float *a, const float *b, int64_t n)
{
    float sum = 0;
    for (int64_t d = 0; d < n; d++)
        sum += a[d] * b[d];
    return sum;
}

/* Everything that follows q.k, in the order of docs/semantics.md.  *m becomes the condition. */
static double score(const attn_params *p, const oracle_hooks *hooks, const oracle_place *at, double s, double *m)
{
    if (p->softcap > 0) {
        double t = tanh(s / p->softcap);
        s = p->softcap * t;
        *m = *m * (1 - t * t) + fabs(s);
    }
    if (p->bias.data) {
        double bias = oracle_load(type_of(p, &p->bias), p->bias.data, score_index(p, &p->bias, at));
        s += bias;
        *m += fabs(bias);
    }
    if (p->alibi_slopes) {
        double slope = p->alibi_slopes[at->batch * p->alibi_stride + at->head];
        double bias = slope * (double)(at->j - (at->i + at->seq_k - at->seq_q));
        s += bias;
        *m += fabs(bias);
    }
    return hooks && hooks->score ? hooks->score(p->user, at, s) : s;
}

static float plain_score(const attn_params *p, const oracle_hooks *hooks, const oracle_place *at, float s)
{
    if (p->softcap > 0)
        s = p->softcap * tanhf(s / p->softcap);
    if (p->bias.data)
        s += (float)oracle_load(type_of(p, &p->bias), p->bias.data, score_index(p, &p->bias, at));
    if (p->alibi_slopes)
        s += p->alibi_slopes[at->batch * p->alibi_stride + at->head] * (float)(at->j - (at->i + at->seq_k - at->seq_q));
    return hooks && hooks->score ? (float)hooks->score(p->user, at, s) : s;
}

static void plain_row(const attn_params *p, const oracle_hooks *hooks, oracle_place at, head_data *h, int64_t count,
                      float scale, const float *sink, double *o)
{
    int64_t dims = p->head_dim, out = dim_v(p);
    int kv_type = type_of(p, &p->v), o_type = type_of(p, &p->o);
    if (kv_type > ATTN_BF16) /* is made q's before it is used */
        kv_type = p->q.dtype;
    float max = sink ? *sink : -INFINITY, sum = 0;
    for (int64_t n = 0; n < count; n++) {
        at.j = h->seen[n];
        h->sf[n] = plain_score(p, hooks, &at, scale * dotf(h->qf, h->kf + at.j * dims, dims));
        max = h->sf[n] > max ? h->sf[n] : max;
    }
    if (sink)
        sum = expf(*sink - max);
    for (int64_t n = 0; n < count; n++)
        sum += h->sf[n] = expf(h->sf[n] - max);
    memset(h->accf, 0, (size_t)out * sizeof *h->accf);
    for (int64_t n = 0; n < count; n++) {
        float weight = h->sf[n] / sum;
        if (kv_type != ATTN_F32)
            weight = (float)oracle_round(kv_type, weight);
        const float *v = h->vf + h->seen[n] * out;
        for (int64_t d = 0; d < out; d++)
            h->accf[d] += weight * v[d];
    }
    for (int64_t d = 0; d < out; d++)
        o[d] = count ? oracle_round(o_type, h->accf[d]) : 0;
}

static void exact_row(const attn_params *p, const oracle_hooks *hooks, oracle_place at, head_data *h, int64_t count,
                      double scale, const float *sink, double *o, double *lse, double *condition, unsigned char *state)
{
    int64_t dims = p->head_dim, out = dim_v(p);
    double q_norm = sqrt(dot(h->q, h->q, dims));
    double max = sink ? *sink : -INFINITY, sum = 0, moved = 0;
    int nan = 0;
    for (int64_t n = 0; n < count; n++) {
        at.j = h->seen[n];
        h->m[n] = fabs(scale) * q_norm * h->k_norm[at.j];
        h->s[n] = score(p, hooks, &at, scale * dot(h->q, h->k + at.j * dims, dims), &h->m[n]);
        nan |= isnan(h->s[n]);
        max = h->s[n] > max ? h->s[n] : max;
    }
    *condition = 0;
    *state = count ? ORACLE_ROW : ORACLE_EMPTY;
    for (int64_t d = 0; d < out; d++)
        o[d] = 0;
    if (max == -INFINITY && !nan) {
        *lse = -INFINITY;
        if (count)
            *state = ORACLE_UNDEFINED;
        return;
    }
    if (sink)
        sum = exp(*sink - max);
    for (int64_t n = 0; n < count; n++) {
        double weight = exp(h->s[n] - max);
        const double *v = h->v + h->seen[n] * out;
        sum += weight;
        if (weight > 0)
            moved += weight * h->m[n];
        for (int64_t d = 0; d < out; d++)
            o[d] += weight * v[d];
    }
    *lse = max + log(sum);
    *condition = moved / sum;
    for (int64_t d = 0; d < out; d++)
        o[d] = count ? o[d] / sum : 0;
}

/* scale * (stored - zero). */
static double load_kv(const attn_params *p, const attn_tensor *t, const attn_scale *s, int64_t dims, int64_t b,
                      int64_t j, int64_t g, int64_t d)
{
    double x = oracle_load(type_of(p, t), t->data, oracle_kv_index(p, t, dims, b, j, g, d));
    int64_t at = s->scale ? oracle_scale_index(p, s, b, j, g, d) : 0;
    return s->scale ? (double)s->scale[at] * (x - (s->zero ? (double)s->zero[at] : 0)) : x;
}

static void load_head(const attn_params *p, head_data *h, int64_t b, int64_t g, int64_t keys)
{
    int64_t dims = p->head_dim, out = dim_v(p);
    for (int64_t j = 0; j < keys; j++) {
        for (int64_t d = 0; d < dims; d++) {
            h->k[j * dims + d] = load_kv(p, &p->k, &p->k_scale, dims, b, j, g, d);
            h->kf[j * dims + d] = (float)h->k[j * dims + d];
        }
        for (int64_t d = 0; d < out; d++) {
            h->v[j * out + d] = load_kv(p, &p->v, &p->v_scale, out, b, j, g, d);
            h->vf[j * out + d] = (float)h->v[j * out + d];
        }
        h->k_norm[j] = sqrt(dot(h->k + j * dims, h->k + j * dims, dims));
    }
}

static void one_head(const attn_params *p, const oracle_hooks *hooks, head_data *h, oracle_place at,
                     oracle_answer *answer)
{
    int64_t dims = p->head_dim, out = dim_v(p);
    double scale = p->scale != 0 ? (double)p->scale : 1 / sqrt((double)dims);
    const float *sink = p->sink_logits && !(p->flags & ATTN_LSE_NO_SINK) ? p->sink_logits + at.head : NULL;
    for (at.i = 0; at.i < at.seq_q; at.i++) {
        int64_t row = (at.batch * p->seq_q + at.i) * p->heads_q + at.head, count = 0;
        for (int64_t d = 0; d < dims; d++)
            h->q[d] = oracle_load(p->q.dtype, p->q.data, q_index(p, at.batch, at.i, at.head, d));
        oracle_rotate(p, oracle_position(p, at.batch) + at.i, h->q);
        for (int64_t d = 0; d < dims; d++)
            h->qf[d] = (float)(h->q[d] = oracle_round(p->q.dtype, h->q[d]));
        for (at.j = 0; at.j < at.seq_k; at.j++)
            if (visible(p, hooks, &at))
                h->seen[count++] = at.j;
        exact_row(p, hooks, at, h, count, scale, sink, answer->o + row * out, answer->lse + row,
                  answer->condition + row, answer->state + row);
        plain_row(p, hooks, at, h, count, (float)scale, sink, answer->plain + row * out);
        if (p->flags & ATTN_LSE_BASE2)
            answer->lse[row] /= log(2.0);
    }
}

/* ---- the call --------------------------------------------------------------------------------- */

static void *room(int64_t count, size_t size) { return calloc((size_t)(count > 0 ? count : 1), size); }

static void free_head(head_data *h)
{
    void *all[] = {h->k, h->v, h->k_norm, h->kf, h->vf, h->q, h->s, h->m, h->acc, h->qf, h->sf, h->accf, h->seen};
    for (size_t n = 0; n < sizeof all / sizeof *all; n++)
        free(all[n]);
}

static int make_head(const attn_params *p, head_data *h)
{
    int64_t dims = p->head_dim, out = dim_v(p), keys = p->seq_k;
    memset(h, 0, sizeof *h);
    for (int64_t b = 0; b < p->batch; b++)
        if (oracle_keys(p, b) > keys)
            keys = oracle_keys(p, b);
    h->k = room(keys * dims, sizeof *h->k);
    h->v = room(keys * out, sizeof *h->v);
    h->kf = room(keys * dims, sizeof *h->kf);
    h->vf = room(keys * out, sizeof *h->vf);
    h->k_norm = room(keys, sizeof *h->k_norm);
    h->q = room(dims, sizeof *h->q);
    h->qf = room(dims, sizeof *h->qf);
    h->s = room(keys, sizeof *h->s);
    h->m = room(keys, sizeof *h->m);
    h->sf = room(keys, sizeof *h->sf);
    h->acc = room(out, sizeof *h->acc);
    h->accf = room(out, sizeof *h->accf);
    h->seen = room(keys, sizeof *h->seen);
    return h->k && h->v && h->kf && h->vf && h->k_norm && h->q && h->qf && h->s && h->m && h->sf && h->acc && h->accf &&
           h->seen;
}

void oracle_free(oracle_answer *answer)
{
    free(answer->o);
    free(answer->plain);
    free(answer->lse);
    free(answer->condition);
    free(answer->state);
    memset(answer, 0, sizeof *answer);
}

int oracle_forward(const attn_params *p, const oracle_hooks *hooks, oracle_answer *answer)
{
    head_data h;
    int64_t rows = (int64_t)p->batch * p->seq_q * p->heads_q;
    memset(answer, 0, sizeof *answer);
    if (p->dropout_p != 0 || p->q_scale.scale || p->schedule.row_ptr || p->schedule.runs)
        return -1;
    answer->o = room(rows * dim_v(p), sizeof *answer->o);
    answer->plain = room(rows * dim_v(p), sizeof *answer->plain);
    answer->lse = room(rows, sizeof *answer->lse);
    answer->condition = room(rows, sizeof *answer->condition);
    answer->state = room(rows, sizeof *answer->state); /* zero: ORACLE_ABSENT */
    int ok = make_head(p, &h) && answer->o && answer->plain && answer->lse && answer->condition && answer->state;
    for (int64_t b = 0; ok && b < p->batch; b++) {
        oracle_place at = {b, 0, 0, 0, oracle_rows(p, b), oracle_keys(p, b)};
        int64_t ratio = p->heads_q / p->heads_k;
        for (int64_t g = 0; at.seq_q && g < p->heads_k; g++) {
            load_head(p, &h, b, g, at.seq_k);
            for (at.head = g * ratio; at.head < (g + 1) * ratio; at.head++)
                one_head(p, hooks, &h, at, answer);
        }
    }
    free_head(&h);
    if (!ok)
        oracle_free(answer);
    return ok ? 0 : -1;
}

/* ---- the bars --------------------------------------------------------------------------------- */

typedef struct bars {
    double frobenius, max_abs, lse;
} bars;

static bars bars_of(const attn_params *p)
{
    static const bars of_type[] = {
        [ATTN_F32] = {1e-5, 1e-5, 1e-5}, [ATTN_F16] = {1e-3, 1e-2, 1e-3}, [ATTN_BF16] = {8e-3, 2e-2, 1e-3}};
    int types[] = {p->q.dtype, type_of(p, &p->k), type_of(p, &p->v), type_of(p, &p->o)};
    bars worst = of_type[types[0]];
    for (int n = 1; n < 4; n++) {
        if (types[n] > ATTN_BF16) /* what is loaded from a narrow type is exact */
            continue;
        const bars *b = &of_type[types[n]];
        worst.frobenius = fmax(worst.frobenius, b->frobenius);
        worst.max_abs = fmax(worst.max_abs, b->max_abs);
        if (n < 3) /* lse is f32 whatever o is */
            worst.lse = fmax(worst.lse, b->lse);
    }
    return worst;
}

/* Two numbers of which one is not finite: a NaN must be a NaN.  For an infinity a NaN will do as well:
 * inf * p is NaN where p has underflowed, and p in f32 does so before p in f64. */
static int same_kind(double got, double want)
{
    if (isnan(want))
        return isnan(got);
    if (isinf(want))
        return got == want || isnan(got);
    return isfinite(got);
}

static int complain(oracle_verdict *verdict, const char *what, const int64_t at[4], double got, double want)
{
    if (!verdict->text[0])
        snprintf(verdict->text, sizeof verdict->text, "%s of batch %lld row %lld head %lld dim %lld is %g, must be %g",
                 what, (long long)at[0], (long long)at[1], (long long)at[2], (long long)at[3], got, want);
    return 0;
}

static int judge_lse(oracle_verdict *verdict, const int64_t at[4], double got, double want, double condition, int state,
                     double bar)
{
    if (state == ORACLE_UNDEFINED) /* log of 0, or NaN as other inputs that are not finite */
        return got == -INFINITY || isnan(got) ? 1 : complain(verdict, "lse", at, got, want);
    if (!isfinite(want)) {
        int fits = isnan(want) ? isnan(got) || got == INFINITY : got == want || (want > 0 && isnan(got));
        return fits ? 1 : complain(verdict, "lse", at, got, want);
    }
    double unit = fmax(1, fabs(want)), error = fabs(got - want) / unit;
    if (error > verdict->lse)
        verdict->lse = error;
    if (error * unit <= bar * fmax(unit, condition / 24))
        return 1;
    return complain(verdict, "lse", at, got, want);
}

int oracle_judge(const attn_params *p, const oracle_answer *a, oracle_verdict *verdict)
{
    bars bar = bars_of(p);
    int o_type = type_of(p, &p->o), ok = 1;
    int64_t at[4], out = dim_v(p), counted = 0, worst_at[4] = {0, 0, 0, 0};
    double norm = 0, error = 0, plain_error = 0, largest = 0, worst = -1, worst_got = 0, worst_want = 0, condition = 0;
    memset(verdict, 0, sizeof *verdict);
    /* Rotated q is rounded to its type: where it lies between two numbers of that, another angle's last bit decides. */
    if (p->rope_style && type_of(p, &p->q) != ATTN_F32)
        bar.lse *= 4;
    for (at[0] = 0; at[0] < p->batch; at[0]++)
        for (at[1] = 0; at[1] < oracle_rows(p, at[0]); at[1]++)
            for (at[2] = 0; at[2] < p->heads_q; at[2]++) {
                int64_t row = (at[0] * p->seq_q + at[1]) * p->heads_q + at[2];
                int state = a->state[row], finite = 1;
                at[3] = 0;
                if (p->lse)
                    ok &= judge_lse(verdict, at, p->lse[oracle_lse_index(p, at[0], at[1], at[2])], a->lse[row],
                                    a->condition[row], state, bar.lse);
                if (state == ORACLE_UNDEFINED)
                    continue;
                for (at[3] = 0; at[3] < out; at[3]++) {
                    double want = a->o[row * out + at[3]], plain = a->plain ? a->plain[row * out + at[3]] : want;
                    double got = oracle_load(o_type, p->o.data, oracle_o_index(p, at[0], at[1], at[2], at[3]));
                    if (!same_kind(got, want) || (state == ORACLE_EMPTY && got != 0))
                        ok = complain(verdict, "o", at, got, want);
                    if (!isfinite(got) || !isfinite(want)) {
                        finite = 0;
                        continue;
                    }
                    norm += want * want;
                    error += (got - want) * (got - want);
                    plain_error += isfinite(plain) ? (plain - want) * (plain - want) : 0;
                    largest = fmax(largest, fabs(want));
                    counted++;
                    if (fabs(got - want) > worst) {
                        worst = fabs(got - want);
                        worst_got = got;
                        worst_want = want;
                        memcpy(worst_at, at, sizeof at);
                    }
                }
                if (finite && a->condition[row] > condition)
                    condition = a->condition[row];
            }
    if (!counted || worst <= 0)
        return ok;
    norm = fmax(norm, 1e-60);
    /* Exponents of f16 end at -14: what is smaller errs as much.  Narrow keys and values are f16 in a product. */
    int halves = p->q.dtype == ATTN_F16 || (p->q.dtype == ATTN_BF16 && type_of(p, &p->v) > ATTN_BF16);
    if (o_type == ATTN_F16 || halves)
        norm = fmax(norm, (double)counted * 0x1p-28);
    verdict->frobenius = sqrt(error / norm);
    verdict->frobenius_plain = sqrt(plain_error / norm);
    verdict->max_abs = worst / fmax(1, largest);
    /* Scores that are themselves in the thousands cannot be better than f32 has them: the bars grow with
     * the condition, 1 on any ordinary input.  Far below a bar the factor 2 would compare luck, and where few keys
     * matter also below what one rounding of a score in f32 makes of a weight. */
    double cap = bar.frobenius * fmax(1, condition / 24);
    double luck = fmax(bar.frobenius / 8 * fmax(1, condition / 256), condition * 0x1p-24);
    double twice = !a->plain ? cap : fmax(2 * verdict->frobenius_plain, luck);
    if (verdict->frobenius <= fmin(cap, twice) && verdict->max_abs <= bar.max_abs * fmax(1, condition / 24))
        return ok;
    if (!verdict->text[0])
        snprintf(verdict->text, sizeof verdict->text,
                 "o is off by %.3g rel. Frobenius (bar %.3g, plain %.3g), %.3g max abs (bar %.3g, condition %.3g); "
                 "worst at batch %lld row %lld head %lld dim %lld: %.9g, must be %.9g",
                 verdict->frobenius, cap, verdict->frobenius_plain, verdict->max_abs, bar.max_abs, condition,
                 (long long)worst_at[0], (long long)worst_at[1], (long long)worst_at[2], (long long)worst_at[3],
                 worst_got, worst_want);
    return 0;
}
