// Attention for any type, head size up to kMaxHeadSize and alignment, in fp32. As in the flash kernels, a warp owns
// rows (R of them), and streams tiles of the other side through shared memory, one tile row a lane.
#pragma once

#include "kernels/cuda/attention_common.cuh"

namespace kernels::cuda {
namespace {

constexpr int64_t kMaxHeadSize = 256;
constexpr int kPlainTile = 32, kPlainWarps = 4, kPlainThreads = 32 * kPlainWarps;

// A lane holds the columns lane + 32 i, i < NC, of each of its warp's rows.
template <int R, int NC>
using PlainSums = float[R][NC];
// Rows that a warp may own; fewer with long heads, so that all fits in 99 KiB.
template <int NC>
constexpr int kPlainRows = NC > 4 ? 4 : 8;
// Blocks that a multiprocessor should hold at once: with long heads what shared memory has room for, with short ones
// what registers allow without spills.
template <int NC>
constexpr int kPlainBlocks = NC == 1   ? 6
                             : NC == 2 ? 5
                             : NC <= 4 ? 3
                                       : 2;

// The length of a tile row is odd, so that 32 rows of a column lie in different banks.
__host__ __device__ inline int tile_pitch(int HS) { return HS | 1; }
// A column of what the block's rows own is longer than it needs to be, so that a row's columns, as they are loaded, lie
// in eight different places of the banks, not in one; long heads leave no room for that.
template <int R>
constexpr int kOwnedPitch = R* kPlainWarps + (R > 4 ? 4 : 0);
template <int NC>
size_t plain_shared(int owned, int HS) {
    constexpr int R = kPlainRows<NC>, weights = R * kPlainWarps * kPlainTile;
    return (owned * HS * kOwnedPitch<R> + weights + 2 * kPlainTile * tile_pitch(HS)) * sizeof(float);
}

// Shared memory of a block: what its rows own, [HS][kOwnedPitch] each, weights, two tiles.
template <int R>
struct PlainShared {
    float *base, *weights, *tiles;
    int HS;
    __device__ PlainShared(float* base, int owned, int HS)
        : base(base),
          weights(base + owned * HS * kOwnedPitch<R>),
          tiles(weights + R * kPlainWarps * kPlainTile),
          HS(HS) {}
    __device__ float* owned(int i) const { return base + i * HS * kOwnedPitch<R>; }
    __device__ float* tile(int i) const { return tiles + i * kPlainTile * tile_pitch(HS); }
};

// Loads the block's rows of (T, HS) from the first one on, transposed; rows from T on are zero.
template <int R, class T>
__device__ inline void load_owned(float* to, const T* from, int first, int seq_len, int HS, int ld) {
    for (int i = threadIdx.x; i < R * kPlainWarps * HS; i += kPlainThreads) {
        const int row = i / HS, c = i % HS;
        const bool exists = first + row < seq_len;
        to[c * kOwnedPitch<R> + row] = exists ? gpu::to_float(from[int64_t(first + row) * ld + c]) : 0.0f;
    }
}
// Loads rows [first, first + kPlainTile) of (T, HS) into a tile; rows from T on are zero.
template <class T>
__device__ inline void load_plain_tile(float* to, const T* from, int first, int seq_len, int HS, int ld) {
    for (int i = threadIdx.x; i < kPlainTile * HS; i += kPlainThreads) {
        const int row = i / HS, c = i % HS;
        const bool exists = first + row < seq_len;
        to[row * tile_pitch(HS) + c] = exists ? gpu::to_float(from[int64_t(first + row) * ld + c]) : 0.0f;
    }
}

// R neighbours in shared memory, the same for the whole warp.
template <int R>
__device__ inline void load_broadcast(float (&values)[R], const float* from) {
#pragma unroll
    for (int r = 0; r < R; r += 4) {
        const float4 four = *reinterpret_cast<const float4*>(from + r);
        values[r] = four.x, values[r + 1] = four.y, values[r + 2] = four.z, values[r + 3] = four.w;
    }
}

// sums[r] = the warp's row r times the lane's row of the tile
template <int R>
__device__ inline void multiply_transposed(float (&sums)[R], const float* owned, const float* tile, int HS) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
#pragma unroll
    for (int r = 0; r < R; r++) sums[r] = 0;
#pragma unroll 4
    for (int c = 0; c < HS; c++) {
        const float x = tile[lane * tile_pitch(HS) + c];
        float rows[R];
        load_broadcast(rows, owned + c * kOwnedPitch<R> + warp * R);
#pragma unroll
        for (int r = 0; r < R; r++) sums[r] += rows[r] * x;
    }
}

// sums[r] += sum over the tile's rows of their weight for row r (which the row's lane has) times the row
template <int R, int NC>
__device__ inline void multiply_add(PlainSums<R, NC>& sums, const float (&weights)[R], float* exchange,
                                    const float* tile, int HS) {
    const int lane = threadIdx.x & 31;
    exchange += (threadIdx.x >> 5) * kPlainTile * R;
    __syncwarp();  // the previous weights may still be read
#pragma unroll
    for (int r = 0; r < R; r += 4)
        *reinterpret_cast<float4*>(exchange + lane * R + r) =
            make_float4(weights[r], weights[r + 1], weights[r + 2], weights[r + 3]);
    __syncwarp();
#pragma unroll 4
    for (int j = 0; j < kPlainTile; j++) {
        float of_row[R];
        load_broadcast(of_row, exchange + j * R);
#pragma unroll
        for (int i = 0; i < NC; i++) {
            const float x = tile[j * tile_pitch(HS) + min(lane + 32 * i, HS - 1)];
#pragma unroll
            for (int r = 0; r < R; r++) sums[r][i] += of_row[r] * x;
        }
    }
}

// Stores a warp's rows of (T, HS) from the first one on, times `scale`.
template <int R, int NC, class T>
__device__ inline void store_plain(T* to, const PlainSums<R, NC>& sums, float scale, int first, int seq_len, int HS,
                                   int ld) {
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int i = 0; i < NC; i++) {
            const int c = (threadIdx.x & 31) + 32 * i;
            if (first + r < seq_len && c < HS) to[int64_t(first + r) * ld + c] = gpu::from_float<T>(scale * sums[r][i]);
        }
}

