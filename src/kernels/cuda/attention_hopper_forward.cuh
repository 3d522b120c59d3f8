// Attention forward by wgmma and tensor copies (Shah et al., 2024): a block's work is 128 queries of a head, with the
// keys up to the last of them. Products overlap with softmax twice: a warpgroup starts the next scores before it
// multiplies with the values, and takes the exponentials meanwhile; and while one warpgroup does, the products of the
// other go on, as they issue them in turn.
#pragma once

#include "kernels/cuda/attention_hopper.cuh"

namespace kernels::cuda {
namespace {

// Tiles of 128 keys or values in the order in which products take them: the last keys, then of each earlier block its
// keys and the later one's values, at the end the first values.
constexpr int kForwardStages = 4;
template <int HS>
constexpr int kForwardTile = kRows* HS;
template <int HS>
constexpr size_t kWgmmaForwardShared = (1 + kForwardStages) * kForwardTile<HS> * sizeof(bf16);

struct ForwardBarriers {
    uint64_t full[kForwardStages], empty[kForwardStages], queries_full, queries_empty;
};

// What a block does in one go: all works with a number that is its own modulo the number of blocks. Late queries take
// longest: they go first.
template <class F>
__device__ inline void for_each_work(int heads, int T, const F& f) {
    const int blocks = (T + kRows - 1) / kRows;
    for (int number = int(blockIdx.x); number < heads * blocks; number += int(gridDim.x)) {
        const Work work = work_of(number, heads, blocks);
        f(work.head, (blocks - 1 - work.block) * kRows);
    }
}

template <int HS>
__device__ inline void load_forward(bf16* tiles, ForwardBarriers& barriers, const CUtensorMap& qkv, int heads, int NH,
                                    int T) {
    constexpr int TILE = kForwardTile<HS>;
    Ring<kForwardStages> ring;
    unsigned parity = 0;
    for_each_work(heads, T, [&](int head, int first_query) {
        const int column = head % NH * HS, sequence = head / NH;
        const auto load = [&](int of_heads, int row) {
            gpu::mbarrier_wait(barriers.empty + ring.stage, ring.parity ^ 1);
            gpu::mbarrier_arrive_expect(barriers.full + ring.stage, TILE * sizeof(bf16));
            load_tile<HS, kRows>(tiles + (1 + ring.stage) * TILE, qkv, barriers.full + ring.stage,
                                 of_heads * NH * HS + column, row, sequence);
            ring.advance();
        };
        gpu::mbarrier_wait(&barriers.queries_empty, parity ^ 1);
        gpu::mbarrier_arrive_expect(&barriers.queries_full, TILE * sizeof(bf16));
        load_tile<HS, kRows>(tiles, qkv, &barriers.queries_full, column, first_query, sequence);
        parity ^= 1;
        load(1, first_query);
        for (int key = first_query - kRows; key >= 0; key -= kRows) {
            load(1, key);
            load(2, key + kRows);
        }
        load(2, 0);
    });
}

template <int HS>
__device__ inline void multiply_forward(bf16* out, float* lse, const bf16* tiles, ForwardBarriers& barriers, int heads,
                                        int NH, int T, float scale) {
    constexpr int TILE = kForwardTile<HS>;
    const Consumer own;
    const int turn = kGroupBarrier + own.group, others_turn = kGroupBarrier + 1 - own.group;
    Ring<kForwardStages> ring;
    const auto next_tile = [&] {
        gpu::mbarrier_wait(barriers.full + ring.stage, ring.parity);
        const int stage = ring.stage;
        ring.advance();
        return stage;
    };
    float scores[kRows / 2], sums[HS / 2];
    uint32_t weights[kRows / 16][4];
    const auto start_scores = [&](int stage) {
#pragma unroll
        for (int k = 0; k < HS; k += 16)
            gpu::wgmma<kRows>(scores, over_columns<kRows>(tiles, own.group * kGroupRows, k),
                              over_columns<kRows>(tiles + (1 + stage) * TILE, 0, k), k > 0);
        gpu::wgmma_commit();
    };
    const auto start_output = [&](int stage) {
#pragma unroll
        for (int k = 0; k < kRows / 16; k++)
            gpu::wgmma<HS, true>(sums, weights[k], over_rows<kRows>(tiles + (1 + stage) * TILE, 16 * k, 0), true);
        gpu::wgmma_commit();
    };

    if (own.group == 1) gpu::named_barrier_arrive(others_turn, kConsumers * kGroup);
    unsigned parity = 0;
    for_each_work(heads, T, [&](int head_index, int first_query) {
        float reference[1][2] = {{-INFINITY, -INFINITY}}, sum[1][2] = {};
        clear(sums);
        gpu::mbarrier_wait(&barriers.queries_full, parity);
        const int diagonal = next_tile();
        gpu::wgmma_fence(scores);
        start_scores(diagonal);
        gpu::wgmma_wait<0>(scores);
        own.give_back(barriers.empty + diagonal);
        if (first_query == 0) own.give_back(&barriers.queries_empty);
        hide_future<false, 1, kRows>(fragments(scores), 0, own.row);
        softmax<1, kRows>(fragments(scores), reference, sum, scale, [](int, int, float) {});
        pack(weights, scores);

        for (int key = first_query - kRows; key >= 0; key -= kRows) {
            const int keys = next_tile(), values = next_tile();
            gpu::named_barrier_sync(turn, kConsumers * kGroup);
            gpu::wgmma_fence(scores, sums);
            start_scores(keys);
            start_output(values);
            gpu::named_barrier_arrive(others_turn, kConsumers * kGroup);
            gpu::wgmma_wait<1>(scores);
            own.give_back(barriers.empty + keys);
            if (key == 0) own.give_back(&barriers.queries_empty);
            bool moved = false;
            float shrink[2] = {1.0f, 1.0f};
            softmax<1, kRows>(fragments(scores), reference, sum, scale, [&](int, int half, float by) {
                moved = true;
                shrink[half] = by;
            });
            gpu::wgmma_wait<0>(sums);
            own.give_back(barriers.empty + values);
            if (moved)
#pragma unroll
                for (int i = 0; i < HS / 2; i++) sums[i] *= shrink[i / 2 % 2];
            pack(weights, scores);
        }
        const int values = next_tile();
        gpu::wgmma_fence(sums);
        start_output(values);
        gpu::wgmma_wait<0>(sums);
        own.give_back(barriers.empty + values);
        parity ^= 1;

        const Head head(head_index, NH, T, HS);
        const int row = first_query + own.row;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int query = row + half * 8 + fragment_row();
            const float total = row_sum(sum[0][half]), inverse = 1.0f / total;
#pragma unroll
            for (int i = 0; i < HS / 2; i++)
                if (i / 2 % 2 == half) sums[i] *= inverse;
            if (query < T && threadIdx.x % 4 == 0)
                lse[int64_t(head_index) * T + query] = kLn2 * (reference[0][half] + log2f(total));
        }
        store_rows<1, HS>(out + head.output, fragments(sums), 1.0f, row, T, head.C);
    });
}

// out (B*T, C), lse (B, NH, T); qkv maps (B, T, 3C). scale is that of the scores, times log2(e).
template <int HS>
__global__ void __launch_bounds__(kHopperThreads, 1)
    wgmma_forward(bf16* out, float* lse, const __grid_constant__ CUtensorMap qkv, int heads, int NH, int T,
                  float scale) {
    GPU_SHARED_TILES(bf16, tiles);  // the queries, then kForwardStages of keys or values
    GPU_SHARED(ForwardBarriers, shared_barriers, [1]);
    ForwardBarriers& barriers = shared_barriers[0];
    if (threadIdx.x == 0) {
        for (int i = 0; i < kForwardStages; i++) {
            gpu::mbarrier_init(barriers.full + i, 1);
            gpu::mbarrier_init(barriers.empty + i, kArrivals);
        }
        gpu::mbarrier_init(&barriers.queries_full, 1);
        gpu::mbarrier_init(&barriers.queries_empty, kArrivals);
        gpu::mbarrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x < kGroup) {
        gpu::give_registers<kProducerRegisters>();
        if (threadIdx.x == 0) load_forward<HS>(tiles, barriers, qkv, heads, NH, T);
    } else {
        gpu::take_registers<kConsumerRegisters>();
        multiply_forward<HS>(out, lse, tiles, barriers, heads, NH, T, scale);
    }
}

}  // namespace
}  // namespace kernels::cuda
