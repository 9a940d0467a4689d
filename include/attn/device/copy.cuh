/* copy.cuh - cp.async: copies from global to shared memory that run beside the program (sm_80 on).
 *
 * A thread's copies form groups in the order of its commits.  A copy has landed for the thread that asked for it
 * after a wait that covers its group, for other threads after a barrier behind that wait.  CUDA. */
#ifndef ATTN_DEVICE_COPY_CUH
#define ATTN_DEVICE_COPY_CUH

#include <attn/device/cuda.cuh>

/* What instructions call a place in shared memory: 32 bits, bytes. */
ATTN_DEVICE uint32_t attn__shared_address(const void *shared)
{
    return (uint32_t)__cvta_generic_to_shared(shared);
}

/* 16 bytes, both sides 16-byte aligned: the first `bytes` (0 to 16) from `global`, zeros after them.  With 0, `global`
 * is not read.  Before sm_80 the copy has landed for its own thread at once, and the waits wait for nothing. */
ATTN_DEVICE void attn__copy_async(unsigned char *shared, const void *global, int bytes)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(attn__shared_address(shared)),
                 "l"(global), "r"(bytes)
                 : "memory");
#else
    uint4 x = make_uint4(0, 0, 0, 0);
    if (bytes == 16) {
        x = *(const uint4 *)global;
    } else if (bytes > 0) { /* pairs of bytes, so that none beyond is read */
        const uint16_t *from = (const uint16_t *)global;
        const int n = bytes / 2;
        x.x = from[0] | (n > 1 ? (uint32_t)from[1] << 16 : 0);
        x.y = (n > 2 ? from[2] : 0) | (n > 3 ? (uint32_t)from[3] << 16 : 0);
        x.z = (n > 4 ? from[4] : 0) | (n > 5 ? (uint32_t)from[5] << 16 : 0);
        x.w = n > 6 ? from[6] : 0;
    }
    *(uint4 *)shared = x;
#endif
}

/* 16 bytes that nobody reads again soon: they are the first to leave the L2.  No other number of bytes: ptxas 13.0 then
 * may add a uniform register to the shared address, and takes neither that one nor the policy's from where they are
 * (tests/test_sass.sh looks). */
ATTN_DEVICE void attn__copy_async_once(unsigned char *shared, const void *global)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0], [%1], 16, %2;" ::"r"(
                     attn__shared_address(shared)),
                 "l"(global), "l"((uint64_t)0x12F0000000000000ull)
                 : "memory");
#else
    attn__copy_async(shared, global, 16);
#endif
}

/* Asks for the 128 bytes around an address of global memory, which must be readable, to be in L2 soon. */
ATTN_DEVICE void attn__prefetch(const void *global)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(global));
}

/* 16 bytes, so aligned, with which the L2 fetches the 256, so aligned, that they are part of: what is read next of a
 * long row is on its way then.  Before sm_80 a load. */
ATTN_DEVICE uint4 attn__load_256(const void *global)
{
#if __CUDA_ARCH__ >= 800
    uint4 x;
    asm volatile("ld.global.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "l"(global));
    return x;
#else
    return *(const uint4 *)global;
#endif
}

/* 4 bytes, so aligned; zeros if not `there`, and then `global` is not read. */
ATTN_DEVICE void attn__copy_async4(unsigned char *shared, const void *global, int there)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(attn__shared_address(shared)), "l"(global),
                 "r"(there ? 4 : 0)
                 : "memory");
#else
    *(uint32_t *)shared = there ? *(const uint32_t *)global : 0u;
#endif
}

/* Ends this thread's group; an empty one counts, too. */
ATTN_DEVICE void attn__copy_async_commit(void)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* ATTN_COPY_ASYNC_WAIT(n): waits until at most the n (a constant) latest groups of this thread are under way. */
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define ATTN_COPY_ASYNC_WAIT(n) asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory")
#else
#define ATTN_COPY_ASYNC_WAIT(n) ((void)0)
#endif

#endif /* ATTN_DEVICE_COPY_CUH */
