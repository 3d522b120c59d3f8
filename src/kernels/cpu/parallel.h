// How the loops of the CPU ops are shared out: a fixed split into contiguous parts, so that results depend on nothing
// but the number of threads, and scratch that is allocated once.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace kernels::cpu {

// Below this many elements a loop runs on one thread: waking the others takes longer than the work.
inline constexpr int64_t kParallelMin = 1 << 14;

struct Range {
    int64_t first, last;
    int64_t count() const { return last - first; }
};

// Part `index` of `parts` of [0, n), with borders at multiples of `unit`.
inline Range part_of(int64_t n, int index, int parts, int64_t unit = 1) {
    const int64_t units = (n + unit - 1) / unit;
    return {std::min(n, units * index / parts * unit), std::min(n, units * (index + 1) / parts * unit)};
}

// Runs body(Range) on this thread's contiguous part of n elements, in a parallel region when that pays.
template <class Body>
void for_parts(int64_t n, const Body& body) {
#pragma omp parallel if (n >= kParallelMin)
    {
        const Range range = part_of(n, omp_get_thread_num(), omp_get_num_threads(), 64);
        if (range.count() > 0) body(range);
    }
}

// At least `count` elements that belong to the calling thread until its next call for the same type and tag.
template <class T, class Tag>
T* thread_memory(size_t count) {
    static thread_local std::vector<T> memory;
    if (memory.size() < count) memory.resize(count);
    return memory.data();
}

}  // namespace kernels::cpu
