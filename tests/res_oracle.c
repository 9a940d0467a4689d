/* res_oracle.c - see res_oracle.h. */
#include "res_oracle.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "oracle.h"

static double element(const attn_res_tensor *x, int64_t n, int64_t t, int64_t d)
{
    return oracle_load(x->dtype, x->data, n * x->stride[0] + t * x->stride[1] + d);
}

static double element_v(const attn_res_params *p, int64_t n, int64_t t, int64_t d)
{
    if (p->v_table)
        return oracle_load(p->v.dtype, p->v_table[n], t * p->v.stride[1] + d);
    return element(&p->v, n, t, d);
}

static double gain(const attn_res_params *p, int64_t d)
{
    return p->gain.data ? element(&p->gain, 0, 0, d) : 1;
}

static double weight(const attn_res_params *p, int64_t s, int64_t d)
{
    return element(&p->w, s, 0, d) * gain(p, d);
}

static int make(res_answer *a, int what, int64_t count)
{
    a->count[what] = count;
    a->at[what] = calloc((size_t)count + 1, sizeof(double));
    return a->at[what] != NULL;
}

/* Logit of query s and a row, of which row[] has all D elements; *r becomes 1 / root of the mean square. */
static double logit(const attn_res_params *p, int64_t s, const double *row, double *r, double *condition)
{
    const int64_t first = p->dim - p->key_dim;
    double dot = 0, squares = 0, size = 0;
    for (int64_t d = 0; d < p->key_dim; d++) {
        const double x = row[first + d] * weight(p, s, d);
        dot += x;
        size += fabs(x);
        squares += row[first + d] * row[first + d];
    }
    *r = 1 / sqrt(squares / (double)p->key_dim + (double)p->eps);
    const double c = size * *r * fabs((double)p->scale);
    if (!(c <= *condition))
        *condition = c;
    return dot * *r * (double)p->scale;
}

/* dw and dgain of d(w gain), added to a gradient that was there. */
static void gradients_of_w(const attn_res_params *p, const double *sum, res_answer *a)
{
    const int add = (p->flags & ATTN_RES_ADD_DW) != 0;
    for (int64_t d = 0; d < p->key_dim && p->dgain; d++)
        a->at[RES_DGAIN][d] = add ? (double)p->dgain[d] : 0;
    for (int64_t s = 0; s < p->queries; s++)
        for (int64_t d = 0; d < p->key_dim; d++) {
            const double x = sum[s * p->key_dim + d];
            a->at[RES_DW][s * p->key_dim + d] =
                x * gain(p, d) + (add && p->dw ? (double)p->dw[s * p->dw_stride + d] : 0);
            a->at[RES_DGAIN][d] += x * element(&p->w, s, 0, d);
        }
}

/* What dgain is the sum of, from what dw is. */
static void scale_of_gain(const attn_res_params *p, res_answer *a)
{
    for (int64_t s = 0; s < p->queries; s++)
        for (int64_t d = 0; d < p->key_dim; d++)
            a->scale[RES_DGAIN] = fmax(a->scale[RES_DGAIN], fabs(element(&p->w, s, 0, d)) * a->scale[RES_DW]);
}

