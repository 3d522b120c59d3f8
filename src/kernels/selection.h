// How many entries an op selects, given the share of them or the number of them that was asked for.
#pragma once

#include <cstdint>

namespace kernels {

// How many of n entries magnitude pruning zeroes: ceil(p n).
int64_t entries_to_prune(int64_t n, double p);
// How many of V ids a token is drawn from: the top_k likeliest, all if top_k is 0, one at temperature 0.
int64_t sampling_candidates(int64_t V, int64_t top_k, double temperature);

}  // namespace kernels
