// Flash attention forward on tensor cores (Dao, 2023): a block takes kRows queries of a head and streams the keys
// up to its last query, double-buffered; scores, probabilities and output stay in registers.
#pragma once

#include "kernels/cuda/attention_flash.cuh"

namespace kernels::cuda {
namespace {

// Probabilities are relative to a reference that is not always the largest score so far: as long as no score exceeds it
// by this much (in powers of two), sums and output need no rescaling, which is most of the time.
constexpr float kSlack = 8.0f;

// The largest value of the four threads that share a row, and the sum of their values.
__device__ inline float row_max(float v) {
    v = fmaxf(v, __shfl_xor_sync(0xFFFFFFFFu, v, 1));
    return fmaxf(v, __shfl_xor_sync(0xFFFFFFFFu, v, 2));
}
__device__ inline float row_sum(float v) {
    v += __shfl_xor_sync(0xFFFFFFFFu, v, 1);
    return v + __shfl_xor_sync(0xFFFFFFFFu, v, 2);
}

// Turns scores into probabilities relative to each row's reference, which moves if it has to, and adds this thread's
// part of them to the row's sum.
template <int HS, int MT>
__device__ inline void softmax(Sums<MT, kTile>& scores, Sums<MT, HS>& out, float (&reference)[MT][2],
                               float (&sum)[MT][2], float scale) {
    float largest[MT][2];
    bool move = false;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float& value = largest[m][half] = -INFINITY;
#pragma unroll
            for (int n = 0; n < kTile / 8; n++)
                value = fmaxf(value, fmaxf(scores[m][n][2 * half], scores[m][n][2 * half + 1]));
            move |= value * scale > reference[m][half] + kSlack;
        }
    if (__any_sync(0xFFFFFFFFu, move)) {
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const float moved = fmaxf(reference[m][half], row_max(largest[m][half]) * scale);
                const float shrink = gpu::exp2_approx(reference[m][half] - moved);
                reference[m][half] = moved;
                sum[m][half] *= shrink;
#pragma unroll
                for (int n = 0; n < HS / 8; n++) {
                    out[m][n][2 * half] *= shrink;
                    out[m][n][2 * half + 1] *= shrink;
                }
            }
    }
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < kTile / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float& p = scores[m][n][i];
                p = gpu::exp2_approx(p * scale - reference[m][i / 2]);
                sum[m][i / 2] += p;
            }
}

template <int HS>
constexpr size_t kForwardShared = 2 * 2 * kTileSize<HS> * sizeof(bf16);

// out (B*T, C), lse (B, NH, T), qkv (B*T, 3C). scale is that of the scores, times log2(e).
template <int HS>
__global__ void __launch_bounds__(kThreads<HS>, kBlocks<HS>)
    flash_forward(bf16* out, float* lse, const bf16* qkv, int T, float scale) {
    constexpr int MT = kRowBlocks<HS>, WARP_ROWS = 16 * MT, TILE = kTileSize<HS>;
    GPU_SHARED_DYNAMIC(bf16, shared);  // [2][k and v][kTile][kPitch]
    const Head head(T, HS);
    const int first_query = int(gridDim.x - 1 - blockIdx.x) * kRows;  // late queries take longest: they go first
    const int row = first_query + int(threadIdx.x >> 5) * WARP_ROWS;  // the warp's first
    const int ld = 3 * head.C;
    const bf16* q = qkv + head.input;

    const auto load = [&](int key) {
        bf16* to = shared + (key & kTile ? 2 * TILE : 0);
        load_tile<HS, kTile>(to, q + head.C, key, T, ld);
        load_tile<HS, kTile>(to + TILE, q + 2 * head.C, key, T, ld);
        gpu::cp_async_commit();
    };
    static_assert(kRows == 2 * kTile);
    load_tile<HS, kRows>(shared + 2 * TILE, q, first_query, T, ld);  // where the second tile of keys goes later
    load(0);
    gpu::cp_async_wait<0>();
    __syncthreads();
    Rows<MT, HS> queries;
    load_rows<HS, MT>(queries, shared + 2 * TILE);
    Sums<MT, HS> sums = {};
    float reference[MT][2], sum[MT][2] = {};
#pragma unroll
    for (int m = 0; m < MT; m++) reference[m][0] = reference[m][1] = -INFINITY;

    const int last_key = min(first_query + kRows, T);
    for (int key = 0; key < last_key; key += kTile) {
        gpu::cp_async_wait<0>();
        __syncthreads();  // the tile is here, and nobody reads the one before it any more
        if (key + kTile < last_key) load(key + kTile);
        if (key >= row + WARP_ROWS) continue;  // above the diagonal
        const bf16* keys = shared + (key & kTile ? 2 * TILE : 0);
        Sums<MT, kTile> scores = {};
        multiply_transposed<HS, MT, kTile>(scores, queries, keys);
        if (key + kTile > row + 1) hide_future<false, MT, kTile>(scores, key, row);
        softmax<HS, MT>(scores, sums, reference, sum, scale);
        multiply_add<HS, MT, kTile>(sums, scores, keys + TILE);
    }

#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int query = row + m * 16 + half * 8 + fragment_row();
            const float total = row_sum(sum[m][half]), inverse = 1.0f / total;
#pragma unroll
            for (int n = 0; n < HS / 8; n++) {
                sums[m][n][2 * half] *= inverse;
                sums[m][n][2 * half + 1] *= inverse;
            }
            if (query < T && threadIdx.x % 4 == 0)
                lse[int64_t(head.index) * T + query] = kLn2 * (reference[m][half] + log2f(total));
        }
    store_rows<MT, HS>(out + head.output, sums, 1.0f, row, T, head.C);
}

}  // namespace
}  // namespace kernels::cuda
