// Drawing a token from a row of logits.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/cpu/cpu.h"
#include "kernels/selection.h"

namespace kernels::cpu {

void sample_token(int32_t* token, const float* logits, int64_t V, int64_t top_k, double temperature, float uniform) {
    const int64_t candidates = sampling_candidates(V, top_k, temperature);
    std::vector<int32_t> ids(static_cast<size_t>(V));
    std::iota(ids.begin(), ids.end(), 0);
    // Ties go to the smaller id, so that the choice is the same everywhere.
    const auto likelier = [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
    if (candidates == 1) {
        *token = *std::min_element(ids.begin(), ids.end(), likelier);
        return;
    }
    if (candidates < V) {
        std::nth_element(ids.begin(), ids.begin() + candidates, ids.end(), likelier);
        ids.resize(size_t(candidates));
        std::sort(ids.begin(), ids.end());
    }
    double max = -INFINITY, sum = 0;
    for (const int32_t id : ids) max = std::max(max, double(logits[id]));
    std::vector<double> cumulative;
    for (const int32_t id : ids) cumulative.push_back(sum += std::exp((double(logits[id]) - max) / temperature));
    const auto found = std::upper_bound(cumulative.begin(), cumulative.end(), double(uniform) * sum);
    *token = ids[size_t(std::min<ptrdiff_t>(found - cumulative.begin(), ptrdiff_t(ids.size()) - 1))];
}

}  // namespace kernels::cpu
