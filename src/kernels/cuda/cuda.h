// The CUDA implementations behind dispatch.cpp, with the names and arguments of cpu/cpu.h; all pointers are device
// memory. Launches go to gpu::stream(); nothing waits for the GPU but what returns a number. Deterministic: the same
// arguments give the same bits. Needs no CUDA header, so that dispatch.cpp compiles without the toolkit.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/kernels.h"

namespace kernels::cuda {

// ---- workspace.cpp -----------------------------------------------------------------------------------------------

// Scratch of `floats` fp32 numbers for partial results of one op; the next op on the stream may reuse it.
float* workspace(int64_t floats);
inline constexpr int64_t kWorkspaceFloats = int64_t(2) << 20;        // for partial results
inline constexpr int64_t kMatmulWorkspaceBytes = int64_t(32) << 20;  // for cuBLASLt, behind them
void* matmul_workspace();
void set_workspace(const Tensor& workspace);  // of both sizes together

// ---- timing.cpp --------------------------------------------------------------------------------------------------

// A range of that name around what the host launches, for NVIDIA's profilers; costs nothing where none is attached.
void push_range(const char* name);
void pop_range();
// Records an event behind all that has been launched; returns its number, from 0 on.
int record_event();
double seconds_between(int first, int last);  // waits for both
void reuse_events();                          // the next one is number 0

// ---- matmul.cpp --------------------------------------------------------------------------------------------------

void matmul(const Matmul& args);
// Why there can be no products, or "".
std::string matmul_problem();
// Time cuBLASLt's candidates at the first use of each shape instead of taking its first choice.
void set_autotune(bool on);

// ---- attention.cu ------------------------------------------------------------------------------------------------

// Two numbers a query, for the backward; the queries of a head are padded to whole tiles. Here, so that memory can be
// planned in a binary without CUDA.
inline constexpr int kAttentionPadding = 128;
inline int64_t attention_scratch_floats(int64_t B, int64_t T, int64_t NH) {
    return B * NH * ((T + kAttentionPadding - 1) / kAttentionPadding * kAttentionPadding) * 2;
}
template <class T>
void attention_forward(T* out, float* lse, const T* qkv, float* scratch, int64_t B, int64_t seq_len, int64_t NH,
                       int64_t HS);
template <class T>
void attention_backward(T* dqkv, const T* dout, const T* out, const float* lse, const T* qkv, float* scratch, int64_t B,
                        int64_t seq_len, int64_t NH, int64_t HS);

// ---- embedding.cu ------------------------------------------------------------------------------------------------

template <class T>
void embedding_forward(T* out, const int32_t* tokens, const T* wte, const T* wpe, int64_t N, int64_t seq_len,
                       int64_t C);
template <class T>
void embedding_backward(float* dwte, float* dwpe, int64_t positions, const T* dout, const int32_t* tokens, int64_t N,
                        int64_t seq_len, int64_t C, bool accumulate);

// ---- layernorm.cu ------------------------------------------------------------------------------------------------

template <class T>
void layernorm_forward(T* out, float* mean, float* rstd, const T* x, const T* weight, const T* bias, const T* residual,
                       T* sum, int64_t N, int64_t C);
template <class T>
void layernorm_backward(T* dx, float* dweight, float* dbias, const T* dout, const T* x, const T* weight,
                        const float* mean, const float* rstd, int64_t N, int64_t C, bool accumulate_dx,
                        bool accumulate);

// ---- gelu.cu, elementwise.cu -------------------------------------------------------------------------------------

template <class T>
void gelu_forward(T* out, const T* x, int64_t n);
template <class T>
void gelu_backward(T* dx, const T* dout, const T* x, int64_t n);
template <class Out, class A, class B>
void add(Out* out, const A* a, const B* b, int64_t n);
template <class Out, class In>
void convert(Out* out, const In* in, int64_t n);
void zero(void* out, int64_t bytes);
// Whether this binary has code for the GPU that is present.
bool has_kernels();
template <class T>
void fill(T* out, int64_t n, float value);

// ---- cross_entropy.cu --------------------------------------------------------------------------------------------

template <class T>
void cross_entropy(float* losses, const float* logits, T* dlogits, const int32_t* targets, int64_t N, int64_t V,
                   int64_t Vp, float scale);

// ---- sample.cu ---------------------------------------------------------------------------------------------------
void sample_token(int32_t* token, const float* logits, int64_t V, int64_t candidates, double temperature,
                  float uniform);

// ---- adamw.cu ----------------------------------------------------------------------------------------------------

// What the kernels know of the tensors of an update: trained_table_ints(tensors) int32 of device memory.
void write_trained_table(int32_t* table, const std::vector<TrainedTensor>& tensors);
// Global norm, finite flag and clip scale into `scalars` (kernels.h: StepScalar).
void gradient_norm(float* scalars, const int32_t* table, const std::vector<TrainedTensor>& tensors, float max_norm);
void adamw(const float* scalars, const int32_t* table, const std::vector<TrainedTensor>& tensors, const AdamW& hyper);

// ---- reduce.cu ---------------------------------------------------------------------------------------------------

template <class T>
void bias_backward(float* dbias, const T* dout, int64_t N, int64_t C, bool accumulate);
// *out (+)= scale * sum of x.
void sum(float* out, const float* x, int64_t n, float scale, bool accumulate);
// These two wait for the GPU.
template <class T>
double sum_of_squares(const T* x, int64_t n);
template <class T>
int64_t count_zeros(const T* x, int64_t n);

// ---- random_fill.cu, prune.cu ------------------------------------------------------------------------------------

template <class T>
void fill_uniform(T* out, int64_t n, float bound, const rng::Stream& stream);
template <class T>
void fill_normal(T* out, int64_t n, float stddev, const rng::Stream& stream);
template <class T>
void dropout(T* out, const T* x, int64_t n, float p, const rng::Stream& stream, bool accumulate);
// Waits for the GPU, for the count.
template <class T>
int64_t prune_random(T* t, int64_t n, float p, const rng::Stream& stream);
template <class T>
void prune_magnitude(T* t, int64_t n, int64_t k, float* scratch);

}  // namespace kernels::cuda
