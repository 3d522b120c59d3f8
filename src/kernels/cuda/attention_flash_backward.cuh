// Flash attention backward on tensor cores, in two kernels that recompute the probabilities p and their gradients dp:
//   flash_backward_keys     a block owns keys, streams queries:  p, dp, dv += p^T dout, dk += ds^T q  (4 products)
//   flash_backward_queries  a block owns queries, streams keys:  p, dp, dq += ds k                    (3 products)
// with ds = p (dp - dot); products onto sums that start at -dot give dp - dot for free. That is 7 products of T^2 HS
// multiply-adds (half of them hidden by causality) where 5 would do, but each result is summed by one warp in a fixed
// order. One kernel would have to add dq across blocks, by atomics (another order each time) or through partial sums:
// 4 HS bytes written and read for every query and kRows keys, which take longer than the two products.
#pragma once

#include "kernels/cuda/attention_flash.cuh"

namespace kernels::cuda {
namespace {

// a = a * b, number by number
template <int MT, int COLS>
__device__ inline void multiply_each(Sums<MT, COLS>& a, const Sums<MT, COLS>& b) {
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < COLS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) a[m][n][i] *= b[m][n][i];
}

template <int HS>
constexpr size_t kBackwardKeysShared = 2 * (2 * kTileSize<HS> * sizeof(bf16) + kTile * sizeof(QueryStats));
template <int HS>
constexpr size_t kBackwardQueriesShared = 2 * 2 * kTileSize<HS> * sizeof(bf16);

// dk and dv. dqkv, qkv (B*T, 3C); dout (B*T, C); stats (B, NH, padded). scale is that of the scores, which are
// transposed, keys down: so p^T and ds^T come out of one product as the left operand of the next.
template <int HS>
__global__ void __launch_bounds__(kThreads<HS>, kBlocks<HS>)
    flash_backward_keys(bf16* dqkv, const bf16* dout, const bf16* qkv, const QueryStats* stats, int T, int padded,
                        float scale) {
    constexpr int MT = kRowBlocks<HS>, WARP_ROWS = 16 * MT, STEP = 16, TILE = kTileSize<HS>;
    constexpr int STAGE = 2 * TILE + kTile * int(sizeof(QueryStats) / sizeof(bf16));
    GPU_SHARED_DYNAMIC(bf16, shared);  // [2] of {q [kTile][kPitch], dout [kTile][kPitch], stats [kTile]}
    const Head head(T, HS);
    const int first_key = int(blockIdx.x) * kRows;                  // early keys take longest: they go first
    const int row = first_key + int(threadIdx.x >> 5) * WARP_ROWS;  // the warp's first
    const int ld = 3 * head.C;
    const bf16* q = qkv + head.input;
    stats += int64_t(head.index) * padded;

    const auto load = [&](int query) {
        bf16* to = shared + (query & kTile ? STAGE : 0);
        load_tile<HS>(to, q, query, T, ld);
        load_tile<HS>(to + TILE, dout + head.output, query, T, head.C);
        const int i = threadIdx.x * 2;
        if (i < kTile) gpu::cp_async16(reinterpret_cast<QueryStats*>(to + 2 * TILE) + i, stats + query + i);
        gpu::cp_async_commit();
    };
    load(first_key);
    Rows<MT, HS> k, v;
    load_rows<HS, MT>(k, q + head.C, row, T, ld);
    load_rows<HS, MT>(v, q + 2 * head.C, row, T, ld);
    Sums<MT, HS> dk = {}, dv = {};

#pragma unroll 1
    for (int query = first_key; query < T; query += STEP) {
        if ((query & (kTile - 1)) == 0) {
            gpu::cp_async_wait<0>();
            __syncthreads();  // the tile is here, and nobody reads the one before it any more
            if (query + kTile < T) load(query + kTile);
        }
        if (query + STEP <= row) continue;  // above the diagonal
        const bf16* tile = shared + (query & kTile ? STAGE : 0);
        const bf16* queries = tile + (query & (kTile - 1)) * kPitch<HS>;
        const bf16* douts = queries + TILE;
        const QueryStats* of_query =
            reinterpret_cast<const QueryStats*>(tile + 2 * TILE) + (query & (kTile - 1)) + fragment_column();
        Sums<MT, STEP> p = {}, ds;
        multiply_transposed<HS, MT, STEP>(p, k, queries);
        if (query < row + WARP_ROWS - 1) hide_future<true, MT, STEP>(p, query, row);
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int n = 0; n < STEP / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    p[m][n][i] = gpu::exp2_approx(p[m][n][i] * (scale * kLog2e) - of_query[n * 8 + i % 2].lse);
        // dv comes before dp, not with dk: in this order everything fits in 255 registers.
        multiply_add<HS, MT, STEP>(dv, p, douts);
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int n = 0; n < STEP / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) ds[m][n][i] = of_query[n * 8 + i % 2].minus_dot;
        multiply_transposed<HS, MT, STEP>(ds, v, douts);
        multiply_each<MT, STEP>(ds, p);
        multiply_add<HS, MT, STEP>(dk, ds, queries);
    }
    store_rows<HS, MT>(dqkv + head.input + head.C, dk, scale, row, T, ld);
    store_rows<HS, MT>(dqkv + head.input + 2 * head.C, dv, 1.0f, row, T, ld);
}

