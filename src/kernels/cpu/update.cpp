// The update of all trained tensors, one after the other: the gradients' global norm, and AdamW.
#include <cmath>

#include "kernels/by_type.h"
#include "kernels/cpu/cpu.h"

namespace kernels::cpu {

void gradient_norm(float* scalars, const int32_t* /*table*/, const std::vector<TrainedTensor>& tensors,
                   float max_norm) {
    double squares = 0;
    for (const TrainedTensor& t : tensors) squares += sum_of_squares(t.gradient.get<float>(), t.gradient.size());
    store_norm(scalars, float(std::sqrt(squares)), max_norm);
}

void adamw(const float* scalars, const int32_t* /*table*/, const std::vector<TrainedTensor>& tensors,
           const AdamW& hyper) {
    if (scalars[kFinite] == 0) return;
    for (size_t i = 0; i < tensors.size(); i++) {
        const TrainedTensor& t = tensors[i];
        const StepFactors step = step_factors(scalars, t.counter);
        AdamWFactors factors = adamw_factors(hyper);
        if (!t.decays) factors.weight_decay = 0;
        const float* gradient = t.gradient.get<float>();
        float *m = t.m.get<float>(), *v = t.v.get<float>();
        if (t.master.empty()) {
            adamw_tensor_rounding(t.weight.get<bf16>(), gradient, m, v, t.weight.size(), factors, step,
                                  {hyper.seed, rng::Purpose::rounding, uint32_t(i), uint64_t(scalars[kUpdate])});
            continue;
        }
        by_type(t.weight.dtype, [&]<class T>(T*) {
            T* weight = t.weight.empty() ? nullptr : t.weight.get<T>();
            adamw_tensor(t.master.get<float>(), weight, gradient, m, v, t.master.size(), factors, step);
        });
    }
}

}  // namespace kernels::cpu
