// Flash attention backward on tensor cores, in one kernel: a block owns keys, streams the queries that see them, and
// recomputes the probabilities p and their gradients dp:
//   p, dp, dv += p^T dout, dk += ds^T q, dq += ds k     with ds = p (dp - dot)
// These are 5 products of T^2 HS multiply-adds, half of them hidden by causality; products onto sums that start at -dot
// give dp - dot for free. dk and dv stay in a warp's registers. To dq all key blocks of a head add, in fp32 and in the
// order of keys: a block waits until the one before it has added to a tile of queries. Blocks draw their work from a
// counter, such that what a block waits for has been drawn before and is under way: however they are scheduled, the
// first of those that are not done never waits. They draw the longest work first, and go through queries from the last
// one on, so that they seldom wait.
#pragma once

#include "kernels/cuda/attention_flash.cuh"

namespace kernels::cuda {
namespace {

// Queries of a tile: fewer with long heads, so that all fits in 99 KiB.
template <int HS>
constexpr int kQueryTile = 4096 / HS;
constexpr int kQueryStep = 16;  // queries that a warp takes at a time

// How dq of a tile is divided: each warp has 16 queries and so many columns.
template <int HS>
constexpr int kQueryColumns = HS* kQueryTile<HS> / 16 / (kThreads<HS> / 32);

// Shared memory, in bf16: two stages of {q, dout} tiles, the keys, ds with keys down, two stages of stats.
template <int HS>
struct BackwardShared {
    static constexpr int kTileSize = kQueryTile<HS> * kPitch<HS>, kScoresPitch = kQueryTile<HS> + 8;
    static constexpr int kKeys = 4 * kTileSize, kScores = kKeys + kRows * kPitch<HS>;
    static constexpr int kStats = kScores + kRows * kScoresPitch;
    static constexpr int kStageStats = kQueryTile<HS> * int(sizeof(QueryStats) / sizeof(bf16));
    static constexpr size_t kBytes = (kStats + 2 * kStageStats) * sizeof(bf16);
    // Before the loop the values lie where the last of the tiles go.
    static constexpr int kValues = kKeys - kRows * kPitch<HS>;
    static constexpr bool kValuesInFirstStage = kValues < 2 * kTileSize;
};

// The work that a block has drawn. It stays in shared memory, where it takes no registers.
struct KeyBlock {
    int head, index;
    int64_t input, output;  // where the head starts in (B*T, 3C) and in (B*T, C)
};
__device__ inline KeyBlock key_block(int drawn, int heads, int key_blocks, int NH, int T, int HS) {
    const Work work = work_of(drawn, heads, key_blocks);
    const Head head(work.head, NH, T, HS);
    return {work.head, work.block, head.input, head.output};
}

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

// Stores ds of a warp's keys and a step of queries, rounded to bf16, keys down.
template <int MT, int PITCH>
__device__ inline void store_scores(bf16* to, const Sums<MT, kQueryStep>& ds) {
    to += fragment_row() * PITCH + fragment_column();
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < kQueryStep / 8; n++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                *reinterpret_cast<uint32_t*>(to + (m * 16 + half * 8) * PITCH + n * 8) =
                    gpu::pack_bf16(ds[m][n][2 * half], ds[m][n][2 * half + 1]);
}

// dq (16 queries, COLS) += ds^T keys, over the first `depth` keys. `scores` and `keys` start at the warp's queries and
// columns.
template <int HS, int COLS, int PITCH>
__device__ inline void add_to_queries(Sums<1, COLS>& dq, const bf16* scores, const bf16* keys, int depth) {
    const int lane = threadIdx.x & 31;
    scores += ((lane & 7) + (lane >> 4) * 8) * PITCH + (lane >> 3 & 1) * 8;
    keys += (lane & 15) * kPitch<HS> + (lane >> 4) * 8;
#pragma unroll 1
    for (int k = 0; k < depth; k += 16) {
        uint32_t left[4];
        gpu::ldmatrix_trans<4>(left, scores + k * PITCH);
#pragma unroll
        for (int n = 0; n < COLS / 8; n += 2) {
            uint32_t right[4];
            gpu::ldmatrix_trans<4>(right, keys + k * kPitch<HS> + n * 8);
            const uint32_t low[2] = {right[0], right[1]}, high[2] = {right[2], right[3]};
            gpu::mma_bf16(dq[0][n], left, low, dq[0][n]);
            gpu::mma_bf16(dq[0][n + 1], left, high, dq[0][n + 1]);
        }
    }
}

// dqkv, qkv (B*T, 3C); dout (B*T, C); stats (B, NH, padded). scale is that of the scores, which are transposed, keys
// down: so p^T and ds^T come out of one product as the left operand of the next.
template <int HS>
__global__ void __launch_bounds__(kThreads<HS>, kBlocks<HS>)
    flash_backward(bf16* dqkv, const bf16* dout, const bf16* qkv, const QueryStats* stats, QuerySums query_sums,
                   int heads, int NH, int T, int padded, float scale) {
    using Shared = BackwardShared<HS>;
    constexpr int MT = kRowBlocks<HS>, WARP_ROWS = 16 * MT, STEP = kQueryStep, TILE = Shared::kTileSize;
    constexpr int QUERIES = kQueryTile<HS>, COLS = kQueryColumns<HS>, PITCH = Shared::kScoresPitch;
    static_assert(kPadding % kRows == 0 && kRows % QUERIES == 0);
    GPU_SHARED_DYNAMIC(bf16, shared);
    GPU_SHARED(KeyBlock, own, [1]);
    if (threadIdx.x == 0)
        own[0] = key_block(int(atomicAdd(query_sums.counters + query_sums.num_counters - 1, 1u)), heads,
                           int(gridDim.x) / heads, NH, T, HS);
    __syncthreads();
    const int warp = threadIdx.x >> 5, first_key = own[0].index * kRows, row = first_key + warp * WARP_ROWS;
    const int C = NH * HS, ld = 3 * C;

    const auto load = [&](int query, int stage) {
        bf16* to = shared + stage * 2 * TILE;
        load_tile<HS, QUERIES>(to, qkv + own[0].input, query, T, ld);
        load_tile<HS, QUERIES>(to + TILE, dout + own[0].output, query, T, C);
        const int i = threadIdx.x * 2;
        bf16* of_query = shared + Shared::kStats + stage * Shared::kStageStats;
        if (i < QUERIES)
            gpu::cp_async16(reinterpret_cast<QueryStats*>(of_query) + i,
                            stats + int64_t(own[0].head) * padded + query + i);
        gpu::cp_async_commit();
    };
    // How many key blocks have added to a tile of queries.
    const auto turns = [&](int query) {
        return query_sums.counters + own[0].head * (padded / QUERIES) + query / QUERIES;
    };
    const int last_query = (T - 1) / QUERIES * QUERIES;  // of the last tile the first
    const bf16* keys = qkv + own[0].input + C;
    load_tile<HS, kRows>(shared + Shared::kKeys, keys, first_key, T, ld);
    load_tile<HS, kRows>(shared + Shared::kValues, keys + C, first_key, T, ld);
    gpu::cp_async_commit();
    if (!Shared::kValuesInFirstStage) load(last_query, 0);
    gpu::cp_async_wait<0>();
    __syncthreads();
    Rows<MT, HS> k, v;
    load_rows<HS, MT>(k, shared + Shared::kKeys);
    load_rows<HS, MT>(v, shared + Shared::kValues);
    if (Shared::kValuesInFirstStage) {
        __syncthreads();  // the values have been read
        load(last_query, 0);
    }
    Sums<MT, HS> dk = {}, dv = {};

    int stage = 0;
#pragma unroll 1
    for (int first = last_query; first >= first_key; first -= QUERIES, stage ^= 1) {
        gpu::cp_async_wait<0>();
        __syncthreads();  // the tile is here, nobody reads the one before it any more, and its dq is stored
        if (threadIdx.x == 0 && first != last_query) {
            __threadfence();
            atomicAdd(turns(first + QUERIES), 1u);
        }
        if (first > first_key) load(first - QUERIES, stage ^ 1);

        const bf16* tile = shared + stage * 2 * TILE;
        const QueryStats* of_tile =
            reinterpret_cast<const QueryStats*>(shared + Shared::kStats + stage * Shared::kStageStats);
#pragma unroll 1
        for (int query = first; query < first + QUERIES; query += STEP) {
            if (query + STEP <= row) continue;  // above the diagonal
            const bf16* queries = tile + (query - first) * kPitch<HS>;
            const bf16* douts = queries + TILE;
            const QueryStats* of_query = of_tile + (query - first) + fragment_column();
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
            store_scores<MT, PITCH>(shared + Shared::kScores + warp * WARP_ROWS * PITCH + query - first, ds);
            multiply_add<HS, MT, STEP>(dk, ds, queries);
        }

        if (threadIdx.x == 0) {
            while (atomicAdd(turns(first), 0u) != uint32_t(own[0].index)) {
            }
            __threadfence();
        }
        __syncthreads();  // all of ds is here, and it is this block's turn
        const int column = warp / (QUERIES / 16) * COLS, query = first + warp % (QUERIES / 16) * 16;
        const int64_t tile_index = int64_t(own[0].head) * (padded / QUERIES) + first / QUERIES;
        float4* sums = reinterpret_cast<float4*>(query_sums.sums) + tile_index * (QUERIES * HS / 4) + threadIdx.x;
        Sums<1, COLS> dq = {};
        if (first_key > 0)
#pragma unroll
            for (int n = 0; n < COLS / 8; n++) {
                const float4 before = __ldcg(sums + n * kThreads<HS>);
                dq[0][n][0] = before.x, dq[0][n][1] = before.y, dq[0][n][2] = before.z, dq[0][n][3] = before.w;
            }
        // Keys later than the warp's queries have no part in it.
        add_to_queries<HS, COLS, PITCH>(dq, shared + Shared::kScores + query - first, shared + Shared::kKeys + column,
                                        min(kRows, query + 16 - first_key));
        if (first < first_key + kRows)  // no later key has a part in it
            store_rows<1, COLS>(dqkv + own[0].input + column, dq, scale, query, T, ld);
        else
#pragma unroll
            for (int n = 0; n < COLS / 8; n++)
                __stcg(sums + n * kThreads<HS>, make_float4(dq[0][n][0], dq[0][n][1], dq[0][n][2], dq[0][n][3]));
    }
    store_rows<MT, HS>(dqkv + own[0].input + C, dk, scale, row, T, ld);
    store_rows<MT, HS>(dqkv + own[0].input + 2 * C, dv, 1.0f, row, T, ld);
}

}  // namespace
}  // namespace kernels::cuda