// out (B*seq_len, C), lse (B, NH, seq_len), qkv (B*seq_len, 3C). scale is that of the scores.
template <class T, int NC>
__global__ void __launch_bounds__(kPlainThreads, kPlainBlocks<NC>)
    plain_forward(T* out, float* lse, const T* qkv, int seq_len, int HS, float scale) {
    constexpr int R = kPlainRows<NC>, ROWS = R * kPlainWarps;
    GPU_SHARED_DYNAMIC(float, dynamic);
    const PlainShared<R> shared(dynamic, 1, HS);
    const Head head(seq_len, HS);
    const int first_query = int(gridDim.x - 1 - blockIdx.x) * ROWS;
    const int row = first_query + int(threadIdx.x >> 5) * R, lane = threadIdx.x & 31;
    const int ld = 3 * head.C;
    const T* q = qkv + head.input;

    load_owned<R>(shared.owned(0), q, first_query, seq_len, HS, ld);
    PlainSums<R, NC> sums = {};
    float reference[R], sum[R];
#pragma unroll
    for (int r = 0; r < R; r++) reference[r] = -INFINITY, sum[r] = 0;
    const int last_key = min(first_query + ROWS, seq_len);
    for (int first_key = 0; first_key < last_key; first_key += kPlainTile) {
        load_plain_tile(shared.tile(0), q + head.C, first_key, seq_len, HS, ld);
        load_plain_tile(shared.tile(1), q + 2 * head.C, first_key, seq_len, HS, ld);
        __syncthreads();
        float p[R];
        multiply_transposed(p, shared.owned(0), shared.tile(0), HS);
#pragma unroll
        for (int r = 0; r < R; r++) {
            p[r] = first_key + lane > row + r ? -INFINITY : p[r] * (scale * kLog2e);
            const float largest = fmaxf(reference[r], gpu::warp_max(p[r]));
            const float shrink = gpu::exp2_approx(reference[r] - largest);
            reference[r] = largest;
            p[r] = gpu::exp2_approx(p[r] - largest);
            sum[r] = sum[r] * shrink + p[r];
#pragma unroll
            for (int i = 0; i < NC; i++) sums[r][i] *= shrink;
        }
        multiply_add<R, NC>(sums, p, shared.weights, shared.tile(1), HS);
        __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < R; r++) {
        const float total = gpu::warp_sum(sum[r]), inverse = 1.0f / total;
#pragma unroll
        for (int i = 0; i < NC; i++) sums[r][i] *= inverse;
        if (lane == 0 && row + r < seq_len)
            lse[int64_t(head.index) * seq_len + row + r] = kLn2 * (reference[r] + log2f(total));
    }
    store_plain<R, NC>(out + head.output, sums, 1.0f, row, seq_len, HS, head.C);
}

// Turns one score into p, and its dp into ds = p (dp - dot).
__device__ inline void differentiate(float& p, float& ds, const QueryStats& query, bool visible, float scale) {
    p = visible ? gpu::exp2_approx(p * (scale * kLog2e) - query.lse) : 0.0f;
    ds = p * (ds + query.minus_dot);
}

