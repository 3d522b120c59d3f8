// The numbers of an update that the arithmetic of both halves starts from: AdamW's factors, and what follows from the
// gradients' norm.
#pragma once

#include <cmath>

#include "kernels/kernels.h"
#include "runtime/host_device.h"

namespace kernels {

// The factors that all updates share.
struct AdamWFactors {
    float beta1, one_minus_beta1, beta2, one_minus_beta2;
    float m_bound, m_slack;  // |m| is held to m_bound sqrt(v) + m_slack, which is 0, or infinite for no limit
    float eps, weight_decay;
};
AdamWFactors adamw_factors(const AdamW& hyper);

// What one update adds to them: m_correction is 1 / (1 - beta1^t), root_correction 1 / sqrt(1 - beta2^t).
struct StepFactors {
    float rate, gradient_scale, m_correction, root_correction;
};
HOST_DEVICE inline StepFactors step_factors(const float* scalars,  // (kStepScalars)
                                            int group) {
    const float* corrections = scalars + kCorrections + 2 * group;
    return {scalars[kRates + group], scalars[kGradientScale], corrections[0], corrections[1]};
}

// What a rank tells the others beside its sums.
struct RankScalars {
    float loss, wishes;
};
static_assert(sizeof(RankScalars) == sizeof(double));

// Writes loss and wishes, summed over ranks in their order, the gradients' norm, and what follows from them: the
// clipping factor, and whether the update is taken.
HOST_DEVICE inline void store_norm(float* scalars,           // (kStepScalars)
                                   const RankScalars* told,  // (ranks)
                                   int ranks, float norm, float max_norm) {
    float loss = 0, wishes = 0;
    for (int r = 0; r < ranks; r++) {
        loss = r == 0 ? told[r].loss : loss + told[r].loss;
        wishes += told[r].wishes;
    }
    scalars[kLoss] = loss;
    scalars[kWishes] = wishes;
    scalars[kGradientNorm] = norm;
    scalars[kGradientScale] = max_norm > 0 && norm > max_norm ? max_norm / norm : 1.0f;
    const auto within = [&](float value, StepScalar limit) {
        return std::isfinite(value) && (scalars[limit] == 0 || value <= scalars[limit]);
    };
    scalars[kTaken] = within(loss, kLossLimit) && within(norm, kNormLimit) ? 1.0f : 0.0f;
}

}  // namespace kernels
