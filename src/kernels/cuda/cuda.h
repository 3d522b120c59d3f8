// The GPU's half of the ops, behind the dispatch_*.cpp files: each op in the file of its name. Launches go to
// gpu::stream(); nothing waits for the GPU but what returns a number. Deterministic: the same arguments give the same
// bits. Needs no CUDA header, so that dispatch_*.cpp compile without the toolkit.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"

namespace kernels::cuda {

#include "kernels/ops.inc"

// ---- what only this half has -------------------------------------------------------------------------------------

// workspace.cpp. Scratch of `floats` fp32 numbers for partial results of one op; the next op on the stream may reuse
// it.
float* workspace(int64_t floats);
// Scratch of kMatmulWorkspaceBytes for cuBLASLt.
void* matmul_workspace();
void set_workspace(const Tensor& workspace);  // (1, kTotalWorkspaceFloats) fp32: both parts
inline constexpr int64_t kWorkspaceFloats = int64_t(2) << 20;
inline constexpr int64_t kMatmulWorkspaceBytes = int64_t(32) << 20;
inline constexpr int64_t kTotalWorkspaceFloats = kWorkspaceFloats + kMatmulWorkspaceBytes / int64_t(sizeof(float));

// timing.cpp. These put a range of that name around what the host launches, for NVIDIA's profilers; without a profiler
// they cost nothing.
void push_range(const char* name);
void pop_range();
// Records an event behind all that has been launched; returns its number, from 0 on.
int record_event();
double seconds_between(int first, int last);  // of two events; waits for both
void reuse_events();                          // the next one is number 0

// debug.cpp. Waits for all that has been launched; throws what CUDA reports of it, under the op's name.
void check_launched(std::string_view op);

// cublaslt_product.cpp. Why there can be no products, or "".
std::string matmul_problem();
// cublaslt_algorithm.cpp. Whether cuBLASLt's candidates are timed at the first use of each shape, instead of taking its
// first choice.
void set_autotune(bool on, AlgorithmMemory memory);

// attention.cu. The backward keeps two numbers a query, and of heads of 64 and 128, if bf16, dq in fp32 and whose turn
// it is to add to it; the queries of a head are padded to whole tiles. This is defined here so that a binary without
// CUDA can plan the memory.
inline constexpr int kAttentionPadding = 128;
inline int64_t attention_scratch_floats(int64_t B, int64_t seq_len, int64_t NH, int64_t HS) {
    const int64_t queries = B * NH * ((seq_len + kAttentionPadding - 1) / kAttentionPadding * kAttentionPadding);
    return queries * 2 + (HS == 64 || HS == 128 ? queries * HS + queries * HS / 4096 + 1 : 0);
}

// attention_hopper.cu. Why the GPU that is present has no wgmma, as "needs …", or "".
std::string wgmma_problem();

// low_rank_sum.cu. out = w + scale * B A by LowRankSum's rules, in one pass, where the operands can be moved 16 bytes
// at a time; else it does nothing and returns false.
bool add_low_rank(bf16* out,      // (sections * rows, cols)
                  const bf16* w,  // (sections * rows, cols)
                  const bf16* b,  // (sections * rows, rank)
                  const bf16* a,  // (sections * rank, cols)
                  int sections, int64_t rows, int64_t cols, int64_t rank, float scale, const rng::Stream& stream);

// elementwise.cu. Whether this binary has code for the GPU that is present.
bool has_kernels();

// adamw.cu. The tables of what the kernels know of the tensors of an update, and of the ranges of its gradients:
// kTableInts int32 for each.
inline constexpr int64_t kTableInts = 18;
void write_trained_table(int32_t* table,  // (kTableInts * tensors)
                         const std::vector<TrainedTensor>& tensors);
void write_gradient_table(int32_t* table,  // (kTableInts * ranges)
                          const std::vector<GradientRange>& ranges);

}  // namespace kernels::cuda
