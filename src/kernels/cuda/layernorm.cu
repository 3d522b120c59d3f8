// Layer norm and its gradient. A row stays in the registers of a few warps.
#include <algorithm>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/slices.cuh"

namespace kernels::cuda {
namespace {

constexpr float kEpsilon = 1e-5f;

// How a block shares out rows: a team of WARPS a row, where a thread holds COLUMNS of it in slices of SIZE.
template <int SIZE, int COLUMNS, int WARPS>
struct Tiling {
    static constexpr int kSize = SIZE, kColumns = COLUMNS, kSlices = COLUMNS / SIZE;
    static constexpr int kTeam = 32 * WARPS, kThreads = std::max(kTeam, 256), kTeams = kThreads / kTeam;
    static constexpr int64_t kMaxColumns = kTeam * COLUMNS;

    __device__ static int team() { return threadIdx.x / kTeam; }
    __device__ static int column(int slice) { return (slice * kTeam + int(threadIdx.x) % kTeam) * SIZE; }
    // The sum over the team; all threads of the block take part.
    __device__ static float sum(float v) {
        v = gpu::warp_sum(v);
        if constexpr (WARPS > 1) {
            GPU_SHARED(float, warp_sums, [kThreads / 32]);
            __syncthreads();  // a previous call's values may still be read
            if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = v;
            __syncthreads();
            v = 0;
#pragma unroll
            for (int w = 0; w < WARPS; w++) v += warp_sums[team() * WARPS + w];
        }
        return v;
    }
};

// Calls run with the narrowest tiling that holds C columns.
template <class T, class Run>
void with_tiling(bool sliced, int64_t C, const Run& run) {
    constexpr int SIZE = kSliceSize<T>;
    using Widest = Tiling<SIZE, 32, 8>;
    static_assert(Widest::kMaxColumns == Tiling<1, 16, 16>::kMaxColumns);
    CHECK(C <= Widest::kMaxColumns, "layer norm of ", C, " columns, at most ", Widest::kMaxColumns, " on the GPU");
    if (!sliced) {
        if (C <= Tiling<1, 16, 1>::kMaxColumns) return run(Tiling<1, 16, 1>());
        return run(Tiling<1, 16, 16>());
    }
    if (C <= Tiling<SIZE, 24, 1>::kMaxColumns) return run(Tiling<SIZE, 24, 1>());
    if (C <= Tiling<SIZE, 32, 1>::kMaxColumns) return run(Tiling<SIZE, 32, 1>());
    if (C <= Tiling<SIZE, 32, 2>::kMaxColumns) return run(Tiling<SIZE, 32, 2>());
    if (C <= Tiling<SIZE, 32, 4>::kMaxColumns) return run(Tiling<SIZE, 32, 4>());
    return run(Widest());
}

// ---- forward -----------------------------------------------------------------------------------------------------

// Blocks that a multiprocessor should hold at once: as many as registers allow without spills.
template <class T, class S>
inline constexpr int kNormalizeBlocks = S::kSize == 1    ? 1
                                        : sizeof(T) == 2 ? 5
                                                         : 2;

// out, x (N, C); weight, bias (C); mean, rstd (N). S is the tiling.
template <class T, class S>
__global__ void __launch_bounds__(S::kThreads, kNormalizeBlocks<T, S>)
    normalize(T* out, float* mean, float* rstd, const T* x, const T* weight, const T* bias, int64_t N, int C) {
    using Part = Slice<T, S::kSize>;
    const int64_t row = int64_t(blockIdx.x) * S::kTeams + S::team(), at = row * C;
    const int columns = row < N ? C : 0;

    Part v[S::kSlices];
#pragma unroll
    for (int i = 0; i < S::kSlices; i++)
        if (S::column(i) < columns) v[i] = load_slice<S::kSize>(x + at + S::column(i));

    float total = 0;
#pragma unroll
    for (int i = 0; i < S::kSlices; i++) {
        if (S::column(i) >= columns) continue;
#pragma unroll
        for (int k = 0; k < S::kSize; k++) total += v[i][k];
    }
    const float m = S::sum(total) / float(C);
    float squares = 0;
#pragma unroll
    for (int i = 0; i < S::kSlices; i++) {
        if (S::column(i) >= columns) continue;
#pragma unroll
        for (int k = 0; k < S::kSize; k++) {
            const float centred = v[i][k] - m;
            squares += centred * centred;
        }
    }
    const float r = 1.0f / sqrtf(S::sum(squares) / float(C) + kEpsilon);
#pragma unroll
    for (int i = 0; i < S::kSlices; i++) {
        const int c = S::column(i);
        if (c >= columns) continue;
        const Floats<S::kSize> w = load_floats<S::kSize>(weight + c), b = load_floats<S::kSize>(bias + c);
        Floats<S::kSize> result;
#pragma unroll
        for (int k = 0; k < S::kSize; k++) result.v[k] = (v[i][k] - m) * r * w.v[k] + b.v[k];
        store_floats(out + at + c, result);
    }
    if (columns > 0 && threadIdx.x % S::kTeam == 0) {
        mean[row] = m;
        rstd[row] = r;
    }
}

// ---- backward ----------------------------------------------------------------------------------------------------

constexpr int kMinRows = 16;    // a block's fewest
constexpr int kMaxParts = 512;  // enough to fill any GPU, few enough that adding them up is short

// Two blocks a multiprocessor where their registers allow it without spills.
template <class T, class S>
inline constexpr int kMinBlocks = sizeof(T) == 2 && S::kSize > 1 && S::kColumns <= 24 ? 2 : 1;

// Computes dx of the block's `rows` rows, and the sums of dweight, dbias and dx over them, into partials (blocks, 3,
// C). dx, dout, x (N, C); weight (C); mean, rstd (N).
template <class T, class S>
__global__ void __launch_bounds__(S::kThreads, kMinBlocks<T, S>)
    row_gradients(T* dx, float* partials, const T* dout, const T* x, const T* weight, const float* mean,
                  const float* rstd, int64_t N, int C, int rows, bool accumulate_dx) {
    using Part = Slice<T, S::kSize>;
    const int64_t first = int64_t(blockIdx.x) * rows;
    const int count = N - first < rows ? int(N - first) : rows;
    Floats<S::kSize> weight_sum[S::kSlices] = {}, bias_sum[S::kSlices] = {}, dx_sum[S::kSlices] = {};
    for (int step = 0; step < count; step += S::kTeams) {
        const int64_t row = first + step + S::team(), at = row * C;
        const int columns = step + S::team() < count ? C : 0;
        Part g[S::kSlices], v[S::kSlices], before[S::kSlices] = {};
#pragma unroll
        for (int i = 0; i < S::kSlices; i++) {
            const int c = S::column(i);
            if (c >= columns) continue;
            g[i] = load_slice<S::kSize>(dout + at + c);
            v[i] = load_slice<S::kSize>(x + at + c);
            if (accumulate_dx) before[i] = load_slice<S::kSize>(dx + at + c);
        }
        const float m = columns > 0 ? mean[row] : 0.0f, r = columns > 0 ? rstd[row] : 0.0f;

        float dnorm_sum = 0, dnorm_norm_sum = 0;
#pragma unroll
        for (int i = 0; i < S::kSlices; i++) {
            if (S::column(i) >= columns) continue;
            const Part w = load_slice<S::kSize>(weight + S::column(i));
#pragma unroll
            for (int k = 0; k < S::kSize; k++) {
                const float gradient = g[i][k], norm = (v[i][k] - m) * r;
                const float dnorm = gradient * w[k];
                dnorm_sum += dnorm;
                dnorm_norm_sum += dnorm * norm;
                weight_sum[i].v[k] += gradient * norm;
                bias_sum[i].v[k] += gradient;
            }
        }
        const float a = S::sum(dnorm_sum) / float(C), b = S::sum(dnorm_norm_sum) / float(C);
#pragma unroll
        for (int i = 0; i < S::kSlices; i++) {
            if (S::column(i) >= columns) continue;
            const Part w = load_slice<S::kSize>(weight + S::column(i));
            Floats<S::kSize> result = to_floats(before[i]);
#pragma unroll
            for (int k = 0; k < S::kSize; k++) {
                const float dnorm = g[i][k] * w[k];
                result.v[k] += (dnorm - a - (v[i][k] - m) * r * b) * r;
                dx_sum[i].v[k] += result.v[k];
            }
            store_floats(dx + at + S::column(i), result);
        }
    }

    // The teams' sums of a column are added in their order.
    GPU_SHARED(float, sums, [S::kTeams][S::kMaxColumns]);
    float* to = partials + int64_t(blockIdx.x) * 3 * C;
    const auto add_teams = [&](const Floats<S::kSize>(&own)[S::kSlices], float* total) {
        __syncthreads();
#pragma unroll
        for (int i = 0; i < S::kSlices; i++) store_slice(&sums[S::team()][S::column(i)], own[i]);
        __syncthreads();
        for (int c = threadIdx.x; c < C; c += S::kThreads) {
            float sum = 0;
#pragma unroll
            for (int t = 0; t < S::kTeams; t++) sum += sums[t][c];
            total[c] = sum;
        }
    };
    add_teams(weight_sum, to);
    add_teams(bias_sum, to + C);
    add_teams(dx_sum, to + 2 * C);
}

constexpr int kPartLanes = 8;  // columns of a block that adds parts: few, so that many blocks share the way down
constexpr int kPartRows = 32, kPartThreads = kPartRows * kPartLanes;

// dweight, dbias and, unless it is null, dx_sums (C) (+)= the sums over the first axis of partials (parts, 3, C).
__global__ void __launch_bounds__(kPartThreads)
    add_parts(float* dweight, float* dbias, float* dx_sums, const float* partials, int parts, int C, bool accumulate) {
    GPU_SHARED(float, sums, [kPartRows][kPartLanes]);
    const int lane = threadIdx.x % kPartLanes, part_row = threadIdx.x / kPartLanes;
    const int column = blockIdx.x * kPartLanes + lane;  // of all three side by side
    const int columns = dx_sums ? 3 * C : 2 * C;
    float sum = 0;
    if (column < columns) {
#pragma unroll 16
        for (int p = part_row; p < parts; p += kPartRows) sum += partials[int64_t(p) * 3 * C + column];
    }
    sums[part_row][lane] = sum;
    __syncthreads();
    if (part_row == 0 && column < columns) {
        float total = 0;
#pragma unroll
        for (int i = 0; i < kPartRows; i++) total += sums[i][lane];
        float& to = column < C ? dweight[column] : column < 2 * C ? dbias[column - C] : dx_sums[column - 2 * C];
        to = accumulate ? to + total : total;
    }
}

}  // namespace

// ---- launchers ---------------------------------------------------------------------------------------------------

template <class T>
void layernorm_forward(T* out, float* mean, float* rstd, const T* x, const T* weight, const T* bias, int64_t N,
                       int64_t C) {
    with_tiling<T>(sliceable<kSliceSize<T>>(C, out, x, weight, bias), C, [&]<class S>(S) {
        gpu::run(normalize<T, S>, gpu::div_ceil(N, S::kTeams), S::kThreads, 0, out, mean, rstd, x, weight, bias, N,
                 int(C));
    });
}

template <class T>
void layernorm_backward(T* dx, float* dweight, float* dbias, float* dx_sums, const T* dout, const T* x, const T* weight,
                        const float* mean, const float* rstd, int64_t N, int64_t C, bool accumulate_dx,
                        bool accumulate) {
    const int64_t max_parts = std::min<int64_t>(kMaxParts, kWorkspaceFloats / (3 * C));
    const int rows = std::max(kMinRows, int(gpu::div_ceil(N, max_parts)));
    const unsigned parts = gpu::div_ceil(N, rows);
    float* partials = workspace(int64_t(parts) * 3 * C);
    with_tiling<T>(sliceable<kSliceSize<T>>(C, dx, dout, x, weight), C, [&]<class S>(S) {
        gpu::run(row_gradients<T, S>, parts, S::kThreads, 0, dx, partials, dout, x, weight, mean, rstd, N, int(C), rows,
                 accumulate_dx);
    });
    gpu::run(add_parts, gpu::div_ceil(3 * C, kPartLanes), kPartThreads, 0, dweight, dbias, dx_sums, partials,
             int(parts), int(C), accumulate);
}

template void layernorm_forward(float*, float*, float*, const float*, const float*, const float*, int64_t, int64_t);
template void layernorm_forward(bf16*, float*, float*, const bf16*, const bf16*, const bf16*, int64_t, int64_t);
template void layernorm_backward(float*, float*, float*, float*, const float*, const float*, const float*, const float*,
                                 const float*, int64_t, int64_t, bool, bool);
template void layernorm_backward(bf16*, float*, float*, float*, const bf16*, const bf16*, const bf16*, const float*,
                                 const float*, int64_t, int64_t, bool, bool);

}  // namespace kernels::cuda
