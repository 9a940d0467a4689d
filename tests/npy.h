/* npy.h - reads numpy's .npy files of f16 and f32: a line of text, then the numbers. */
#ifndef ATTN_TESTS_NPY_H
#define ATTN_TESTS_NPY_H

#include <stddef.h>
#include <stdint.h>

typedef struct npy_array {
    int dtype; /* ATTN_F16 or ATTN_F32 */
    int dims;
    int64_t shape[4]; /* 1 beyond dims */
    int64_t count;    /* elements */
    void *data;       /* C order */
} npy_array;

/* 0, or -1 with the reason in error (size bytes).  npy_free releases a. */
int npy_read(const char *path, npy_array *a, char *error, size_t size);
void npy_free(npy_array *a);

#endif /* ATTN_TESTS_NPY_H */
