#include "kernels/adamw_factors.h"

#include <limits>

namespace kernels {
namespace {
constexpr double kUnbounded = std::numeric_limits<double>::infinity();
}

double adamw_moment_bound(double beta1, double beta2) {
    const double ratio = beta1 * beta1 / beta2;
    // 1e-3 on top, so that rounding never makes the bound bind.
    return ratio < 1 ? 1.001 * (1 - beta1) / std::sqrt((1 - beta2) * (1 - ratio)) : kUnbounded;
}

AdamWFactors adamw_factors(const AdamW& hyper) {
    const double bound = hyper.bounds_m ? adamw_moment_bound(hyper.beta1, hyper.beta2) : kUnbounded;
    const bool bounded = bound < kUnbounded;
    return {.beta1 = float(hyper.beta1),
            .one_minus_beta1 = float(1 - hyper.beta1),
            .beta2 = float(hyper.beta2),
            .one_minus_beta2 = float(1 - hyper.beta2),
            .m_bound = bounded ? float(bound) : 1.0f,
            .m_slack = bounded ? 0.0f : float(kUnbounded),
            .eps = float(hyper.eps),
            .weight_decay = float(hyper.weight_decay)};
}

}  // namespace kernels
