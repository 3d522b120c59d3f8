// Ops that draw from a random stream element by element: initial values, dropout, dithered sums, random pruning.
// Element i depends on (stream, i) only.
#include <bit>
#include <cmath>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/random_bits.h"
#include "kernels/cpu/vector_math.h"

namespace kernels::cpu {

template <class T>
void fill_uniform(T* out, int64_t n, float bound, const rng::Stream& stream) {
    for_random_runs(n, stream, [=](int64_t first, int64_t count, const uint32_t* words) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++) store(out[first + i], bound * (2.0f * rng::to_uniform(words[i]) - 1.0f));
    });
}

template <class T>
void fill_normal(T* out, int64_t n, float stddev, const rng::Stream& stream) {
    for_random_runs(n, stream, [=](int64_t first, int64_t count, const uint32_t* words) {
        // Words 2i and 2i+1 make elements 2i and 2i+1.
        float values[kRandomRun];
#pragma omp simd
        for (int i = 0; i < kRandomRun / 2; i++) {
            const float u = 1.0f - rng::to_uniform(words[2 * i]);  // (0, 1]: the logarithm stays finite
            const float radius = stddev * std::sqrt(-2.0f * vlog(u));
            float cosine, sine;
            vcos_sin(rng::to_uniform(words[2 * i + 1]), cosine, sine);
            values[2 * i] = radius * cosine;
            values[2 * i + 1] = radius * sine;
        }
#pragma omp simd
        for (int64_t i = 0; i < count; i++) store(out[first + i], values[i]);
    });
}

template <class T>
void dropout(T* out, const T* x, int64_t n, float p, const rng::Stream& stream, bool accumulate) {
    const float scale = 1.0f / (1.0f - p);
    for_random_runs(n, stream, [=](int64_t first, int64_t count, const uint32_t* words) {
        const T* from = x + first;
        T* to = out + first;
        if (accumulate) {
#pragma omp simd
            for (int64_t i = 0; i < count; i++)
                store(to[i], float(to[i]) + (rng::to_uniform(words[i]) >= p ? float(from[i]) * scale : 0.0f));
        } else {
#pragma omp simd
            for (int64_t i = 0; i < count; i++)
                store(to[i], rng::to_uniform(words[i]) >= p ? float(from[i]) * scale : 0.0f);
        }
    });
}

void add_dithered(bf16* out, const bf16* a, const float* b, int64_t n, const rng::Stream& stream) {
    for_random_runs(n, stream, [=](int64_t first, int64_t count, const uint32_t* words) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            out[first + i].bits =
                rng::round_to_bf16(std::bit_cast<uint32_t>(float(a[first + i]) + b[first + i]), words[i]);
    });
}

template <class T>
int64_t prune_random(T* t, int64_t n, float p, const rng::Stream& stream) {
    const int64_t runs = (n + kRandomRun - 1) / kRandomRun;
    int64_t selected = 0;
#pragma omp parallel for schedule(static) reduction(+ : selected) if (n >= kParallelMin)
    for (int64_t run = 0; run < runs; run++) {
        uint32_t words[kRandomRun];
        random_run(stream, uint64_t(run * kRandomRun), words);
        T* x = t + run * kRandomRun;
        const int64_t count = std::min<int64_t>(kRandomRun, n - run * kRandomRun);
        int32_t in_run = 0;
#pragma omp simd reduction(+ : in_run)
        for (int64_t i = 0; i < count; i++) {
            const bool prune = rng::to_uniform(words[i]) <= p;
            in_run += prune ? 1 : 0;
            store(x[i], prune ? 0.0f : float(x[i]));
        }
        selected += in_run;
    }
    return selected;
}

template void fill_uniform(float*, int64_t, float, const rng::Stream&);
template void fill_uniform(bf16*, int64_t, float, const rng::Stream&);
template void fill_normal(float*, int64_t, float, const rng::Stream&);
template void fill_normal(bf16*, int64_t, float, const rng::Stream&);
template void dropout(float*, const float*, int64_t, float, const rng::Stream&, bool);
template void dropout(bf16*, const bf16*, int64_t, float, const rng::Stream&, bool);
template int64_t prune_random(float*, int64_t, float, const rng::Stream&);
template int64_t prune_random(bf16*, int64_t, float, const rng::Stream&);

}  // namespace kernels::cpu
