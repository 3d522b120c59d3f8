// What the flash attention kernels share. A block owns kRows rows (queries or keys) and streams tiles of rows of the
// other side through shared memory. Each of its warps owns 16 MT rows, whose operands stay in registers.
#pragma once

#include "kernels/cuda/attention_common.cuh"
#include "kernels/cuda/fragments.cuh"

namespace kernels::cuda {
namespace {

constexpr int kRows = 128, kTile = 64;
// MT is what a warp's registers hold: 32 rows of heads of 64, so that each number read from shared memory serves two
// products, or 16 rows of heads of 128. Either way a multiprocessor has room for 8 warps.
template <int HS>
constexpr int kRowBlocks = 128 / HS;
template <int HS>
constexpr int kThreads = 32 * kRows / (16 * kRowBlocks<HS>);
template <int HS>
constexpr int kBlocks = 256 / kThreads<HS>;  // at once on a multiprocessor

// Accumulators of MT x (COLS / 8) products of 16x8, and the left operand of MT x (DEPTH / 16) products.
template <int MT, int COLS>
using Sums = float[MT][COLS / 8][4];
template <int MT, int DEPTH>
using Rows = uint32_t[MT][DEPTH / 16][4];

// Rows of a tile are 16 bytes longer than they need to be, so that eight rows of a column lie in different banks.
template <int HS>
constexpr int kPitch = HS + 8;
template <int HS>
constexpr int kTileSize = kTile* kPitch<HS>;

// Starts copying rows [first, first + ROWS) of (T, HS) into shared memory; rows from T on become zero.
template <int HS, int ROWS>
__device__ inline void load_tile(bf16* tile, const bf16* from, int first, int T, int ld) {
    constexpr int CHUNKS = HS / 8, STEP = kThreads<HS> / CHUNKS;
    static_assert(ROWS % STEP == 0);
    const int chunk = threadIdx.x % CHUNKS, row = threadIdx.x / CHUNKS;
    tile += row * kPitch<HS> + chunk * 8;
#pragma unroll
    for (int i = 0; i < ROWS; i += STEP) {
        const bool exists = first + row + i < T;
        const bf16* at = from + int64_t(exists ? first + row + i : 0) * ld + chunk * 8;
        gpu::cp_async16_zfill(tile + i * kPitch<HS>, at, exists);
    }
}

// The warp's 16 MT of the block's kRows rows, which shared memory holds, as left operand.
template <int HS, int MT>
__device__ inline void load_rows(Rows<MT, HS>& rows, const bf16* from) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    from += (warp * 16 * MT + (lane & 15)) * kPitch<HS> + (lane >> 4) * 8;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int k = 0; k < HS / 16; k++) gpu::ldmatrix<4>(rows[m][k], from + m * 16 * kPitch<HS> + k * 16);
}

// Rows [first, first + 16 MT) of (T, COLS) = scale * sums, 16 bytes at a time.
template <int MT, int COLS>
__device__ inline void store_rows(bf16* to, const Sums<MT, COLS>& sums, float scale, int first, int T, int ld) {
    static_assert(COLS % 32 == 0);
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int row = first + m * 16 + half * 8 + fragment_row();
            bf16* at = to + int64_t(row) * ld + (threadIdx.x & 3) * 8;
#pragma unroll
            for (int n = 0; n < COLS / 8; n += 4) {
                uint32_t pairs[4];
#pragma unroll
                for (int i = 0; i < 4; i++)
                    pairs[i] = gpu::pack_bf16(scale * sums[m][n + i][2 * half], scale * sums[m][n + i][2 * half + 1]);
                transpose_quad(pairs);
                // An assignment would be split into four stores.
                if (row < T)
                    __stcg(reinterpret_cast<uint4*>(at + n * 8), make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]));
            }
        }
}

// sums += rows * (COLS rows of a tile)^T
template <int HS, int MT, int COLS>
__device__ inline void multiply_transposed(Sums<MT, COLS>& sums, const Rows<MT, HS>& rows, const bf16* tile) {
    const int lane = threadIdx.x & 31, row = (lane & 7) + (lane >> 4) * 8;
    tile += row * kPitch<HS> + (lane >> 3 & 1) * 8;
#pragma unroll
    for (int k = 0; k < HS / 16; k++)
#pragma unroll
        for (int n = 0; n < COLS / 8; n += 2) {
            uint32_t right[4];
            gpu::ldmatrix<4>(right, tile + n * 8 * kPitch<HS> + k * 16);
            const uint32_t low[2] = {right[0], right[1]}, high[2] = {right[2], right[3]};
#pragma unroll
            for (int m = 0; m < MT; m++) {
                gpu::mma_bf16(sums[m][n], rows[m][k], low, sums[m][n]);
                gpu::mma_bf16(sums[m][n + 1], rows[m][k], high, sums[m][n + 1]);
            }
        }
}

// sums += weights, rounded to bf16, * DEPTH rows of a tile. The accumulators of one product are laid out as the left
// operand of the next.
template <int HS, int MT, int DEPTH>
__device__ inline void multiply_add(Sums<MT, HS>& sums, const Sums<MT, DEPTH>& weights, const bf16* tile) {
    const int lane = threadIdx.x & 31;
    tile += (lane & 15) * kPitch<HS> + (lane >> 4) * 8;
#pragma unroll
    for (int k = 0; k < DEPTH / 16; k++) {
        uint32_t left[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float* pair = &weights[m][2 * k + i / 2][i % 2 * 2];
                left[m][i] = gpu::pack_bf16(pair[0], pair[1]);
            }
#pragma unroll
        for (int n = 0; n < HS / 8; n += 2) {
            uint32_t right[4];
            gpu::ldmatrix_trans<4>(right, tile + k * 16 * kPitch<HS> + n * 8);
            const uint32_t low[2] = {right[0], right[1]}, high[2] = {right[2], right[3]};
#pragma unroll
            for (int m = 0; m < MT; m++) {
                gpu::mma_bf16(sums[m][n], left[m], low, sums[m][n]);
                gpu::mma_bf16(sums[m][n + 1], left[m], high, sums[m][n + 1]);
            }
        }
    }
}

// Turns scores of keys later than their query into -infinity. `first_column` and `first_row` are the positions of the
// first column and row of `scores`.
template <bool KEYS_DOWN, int MT, int COLS>
__device__ inline void hide_future(Sums<MT, COLS>& scores, int first_column, int first_row) {
    const int ahead = first_column + fragment_column() - first_row - fragment_row();
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < COLS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int distance = ahead + n * 8 + i % 2 - m * 16 - i / 2 * 8;
                if (KEYS_DOWN ? distance < 0 : distance > 0) scores[m][n][i] = -INFINITY;
            }
}

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
// part of them to the row's sum. Where references move, rescale(m, half, shrink) is told what else to multiply.
template <int MT, int COLS, class Rescale>
__device__ inline void softmax(Sums<MT, COLS>& scores, float (&reference)[MT][2], float (&sum)[MT][2], float scale,
                               const Rescale& rescale) {
    float largest[MT][2];
    bool move = false;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float& value = largest[m][half] = -INFINITY;
#pragma unroll
            for (int n = 0; n < COLS / 8; n++)
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
                rescale(m, half, shrink);
            }
    }
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < COLS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float& p = scores[m][n][i];
                p = gpu::exp2_approx(p * scale - reference[m][i / 2]);
                sum[m][i / 2] += p;
            }
}

}  // namespace
}  // namespace kernels::cuda
