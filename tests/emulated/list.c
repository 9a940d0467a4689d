/* list.c - the emulated instances: for programs that are compiled with -Dattn_instances=emulated_instances and
 * -Dheader_instances=emulated_header_instances, which then test those instead of the archive's. */
#include <attn/attn.h>
#include "gpu.h"
#include "header_instances.h"

/* Rows of a CPU are not linked: their addresses are NULL, or those of libattn. */
#define ATTN_BUILD_CUDA 1
#define ATTN_INSTANCE(name) extern const attn_instance name __attribute__((weak));
#include "emulated/instances.def"
#define ATTN_INSTANCE(name) &name,
static const attn_instance *const all[] = {
#include "emulated/instances.def"
};
enum { COUNT = sizeof all / sizeof all[0] };

const attn_instance *const *emulated_instances(size_t *n);
const attn_instance *const *emulated_header_instances(size_t *n);

const attn_instance *const *emulated_instances(size_t *n)
{
    static const attn_instance *list[COUNT];
    gpu_emulated = 1;
    *n = 0;
    for (size_t i = 0; i < COUNT; i++)
        if (all[i] && all[i]->device)
            list[(*n)++] = all[i];
    return list;
}

const attn_instance *const *emulated_header_instances(size_t *n)
{
    return header_instances_cuda(n);
}
