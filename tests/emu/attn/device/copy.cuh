/* copy.cuh - the emulator's twin of include/attn/device/copy.cuh, which says what each of these does.  C11. */
#ifndef ATTN_DEVICE_COPY_CUH
#define ATTN_DEVICE_COPY_CUH

#include <attn/device/cuda.cuh>

/* In warp.c.  Before sm_80 a copy is one by the thread itself. */
void emu_copy_async(void *shared, const void *global, int room, int bytes, const char *site);
void emu_copy_async_commit(const char *site);
void emu_copy_async_wait(int n, const char *site);

#define attn__shared_address(shared)             emu_shared_address((shared), EMU_HERE)
#define attn__copy_async(shared, global, bytes)  emu_copy_async((shared), (global), 16, (bytes), EMU_HERE)
#define attn__copy_async_once(shared, global)    attn__copy_async(shared, global, 16)
#define attn__copy_async4(shared, global, there) emu_copy_async((shared), (global), 4, (there) ? 4 : 0, EMU_HERE)
#define attn__prefetch(global)                   ((void)*(const volatile char *)(global))
#define attn__load_256(global)                   (*(const uint4 *)(const void *)(global))
#define attn__copy_async_commit()                emu_copy_async_commit(EMU_HERE)
#define ATTN_COPY_ASYNC_WAIT(n)                  emu_copy_async_wait((n), EMU_HERE)

#endif /* ATTN_DEVICE_COPY_CUH */
