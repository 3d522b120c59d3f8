#include "kernels/selection.h"

#include <algorithm>
#include <cmath>

namespace kernels {

int64_t entries_to_prune(int64_t n, double p) {
    // 0.07 * 100 is 7.000000000000001 in double: a product within its own rounding of an integer counts as that one.
    const double product = p * double(n), nearest = std::nearbyint(product);
    return int64_t(std::abs(product - nearest) <= 4.5e-16 * product ? nearest : std::ceil(product));
}

int64_t sampling_candidates(int64_t V, int64_t top_k, double temperature) {
    return temperature == 0 ? 1 : top_k > 0 ? std::min(top_k, V) : V;
}

}  // namespace kernels
