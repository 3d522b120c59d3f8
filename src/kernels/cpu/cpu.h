// The CPU implementations behind dispatch.cpp: raw pointers and sizes, everything contiguous, T is float or bf16
// (storage only, arithmetic is fp32). What each op computes stands in kernels.h.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"

namespace kernels::cpu {

// ---- matmul.cpp, attention.cpp -----------------------------------------------------------------------------------

// The only op whose rows may have gaps, so it takes the tensors.
void matmul(const Matmul& args);
// For bf16, whose largest result has so many elements.
int64_t matmul_workspace_floats(int64_t largest_result);
void set_matmul_workspace(const Tensor& workspace);
int set_threads(int threads);

int64_t attention_scratch_floats(int64_t T, int64_t head_size);
template <class T>
void attention_forward(T* out, float* lse, const T* qkv, float* scratch, int64_t B, int64_t seq_len, int64_t NH,
                       int64_t HS);
template <class T>
void attention_backward(T* dqkv, const T* dout, const T* out, const float* lse, const T* qkv, float* scratch, int64_t B,
                        int64_t seq_len, int64_t NH, int64_t HS);

// ---- embedding.cpp -----------------------------------------------------------------------------------------------

template <class T>
void embedding_forward(T* out, const int32_t* tokens, const T* wte, const T* wpe, int64_t N, int64_t seq_len,
                       int64_t C);
// `positions` is the number of rows of dwpe.
template <class T>
void embedding_backward(float* dwte, float* dwpe, int64_t positions, const T* dout, const int32_t* tokens, int64_t N,
                        int64_t seq_len, int64_t C, bool accumulate);

// ---- layernorm.cpp -----------------------------------------------------------------------------------------------

// `residual` and `sum` are null without the fused addition.
template <class T>
void layernorm_forward(T* out, float* mean, float* rstd, const T* x, const T* weight, const T* bias, const T* residual,
                       T* sum, int64_t N, int64_t C);
template <class T>
void layernorm_backward(T* dx, float* dweight, float* dbias, const T* dout, const T* x, const T* weight,
                        const float* mean, const float* rstd, int64_t N, int64_t C, bool accumulate_dx,
                        bool accumulate);

// ---- gelu.cpp, elementwise.cpp -----------------------------------------------------------------------------------

template <class T>
void gelu_forward(T* out, const T* x, int64_t n);
template <class T>
void gelu_backward(T* dx, const T* dout, const T* x, int64_t n);
template <class Out, class A, class B>
void add(Out* out, const A* a, const B* b, int64_t n);
template <class Out, class In>
void convert(Out* out, const In* in, int64_t n);
void zero(void* out, int64_t bytes);
template <class T>
void fill(T* out, int64_t n, float value);

// ---- cross_entropy.cpp -------------------------------------------------------------------------------------------

// `dlogits` may be null, or `logits` itself if T is float.
template <class T>
void cross_entropy(float* losses, const float* logits, T* dlogits, const int32_t* targets, int64_t N, int64_t V,
                   int64_t Vp, float scale);

// ---- sample.cpp --------------------------------------------------------------------------------------------------

// Among the `candidates` likeliest; with one of them it is the token, whatever the temperature.
void sample_token(int32_t* token, const float* logits, int64_t V, int64_t candidates, double temperature,
                  float uniform);

// ---- adamw.cpp ---------------------------------------------------------------------------------------------------

// The scalars of one update: m_correction is 1 / (1 - beta1^t), root_correction 1 / sqrt(1 - beta2^t).
struct AdamWFactors {
    float lr, beta1, one_minus_beta1, beta2, one_minus_beta2, m_correction, root_correction, m_bound, eps;
    float weight_decay, gradient_scale;
};
// `weight` may be null.
template <class T>
void adamw(float* master, T* weight, const float* gradient, float* m, float* v, int64_t n, const AdamWFactors& factors);
// Without a master: element i is rounded by word i of the stream.
void adamw_rounding(bf16* weight, const float* gradient, float* m, float* v, int64_t n, const AdamWFactors& factors,
                    const rng::Stream& stream);

// ---- reduce.cpp --------------------------------------------------------------------------------------------------

template <class T>
void bias_backward(float* dbias, const T* dout, int64_t N, int64_t C, bool accumulate);
void sum(float* out, const float* x, int64_t n, float scale, bool accumulate);
template <class T>
double sum_of_squares(const T* x, int64_t n);
template <class T>
int64_t count_zeros(const T* x, int64_t n);

// ---- random_fill.cpp, prune.cpp ----------------------------------------------------------------------------------

template <class T>
void fill_uniform(T* out, int64_t n, float bound, const rng::Stream& stream);
template <class T>
void fill_normal(T* out, int64_t n, float stddev, const rng::Stream& stream);
template <class T>
void dropout(T* out, const T* x, int64_t n, float p, const rng::Stream& stream, bool accumulate);
template <class T>
int64_t prune_random(T* t, int64_t n, float p, const rng::Stream& stream);
// Zeroes the k smallest; `scratch` holds n floats.
template <class T>
void prune_magnitude(T* t, int64_t n, int64_t k, float* scratch);

}  // namespace kernels::cpu
