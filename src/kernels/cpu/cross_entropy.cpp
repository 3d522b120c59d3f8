// Softmax cross-entropy and its gradient, a row at a time. A row is read from memory once: the second pass finds it
// in L2.
#include <cfloat>
#include <cmath>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_math.h"

namespace kernels::cpu {
namespace {

// Columns whose maximum is found before they are summed, so that the sum is rescaled once a block, from L1.
constexpr int64_t kBlock = 1024;

struct Softmax {
    float max;
    double sum;  // the sum of exp(x - max)
};

template <class T>
Softmax softmax_sums(const T* x, int64_t V) {
    // A finite start keeps a block of -Inf from becoming -Inf - -Inf.
    Softmax result = {-FLT_MAX, 0.0};
    for (int64_t first = 0; first < V; first += kBlock) {
        const int64_t last = std::min(V, first + kBlock);
        float max = result.max;
#pragma omp simd reduction(max : max)
        for (int64_t c = first; c < last; c++) max = float(x[c]) > max ? float(x[c]) : max;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = first; c < last; c++) sum += vexp(float(x[c]) - max);
        result.sum = result.sum * std::exp(double(result.max) - double(max)) + sum;
        result.max = max;
    }
    return result;
}

}  // namespace

template <class T>
void cross_entropy(float* losses, const T* logits, T* dlogits, const int32_t* targets, int64_t N, int64_t V, int64_t Vp,
                   float scale) {
#pragma omp parallel for schedule(static) if (N * Vp >= kParallelMin)
    for (int64_t n = 0; n < N; n++) {
        const T* x = logits + n * Vp;
        const int32_t target = targets[n];
        const double target_logit = double(float(x[target]));  // before the gradient, which may overwrite it
        const Softmax s = softmax_sums(x, V);
        losses[n] = float(double(s.max) + std::log(s.sum) - target_logit);
        if (!dlogits) continue;
        T* d = dlogits + n * Vp;
        const float max = s.max, factor = float(scale / s.sum);
        const float target_probability = float(std::exp(target_logit - double(max)) / s.sum);
#pragma omp simd
        for (int64_t c = 0; c < V; c++) store(d[c], vexp(float(x[c]) - max) * factor);
        store(d[target], (target_probability - 1.0f) * scale);
        std::fill(d + V, d + Vp, T());
    }
}

template void cross_entropy(float*, const float*, float*, const int32_t*, int64_t, int64_t, int64_t, float);
template void cross_entropy(float*, const bf16*, bf16*, const int32_t*, int64_t, int64_t, int64_t, float);

}  // namespace kernels::cpu
