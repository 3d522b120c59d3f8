// Flash attention forward on tensor cores (Dao, 2023): a block takes kRows queries of a head and streams the keys
// up to its last query, double-buffered; scores, probabilities and output stay in registers.
#pragma once

#include "kernels/cuda/attention_flash.cuh"

namespace kernels::cuda {
namespace {

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
        softmax<MT, kTile>(scores, reference, sum, scale, [&](int m, int half, float shrink) {
#pragma unroll
            for (int n = 0; n < HS / 8; n++) {
                sums[m][n][2 * half] *= shrink;
                sums[m][n][2 * half + 1] *= shrink;
            }
        });
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