// dk and dv: a block owns keys and streams queries. dqkv, qkv (B*seq_len, 3C); dout (B*seq_len, C); stats (B, NH,
// padded).
template <class T, int NC>
__global__ void __launch_bounds__(kPlainThreads, kPlainBlocks<NC>)
    plain_backward_keys(T* dqkv, const T* dout, const T* qkv, const QueryStats* stats, int seq_len, int padded, int HS,
                        float scale) {
    constexpr int R = kPlainRows<NC>, ROWS = R * kPlainWarps;
    GPU_SHARED_DYNAMIC(float, dynamic);
    const PlainShared<R> shared(dynamic, 2, HS);
    const Head head(seq_len, HS);
    const int first_key = int(blockIdx.x) * ROWS;
    const int row = first_key + int(threadIdx.x >> 5) * R, lane = threadIdx.x & 31;
    const int ld = 3 * head.C;
    const T* q = qkv + head.input;

    load_owned<R>(shared.owned(0), q + head.C, first_key, seq_len, HS, ld);
    load_owned<R>(shared.owned(1), q + 2 * head.C, first_key, seq_len, HS, ld);
    PlainSums<R, NC> dk = {}, dv = {};
    for (int first = first_key / kPlainTile * kPlainTile; first < seq_len; first += kPlainTile) {
        load_plain_tile(shared.tile(0), q, first, seq_len, HS, ld);
        load_plain_tile(shared.tile(1), dout + head.output, first, seq_len, HS, head.C);
        __syncthreads();
        float p[R], ds[R];
        multiply_transposed(p, shared.owned(0), shared.tile(0), HS);
        multiply_transposed(ds, shared.owned(1), shared.tile(1), HS);
        const QueryStats query = stats[int64_t(head.index) * padded + first + lane];
#pragma unroll
        for (int r = 0; r < R; r++) differentiate(p[r], ds[r], query, row + r <= first + lane, scale);
        multiply_add<R, NC>(dv, p, shared.weights, shared.tile(1), HS);
        multiply_add<R, NC>(dk, ds, shared.weights, shared.tile(0), HS);
        __syncthreads();
    }
    store_plain<R, NC>(dqkv + head.input + head.C, dk, scale, row, seq_len, HS, ld);
    store_plain<R, NC>(dqkv + head.input + 2 * head.C, dv, 1.0f, row, seq_len, HS, ld);
}

// dq: a block owns queries and streams keys. dqkv, qkv (B*seq_len, 3C); dout (B*seq_len, C); stats (B, NH, padded).
template <class T, int NC>
__global__ void __launch_bounds__(kPlainThreads, kPlainBlocks<NC>)
    plain_backward_queries(T* dqkv, const T* dout, const T* qkv, const QueryStats* stats, int seq_len, int padded,
                           int HS, float scale) {
    constexpr int R = kPlainRows<NC>, ROWS = R * kPlainWarps;
    static_assert(kPadding % ROWS == 0 && kPadding % kPlainTile == 0);
    GPU_SHARED_DYNAMIC(float, dynamic);
    const PlainShared<R> shared(dynamic, 2, HS);
    const Head head(seq_len, HS);
    const int first_query = int(gridDim.x - 1 - blockIdx.x) * ROWS;
    const int row = first_query + int(threadIdx.x >> 5) * R, lane = threadIdx.x & 31;
    const int ld = 3 * head.C;
    const T* q = qkv + head.input;

    load_owned<R>(shared.owned(0), q, first_query, seq_len, HS, ld);
    load_owned<R>(shared.owned(1), dout + head.output, first_query, seq_len, HS, head.C);
    QueryStats of_query[R];
#pragma unroll
    for (int r = 0; r < R; r++) of_query[r] = stats[int64_t(head.index) * padded + row + r];
    PlainSums<R, NC> dq = {};
    const int last_key = min(first_query + ROWS, seq_len);
    for (int first = 0; first < last_key; first += kPlainTile) {
        load_plain_tile(shared.tile(0), q + head.C, first, seq_len, HS, ld);
        load_plain_tile(shared.tile(1), q + 2 * head.C, first, seq_len, HS, ld);
        __syncthreads();
        float p[R], ds[R];
        multiply_transposed(p, shared.owned(0), shared.tile(0), HS);
        multiply_transposed(ds, shared.owned(1), shared.tile(1), HS);
#pragma unroll
        for (int r = 0; r < R; r++) differentiate(p[r], ds[r], of_query[r], first + lane <= row + r, scale);
        multiply_add<R, NC>(dq, ds, shared.weights, shared.tile(0), HS);
        __syncthreads();
    }
    store_plain<R, NC>(dqkv + head.input, dq, scale, row, seq_len, HS, ld);
}

}  // namespace
}  // namespace kernels::cuda
