/* mbarrier.cuh - barriers in shared memory that count arrivals and bytes (sm_90 on).
 *
 * An mbarrier is 8 bytes of shared memory, 8-byte aligned, called by its shared address.  A phase ends when as many
 * arrivals as it was made for have come and as many bytes have landed as were announced; then the next one starts by
 * itself.  Phases have parities 0, 1, 0 ...  A wait for parity p returns once the phase with that parity has ended; so
 * on a fresh barrier a wait for 1 returns at once, as if a phase had ended before.  Who waits for the k-th use of a
 * barrier gives k & 1, and must not fall two phases behind.
 *
 * The usual pair for a buffer: "full", made for 1 arrival, which announces the bytes of the copies that follow; and
 * "empty", made for as many arrivals as there are readers, for which the writer waits with parity (k & 1) ^ 1.
 * A wait that succeeds sees what the arriving threads wrote before, and what the counted copies wrote.  CUDA. */
#ifndef ATTN_DEVICE_MBARRIER_CUH
#define ATTN_DEVICE_MBARRIER_CUH

#include <attn/device/copy.cuh>

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/* By one thread, for `arrivals` of each phase; others may use it after attn__mbarrier_made() of the same thread and a
 * __syncthreads(), with clusters attn__cluster_sync(). */
ATTN_DEVICE void attn__mbarrier_init(uint32_t barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

/* Shows this thread's attn__mbarrier_init to copies and to the cluster. */
ATTN_DEVICE void attn__mbarrier_made(void)
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/* One arrival. */
ATTN_DEVICE void attn__mbarrier_arrive(uint32_t barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/* One arrival if `condition`; no branch, so it may stand between a wgmma and its wait. */
ATTN_DEVICE void attn__mbarrier_arrive_if(uint32_t barrier, int condition)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.s32 p, %1, 0;\n@p mbarrier.arrive.shared::cta.b64 _, [%0];\n}" ::"r"(
                     barrier),
                 "r"(condition)
                 : "memory");
}

/* Announces `bytes` of this phase, which copies will land, and arrives.  Before those copies are asked for. */
ATTN_DEVICE void attn__mbarrier_arrive_expect(uint32_t barrier, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

/* Announces without arriving; some thread must arrive later in the same phase. */
ATTN_DEVICE void attn__mbarrier_expect(uint32_t barrier, uint32_t bytes)
{
    asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

/* One arrival when all attn__copy_async of this thread so far have landed; it is one of those that the barrier was
 * made for. */
ATTN_DEVICE void attn__mbarrier_arrive_copies(uint32_t barrier)
{
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}

/* 1 if the phase with this parity has ended; 0 if it had not within a time that the hardware chooses. */
ATTN_DEVICE int attn__mbarrier_try(uint32_t barrier, int parity)
{
    uint32_t done;
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
    return (int)done;
}

ATTN_DEVICE void attn__mbarrier_wait(uint32_t barrier, int parity)
{
    while (!attn__mbarrier_try(barrier, parity)) {
    }
}

/* Between this thread's ordinary accesses to shared memory and those of copies (tma.cuh) or wgmma that come after them:
 * every writer calls it, then the writers and the thread that asks for the copy or product meet at a barrier. */
ATTN_DEVICE void attn__fence_async(void)
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* 1 in one lane of a warp whose 32 lanes all call, the same lane each time. */
ATTN_DEVICE int attn__elect(void)
{
    uint32_t chosen;
    asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(chosen));
    return (int)chosen;
}

#endif
#endif /* ATTN_DEVICE_MBARRIER_CUH */
