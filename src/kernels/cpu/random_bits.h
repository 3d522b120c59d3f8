// Runs of consecutive words of a random stream, drawn a vector of Philox blocks at a time.
#pragma once

#include <cstdint>

#include "kernels/cpu/parallel.h"
#include "runtime/rng.h"

namespace kernels::cpu {

inline constexpr int kRandomBlocks = 64;
inline constexpr int kRandomRun = 4 * kRandomBlocks;

// words[i] = stream.bits(first + i) for i < kRandomRun; `first` is a multiple of 4.
inline void random_run(const rng::Stream& stream, uint64_t first, uint32_t* words) {
    const rng::Stream s = stream;
#pragma omp simd
    for (int i = 0; i < kRandomBlocks; i++) {
        const rng::Block block = s.block(first / 4 + uint64_t(i));
        words[4 * i] = block.x[0];
        words[4 * i + 1] = block.x[1];
        words[4 * i + 2] = block.x[2];
        words[4 * i + 3] = block.x[3];
    }
}

// Calls body(first, count, words) for the runs of [0, n), shared out over the threads. Element 0 has word `first_word`
// of the stream, a multiple of 4.
template <class Body>
void for_random_runs(int64_t n, const rng::Stream& stream, const Body& body, int64_t first_word = 0) {
    const int64_t runs = (n + kRandomRun - 1) / kRandomRun;
#pragma omp parallel for schedule(static) if (n >= kParallelMin)
    for (int64_t run = 0; run < runs; run++) {
        uint32_t words[kRandomRun];
        random_run(stream, uint64_t(first_word + run * kRandomRun), words);
        body(run * kRandomRun, std::min<int64_t>(kRandomRun, n - run * kRandomRun), words);
    }
}

}  // namespace kernels::cpu
