// Attention for compute capability 9.0 alone: bf16, heads of 64 or 128, everything at a multiple of 16 bytes.
#pragma once

#include <cstdint>

#include "runtime/tensor.h"

namespace kernels::cuda {

// out (B*T, C), lse (B, NH, T), qkv (B*T, 3C)
void wgmma_attention_forward(bf16* out, float* lse, const bf16* qkv, int64_t B, int64_t T, int64_t NH, int64_t HS);
// dqkv (B*T, 3C), dout (B*T, C). scratch (attention_scratch_floats) begins with each query's statistics; its counters
// are 0.
void wgmma_attention_backward(bf16* dqkv, const bf16* dout, const bf16* qkv, float* scratch, int64_t B, int64_t T,
                              int64_t NH, int64_t HS);

}  // namespace kernels::cuda
