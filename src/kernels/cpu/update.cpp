// The update of all trained tensors, one after the other: the gradients' global norm, and AdamW.
#include <algorithm>
#include <cmath>

#include "kernels/by_type.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"

namespace kernels::cpu {

namespace {

double squares_of(const float* x, int64_t n) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += double(x[i]) * double(x[i]);
    return sum;
}

}  // namespace

void gradient_squares(double* sums, const float* scalars, const int32_t* /*table*/,
                      const std::vector<GradientRange>& ranges, int64_t units, int rank, int ranks) {
    std::fill_n(sums, units + ranks, 0.0);
    for (const GradientRange& range : ranges) {
        const float* const gradients = range.gradients.get<float>();
        const int64_t n = range.gradients.size(), own = norm_units(n);
        double* const to = sums + range.first;
#pragma omp parallel for schedule(static) if (n >= kParallelMin)
        for (int64_t u = 0; u < own; u++)
            to[u] = squares_of(gradients + u * kNormUnit, std::min(kNormUnit, n - u * kNormUnit));
    }
    reinterpret_cast<RankScalars*>(sums + units)[rank] = {scalars[kLoss], scalars[kWishes]};
}

void gradient_norm(float* scalars, const double* sums, int64_t units, int ranks, float max_norm) {
    double squares = 0;
    for (int64_t u = 0; u < units; u++) squares += sums[u];
    store_norm(scalars, reinterpret_cast<const RankScalars*>(sums + units), ranks, float(std::sqrt(squares)), max_norm);
}

void adamw(const float* scalars, const int32_t* /*table*/, const std::vector<TrainedTensor>& tensors,
           const AdamW& hyper) {
    if (scalars[kTaken] == 0) return;
    for (const TrainedTensor& t : tensors) {
        const StepFactors step = step_factors(scalars, t.group);
        AdamWFactors factors = adamw_factors(hyper);
        if (!t.decays) factors.weight_decay = 0;
        const float* gradient = t.gradient.get<float>();
        float *m = t.m.get<float>(), *v = t.v.get<float>();
        if (t.master.empty()) {
            adamw_tensor_rounding(t.weight.get<bf16>(), gradient, m, v, t.weight.size(), factors, step,
                                  {hyper.seed, rng::Purpose::rounding, t.id, uint64_t(scalars[kUpdate])}, t.first);
            continue;
        }
        by_type(t.weight.dtype, [&]<class T>(T*) {
            T* weight = t.weight.empty() ? nullptr : t.weight.get<T>();
            adamw_tensor(t.master.get<float>(), weight, gradient, m, v, t.master.size(), factors, step);
        });
    }
}

}  // namespace kernels::cpu
