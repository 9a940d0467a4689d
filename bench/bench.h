/* bench.h - what bench.c (every instance, fixed shapes) and demo.c (one model) share.
 *
 *     roof.c     what this machine can do: FMA of an instruction set, reads from memory
 *     measure.c  one call: is it right, how long does it take, what could it have been
 *     cuda.c     the same for an instance of CUDA, on the device
 *     report.c   a row as a line of a table, of a TSV and of JSON lines
 *
 * The method is in docs/performance.md. */
#ifndef ATTN_BENCH_H
#define ATTN_BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <attn/run.h>
#include "oracle.h"

enum { PERCENT_BUSY = 5 }; /* of a core that others may take: more spoils a result */

double bench_now(void); /* seconds */

/* ---- roof.c ------------------------------------------------------------------------------------ */

enum { ROOF_FMA, ROOF_READ };

/* Memory that reads are measured on, and where cold copies of K and V lie: 1 GiB, or half of what is free.
 * NULL without memory. */
char *roof_pool(size_t *bytes);

/* One sample of a few milliseconds (FMA, in FLOP/s) or one pass over the pool (READ, in bytes/s).  FMA is measured
 * with the instructions of the arch; 0 if the processor lacks them.  turn: READ tries several ways in turn. */
double roof_sample(int roof, int arch, int threads, int turn);

/* ---- measure.c --------------------------------------------------------------------------------- */

enum { CHECK_RANGES = 3 };

/* Exact answers for some rows of a call: first, middle and last ones.  They are compared with what lies in the
 * call's o and lse. */
typedef struct bench_check {
    int count;
    attn_params p[CHECK_RANGES];
    oracle_answer answer[CHECK_RANGES];
} bench_check;

int check_make(bench_check *check, const attn_params *p); /* 0, or -1 without memory */
int check_judge(bench_check *check, oracle_verdict *worst); /* 1 = right */
void check_free(bench_check *check);

/* A call to be timed.  Its memory is the host's, for an instance of CUDA, too. */
typedef struct bench_job {
    const attn_instance *instance;
    attn_params p;
    int roof;
    int copies;         /* cold: K and V of call n are copy n % copies; 1 = warm */
    int64_t copy_bytes; /* from one copy to the next, of K and of V */
} bench_job;

/* How long it took and what that means. */
typedef struct bench_row {
    const char *shape;
    const attn_instance *instance;
    int threads;            /* 0 = of a GPU */
    int calls, roof_samples, copies;
    double seconds, best;   /* median and least */
    double flops, bytes;    /* of one call: visible scores only; K and V once */
    int roof;
    double roof_rate;       /* best of the samples taken between the calls; 0 = none was measured */
    double error;           /* relative Frobenius of o */
    const char *against;    /* what */
    double others;          /* cores that other processes kept busy meanwhile; -1 = unknown */
} bench_row;

/* Copies K and V of the job into the pool as often as they fit and makes the job cold; 0, or -1 if not even twice. */
int job_make_cold(bench_job *job, size_t k_bytes, size_t v_bytes);

/* Operations for each byte of K and V. */
double job_intensity(const bench_job *job);

/* One call, its output left for a check.  The reason is in text (size bytes) if it fails. */
attn_status job_run(const bench_job *job, char *text, size_t size);

/* Times the job, with samples of the roof between the calls; about `seconds` in all. */
attn_status job_measure(const bench_job *job, double seconds, bench_row *row);

double row_rate(const bench_row *row);  /* FLOP/s or bytes/s */
double row_share(const bench_row *row); /* of the roof, 0..1 */

/* Orders doubles, for qsort. */
int bench_by_value(const void *a, const void *b);

/* Random normal numbers with a fixed start; memory or abort. */
void *bench_alloc(size_t bytes);
void bench_fill(void *data, int dtype, int64_t count, uint64_t seed);

/* ---- cuda.c ------------------------------------------------------------------------------------ */

/* The current device in words; 0 if there is none, or no CUDA in the archive. */
int cuda_describe(char *text, size_t size);

/* job_run and job_measure of an instance of CUDA.  The roof of reads is what copies within the device's memory read
 * and write; none of FMA is measured. */
attn_status cuda_run(const bench_job *job, char *text, size_t size);
attn_status cuda_measure(const bench_job *job, double seconds, bench_row *row);

/* ---- report.c ---------------------------------------------------------------------------------- */

const char *bench_dtype(int dtype);
const char *bench_arch(const attn_instance *instance);

/* The processor, the library, the pool, the GPU. */
void report_machine(FILE *out);
void report_head(FILE *out);
void report_foot(FILE *out);
void report_row(FILE *out, const bench_row *row);
void report_tsv_head(FILE *out);
void report_tsv(FILE *out, const bench_row *row);
void report_json(FILE *out, const bench_row *row);

/* Says what is being done, on a terminal, over which the next line is written. */
void report_busy(const char *what, const bench_row *row);

#endif /* ATTN_BENCH_H */