// dq, the same way as the forward. dqkv, qkv (B*T, 3C); dout (B*T, C); stats (B, NH, padded).
template <int HS>
__global__ void __launch_bounds__(kThreads<HS>, kBlocks<HS>)
    flash_backward_queries(bf16* dqkv, const bf16* dout, const bf16* qkv, const QueryStats* stats, int T, int padded,
                           float scale) {
    constexpr int MT = kRowBlocks<HS>, WARP_ROWS = 16 * MT, STEP = 32, TILE = kTileSize<HS>;
    static_assert(kPadding % kRows == 0);
    GPU_SHARED_DYNAMIC(bf16, shared);  // [2][k and v][kTile][kPitch]
    const Head head(T, HS);
    const int first_query = int(gridDim.x - 1 - blockIdx.x) * kRows;  // late queries take longest: they go first
    const int row = first_query + int(threadIdx.x >> 5) * WARP_ROWS;
    const int ld = 3 * head.C;
    const bf16* q = qkv + head.input;

    const auto load = [&](int key) {
        bf16* to = shared + (key & kTile ? 2 * TILE : 0);
        load_tile<HS>(to, q + head.C, key, T, ld);
        load_tile<HS>(to + TILE, q + 2 * head.C, key, T, ld);
        gpu::cp_async_commit();
    };
    load(0);
    Rows<MT, HS> queries, douts;
    load_rows<HS, MT>(queries, q, row, T, ld);
    load_rows<HS, MT>(douts, dout + head.output, row, T, head.C);
    stats += int64_t(head.index) * padded;
    QueryStats of_query[MT][2];
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) of_query[m][half] = stats[row + m * 16 + half * 8 + fragment_row()];
    Sums<MT, HS> dq = {};

    const int last_key = min(first_query + kRows, T);
#pragma unroll 1
    for (int key = 0; key < last_key; key += STEP) {
        if ((key & (kTile - 1)) == 0) {
            gpu::cp_async_wait<0>();
            __syncthreads();  // the tile is here, and nobody reads the one before it any more
            if (key + kTile < last_key) load(key + kTile);
        }
        if (key >= row + WARP_ROWS) continue;  // above the diagonal
        const bf16* keys = shared + (key & kTile ? 2 * TILE : 0) + (key & (kTile - 1)) * kPitch<HS>;
        const bf16* values = keys + TILE;
        Sums<MT, STEP> p = {}, ds;
        multiply_transposed<HS, MT, STEP>(p, queries, keys);
        if (key + STEP > row + 1) hide_future<false, MT, STEP>(p, key, row);
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int n = 0; n < STEP / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    p[m][n][i] = gpu::exp2_approx(p[m][n][i] * (scale * kLog2e) - of_query[m][i / 2].lse);
                    ds[m][n][i] = of_query[m][i / 2].minus_dot;
                }
        multiply_transposed<HS, MT, STEP>(ds, douts, values);
        multiply_each<MT, STEP>(ds, p);
        multiply_add<HS, MT, STEP>(dq, ds, keys);
    }
    store_rows<HS, MT>(dqkv + head.input, dq, scale, row, T, ld);
}

}  // namespace
}  // namespace kernels::cuda
