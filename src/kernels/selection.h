// How many entries an op selects that is given a share of them, or a most.
#pragma once

#include <cstdint>

namespace kernels {

// How many of n entries magnitude pruning zeroes: ceil(p n).
int64_t entries_to_prune(int64_t n, double p);
// From how many of V ids a token is drawn: the top_k likeliest, all if top_k is 0, one at temperature 0.
int64_t sampling_candidates(int64_t V, int64_t top_k, double temperature);

}  // namespace kernels
