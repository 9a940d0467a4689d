/* npy.c - the reader of npy.h.
 *
 * "\x93NUMPY", two bytes of version, the length of the header (2 bytes in version 1, 4 later), and the
 * header: {'descr': '<f2', 'fortran_order': False, 'shape': (1024, 9, 64), } padded with blanks. */
#include "npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <attn/param.h>

/* What follows 'key': in the header. */
static const char *value_of(const char *header, const char *key)
{
    const char *at = strstr(header, key);
    at = at ? strchr(at, ':') : NULL;
    return at ? at + 1 + strspn(at + 1, " ") : "";
}

static int begins(const char *text, const char *with)
{
    return strstr(text, with) == text;
}

static const char *parse_header(const char *header, npy_array *a)
{
    const char *descr = value_of(header, "'descr'"), *shape = value_of(header, "'shape'");
    a->dtype = begins(descr, "'<f2'") ? ATTN_F16 : begins(descr, "'<f4'") ? ATTN_F32 : 0;
    if (!a->dtype)
        return "descr must be '<f2' or '<f4'";
    if (!begins(value_of(header, "'fortran_order'"), "False"))
        return "fortran_order must be False";
    if (*shape != '(')
        return "no shape";
    a->count = 1;
    for (int n = 0; n < 4; n++)
        a->shape[n] = 1;
    for (char *end = (char *)(uintptr_t)shape + 1; *end && *end != ')'; end += strspn(end, ", ")) {
        const char *start = end;
        int64_t extent = strtoll(start, &end, 10);
        if (end == start || extent < 0 || extent > INT32_MAX || a->dims == 4 || a->count > INT32_MAX)
            return "shape must have at most 4 extents, 2^31 elements in all";
        a->shape[a->dims++] = extent;
        a->count *= extent;
    }
    return NULL;
}

static const char *read_file(FILE *file, npy_array *a)
{
    unsigned char head[12];
    if (fread(head, 1, 10, file) != 10 || memcmp(head, "\x93NUMPY", 6) != 0 || head[6] < 1 || head[6] > 3)
        return "not a .npy file";
    size_t length = head[8] | (size_t)head[9] << 8;
    if (head[6] > 1) {
        if (fread(head + 10, 1, 2, file) != 2)
            return "ends in the header";
        length |= (size_t)head[10] << 16 | (size_t)head[11] << 24;
    }
    char *header = length < 65536 ? malloc(length + 1) : NULL;
    if (!header || fread(header, 1, length, file) != length) {
        free(header);
        return "ends in the header";
    }
    header[length] = 0;
    const char *problem = parse_header(header, a);
    free(header);
    if (problem)
        return problem;
    size_t size = a->dtype == ATTN_F16 ? 2 : 4, count = (size_t)a->count;
    a->data = malloc(count * size + 1);
    if (!a->data || fread(a->data, size, count, file) != count)
        return "ends in the data";
    return NULL;
}

int npy_read(const char *path, npy_array *a, char *error, size_t size)
{
    memset(a, 0, sizeof *a);
    FILE *file = fopen(path, "rb");
    const char *problem = file ? read_file(file, a) : "cannot be opened";
    if (file)
        fclose(file);
    if (!problem)
        return 0;
    npy_free(a);
    snprintf(error, size, "%s: %s", path, problem);
    return -1;
}

void npy_free(npy_array *a)
{
    free(a->data);
    memset(a, 0, sizeof *a);
}
