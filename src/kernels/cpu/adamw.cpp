// The AdamW update of one tensor: one pass that streams parameter, gradient and both moments.
#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/random_bits.h"
#include "kernels/cpu/vector_math.h"

namespace kernels::cpu {
namespace {

// In a build for any x86-64 the loop exists twice, and the one with fused instructions runs where the CPU has them:
// without them std::fma is a call of the C library, which takes eight times as long.
#if defined(__x86_64__) && !defined(__FMA__)
#define WITH_FUSED_INSTRUCTIONS __attribute__((target_clones("fma", "default")))
#else
#define WITH_FUSED_INSTRUCTIONS
#endif

// Every product that is fused with a sum is written out, so that a GPU and every CPU get the same bits, which
// stochastic rounding needs. The bound is the same fused or not, since m_slack is 0 or infinite.
WITH_FUSED_INSTRUCTIONS
void update(float* p,               // (n), the parameters
            const float* gradient,  // (n)
            float* m,               // (n)
            float* v,               // (n)
            int64_t n, const AdamWFactors& f, const StepFactors& s) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float g = gradient[i] * s.gradient_scale;
        v[i] = std::fma(f.beta2, v[i], f.one_minus_beta2 * g * g);
        const float root = std::sqrt(v[i]), bound = f.m_bound * root + f.m_slack;
        const float moved = std::fma(f.beta1, m[i], f.one_minus_beta1 * g);
        m[i] = std::min(std::max(moved, -bound), bound);
        const float step = m[i] * s.m_correction / std::fma(root, s.root_correction, f.eps);
        p[i] = std::fma(-s.rate, std::fma(f.weight_decay, p[i], step), p[i]);
    }
}

constexpr int64_t kBlock = 2048;  // elements that are still in the L1 cache when they are rounded

}  // namespace

template <class T>
void adamw_tensor(float* master, T* weight, const float* gradient, float* m, float* v, int64_t n, const AdamWFactors& f,
                  const StepFactors& s) {
    for_parts(n, [=](Range part) {
        for (int64_t first = part.first; first < part.last; first += kBlock) {
            const int64_t last = std::min(first + kBlock, part.last);
            update(master + first, gradient + first, m + first, v + first, last - first, f, s);
            if (!weight) continue;
#pragma omp simd
            for (int64_t i = first; i < last; i++) store(weight[i], master[i]);
        }
    });
}

void adamw_tensor_rounding(bf16* weight, const float* gradient, float* m, float* v, int64_t n, const AdamWFactors& f,
                           const StepFactors& s, const rng::Stream& stream, int64_t first_word) {
    const auto update_run = [=](int64_t first, int64_t count, const uint32_t* words) {
        float p[kRandomRun];
#pragma omp simd
        for (int64_t k = 0; k < count; k++) p[k] = float(weight[first + k]);
        update(p, gradient + first, m + first, v + first, count, f, s);
#pragma omp simd
        for (int64_t k = 0; k < count; k++)
            weight[first + k].bits = rng::round_to_bf16(std::bit_cast<uint32_t>(p[k]), words[k]);
    };
    for_random_runs(n, stream, update_run, first_word);
}

template void adamw_tensor(float*, float*, const float*, float*, float*, int64_t, const AdamWFactors&,
                           const StepFactors&);
template void adamw_tensor(float*, bf16*, const float*, float*, float*, int64_t, const AdamWFactors&,
                           const StepFactors&);

}  // namespace kernels::cpu
