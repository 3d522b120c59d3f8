// Attention backward by wgmma and tensor copies, with the products of attention_flash_backward.cuh: a block's work is
// 128 keys of a head, and streams the queries that see them. Scores and dp lie keys down, so that p and ds are left
// operands in registers of the products that give dv and dk; dq takes ds through shared memory. Blocks draw their work,
// and add to dq in turn, as there; here each warpgroup has its own part of a tile's dq, and adds to it in its own turn.
#pragma once

#include "kernels/cuda/attention_hopper.cuh"

namespace kernels::cuda {
namespace {

constexpr int kBackwardStages = 2;
// Queries of a tile: as many as leave room in registers for scores and dp beside dk and dv.
template <int HS>
constexpr int kWgmmaQueries = 8192 / HS;
constexpr int kPart = 4096;  // numbers of dq that a warpgroup adds to: 64 queries by 64 columns

// Shared memory, in bf16: keys, values, the stages of {q, dout}, two of ds with keys down, and the stages of stats.
template <int HS>
struct WgmmaBackwardShared {
    static constexpr int kQueries = kWgmmaQueries<HS>, kTile = kQueries * HS, kScoresTile = kRows * kQueries;
    static constexpr int kValues = kRows * HS, kStages = 2 * kValues, kScores = kStages + kBackwardStages * 2 * kTile;
    static constexpr int kStats = kScores + 2 * kScoresTile;
    static constexpr int kStageStats = kQueries * int(sizeof(QueryStats) / sizeof(bf16));
    static constexpr size_t kBytes = (kStats + kBackwardStages * kStageStats) * sizeof(bf16);
    static constexpr int kStageBytes = (2 * kTile + kStageStats) * int(sizeof(bf16));

