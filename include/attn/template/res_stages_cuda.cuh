/* res_stages_cuda.cuh - tokens of Attention Residuals on their way to shared memory: how many at once, and waiting.
 *
 * Included by res1_sm80.cuh and res2_simt.cuh after res_cuda.cuh, no guard; res_end_cuda.cuh undoes it. */

#include <attn/device/copy.cuh>

#define ATTN_RES_STAGES 4 /* tokens in shared memory, at most */

/* How many have room beside what a block needs otherwise, with ATTN_BLOCKS blocks a multiprocessor; 1 at least. */
static int ATTN_FN(_stages)(int shared, int fixed, int stage)
{
    const int room = (shared + 1024) / ATTN_BLOCKS - 1024 - fixed;
    return room < 2 * stage ? 1 : room / stage < ATTN_RES_STAGES ? room / stage : ATTN_RES_STAGES;
}

/* Waits for the oldest of `stages` groups of copies. */
ATTN_DEVICE void ATTN_FN(_wait)(int stages)
{
    if (stages == 1)
        ATTN_COPY_ASYNC_WAIT(0);
    else if (stages == 2)
        ATTN_COPY_ASYNC_WAIT(1);
    else if (stages == 3)
        ATTN_COPY_ASYNC_WAIT(2);
    else
        ATTN_COPY_ASYNC_WAIT(3);
}
