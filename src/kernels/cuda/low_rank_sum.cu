// W + scale * B A in one pass over W, by tensor cores: the product never leaves the registers that it is summed in.
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/dither.cuh"
#include "kernels/cuda/fragments.cuh"

namespace kernels::cuda {
namespace {

// A block takes kRows x kColumns of W, and kDepth of the rank at a time; each of its warps has WARP_ROWS x
// WARP_COLUMNS.
constexpr int kRows = 128, kColumns = 128, kDepth = 32, kThreads = 256;
constexpr int kWarpRows = 32, kWarpColumns = 64, kWarpsAcross = kColumns / kWarpColumns;
static_assert(kRows / kWarpRows * kWarpsAcross == kThreads / 32);
constexpr int kSlice = kSliceSize<bf16>;  // what threads move at a time, and own of W
// Rows in shared memory are 16 bytes longer than they need to be, so that eight rows of a column lie in different
// banks.
constexpr int kPitchB = kDepth + 8, kPitchA = kColumns + 8;
constexpr int kTileB = kRows * kPitchB, kTileA = kDepth * kPitchA;

// Starts copying rows x cols numbers at `from` into a tile; rows from rows_left on and columns from cols_left on, a
// multiple of 8, become zero.
template <int ROWS, int COLS, int PITCH>
__device__ inline void load_tile(bf16* tile, const bf16* from, int ld, int rows_left, int cols_left) {
    constexpr int ACROSS = COLS / kSlice, STEP = kThreads / ACROSS;
    static_assert(ROWS % STEP == 0);
    const int column = threadIdx.x % ACROSS * kSlice, row = threadIdx.x / ACROSS;
#pragma unroll
    for (int i = 0; i < ROWS; i += STEP) {
        const bool exists = row + i < rows_left && column < cols_left;
        const bf16* at = from + (exists ? int64_t(row + i) * ld + column : 0);
        gpu::cp_async16_zfill(tile + (row + i) * PITCH + column, at, exists);
    }
}

// out, w (sections * rows, cols); b (sections * rows, rank); a (sections * rank, cols). cols and rank are multiples of
// 8. The grid is (blocks of columns, blocks of a section's rows, sections).
__global__ void __launch_bounds__(kThreads, 2)
    low_rank_sum(bf16* out, const bf16* w, const bf16* b, const bf16* a, int rows, int cols, int rank, float scale,
                 rng::Stream stream) {
    GPU_SHARED(bf16, tiles, [2 * (kTileB + kTileA)]);  // two stages
    const int first_row = int(blockIdx.y) * kRows, first_column = int(blockIdx.x) * kColumns;
    const int64_t section_row = int64_t(blockIdx.z) * rows;
    const bf16* block_b = b + (section_row + first_row) * rank;
    const bf16* block_a = a + int64_t(blockIdx.z) * rank * cols + first_column;
    const auto load = [&](int depth) {
        bf16* to = tiles + (depth / kDepth % 2) * (kTileB + kTileA);
        load_tile<kRows, kDepth, kPitchB>(to, block_b + depth, rank, rows - first_row, rank - depth);
        load_tile<kDepth, kColumns, kPitchA>(to + kTileB, block_a + int64_t(depth) * cols, cols, rank - depth,
                                             cols - first_column);
        gpu::cp_async_commit();
    };
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int row = warp / kWarpsAcross * kWarpRows, column = warp % kWarpsAcross * kWarpColumns;
    const int left_at = (row + (lane & 15)) * kPitchB + (lane >> 4) * 8;
    const int right_at = (lane & 15) * kPitchA + column + (lane >> 4) * 8;

    float sums[kWarpRows / 16][kWarpColumns / 8][4] = {};
    load(0);
    for (int depth = 0; depth < rank; depth += kDepth) {
        gpu::cp_async_wait<0>();
        __syncthreads();  // the tiles are here, and nobody reads the ones before them any more
        if (depth + kDepth < rank) load(depth + kDepth);
        const bf16* tile_b = tiles + (depth / kDepth % 2) * (kTileB + kTileA) + left_at;
        const bf16* tile_a = tiles + (depth / kDepth % 2) * (kTileB + kTileA) + kTileB + right_at;
#pragma unroll
        for (int k = 0; k < kDepth; k += 16) {
            uint32_t left[kWarpRows / 16][4];
#pragma unroll
            for (int m = 0; m < kWarpRows / 16; m++) gpu::ldmatrix<4>(left[m], tile_b + m * 16 * kPitchB + k);
#pragma unroll
            for (int n = 0; n < kWarpColumns / 8; n += 2) {
                uint32_t right[4];
                gpu::ldmatrix_trans<4>(right, tile_a + k * kPitchA + n * 8);
                const uint32_t low[2] = {right[0], right[1]}, high[2] = {right[2], right[3]};
#pragma unroll
                for (int m = 0; m < kWarpRows / 16; m++) {
                    gpu::mma_bf16(sums[m][n], left[m], low, sums[m][n]);
                    gpu::mma_bf16(sums[m][n + 1], left[m], high, sums[m][n + 1]);
                }
            }
        }
    }

    // Four lanes of a row exchange their numbers of four fragments, so that each owns 8 neighbours.
#pragma unroll
    for (int m = 0; m < kWarpRows / 16; m++)
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int n = 0; n < kWarpColumns / 8; n += 4) {
                uint32_t even[4], odd[4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    even[i] = __float_as_uint(sums[m][n + i][2 * half]);
                    odd[i] = __float_as_uint(sums[m][n + i][2 * half + 1]);
                }
                transpose_quad(even);
                transpose_quad(odd);
                const int at_row = first_row + row + m * 16 + half * 8 + fragment_row();
                const int at_column = first_column + column + (n + (lane & 3)) * 8;
                if (at_row >= rows || at_column >= cols) continue;
                Floats<kSlice> update;
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    update.v[2 * i] = scale * __uint_as_float(even[i]);
                    update.v[2 * i + 1] = scale * __uint_as_float(odd[i]);
                }
                const int64_t at = (section_row + at_row) * cols + at_column;
                store_slice(out + at, dithered_sum(load_slice<kSlice>(w + at), update, stream, at));
            }
}

}  // namespace

bool add_low_rank(bf16* out, const bf16* w, const bf16* b, const bf16* a, int sections, int64_t rows, int64_t cols,
                  int64_t rank, float scale, const rng::Stream& stream) {
    if (rank % kSlice != 0 || !sliceable<kSlice>(cols, out, w, b, a)) return false;
    const dim3 grid(gpu::div_ceil(cols, kColumns), gpu::div_ceil(rows, kRows), unsigned(sections));
    gpu::run(low_rank_sum, grid, kThreads, 0, out, w, b, a, int(rows), int(cols), int(rank), scale, stream);
    return true;
}

}  // namespace kernels::cuda
