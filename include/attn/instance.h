/* instance.h - instantiate one kernel.  NO INCLUDE GUARD: attn.h and attn.cuh include it once per
 * instance, with the parameters defined; all are undefined on the way out. */
#include <attn/template/begin.h>
#if ATTN_KERNEL == ATTN_KERNEL_FORWARD && ATTN_ARCH <= ATTN_ARCH_AVX512BF16
#include <attn/template/forward_cpu.h>
#else
#error "attn: no template for this ATTN_KERNEL on this ATTN_ARCH (have: ATTN_KERNEL_FORWARD on ATTN_ARCH_CPU, ATTN_ARCH_AVX2, ATTN_ARCH_AVX512, ATTN_ARCH_AVX512BF16)"
#endif
#include <attn/template/end.h>
