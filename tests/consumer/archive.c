/* archive.c - uses libattn: prints its version and its instances, and checks one call. */
#include <stdlib.h>
#include "call.h"

int main(void)
{
    size_t n;
    const attn_instance *const *list = attn_instances(&n);
    printf("attn %s\n", attn_version());
    for (size_t i = 0; i < n; i++)
        printf("%s\n", list[i]->name);

    attn_params p;
    attn_info info;
    make_call(&p);
    attn_status status = attn_query(&p, &info);
    if (status) {
        printf("%s: %s\n", attn_status_name(status), info.text);
        return 1;
    }
    /* aligned_alloc wants a multiple of the alignment. */
    void *workspace = info.workspace ? aligned_alloc(64, (info.workspace + 63) / 64 * 64) : NULL;
    status = attn_forward(&p, workspace, info.workspace, NULL);
    free(workspace);
    return answer(status);
}
