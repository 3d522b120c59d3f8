// The AdamW update: one pass that streams parameter, gradient and both moments.
#include <algorithm>
#include <bit>
#include <cmath>

#include "cpu.h"
#include "parallel.h"
#include "random_bits.h"
#include "vector_math.h"

namespace kernels::cpu {
namespace {

// One element: p the parameter, g its gradient. Every product that is fused with a sum is written out, so that a GPU
// and every CPU get the same bits, which stochastic rounding needs. On a CPU without fused instructions, or in a build
// that may not assume them, std::fma is a call of the C library.
inline void update(float& p, float g, float& m, float& v, const AdamWFactors& f) {
    g *= f.gradient_scale;
    v = std::fma(f.beta2, v, f.one_minus_beta2 * g * g);
    const float root = std::sqrt(v), bound = f.m_bound * root;
    const float moved = std::fma(f.beta1, m, f.one_minus_beta1 * g);
    m = std::min(std::max(moved, -bound), bound);
    const float step = m * f.m_correction / std::fma(root, f.root_correction, f.eps);
    p = std::fma(-f.lr, std::fma(f.weight_decay, p, step), p);
}

}  // namespace

template <class T>
void adamw(float* master, T* weight, const float* gradient, float* m, float* v, int64_t n, const AdamWFactors& f) {
    for_parts(n, [=](Range part) {
        if (weight) {
#pragma omp simd
            for (int64_t i = part.first; i < part.last; i++) {
                update(master[i], gradient[i], m[i], v[i], f);
                store(weight[i], master[i]);
            }
        } else {
#pragma omp simd
            for (int64_t i = part.first; i < part.last; i++) update(master[i], gradient[i], m[i], v[i], f);
        }
    });
}

void adamw_rounding(bf16* weight, const float* gradient, float* m, float* v, int64_t n, const AdamWFactors& f,
                    const rng::Stream& stream) {
    for_random_runs(n, stream, [=](int64_t first, int64_t count, const uint32_t* words) {
#pragma omp simd
        for (int64_t k = 0; k < count; k++) {
            const int64_t i = first + k;
            float p = float(weight[i]);
            update(p, gradient[i], m[i], v[i], f);
            weight[i].bits = rng::round_to_bf16(std::bit_cast<uint32_t>(p), words[k]);
        }
    });
}

template void adamw(float*, float*, const float*, float*, float*, int64_t, const AdamWFactors&);
template void adamw(float*, bf16*, const float*, float*, float*, int64_t, const AdamWFactors&);

}  // namespace kernels::cpu
