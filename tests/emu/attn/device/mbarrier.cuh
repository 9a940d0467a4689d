/* mbarrier.cuh - the emulator's twin of include/attn/device/mbarrier.cuh, which says what each of these does.  C11. */
#ifndef ATTN_DEVICE_MBARRIER_CUH
#define ATTN_DEVICE_MBARRIER_CUH

#include <attn/device/copy.cuh>
#include "../../hopper.h"

#define attn__mbarrier_init(barrier, arrivals)           emu_mbarrier_init((barrier), (arrivals), EMU_HERE)
#define attn__mbarrier_made()                            emu_mbarrier_made(EMU_HERE)
#define attn__mbarrier_arrive(barrier)                   emu_mbarrier_arrive((barrier), 1, EMU_HERE)
#define attn__mbarrier_arrive_if(barrier, condition)     emu_mbarrier_arrive((barrier), (condition) != 0, EMU_HERE)
#define attn__mbarrier_arrive_expect(barrier, bytes)     emu_mbarrier_expect((barrier), (bytes), 1, EMU_HERE)
#define attn__mbarrier_expect(barrier, bytes)            emu_mbarrier_expect((barrier), (bytes), 0, EMU_HERE)
#define attn__mbarrier_arrive_copies(barrier)            emu_mbarrier_arrive_copies((barrier), EMU_HERE)
#define attn__mbarrier_try(barrier, parity)              emu_mbarrier_ask((barrier), (parity), EMU_HERE)
#define attn__mbarrier_wait(barrier, parity)             emu_mbarrier_wait((barrier), (parity), 0, EMU_HERE)
#define attn__fence_async()                              emu_fence_async(EMU_HERE)
#define attn__elect()                                    emu_elect(EMU_HERE)

#endif /* ATTN_DEVICE_MBARRIER_CUH */
