// What ranks need of a device besides products: sums in their order, fingerprints, and a clock.
#include <bit>
#include <chrono>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/fingerprint.h"

namespace kernels::cpu {
namespace {

constexpr int64_t kBlock = 4096;  // elements whose sum stays in the L1 cache

uint32_t bits_of(float x) { return std::bit_cast<uint32_t>(x); }
uint32_t bits_of(bf16 x) { return x.bits; }

int64_t nanoseconds() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

}  // namespace

template <class T>
void sum_in_order(float* out, const T* rows, int64_t R, int64_t n, int64_t ld, int own) {
    for_parts(n, [=](Range part) {
        float sum[kBlock];
        for (int64_t first = part.first; first < part.last; first += kBlock) {
            const int64_t count = std::min(kBlock, part.last - first);
            for (int64_t r = 0; r < R; r++) {
                const auto add_row = [&](const auto* row) {
                    if (r == 0) {
#pragma omp simd
                        for (int64_t i = 0; i < count; i++) sum[i] = float(row[i]);
                    } else {
#pragma omp simd
                        for (int64_t i = 0; i < count; i++) sum[i] += float(row[i]);
                    }
                };
                if (r == own)
                    add_row(out + first);
                else
                    add_row(rows + r * ld + first);
            }
            std::copy_n(sum, count, out + first);
        }
    });
}

template <class T>
void fingerprint(uint64_t* out, const T* t, int64_t n) {
    uint64_t sum = 0;
#pragma omp parallel for schedule(static) reduction(+ : sum) if (n >= kParallelMin)
    for (int64_t i = 0; i < n; i++) sum += mixed(uint64_t(i), bits_of(t[i]));
    *out = sum;
}

void clock_start(int64_t* clock) { *clock = nanoseconds(); }
void clock_stop(const int64_t* clock, float* seconds) { *seconds += float(double(nanoseconds() - *clock) * 1e-9); }

template void sum_in_order(float*, const float*, int64_t, int64_t, int64_t, int);
template void sum_in_order(float*, const bf16*, int64_t, int64_t, int64_t, int);
template void fingerprint(uint64_t*, const float*, int64_t);
template void fingerprint(uint64_t*, const bf16*, int64_t);

}  // namespace kernels::cpu
