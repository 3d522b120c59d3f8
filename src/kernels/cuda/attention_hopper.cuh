// What the attention kernels for compute capability 9.0 share. Of a block's three warpgroups the first loads tiles by
// tensor copies through a ring of stages, the others multiply them by wgmma; each has 64 of the 128 rows that are the
// block's work. Blocks stay and take one work after another, so that the loads for the next begin before the last one's
// results are stored.
#pragma once

#include "kernels/cuda/attention_flash.cuh"
#include "kernels/cuda/hopper.cuh"

namespace kernels::cuda {
namespace {

constexpr int kGroup = 128, kGroupRows = 64;  // threads of a warpgroup, and its rows of the block's kRows
constexpr int kConsumers = kRows / kGroupRows, kHopperThreads = (1 + kConsumers) * kGroup;
// 65536 registers: a thread that only issues copies needs few.
constexpr int kProducerRegisters = 24, kConsumerRegisters = 240;
static_assert(kGroup * (kProducerRegisters + kConsumers * kConsumerRegisters) <= 65536);
constexpr int kArrivals = kConsumers * kGroup / 32;  // at a barrier for what consumers have read: a lane of each warp
constexpr int kConsumersBarrier = 1, kGroupBarrier = 2;  // named ones: of both, and one of each that follow each other

// Tiles lie in boxes of 64 columns, as wide as the swizzle, all rows of the first box before those of the next; the
// copy of a box brings 64 rows of it.
constexpr int kBox = 64, kBoxRowBytes = kBox * int(sizeof(bf16)), kSwizzleBytes = 8 * kBoxRowBytes;

// A stage of a ring, and the parity of its barriers in this turn.
template <int STAGES>
struct Ring {
    int stage = 0;
    unsigned parity = 0;
    __device__ void advance() {
        if (++stage < STAGES) return;
        stage = 0;
        parity ^= 1;
    }
};

// Starts copying rows [row, row + ROWS) and columns [column, column + HS) of a sequence; rows from T on become zero.
template <int HS, int ROWS>
__device__ inline void load_tile(bf16* tile, const CUtensorMap& map, uint64_t* barrier, int column, int row,
                                 int sequence) {
    static_assert(HS % kBox == 0 && ROWS % kBox == 0);
    for (int c = 0; c < HS; c += kBox)
        for (int r = 0; r < ROWS; r += kBox)
            gpu::tensor_load(tile + c * ROWS + r * kBox, map, barrier, {column + c, row + r, sequence});
}

// The operands of a product over 16 columns of a tile of ROWS rows, of which the result has those from `row` on; and
// over 16 rows of it, with the result's columns from `column` on.
template <int ROWS>
__device__ inline uint64_t over_columns(const bf16* tile, int row, int column) {
    const bf16* at = tile + column / kBox * (kBox * ROWS) + row * kBox + column % kBox;
    return gpu::matrix_descriptor(at, 16, kSwizzleBytes, gpu::Swizzle::bytes128);
}
template <int ROWS>
__device__ inline uint64_t over_rows(const bf16* tile, int row, int column) {
    const bf16* at = tile + column / kBox * (kBox * ROWS) + row * kBox;
    return gpu::matrix_descriptor(at, kBoxRowBytes * ROWS, kSwizzleBytes, gpu::Swizzle::bytes128);
}

// The accumulators of wgmma as fragments: a warp's 16 rows.
template <size_t N>
__device__ inline float (&fragments(float (&sums)[N]))[1][N / 4][4] {
    return reinterpret_cast<float(&)[1][N / 4][4]>(sums);
}
template <size_t N>
__device__ inline void clear(float (&sums)[N]) {
#pragma unroll
    for (float& sum : sums) sum = 0.0f;
}
// Rounds accumulators to bf16: they are laid out as the left operands of the next product.
template <size_t N>
__device__ inline void pack(uint32_t (&rows)[N / 8][4], const float (&sums)[N]) {
#pragma unroll
    for (size_t i = 0; i < N / 2; i++) rows[i / 4][i % 4] = gpu::pack_bf16(sums[2 * i], sums[2 * i + 1]);
}

// What a consumer's thread knows of itself. The shuffle tells the compiler that all of a warp have the same: so what
// follows from it, as descriptors, needs no registers of threads.
struct Consumer {
    int group, row;  // of the consumers, and the first row of its warp in the block
    bool first_lane;
    __device__ Consumer()
        : group(__shfl_sync(0xFFFFFFFFu, int(threadIdx.x) / kGroup - 1, 0)),
          row(group * kGroupRows + int(threadIdx.x) % kGroup / 32 * 16),
          first_lane(threadIdx.x % 32 == 0) {}
    // Tells the producer that this warp has read what the barrier stands for.
    __device__ void give_back(uint64_t* empty) const {
        if (first_lane) gpu::mbarrier_arrive(empty);
    }
};

}  // namespace
}  // namespace kernels::cuda
