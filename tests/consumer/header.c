/* header.c - uses the headers alone: one instance of its own. */
#include <stdlib.h>
#include <attn/run.h>
#include "call.h"

#define ATTN_NAME     mine
#define ATTN_KERNEL   ATTN_KERNEL_FORWARD
#define ATTN_ARCH     ATTN_ARCH_CPU
#define ATTN_DTYPE    ATTN_F32
#define ATTN_HEAD_DIM 8
#include <attn/attn.h>

int main(void)
{
    attn_params p;
    attn_info info;
    make_call(&p);
    attn_status status = attn_run_query(&mine, &p, &info);
    if (status) {
        printf("%s: %s\n", attn_run_status_name(status), info.text);
        return 1;
    }
    void *workspace = info.workspace ? aligned_alloc(64, (info.workspace + 63) / 64 * 64) : NULL;
    status = attn_run(&mine, &p, workspace, info.workspace, NULL);
    free(workspace);
    return answer(status);
}
