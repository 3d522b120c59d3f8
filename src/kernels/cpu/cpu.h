// The CPU's half of the ops, behind the dispatch_*.cpp files: each op in the file of its name.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/adamw_factors.h"
#include "kernels/kernels.h"

namespace kernels::cpu {

#include "kernels/ops.inc"

// ---- what only this half has -------------------------------------------------------------------------------------

// matmul.cpp. Floats of workspace that products of this type need whose largest result has so many elements.
int64_t matmul_workspace_floats(DType type, int64_t largest_result);
void set_matmul_workspace(const Tensor& workspace);  // (1, matmul_workspace_floats) fp32, or empty

// threads.cpp: what kernels::set_threads does.
int set_threads(int threads);

// attention.cpp. Floats of scratch that all threads together need.
int64_t attention_scratch_floats(int64_t seq_len, int64_t HS);

// adamw.cpp: the update of one tensor.
template <class T>
void adamw_tensor(float* master,          // (n)
                  T* weight,              // (n), or null
                  const float* gradient,  // (n)
                  float* m,               // (n)
                  float* v,               // (n)
                  int64_t n, const AdamWFactors& factors, const StepFactors& step);
// The same without a master: element i is rounded by word first + i of the stream.
void adamw_tensor_rounding(bf16* weight,           // (n)
                           const float* gradient,  // (n)
                           float* m,               // (n)
                           float* v,               // (n)
                           int64_t n, const AdamWFactors& factors, const StepFactors& step, const rng::Stream& stream,
                           int64_t first_word);

}  // namespace kernels::cpu
