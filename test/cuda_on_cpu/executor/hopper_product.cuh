// A product by tensor copies and wgmma: one warpgroup loads tiles, two multiply them. The tests of the executor run it,
// and planted_bugs with a mistake; nvcc compiles it for sm_90a.
#pragma once

#include <type_traits>

#include "src/kernels/cuda/hopper.cuh"

namespace hopper_product {

enum class Mistake {
    no_fence_after_init,
    no_barrier_after_init,
    initialised_twice,
    never_initialised,
    misaligned_barrier,
    wrong_parity,
    polls_wrong_parity,
    too_few_bytes,
    too_many_bytes,
    bytes_not_expected,
    bytes_beyond_the_count,
    too_many_arrivals,
    load_not_waited_for,
    stage_not_waited_for,
    stage_given_back_early,
    misaligned_tile,
    tile_off_its_swizzle,
    no_wgmma_fence,
    registers_written_behind_fence,
    registers_overwritten,
    accumulators_written,
    accumulators_read_early,
    accumulators_not_named,
    wgmma_never_waited_for,
    warp_stays_away,
    different_descriptors,
    no_proxy_fence,
    no_barrier_before_store,
    source_overwritten,
    store_not_waited_for,
    uneven_registers,
    too_many_registers,
    more_registers_by_dec,
    named_barrier_of_others,
};

// Which mistake a kernel makes is an argument of it, and without one no code of it is left.
struct NoMistake {
    __device__ constexpr bool is(Mistake) const { return false; }
};
struct Makes {
    Mistake mistake;
    __device__ bool is(Mistake other) const { return mistake == other; }
};

constexpr int kRows = 128, kColumns = 64, kDepth = 64, kStages = 2, kThreads = 384;
constexpr int kTileA = kRows * kDepth, kTileB = kDepth * kColumns;
constexpr int kStageBytes = int(sizeof(bf16)) * (kTileA + kTileB);
constexpr size_t kSharedBytes = kStages * kStageBytes + sizeof(float) * kRows * kColumns;

// How `width` neighbours (of rows or of k) by `height` lie in a tile: boxes as wide as the swizzle, behind each other.
template <gpu::Swizzle SWIZZLE>
constexpr int kBoxBytes = 16 << int(SWIZZLE);
template <gpu::Swizzle SWIZZLE>
constexpr int kBoxColumns = kBoxBytes<SWIZZLE> / int(sizeof(bf16));

template <gpu::Swizzle SWIZZLE>
__device__ inline void load_tile(bf16* to, const CUtensorMap& map, uint64_t* barrier, int column, int row, int width,
                                 int height) {
    for (int i = 0; i < width; i += kBoxColumns<SWIZZLE>)
        gpu::tensor_load(to + i * height, map, barrier, {column + i, row});
}

// The descriptor of 16 columns of k of `size` rows, from the first of a tile of `height` rows in memory.
template <gpu::Swizzle SWIZZLE, bool TRANSPOSED>
__device__ inline uint64_t operand(const bf16* tile, int first, int k, int size) {
    constexpr int BOX = kBoxColumns<SWIZZLE>, BLOCK = 8 * kBoxBytes<SWIZZLE>;
    if constexpr (TRANSPOSED) {  // rows in memory are those of k
        const int next_box = kDepth * kBoxBytes<SWIZZLE>;
        const bf16* at = tile + first / BOX * BOX * kDepth + k * BOX + first % BOX;
        return SWIZZLE == gpu::Swizzle::none ? gpu::matrix_descriptor(at, BLOCK, next_box, SWIZZLE)
                                             : gpu::matrix_descriptor(at, next_box, BLOCK, SWIZZLE);
    } else {
        const int next_box = size * kBoxBytes<SWIZZLE>;
        return gpu::matrix_descriptor(tile + k / BOX * BOX * size + first * BOX + k % BOX, next_box, BLOCK, SWIZZLE);
    }
}

// Two neighbours in k of a row of a tile that is not transposed, wherever the swizzle has put them.
template <gpu::Swizzle SWIZZLE>
__device__ inline uint32_t pair_of(const bf16* tile, int row, int k, int size) {
    constexpr int BOX = kBoxColumns<SWIZZLE>;
    uint32_t at = uint32_t((k / BOX * size + row) * kBoxBytes<SWIZZLE> + k % BOX * int(sizeof(bf16)));
    at ^= (at >> 7 & ((1u << int(SWIZZLE)) - 1)) << 4;
    return *reinterpret_cast<const uint32_t*>(reinterpret_cast<const char*>(tile) + at);
}

// C (M, N) = A (M, K) * B (K, N), where A is stored as (K, M) if it is transposed and B, unless it is, as (N, K).
template <gpu::Swizzle SWIZZLE, bool A_TRANSPOSED, bool B_TRANSPOSED, bool A_IN_REGISTERS, class M>
__global__ void __launch_bounds__(kThreads, 1)
    product(const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap b_map,
            const __grid_constant__ CUtensorMap c_map, int K, M makes) {
    GPU_SHARED_TILES(bf16, shared);
    GPU_SHARED(uint64_t, barriers, [2 * kStages + 1]);
    uint64_t* const full = makes.is(Mistake::misaligned_barrier)
                               ? reinterpret_cast<uint64_t*>(reinterpret_cast<uint32_t*>(barriers) + 1)
                               : barriers;
    uint64_t* const empty = full + kStages;
    const int first_row = int(blockIdx.x) * kRows, first_column = int(blockIdx.y) * kColumns;
    const int group = int(threadIdx.x) / 128, tiles = (K + kDepth - 1) / kDepth;
    const int shift = makes.is(Mistake::misaligned_tile) ? 32 : makes.is(Mistake::tile_off_its_swizzle) ? 256 : 0;
    const auto tile_a = [&](int stage) { return shared + stage * (kTileA + kTileB) + shift; };

    if (threadIdx.x == 0) {
        for (int i = 0; i < kStages; i++) {
            gpu::mbarrier_init(full + i, 1);
            if (!makes.is(Mistake::never_initialised)) gpu::mbarrier_init(empty + i, 8);  // a thread of each warp
            if (makes.is(Mistake::initialised_twice)) gpu::mbarrier_init(full + i, 1);
        }
        if (!makes.is(Mistake::no_fence_after_init)) gpu::mbarrier_init_fence();
    }
    if (!makes.is(Mistake::no_barrier_after_init)) __syncthreads();

    if (group == 0) {
        if (makes.is(Mistake::more_registers_by_dec)) gpu::give_registers<200>();
        gpu::give_registers<40>();
        if (threadIdx.x != 0) return;
        for (int i = 0; i < tiles; i++) {
            const int stage = i % kStages, parity = i / kStages % 2;
            if (makes.is(Mistake::polls_wrong_parity)) {
                while (!gpu::mbarrier_test(empty + stage, parity)) {
                }
            } else if (!makes.is(Mistake::stage_not_waited_for)) {
                gpu::mbarrier_wait(empty + stage, makes.is(Mistake::wrong_parity) ? parity : parity ^ 1);
            }
            const int expected = makes.is(Mistake::too_few_bytes)            ? kStageBytes - 128
                                 : makes.is(Mistake::too_many_bytes)         ? kStageBytes + 128
                                 : makes.is(Mistake::bytes_beyond_the_count) ? 1 << 20
                                                                             : kStageBytes;
            if (makes.is(Mistake::bytes_not_expected)) {
                load_tile<SWIZZLE>(tile_a(stage), a_map, full + stage, i * kDepth, first_row, kDepth, kRows);
                gpu::mbarrier_arrive(full + stage);
                return;
            }
            gpu::mbarrier_arrive_expect(full + stage, unsigned(expected));
            if (makes.is(Mistake::too_many_arrivals)) gpu::mbarrier_arrive(full + stage);
            if constexpr (A_TRANSPOSED)
                load_tile<SWIZZLE>(tile_a(stage), a_map, full + stage, first_row, i * kDepth, kRows, kDepth);
            else
                load_tile<SWIZZLE>(tile_a(stage), a_map, full + stage, i * kDepth, first_row, kDepth, kRows);
            if constexpr (B_TRANSPOSED)
                load_tile<SWIZZLE>(tile_a(stage) + kTileA, b_map, full + stage, first_column, i * kDepth, kColumns,
                                   kDepth);
            else
                load_tile<SWIZZLE>(tile_a(stage) + kTileA, b_map, full + stage, i * kDepth, first_column, kDepth,
                                   kColumns);
        }
        return;
    }

    if (makes.is(Mistake::uneven_registers)) gpu::take_registers<228>();
    if (makes.is(Mistake::too_many_registers)) gpu::take_registers<240>();
    if (!makes.is(Mistake::too_many_registers)) gpu::take_registers<232>();
    const int thread = int(threadIdx.x) % 128, lane = thread % 32, rows_before = (group - 1) * 64;
    float sums[32];
#pragma unroll
    for (int i = 0; i < 32; i++) sums[i] = 0.0f;
    uint32_t rows[kDepth / 16][4] = {};
    for (int i = 0; i < tiles; i++) {
        const int stage = i % kStages;
        const bf16 *a = tile_a(stage), *b = a + kTileA;
        if (!makes.is(Mistake::load_not_waited_for)) gpu::mbarrier_wait(full + stage, i / kStages % 2);
        if (makes.is(Mistake::registers_written_behind_fence)) gpu::wgmma_fence(sums);
        if constexpr (A_IN_REGISTERS)
#pragma unroll
            for (int k = 0; k < kDepth / 16; k++)
#pragma unroll
                for (int j = 0; j < 4; j++)
                    rows[k][j] = pair_of<SWIZZLE>(a, rows_before + thread / 32 * 16 + lane / 4 + j % 2 * 8,
                                                  k * 16 + lane % 4 * 2 + j / 2 * 8, kRows);
        if (makes.is(Mistake::warp_stays_away)) {
            if (thread < 96) gpu::wgmma_fence(sums);
        } else if (!makes.is(Mistake::no_wgmma_fence) && !makes.is(Mistake::registers_written_behind_fence)) {
            gpu::wgmma_fence(sums);
        }
#pragma unroll
        for (int k = 0; k < kDepth / 16; k++) {
            const bool other = makes.is(Mistake::different_descriptors) && thread == 127;
            const uint64_t right = operand<SWIZZLE, B_TRANSPOSED>(b, 0, other ? 0 : k * 16, kColumns);
            if constexpr (A_IN_REGISTERS)
                gpu::wgmma<kColumns, B_TRANSPOSED>(sums, rows[k], right, i + k > 0);
            else
                gpu::wgmma<kColumns, A_TRANSPOSED, B_TRANSPOSED>(
                    sums, operand<SWIZZLE, A_TRANSPOSED>(a, rows_before, k * 16, kRows), right, i + k > 0);
        }
        gpu::wgmma_commit();
        if (makes.is(Mistake::registers_overwritten)) rows[0][1] ^= 1;
        if (makes.is(Mistake::accumulators_written)) sums[5] = 0.0f;
        if (makes.is(Mistake::stage_given_back_early) && lane == 0) gpu::mbarrier_arrive(empty + stage);
        if (makes.is(Mistake::accumulators_not_named))
            gpu::wgmma_wait<0>();
        else if (makes.is(Mistake::accumulators_read_early) || makes.is(Mistake::wgmma_never_waited_for))
            gpu::wgmma_wait<1>(sums);
        else
            gpu::wgmma_wait<0>(sums);
        __syncwarp();  // the other lanes have read their rows, too
        if (!makes.is(Mistake::stage_given_back_early) && lane == 0) gpu::mbarrier_arrive(empty + stage);
    }

    float* const tile_c = reinterpret_cast<float*>(shared + kStages * (kTileA + kTileB)) + rows_before * kColumns;
#pragma unroll
    for (int i = 0; i < 32; i++)
        tile_c[(thread / 32 * 16 + lane / 4 + i / 2 % 2 * 8) * kColumns + i / 4 * 8 + lane % 4 * 2 + i % 2] = sums[i];
    if (makes.is(Mistake::accumulators_read_early)) gpu::wgmma_wait<0>(sums);
    if (!makes.is(Mistake::no_proxy_fence)) gpu::fence_proxy_async();
    if (!makes.is(Mistake::no_barrier_before_store))
        gpu::named_barrier_sync(group, makes.is(Mistake::named_barrier_of_others) && thread >= 64 ? 64 : 128);
    if (thread != 0) return;
    gpu::tensor_store(c_map, {first_column, first_row + rows_before}, tile_c);
    gpu::bulk_commit();
    if (makes.is(Mistake::source_overwritten)) tile_c[0] = -1.0f;
    if (!makes.is(Mistake::store_not_waited_for)) gpu::bulk_wait_read<0>();
}

// ---- on the host -------------------------------------------------------------------------------------------------

// A map of a row-major matrix, whose rows are `pitch` elements apart.
template <class T>
inline CUresult matrix_map(CUtensorMap* map, T* matrix, int rows, int columns, int pitch, int box_rows, int box_columns,
                           gpu::Swizzle swizzle) {
    const cuuint64_t dims[2] = {cuuint64_t(columns), cuuint64_t(rows)}, strides[1] = {sizeof(T) * cuuint64_t(pitch)};
    const cuuint32_t box[2] = {cuuint32_t(box_columns), cuuint32_t(box_rows)};
    return gpu::encode_tensor_map(map,
                                  sizeof(T) == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
                                  2, matrix, dims, strides, box, CUtensorMapSwizzle(swizzle));
}

// Launches the product; all three matrices are row-major, as they are stored, with rows `pitch` elements apart.
template <gpu::Swizzle SWIZZLE, bool A_TRANSPOSED, bool B_TRANSPOSED, bool A_IN_REGISTERS, class M = NoMistake>
inline CUresult run_product(float* c, bf16* a, bf16* b, int rows, int N, int K, int a_pitch, int b_pitch, int c_pitch,
                            M makes = {}) {
    CUtensorMap a_map, b_map, c_map;
    constexpr int BOX = kBoxColumns<SWIZZLE>;
    const CUresult errors[3] = {A_TRANSPOSED ? matrix_map(&a_map, a, K, rows, a_pitch, kDepth, BOX, SWIZZLE)
                                             : matrix_map(&a_map, a, rows, K, a_pitch, kRows, BOX, SWIZZLE),
                                B_TRANSPOSED ? matrix_map(&b_map, b, K, N, b_pitch, kDepth, BOX, SWIZZLE)
                                             : matrix_map(&b_map, b, N, K, b_pitch, kColumns, BOX, SWIZZLE),
                                matrix_map(&c_map, c, rows, N, c_pitch, 64, kColumns, gpu::Swizzle::none)};
    for (const CUresult error : errors)
        if (error != CUDA_SUCCESS) return error;
    const auto kernel = product<SWIZZLE, A_TRANSPOSED, B_TRANSPOSED, A_IN_REGISTERS, M>;
    constexpr size_t BYTES = kSharedBytes + (std::is_same_v<M, NoMistake> ? 0 : 1024);
    gpu::allow_smem(kernel, BYTES);
    launch(kernel, dim3(gpu::div_ceil(rows, kRows), gpu::div_ceil(N, kColumns)), kThreads, BYTES, nullptr, a_map, b_map,
           c_map, K, makes);
    return CUDA_SUCCESS;
}

}  // namespace hopper_product
