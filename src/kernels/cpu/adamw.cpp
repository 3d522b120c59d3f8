// The AdamW update: one pass that streams parameter, gradient and both moments.
#include <algorithm>
#include <cmath>

#include "cpu.h"
#include "parallel.h"
#include "vector_math.h"

namespace kernels::cpu {

template <class T>
void adamw(float* master, T* weight, const float* gradient, float* m, float* v, int64_t n, const AdamWFactors& f) {
    for_parts(n, [=](Range part) {
        const auto update = [&](int64_t i) {
            const float g = gradient[i] * f.gradient_scale;
            v[i] = f.beta2 * v[i] + f.one_minus_beta2 * g * g;
            const float root = std::sqrt(v[i]), bound = f.m_bound * root;
            const float moved = f.beta1 * m[i] + f.one_minus_beta1 * g;
            m[i] = std::min(std::max(moved, -bound), bound);
            const float step = m[i] * f.m_correction / (root * f.root_correction + f.eps);
            master[i] -= f.lr * (step + f.weight_decay * master[i]);
        };
        if (weight) {
#pragma omp simd
            for (int64_t i = part.first; i < part.last; i++) {
                update(i);
                store(weight[i], master[i]);
            }
        } else {
#pragma omp simd
            for (int64_t i = part.first; i < part.last; i++) update(i);
        }
    });
}

template void adamw(float*, float*, const float*, float*, float*, int64_t, const AdamWFactors&);
template void adamw(float*, bf16*, const float*, float*, float*, int64_t, const AdamWFactors&);

}  // namespace kernels::cpu