static int phase1(const attn_res_params *p, int backward, res_answer *a)
{
    const int64_t n_all = p->blocks, s_all = p->queries, dim = p->dim, first = dim - p->key_dim, tokens = p->tokens;
    double *row = malloc(sizeof *row * (size_t)(n_all * dim)), *x = malloc(sizeof *x * (size_t)(n_all * s_all));
    double *r = malloc(sizeof *r * (size_t)n_all), *sum = calloc((size_t)(s_all * p->key_dim), sizeof *sum);
    int good = row && x && r && sum && make(a, RES_LSE, s_all * tokens);
    good = good && (backward ? make(a, RES_DV, n_all * tokens * dim) && make(a, RES_DW, s_all * p->key_dim) &&
                                   make(a, RES_DGAIN, p->key_dim)
                             : make(a, RES_O1, s_all * tokens * dim));
    for (int64_t t = 0; good && t < tokens; t++) {
        int finite = 1;
        for (int64_t n = 0; n < n_all; n++)
            for (int64_t d = 0; d < dim; d++) {
                row[n * dim + d] = element_v(p, n, t, d);
                finite &= isfinite(row[n * dim + d]) != 0;
            }
        for (int64_t s = 0; s < s_all; s++) {
            double top = -INFINITY, total = 0, mean = 0, weights[ATTN_RES_BLOCKS], u[ATTN_RES_BLOCKS], size = 0;
            for (int64_t n = 0; n < n_all; n++) {
                x[n] = logit(p, s, row + n * dim, &r[n], &a->condition);
                top = x[n] > top || x[n] != x[n] ? x[n] : top;
            }
            for (int64_t n = 0; n < n_all; n++)
                total += exp(x[n] - top);
            a->at[RES_LSE][s * tokens + t] = top + log(total);
            for (int64_t n = 0; n < n_all; n++)
                weights[n] = exp(x[n] - top) / total;
            if (!backward) {
                for (int64_t d = 0; d < dim; d++) {
                    double o = 0;
                    for (int64_t n = 0; n < n_all; n++)
                        o += weights[n] * row[n * dim + d];
                    a->at[RES_O1][(s * tokens + t) * dim + d] = o;
                }
                continue;
            }
            /* The kernel takes lse as it is given; so does this. */
            for (int64_t n = 0; n < n_all; n++) {
                weights[n] = exp(x[n] - (double)p->lse[s * p->lse_stride + t]);
                u[n] = 0;
                double size_u = 0;
                for (int64_t d = 0; d < dim; d++) {
                    u[n] += element(&p->do1, s, t, d) * row[n * dim + d];
                    size_u += fabs(element(&p->do1, s, t, d) * row[n * dim + d]);
                }
                size = fmax(size, weights[n] * size_u);
                mean += weights[n] * u[n];
            }
            for (int64_t n = 0; n < n_all; n++) {
                const double l = p->dlse ? (double)p->dlse[s * p->lse_stride + t] : 0,
                             dx = weights[n] * (l + u[n] - mean);
                const double sc = (double)p->scale;
                for (int64_t d = 0; d < dim; d++) {
                    double *to = &a->at[RES_DV][(n * tokens + t) * dim + d];
                    *to += weights[n] * element(&p->do1, s, t, d);
                    if (d >= first) {
                        const double v = row[n * dim + d], rest = x[n] * r[n] * r[n] * v / (double)p->key_dim;
                        *to += dx * (sc * r[n] * weight(p, s, d - first) - rest);
                        sum[s * p->key_dim + d - first] += dx * sc * r[n] * v;
                    }
                    const double term = size * fabs(sc * r[n] * row[n * dim + d]) * (double)tokens;
                    a->scale[RES_DW] = d >= first ? fmax(a->scale[RES_DW], term) : a->scale[RES_DW];
                    a->scale[RES_DV] = fmax(a->scale[RES_DV], fabs(weights[n] * element(&p->do1, s, t, d)));
                }
            }
        }
        for (int64_t n = 0; n < n_all && backward && p->flags & ATTN_RES_ADD_DV; n++)
            for (int64_t d = 0; d < dim; d++)
                a->at[RES_DV][(n * tokens + t) * dim + d] +=
                    p->dv_table ? oracle_load(p->dv.dtype, p->dv_table[n], t * p->dv.stride[1] + d)
                                : element(&p->dv, n, t, d);
        for (int64_t n = 0; n < n_all && backward && !finite; n++)
            for (int64_t d = 0; d < dim; d++) {
                double *to = &a->at[RES_DV][(n * tokens + t) * dim + d];
                *to = isfinite(*to) ? RES_FREE : *to;
            }
    }
    if (good && backward) {
        gradients_of_w(p, sum, a);
        scale_of_gain(p, a);
    }
    free(row);
    free(x);
    free(r);
    free(sum);
    return good ? 0 : -1;
}

