/* wgmma.cuh - the emulator's twin of include/attn/device/wgmma.cuh, which says what each of these does.  C11. */
#ifndef ATTN_DEVICE_WGMMA_CUH
#define ATTN_DEVICE_WGMMA_CUH

#include <attn/device/mbarrier.cuh>

#define ATTN_HAS_WGMMA 1

#define ATTN_K_MAJOR  0
#define ATTN_MN_MAJOR 1

ATTN_DEVICE uint64_t attn__wgmma_desc(uint32_t shared, uint32_t lead, uint32_t stride, int swizzle)
{
    const uint64_t kind = swizzle == 128 ? 1 : swizzle == 64 ? 2 : swizzle == 32 ? 3 : 0;
    return kind << 62 | (uint64_t)(stride >> 4 & 0x3fff) << 32 | (uint64_t)(lead >> 4 & 0x3fff) << 16 |
           (shared >> 4 & 0x3fff);
}

#define ATTN_WGMMA_SS(n, type, a_major, b_major, d, a, b, keep) \
    emu_wgmma((n), (type), (a_major), (b_major), (d), NULL, (a), (b), (keep), EMU_HERE)
#define ATTN_WGMMA_RS(n, type, b_major, d, a, b, keep) \
    emu_wgmma((n), (type), ATTN_K_MAJOR, (b_major), (d), (a), 0, (b), (keep), EMU_HERE)

#define attn__wgmma_fence()  emu_wgmma_fence(EMU_HERE)
#define attn__wgmma_commit() emu_wgmma_commit(EMU_HERE)
#define ATTN_WGMMA_WAIT(n)   emu_wgmma_wait((n), EMU_HERE)

#define attn__wgmma_pin(d, count)   ((void)(d), (void)(count))
#define attn__wgmma_pin_a(a, count) ((void)(a), (void)(count))
#define attn__wgmma_after(x)        ((void)(x))
#define attn__wgmma_seam(x)         ((void)(x))

#define ATTN_REGISTERS_GIVE(n) emu_registers((n), 0, EMU_HERE)
#define ATTN_REGISTERS_TAKE(n) emu_registers((n), 1, EMU_HERE)

#endif /* ATTN_DEVICE_WGMMA_CUH */
