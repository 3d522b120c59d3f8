// Magnitude pruning: zeroes an exact number of the entries that are smallest in magnitude.
#include <algorithm>
#include <bit>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/selection.h"

namespace kernels::cpu {
namespace {

// The bits of |x| order as the magnitudes do, with NaN as the largest.
inline uint32_t magnitude(float x) { return std::bit_cast<uint32_t>(x) & 0x7FFFFFFFu; }

// The upper bits of a magnitude: eight of exponent and four of mantissa.
constexpr int kBinShift = 19;
constexpr int kBins = 1 << (31 - kBinShift);
struct HistogramScratch;

struct Threshold {
    uint32_t magnitude;  // the k-th smallest
    int64_t below;       // entries smaller than it
};

// k in [1, n]. One pass finds the bin that holds the k-th entry, a second collects the bin, a selection finishes.
template <class T>
Threshold kth_smallest(const T* t, int64_t n, int64_t k, uint32_t* candidates) {
    int64_t* counts = thread_memory<int64_t, HistogramScratch>(kBins);
    std::fill(counts, counts + kBins, 0);
#pragma omp parallel for schedule(static) reduction(+ : counts[:kBins]) if (n >= kParallelMin)
    for (int64_t i = 0; i < n; i++) counts[magnitude(float(t[i])) >> kBinShift]++;
    int64_t below = 0;
    uint32_t bin = 0;
    while (below + counts[bin] < k) below += counts[bin++];
    int64_t found = 0;
    for (int64_t i = 0; i < n; i++) {
        const uint32_t m = magnitude(float(t[i]));
        // Each magnitude is written, and stays if it is in the bin: a branch here is mispredicted. As found <= i, there
        // is room for n.
        candidates[found] = m;
        found += m >> kBinShift == bin ? 1 : 0;
    }
    uint32_t* kth = candidates + (k - below - 1);
    std::nth_element(candidates, kth, candidates + found);
    const uint32_t value = *kth;
    return {value, below + std::count_if(candidates, kth, [=](uint32_t m) { return m < value; })};
}

}  // namespace

template <class T>
int64_t prune_magnitude(T* t, int64_t n, double p, float* scratch) {
    const int64_t k = entries_to_prune(n, p);
    if (k == 0) return 0;
    const Threshold threshold = kth_smallest(t, n, k, reinterpret_cast<uint32_t*>(scratch));
    for_parts(n, [=](Range part) {
#pragma omp simd
        for (int64_t i = part.first; i < part.last; i++)
            t[i] =
                magnitude(float(t[i])) < threshold.magnitude ? T(0.0f) : t[i];  // what stays keeps its bits, NaNs too
    });
    // Pruned entries have magnitude 0 by now; if the threshold itself is 0 the ties are zeros already.
    int64_t ties = threshold.magnitude == 0 ? 0 : k - threshold.below;
    for (int64_t i = 0; i < n && ties > 0; i++) {
        if (magnitude(float(t[i])) != threshold.magnitude) continue;
        t[i] = T(0.0f);
        ties--;
    }
    return k;
}

template int64_t prune_magnitude(float*, int64_t, double, float*);
template int64_t prune_magnitude(bf16*, int64_t, double, float*);

}  // namespace kernels::cpu
