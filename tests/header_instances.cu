/* header_instances.cu - instances of header_instances.h for a GPU, one parameter block each. */
#include "header_instances.h"

/* Lengths and tables are checked before each call. */
#define ATTN_NAME     mini_sm80_debug
#define ATTN_KERNEL   ATTN_KERNEL_FORWARD
#define ATTN_ARCH     ATTN_ARCH_SM80
#define ATTN_DTYPE    ATTN_F16
#define ATTN_HEAD_DIM 32
#define ATTN_VARLEN   1
#define ATTN_PAGED    1
#define ATTN_TILE_Q   32
#define ATTN_TILE_K   32
#define ATTN_WARPS    2
#define ATTN_DEBUG    1
#include <attn/attn.cuh>

/* Another family for the same calls, which does not. */
#define ATTN_NAME     mini_simt_lengths
#define ATTN_KERNEL   ATTN_KERNEL_FORWARD
#define ATTN_ARCH     ATTN_ARCH_SIMT
#define ATTN_DTYPE    ATTN_F16
#define ATTN_HEAD_DIM 32
#define ATTN_VARLEN   1
#define ATTN_PAGED    1
#define ATTN_TILE_Q   16
#define ATTN_TILE_K   32
#define ATTN_WARPS    2
#include <attn/attn.cuh>

#define ATTN_NAME      mini_sm80_user
#define ATTN_KERNEL    ATTN_KERNEL_FORWARD
#define ATTN_ARCH      ATTN_ARCH_SM80
#define ATTN_DTYPE     ATTN_BF16
#define ATTN_HEAD_DIM  48
#define ATTN_HEAD_DIM_MIN 16
#define ATTN_CAUSAL    1
#define ATTN_TILE_Q    32
#define ATTN_TILE_K    32
#define ATTN_WARPS     1
#define ATTN_USER      mini_user
#define ATTN_SCORE_MOD MINI_SCORE
#define ATTN_MASK      MINI_MASK
#include <attn/attn.cuh>

#define ATTN_NAME      mini_simt_user
#define ATTN_KERNEL    ATTN_KERNEL_FORWARD
#define ATTN_ARCH      ATTN_ARCH_SIMT
#define ATTN_DTYPE     ATTN_F32
#define ATTN_HEAD_DIM  24
#define ATTN_CAUSAL    1
#define ATTN_SOFTCAP   1
#define ATTN_TILE_Q    16
#define ATTN_TILE_K    32
#define ATTN_WARPS     2
#define ATTN_USER      mini_user
#define ATTN_SCORE_MOD MINI_SCORE
#define ATTN_MASK      MINI_MASK
#include <attn/attn.cuh>

#define ATTN_NAME      mini_sm90_user
#define ATTN_KERNEL    ATTN_KERNEL_FORWARD
#define ATTN_ARCH      ATTN_ARCH_SM90
#define ATTN_DTYPE     ATTN_BF16
#define ATTN_HEAD_DIM  104
#define ATTN_HEAD_DIM_V 72
#define ATTN_HEAD_DIM_MIN 24
#define ATTN_CAUSAL    1
#define ATTN_VARLEN    1
#define ATTN_TILE_Q    64
#define ATTN_TILE_K    48
#define ATTN_STAGES    1
#define ATTN_DEBUG     1
#define ATTN_USER      mini_user
#define ATTN_SCORE_MOD MINI_SCORE
#define ATTN_MASK      MINI_MASK
#include <attn/attn.cuh>

/* Few rows, but as many as a test of wrong lengths has. */
#define ATTN_NAME     mini_sm80_decode
#define ATTN_KERNEL   ATTN_KERNEL_DECODE
#define ATTN_ARCH     ATTN_ARCH_SM80
#define ATTN_DTYPE    ATTN_F16
#define ATTN_HEAD_DIM 32
#define ATTN_VARLEN   1
#define ATTN_PAGED    1
#define ATTN_TILE_Q   16
#define ATTN_ROWS     128
#define ATTN_WARPS    2
#include <attn/attn.cuh>

#define ATTN_NAME      mini_sm90_decode_user
#define ATTN_KERNEL    ATTN_KERNEL_DECODE
#define ATTN_ARCH      ATTN_ARCH_SM90
#define ATTN_DTYPE     ATTN_BF16
#define ATTN_HEAD_DIM  104
#define ATTN_HEAD_DIM_V 72
#define ATTN_HEAD_DIM_MIN 24
#define ATTN_CAUSAL    1
#define ATTN_VARLEN    1
#define ATTN_TILE_Q    32
#define ATTN_WARPS     2
#define ATTN_STAGES    1
#define ATTN_DEBUG     1
#define ATTN_USER      mini_user
#define ATTN_SCORE_MOD MINI_SCORE
#define ATTN_MASK      MINI_MASK
#include <attn/attn.cuh>

/* Attention Residuals: one hidden size that is no multiple of 32, more blocks than a tile has, f16. */
#define ATTN_NAME     mini_res1_sm80
#define ATTN_KERNEL   ATTN_KERNEL_RES1
#define ATTN_ARCH     ATTN_ARCH_SM80
#define ATTN_DTYPE    ATTN_F16
#define ATTN_HEAD_DIM 136
#define ATTN_TILE_Q   5
#define ATTN_TILE_K   11
#define ATTN_WARPS    2
#include <attn/attn.cuh>

#define ATTN_NAME     mini_res1_backward_sm80
#define ATTN_KERNEL   ATTN_KERNEL_RES1_BACKWARD
#define ATTN_ARCH     ATTN_ARCH_SM80
#define ATTN_DTYPE    ATTN_BF16
#define ATTN_HEAD_DIM 200
#define ATTN_HEAD_DIM_MIN 24
#define ATTN_TILE_Q   3
#define ATTN_TILE_K   7
#define ATTN_WARPS    3
#include <attn/attn.cuh>

#define ATTN_NAME     mini_res2_simt
#define ATTN_KERNEL   ATTN_KERNEL_RES2
#define ATTN_ARCH     ATTN_ARCH_SIMT
#define ATTN_DTYPE    ATTN_F16
#define ATTN_HEAD_DIM 264
#define ATTN_WARPS    3
#include <attn/attn.cuh>

#define ATTN_NAME     mini_res2_backward_simt
#define ATTN_KERNEL   ATTN_KERNEL_RES2_BACKWARD
#define ATTN_ARCH     ATTN_ARCH_SIMT
#define ATTN_DTYPE    ATTN_F16
#define ATTN_HEAD_DIM 264
#define ATTN_WARPS    1
#include <attn/attn.cuh>

const attn_instance *const *header_instances_cuda(size_t *n)
{
    static const attn_instance *const all[] = {&mini_sm80_debug, &mini_simt_lengths, &mini_sm80_user,
                                               &mini_simt_user, &mini_sm90_user, &mini_sm80_decode,
                                               &mini_sm90_decode_user, &mini_res1_sm80,
                                               &mini_res1_backward_sm80, &mini_res2_simt, &mini_res2_backward_simt};
    *n = sizeof all / sizeof *all;
    return all;
}
