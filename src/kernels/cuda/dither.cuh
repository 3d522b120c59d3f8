// The rounding of a sum whose direction an element's own random number decides.
#pragma once

#include "kernels/cuda/slices.cuh"
#include "runtime/rng.h"

namespace kernels::cuda {

// a + b, where a slice begins at element `first` of the stream, a multiple of 4.
template <int SIZE>
__device__ inline Slice<bf16, SIZE> dithered_sum(const Slice<bf16, SIZE>& a, const Floats<SIZE>& b,
                                                 const rng::Stream& stream, int64_t first) {
    static_assert(SIZE % 4 == 0);
    Slice<bf16, SIZE> sum = a;
#pragma unroll
    for (int block = 0; block < SIZE / 4; block++) {
        const rng::Block random = stream.block(uint64_t(first / 4 + block));
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const int at = 4 * block + k;
            bf16 rounded;
            rounded.bits = rng::round_to_bf16(__float_as_uint(a[at] + b.v[at]), random.x[k]);
            sum.set(at, rounded);
        }
    }
    return sum;
}

}  // namespace kernels::cuda
