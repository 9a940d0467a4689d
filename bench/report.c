/* report.c - a row of results as a line of a table, of a TSV and of JSON lines. */
#define _POSIX_C_SOURCE 200809L
#include <string.h>
#include <unistd.h>
#include "bench.h"

const char *bench_dtype(int dtype)
{
    return dtype == ATTN_F32 ? "f32" : dtype == ATTN_F16 ? "f16" : "bf16";
}

const char *bench_arch(const attn_instance *instance)
{
    const attn__arch *arch = attn__arch_of(instance->arch);
    return arch ? arch->name : "?";
}

void report_machine(FILE *out)
{
    char line[200], cpu[200] = "unknown processor";
    FILE *info = fopen("/proc/cpuinfo", "r");
    while (info && fgets(line, sizeof line, info))
        if (!strncmp(line, "model name", 10) && strchr(line, ':')) {
            snprintf(cpu, sizeof cpu, "%s", strchr(line, ':') + 2);
            cpu[strcspn(cpu, "\n")] = 0;
            break;
        }
    if (info)
        fclose(info);
    size_t bytes;
    roof_pool(&bytes);
    fprintf(out, "%s, %ld cores; attn %s; compiler %s; %zu MiB to measure reads and to hold cold copies\n", cpu,
            sysconf(_SC_NPROCESSORS_ONLN), attn_version(), __VERSION__, bytes >> 20);
    if (cuda_describe(line, sizeof line))
        fprintf(out, "GPU: %s\n", line);
}

static const char *unit_of(const bench_row *row)
{
    return row->roof == ROOF_FMA ? "GFLOP/s" : "GB/s";
}

static int busy(const bench_row *row)
{
    return 100 * row->others > PERCENT_BUSY;
}

void report_busy(const char *what, const bench_row *row)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%s %-24s %-5s%60s\r", what, row->shape,
                row->instance ? bench_dtype(row->instance->dtype) : "", "");
}

void report_foot(FILE *out)
{
    fprintf(out,
            "share: rate / roof, both of this run; -: no roof was measured.  *: others used over %d%% of a core meanwhile; "
            "run it again.\n",
            (int)PERCENT_BUSY);
}

void report_head(FILE *out)
{
    fprintf(out, "%-24s %-5s %-10s %7s %9s %15s %15s %6s  %s\n", "shape", "type", "arch", "threads", "ms", "rate",
            "measured roof", "share", "error, against");
}

void report_row(FILE *out, const bench_row *r)
{
    char threads[16] = "-", roof[40] = "-      ", share[16] = "- ";
    const int tera = r->instance->device && r->roof == ROOF_FMA;
    const double scale = tera ? 1e12 : 1e9;
    const char *unit = tera ? "TFLOP/s" : unit_of(r);
    if (r->threads)
        snprintf(threads, sizeof threads, "%d", r->threads);
    if (r->roof_rate > 0) {
        snprintf(roof, sizeof roof, "%.1f %-7s", r->roof_rate / scale, unit);
        snprintf(share, sizeof share, "%.1f%%", 100 * row_share(r));
    }
    fprintf(out, "%-24s %-5s %-10s %7s %9.3f %7.1f %-7s %15s %6s%c %.1e %s\n", r->shape,
            bench_dtype(r->instance->dtype), bench_arch(r->instance), threads, r->seconds * 1e3, row_rate(r) / scale,
            unit, roof, share, busy(r) ? '*' : ' ', r->error, r->against);
    fflush(out);
}

void report_tsv_head(FILE *out)
{
    fputs("shape\ttype\tarch\tthreads\tms\tbest_ms\tcalls\tgflops\tgbs\tunit\troof\tshare\terror\tothers\tinstance"
          "\n",
          out);
}

void report_tsv(FILE *out, const bench_row *r)
{
    fprintf(out, "%s\t%s\t%s\t%d\t%.5f\t%.5f\t%d\t%.3f\t%.3f\t%s\t%.3f\t%.4f\t%.3e\t%.3f\t%s\n", r->shape,
            bench_dtype(r->instance->dtype), bench_arch(r->instance), r->threads, r->seconds * 1e3, r->best * 1e3,
            r->calls, r->flops / r->seconds / 1e9, r->bytes / r->seconds / 1e9, unit_of(r), r->roof_rate / 1e9,
            row_share(r), r->error, r->others, r->instance->name);
    fflush(out);
}

void report_json(FILE *out, const bench_row *r)
{
    fprintf(out,
            "{\"shape\": \"%s\", \"type\": \"%s\", \"arch\": \"%s\", \"threads\": %d, \"ms\": %.5f, \"best_ms\": %.5f, "
            "\"calls\": %d, \"gflops\": %.3f, \"gbs\": %.3f, \"unit\": \"%s\", \"roof\": %.3f, \"roof_samples\": %d, "
            "\"share\": %.4f, \"copies\": %d, \"error\": %.3e, \"others\": %.3f, \"instance\": \"%s\"}\n",
            r->shape, bench_dtype(r->instance->dtype), bench_arch(r->instance), r->threads, r->seconds * 1e3,
            r->best * 1e3, r->calls, r->flops / r->seconds / 1e9, r->bytes / r->seconds / 1e9, unit_of(r),
            r->roof_rate / 1e9, r->roof_samples, row_share(r), r->copies, r->error, r->others, r->instance->name);
    fflush(out);
}
