// Layer norm and its gradient.
#include <cmath>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_math.h"

namespace kernels::cpu {
namespace {

constexpr float kEpsilon = 1e-5f;
struct RowScratch;
struct PartialScratch;

}  // namespace

template <class T>
void layernorm_forward(T* out, float* mean, float* rstd, const T* x, const T* weight, const T* bias, int64_t N,
                       int64_t C) {
#pragma omp parallel if (N * C >= kParallelMin)
    {
        // The row as fp32: it stays in L1 for the three passes.
        float* row = thread_memory<float, RowScratch>(size_t(C));
#pragma omp for schedule(static)
        for (int64_t n = 0; n < N; n++) {
            const T* from = x + n * C;
            float total = 0;
#pragma omp simd reduction(+ : total)
            for (int64_t c = 0; c < C; c++) {
                row[c] = float(from[c]);
                total += row[c];
            }
            const float m = total / float(C);
            float squares = 0;
#pragma omp simd reduction(+ : squares)
            for (int64_t c = 0; c < C; c++) squares += (row[c] - m) * (row[c] - m);
            const float r = 1.0f / std::sqrt(squares / float(C) + kEpsilon);
            T* to = out + n * C;
#pragma omp simd
            for (int64_t c = 0; c < C; c++) store(to[c], (row[c] - m) * r * float(weight[c]) + float(bias[c]));
            mean[n] = m;
            rstd[n] = r;
        }
    }
}

template <class T>
void layernorm_backward(T* dx, float* dweight, float* dbias, float* dx_sums, const T* dout, const T* x, const T* weight,
                        const float* mean, const float* rstd, int64_t N, int64_t C, bool accumulate_dx,
                        bool accumulate) {
    // Every thread sums dweight, dbias and dx over its own rows; the parts are then added in order of the threads.
    const int64_t stride = (C + 31) / 16 * 16;  // a gap keeps two threads' sums off one cache line
    float* partials = thread_memory<float, PartialScratch>(size_t(3 * stride * omp_get_max_threads()));
#pragma omp parallel if (N * C >= kParallelMin)
    {
        const int thread = omp_get_thread_num(), threads = omp_get_num_threads();
        float *weight_sum = partials + 3 * stride * thread, *bias_sum = weight_sum + stride,
              *dx_sum = bias_sum + stride;
        std::fill(weight_sum, weight_sum + 3 * stride, 0.0f);
        const Range rows = part_of(N, thread, threads);
        for (int64_t n = rows.first; n < rows.last; n++) {
            const T *dout_row = dout + n * C, *x_row = x + n * C;
            T* dx_row = dx + n * C;
            const float m = mean[n], r = rstd[n];
            float dnorm_sum = 0, dnorm_norm_sum = 0;
#pragma omp simd reduction(+ : dnorm_sum, dnorm_norm_sum)
            for (int64_t c = 0; c < C; c++) {
                const float gradient = float(dout_row[c]), norm = (float(x_row[c]) - m) * r;
                const float dnorm = gradient * float(weight[c]);
                dnorm_sum += dnorm;
                dnorm_norm_sum += dnorm * norm;
                weight_sum[c] += gradient * norm;
                bias_sum[c] += gradient;
            }
            const float a = dnorm_sum / float(C), b = dnorm_norm_sum / float(C);
#pragma omp simd
            for (int64_t c = 0; c < C; c++) {
                const float norm = (float(x_row[c]) - m) * r, before = accumulate_dx ? float(dx_row[c]) : 0.0f;
                const float d = before + (float(dout_row[c]) * float(weight[c]) - a - norm * b) * r;
                store(dx_row[c], d);
                dx_sum[c] += d;
            }
        }
#pragma omp barrier
        const Range columns = part_of(C, thread, threads, 16);
        for (int64_t c = columns.first; c < columns.last; c++) {
            int64_t at = c;  // of the first thread's sum of this kind
            for (float* to : {dweight, dbias, dx_sums}) {
                if (to) {
                    float sum = accumulate ? to[c] : 0.0f;
                    for (int i = 0; i < threads; i++) sum += partials[3 * stride * i + at];
                    to[c] = sum;
                }
                at += stride;
            }
        }
    }
}

template void layernorm_forward(float*, float*, float*, const float*, const float*, const float*, int64_t, int64_t);
template void layernorm_forward(bf16*, float*, float*, const bf16*, const bf16*, const bf16*, int64_t, int64_t);
template void layernorm_backward(float*, float*, float*, float*, const float*, const float*, const float*, const float*,
                                 const float*, int64_t, int64_t, bool, bool);
template void layernorm_backward(bf16*, float*, float*, float*, const bf16*, const bf16*, const bf16*, const float*,
                                 const float*, int64_t, int64_t, bool, bool);

}  // namespace kernels::cpu