    __device__ static bf16* stage(bf16* shared, int stage) { return shared + kStages + stage * 2 * kTile; }
    __device__ static QueryStats* stats(bf16* shared, int stage) {
        return reinterpret_cast<QueryStats*>(shared + kStats + stage * kStageStats);
    }
};

struct BackwardBarriers {
    uint64_t full[kBackwardStages], empty[kBackwardStages], keys_full, keys_empty;
    int drawn;  // the work that the keys and values are of
};
struct BackwardMaps {
    CUtensorMap qkv, dout, stats;  // (B, T, 3C), (B, T, C), (heads, 2 padded) fp32
};
struct BackwardShape {
    int heads, NH, T, padded;
    __device__ int key_blocks() const { return (T + kRows - 1) / kRows; }
    __device__ int last_query(int tile) const { return (T - 1) / tile * tile; }  // of the last tile the first
};

template <int HS>
__device__ inline void load_backward(bf16* shared, BackwardBarriers& barriers, const BackwardMaps& maps,
                                     const QuerySums& query_sums, const BackwardShape& shape) {
    using Shared = WgmmaBackwardShared<HS>;
    constexpr int QUERIES = Shared::kQueries;
    const int works = shape.heads * shape.key_blocks(), C = shape.NH * HS;
    Ring<kBackwardStages> ring;
    for (unsigned parity = 0;; parity ^= 1) {
        const int drawn = int(atomicAdd(query_sums.counters + query_sums.num_counters - 1, 1u));
        gpu::mbarrier_wait(&barriers.keys_empty, parity ^ 1);
        barriers.drawn = drawn;
        if (drawn >= works) break;
        const Work work = work_of(drawn, shape.heads, shape.key_blocks());
        const int column = work.head % shape.NH * HS, sequence = work.head / shape.NH, first_key = work.block * kRows;
        gpu::mbarrier_arrive_expect(&barriers.keys_full, 2 * kRows * HS * sizeof(bf16));
        load_tile<HS, kRows>(shared, maps.qkv, &barriers.keys_full, C + column, first_key, sequence);
        load_tile<HS, kRows>(shared + Shared::kValues, maps.qkv, &barriers.keys_full, 2 * C + column, first_key,
                             sequence);
        for (int query = shape.last_query(QUERIES); query >= first_key; query -= QUERIES) {
            uint64_t* const full = barriers.full + ring.stage;
            bf16* const tile = Shared::stage(shared, ring.stage);
            gpu::mbarrier_wait(barriers.empty + ring.stage, ring.parity ^ 1);
            gpu::mbarrier_arrive_expect(full, Shared::kStageBytes);
            load_tile<HS, QUERIES>(tile, maps.qkv, full, column, query, sequence);
            load_tile<HS, QUERIES>(tile + Shared::kTile, maps.dout, full, column, query, sequence);
            gpu::tensor_load(Shared::stats(shared, ring.stage), maps.stats, full, {2 * query, work.head});
            ring.advance();
        }
    }
    gpu::mbarrier_arrive(&barriers.keys_full);  // and nothing is left
}

// Stores ds of a warp's keys, rounded to bf16, as a swizzled tile with keys down.
template <int QUERIES>
__device__ inline void store_scores(bf16* tile, const uint32_t (&ds)[QUERIES / 16][4], int row) {
#pragma unroll
    for (int n = 0; n < QUERIES / 8; n++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int key = row + half * 8 + fragment_row(), piece = n % 8 ^ key % 8;
            bf16* at = tile + n / 8 * (kBox * kRows) + key * kBox + piece * 8 + fragment_column();
            *reinterpret_cast<uint32_t*>(at) = ds[n / 2][n % 2 * 2 + half];
        }
}

template <int HS>
__device__ inline void multiply_backward(bf16* dqkv, bf16* shared, BackwardBarriers& barriers,
                                         const QuerySums& query_sums, const BackwardShape& shape, float scale) {
    using Shared = WgmmaBackwardShared<HS>;
    constexpr int QUERIES = Shared::kQueries;
    const Consumer own;
    const int thread = int(threadIdx.x) % kGroup, ld = 3 * shape.NH * HS;
    // The warpgroup's part of a tile's dq.
    const int part_query = HS == 64 ? own.group * kGroupRows : 0, part_column = HS == 64 ? 0 : own.group * kBox;
    const bf16 *const keys = shared, *const values = shared + Shared::kValues;
    Ring<kBackwardStages> ring;
    float p[QUERIES / 2], ds[QUERIES / 2], dk[HS / 2], dv[HS / 2], dq[32];
    uint32_t p_rows[QUERIES / 16][4], ds_rows[QUERIES / 16][4];

    for (unsigned parity = 0;; parity ^= 1) {
        gpu::mbarrier_wait(&barriers.keys_full, parity);
        const int drawn = barriers.drawn;
        if (drawn >= shape.heads * shape.key_blocks()) return;
        const Work work = work_of(drawn, shape.heads, shape.key_blocks());
        const int first_key = work.block * kRows;
        clear(dk);
        clear(dv);
        for (int first = shape.last_query(QUERIES); first >= first_key; first -= QUERIES) {
            const bf16 *const q = Shared::stage(shared, ring.stage), *const dout = q + Shared::kTile;
            const QueryStats* const of_query = Shared::stats(shared, ring.stage) + fragment_column();
            bf16* const scores = shared + Shared::kScores + ring.stage * Shared::kScoresTile;
            gpu::mbarrier_wait(barriers.full + ring.stage, ring.parity);
            gpu::wgmma_fence(p, ds);
#pragma unroll
            for (int k = 0; k < HS; k += 16)
                gpu::wgmma<QUERIES>(p, over_columns<kRows>(keys, own.group * kGroupRows, k),
                                    over_columns<QUERIES>(q, 0, k), k > 0);
            gpu::wgmma_commit();
#pragma unroll
            for (int k = 0; k < HS; k += 16)
                gpu::wgmma<QUERIES>(ds, over_columns<kRows>(values, own.group * kGroupRows, k),
                                    over_columns<QUERIES>(dout, 0, k), k > 0);
            gpu::wgmma_commit();
            gpu::wgmma_wait<1>(p);
            if (first < first_key + kRows) hide_future<true, 1, QUERIES>(fragments(p), first, first_key + own.row);
#pragma unroll
            for (int i = 0; i < QUERIES / 2; i++)
                p[i] = gpu::exp2_approx(p[i] * (scale * kLog2e) - of_query[i / 4 * 8 + i % 2].lse);
            gpu::wgmma_wait<0>(ds);
#pragma unroll
            for (int i = 0; i < QUERIES / 2; i++) ds[i] = p[i] * (ds[i] + of_query[i / 4 * 8 + i % 2].minus_dot);
            pack(p_rows, p);
            pack(ds_rows, ds);

            gpu::wgmma_fence(dv, dk);
#pragma unroll
            for (int k = 0; k < QUERIES / 16; k++)
                gpu::wgmma<HS, true>(dv, p_rows[k], over_rows<QUERIES>(dout, 16 * k, 0), true);
#pragma unroll
            for (int k = 0; k < QUERIES / 16; k++)
                gpu::wgmma<HS, true>(dk, ds_rows[k], over_rows<QUERIES>(q, 16 * k, 0), true);
            gpu::wgmma_commit();
            store_scores<QUERIES>(scores, ds_rows, own.row);
            gpu::fence_proxy_async();
            gpu::named_barrier_sync(kConsumersBarrier, kConsumers * kGroup);  // all of ds is here
            gpu::wgmma_fence(dq);
#pragma unroll
            for (int k = 0; k < kRows / 16; k++)
                gpu::wgmma<64, true, true>(dq, over_rows<kRows>(scores, 16 * k, part_query),
                                           over_rows<kRows>(keys, 16 * k, part_column), k > 0);
            gpu::wgmma_commit();

            const int part = (work.head * (shape.padded / QUERIES) + first / QUERIES) * kConsumers + own.group;
            uint32_t* const turns = query_sums.counters + part;  // how many key blocks have added to it
            float4* const sums = reinterpret_cast<float4*>(query_sums.sums) + int64_t(part) * (kPart / 4) + thread;
            float4 before[kPart / kGroup / 4] = {};
            if (first_key > 0) {
                if (thread == 0) {
                    while (atomicAdd(turns, 0u) != uint32_t(work.block)) {
                    }
                    __threadfence();
                }
                gpu::named_barrier_sync(kGroupBarrier + own.group, kGroup);  // it is this block's turn
#pragma unroll
                for (int n = 0; n < 8; n++) before[n] = __ldcg(sums + n * kGroup);
            }
            gpu::wgmma_wait<1>(dv, dk);
            own.give_back(barriers.empty + ring.stage);
            gpu::wgmma_wait<0>(dq);
#pragma unroll
            for (int n = 0; n < 8; n++) {
                dq[4 * n] += before[n].x, dq[4 * n + 1] += before[n].y;
                dq[4 * n + 2] += before[n].z, dq[4 * n + 3] += before[n].w;
            }
            if (first < first_key + kRows) {  // no later key has a part in it
                const Head head(work.head, shape.NH, shape.T, HS);
                store_rows<1, 64>(dqkv + head.input + part_column, fragments(dq), scale,
                                  first + part_query + thread / 32 * 16, shape.T, ld);
            } else {
#pragma unroll
                for (int n = 0; n < 8; n++)
                    __stcg(sums + n * kGroup, make_float4(dq[4 * n], dq[4 * n + 1], dq[4 * n + 2], dq[4 * n + 3]));
                gpu::named_barrier_sync(kGroupBarrier + own.group, kGroup);  // the part is stored
                if (thread == 0) {
                    __threadfence();
                    atomicAdd(turns, 1u);
                }
            }
            ring.advance();
        }
        own.give_back(&barriers.keys_empty);
        const Head head(work.head, shape.NH, shape.T, HS);
        const int row = first_key + own.row, C = shape.NH * HS;
        store_rows<1, HS>(dqkv + head.input + C, fragments(dk), scale, row, shape.T, ld);
        store_rows<1, HS>(dqkv + head.input + 2 * C, fragments(dv), 1.0f, row, shape.T, ld);
    }
}

// dqkv (B*T, 3C). scale is that of the scores.
template <int HS>
__global__ void __launch_bounds__(kHopperThreads, 1)
    wgmma_backward(bf16* dqkv, const __grid_constant__ BackwardMaps maps, QuerySums query_sums, BackwardShape shape,
                   float scale) {
    GPU_SHARED_TILES(bf16, shared);
    GPU_SHARED(BackwardBarriers, shared_barriers, [1]);
    BackwardBarriers& barriers = shared_barriers[0];
    if (threadIdx.x == 0) {
        for (int i = 0; i < kBackwardStages; i++) {
            gpu::mbarrier_init(barriers.full + i, 1);
            gpu::mbarrier_init(barriers.empty + i, kArrivals);
        }
        gpu::mbarrier_init(&barriers.keys_full, 1);
        gpu::mbarrier_init(&barriers.keys_empty, kArrivals);
        gpu::mbarrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x < kGroup) {
        gpu::give_registers<kProducerRegisters>();
        if (threadIdx.x == 0) load_backward<HS>(shared, barriers, maps, query_sums, shape);
    } else {
        gpu::take_registers<kConsumerRegisters>();
        multiply_backward<HS>(dqkv, shared, barriers, query_sums, shape, scale);
    }
}

}  // namespace
}  // namespace kernels::cuda