static int phase2(const attn_res_params *p, int backward, res_answer *a)
{
    const int64_t dim = p->dim, first = dim - p->key_dim, tokens = p->tokens;
    const int mixes = backward || p->h.data || p->norm.data;
    double *row = malloc(sizeof *row * (size_t)dim), *sum = calloc((size_t)p->key_dim, sizeof *sum);
    int good = row && sum;
    if (backward)
        good = good && make(a, RES_DO1, tokens * dim) && make(a, RES_DLSE, tokens) && make(a, RES_DP, tokens * dim) &&
               make(a, RES_DW, p->key_dim) && make(a, RES_DGAIN, p->key_dim);
    else
        good =
            good && make(a, RES_SUM, tokens * dim) && make(a, RES_H, tokens * dim) && make(a, RES_NORM, tokens * dim);
    for (int64_t t = 0; good && t < tokens; t++) {
        double r, squares = 0, e = 0, size = 0;
        for (int64_t d = 0; d < dim; d++) {
            row[d] = element(&p->p, 0, t, d);
            if (!backward && p->update.data)
                row[d] = oracle_round(p->p_out.dtype, row[d] + element(&p->update, 0, t, d));
            if (!backward)
                a->at[RES_SUM][t * dim + d] = row[d];
        }
        if (!mixes)
            continue;
        const double z = logit(p, 0, row, &r, &a->condition), c = 1 / (1 + exp((double)p->lse[t] - z));
        for (int64_t d = 0; d < dim && !backward; d++) {
            const double o = element(&p->o1, 0, t, d), h = c == 1 ? row[d] : o + c * (row[d] - o);
            const double rounded = oracle_round(p->h.dtype, h);
            a->at[RES_H][t * dim + d] = h;
            squares += rounded * rounded;
        }
        for (int64_t d = 0; d < dim && !backward; d++)
            a->at[RES_NORM][t * dim + d] = oracle_round(p->h.dtype, a->at[RES_H][t * dim + d]) /
                                           sqrt(squares / (double)dim + (double)p->norm_eps) *
                                           (p->norm_gain.data ? element(&p->norm_gain, 0, 0, d) : 1);
        if (!backward)
            continue;
        for (int64_t d = 0; d < dim; d++) {
            const double g = element(&p->dh, 0, t, d), x = g * (element(&p->o1, 0, t, d) - row[d]);
            e += x;
            size += fabs(x);
            a->scale[RES_DLSE] = fmax(a->scale[RES_DLSE], fabs(x));
            a->at[RES_DO1][t * dim + d] = (1 - c) * g;
            a->at[RES_DP][t * dim + d] = c * g + (p->flags & ATTN_RES_ADD_DP ? element(&p->dp, 0, t, d) : 0);
        }
        const double rest = 1 / (1 + exp(z - (double)p->lse[t])), dz = -c * rest * e;
        a->at[RES_DLSE][t] = -dz;
        for (int64_t d = 0; d < p->key_dim; d++) {
            const double v = row[first + d];
            a->at[RES_DP][t * dim + first + d] +=
                dz * ((double)p->scale * r * weight(p, 0, d) - z * r * r * v / (double)p->key_dim);
            sum[d] += dz * (double)p->scale * r * v;
            a->scale[RES_DW] =
                fmax(a->scale[RES_DW], c * rest * size * fabs((double)p->scale * r * v) * (double)tokens);
        }
    }
    if (good && backward) {
        gradients_of_w(p, sum, a);
        scale_of_gain(p, a);
    }
    free(row);
    free(sum);
    return good ? 0 : -1;
}

int res_oracle(int32_t kernel, const attn_res_params *p, res_answer *a)
{
    memset(a, 0, sizeof *a);
    const int backward = kernel == ATTN_KERNEL_RES1_BACKWARD || kernel == ATTN_KERNEL_RES2_BACKWARD;
    if (kernel == ATTN_KERNEL_RES1 || kernel == ATTN_KERNEL_RES1_BACKWARD)
        return phase1(p, backward, a);
    return phase2(p, backward, a);
}

void res_oracle_free(res_answer *a)
{
    for (int n = 0; n < RES_ANSWERS; n++)
        free(a->at[n]);
    memset(a, 0, sizeof *a);
}
