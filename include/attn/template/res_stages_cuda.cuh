/* res_stages_cuda.cuh - tokens of Attention Residuals on their way to shared memory: how many at once, how many
 * of a block, and waiting for them.
 *
 * Included by res1_sm80.cuh and res2_simt.cuh after res_cuda.cuh, no guard; res_end_cuda.cuh undoes it.  ATTN_RES_STAY:
 * blocks of a multiprocessor at once. */

#include <attn/device/copy.cuh>

/* How many stages of `bytes` have room beside what a block needs otherwise, with ATTN_RES_STAY blocks a multiprocessor;
 * `most` at most, `least` at least, if that means fewer blocks. */
static int ATTN_FN(_stages)(int shared, int fixed, int bytes, int least, int most)
{
    const int room = (shared + 1024) / ATTN_RES_STAY - 1024 - fixed, n = room / bytes;
    return n < least ? least : n < most ? n : most;
}

/* Blocks of a launch that has work for `most`, if each takes `run`, or less where some would have nothing to do; 0: as
 * many as have room.  More than that cost a start each, but multiprocessors nearer to memory take more of them; as many
 * as have room all wait for the farthest. */
static unsigned ATTN_FN(_grid_of_runs)(int64_t most, int run)
{
    const int64_t at_once = ATTN_FN(_multiprocessors)() * ATTN_RES_STAY, n = run ? (most + run - 1) / run : 0;
    return ATTN_FN(_grid)(most, n > at_once ? n : at_once);
}

/* Waits until at most `later` groups of copies are under way, or fewer. */
ATTN_DEVICE void ATTN_FN(_wait)(int later)
{
    if (later >= 16)
        ATTN_COPY_ASYNC_WAIT(16);
    else if (later >= 8)
        ATTN_COPY_ASYNC_WAIT(8);
    else if (later >= 6)
        ATTN_COPY_ASYNC_WAIT(6);
    else if (later >= 4)
        ATTN_COPY_ASYNC_WAIT(4);
    else if (later == 3)
        ATTN_COPY_ASYNC_WAIT(3);
    else if (later == 2)
        ATTN_COPY_ASYNC_WAIT(2);
    else if (later == 1)
        ATTN_COPY_ASYNC_WAIT(1);
    else
        ATTN_COPY_ASYNC_WAIT(0);
}
