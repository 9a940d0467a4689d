/* instance.h - instantiate one kernel.  NO INCLUDE GUARD: attn.h and attn.cuh include it once per
 * instance, with the parameters defined; all are undefined on the way out. */
#include <attn/template/begin.h> /* refuses what has no template */
#if ATTN_KERNEL == ATTN_KERNEL_FORWARD && ATTN_ARCH <= ATTN_ARCH_AVX512BF16
#include <attn/template/forward_cpu.h>
#elif ATTN_KERNEL == ATTN_KERNEL_FORWARD && ATTN_ARCH == ATTN_ARCH_SIMT
#include <attn/template/forward_simt.cuh>
#elif ATTN_KERNEL == ATTN_KERNEL_FORWARD && (ATTN_ARCH == ATTN_ARCH_SM75 || ATTN_ARCH == ATTN_ARCH_SM80)
#include <attn/template/forward_sm80.cuh>
#elif ATTN_KERNEL == ATTN_KERNEL_FORWARD && ATTN_ARCH == ATTN_ARCH_SM90
#include <attn/template/forward_sm90.cuh>
#elif ATTN_KERNEL == ATTN_KERNEL_DECODE
#include <attn/template/decode_sm80.cuh>
#elif ATTN_KERNEL == ATTN_KERNEL_MLA
#include <attn/template/mla_sm90.cuh>
#elif ATTN_KERNEL == ATTN_KERNEL_APPEND
#include <attn/template/append_simt.cuh>
#elif ATTN_KERNEL == ATTN_KERNEL_MERGE
#include <attn/template/merge_simt.cuh>
#elif ATTN_KERNEL >= ATTN_KERNEL_RES1 && ATTN_ARCH <= ATTN_ARCH_AVX512
#include <attn/template/res_cpu.h>
#elif (ATTN_KERNEL == ATTN_KERNEL_RES1 || ATTN_KERNEL == ATTN_KERNEL_RES1_BACKWARD) && ATTN_ARCH == ATTN_ARCH_SIMT
#include <attn/template/res1_simt.cuh>
#elif ATTN_KERNEL >= ATTN_KERNEL_RES1 && ATTN_ARCH == ATTN_ARCH_SIMT
#include <attn/template/res2_simt.cuh>
#elif ATTN_KERNEL >= ATTN_KERNEL_RES1 && ATTN_ARCH == ATTN_ARCH_SM80
#include <attn/template/res1_sm80.cuh>
#endif
#include <attn/template/end.h>
