// The update: the global norm of the gradients and AdamW, each in one launch over all trained tensors. A block takes a
// chunk of one tensor and finds that tensor in a table in device memory.
#include <vector>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/gpu.cuh"

namespace kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kChunk = 8192;
constexpr int kGroup = 4;  // elements a thread moves at once

// What the kernels know of a tensor.
struct Row {
    float* master;  // null: the weight is the parameter
    bf16* weight;   // may be null, but for one of the two
    const float* gradient;
    float *m, *v;
    int64_t n;
    int32_t first_chunk;  // its chunks follow those of the tensors before it
    int16_t counter;
    bool decays;
    bool grouped;  // whole groups, all of them aligned
};
static_assert(sizeof(Row) <= 16 * sizeof(int32_t), "kernels::trained_table_ints counts 16 int32 a tensor");

// SIZE neighbours, moved by one instruction.
template <class T, int SIZE>
struct alignas(SIZE * sizeof(T)) Group {
    T v[SIZE];
};
template <int SIZE, class T>
__device__ Group<T, SIZE> load_group(const T* p) {
    return *reinterpret_cast<const Group<T, SIZE>*>(p);
}
template <class T, int SIZE>
__device__ void store_group(T* p, const Group<T, SIZE>& group) {
    *reinterpret_cast<Group<T, SIZE>*>(p) = group;
}

int64_t num_chunks(int64_t n) { return (n + kChunk - 1) / kChunk; }
int64_t num_chunks(const std::vector<TrainedTensor>& tensors) {
    int64_t chunks = 0;
    for (const TrainedTensor& t : tensors) chunks += num_chunks(t.parameter().size());
    return chunks;
}

// This block's part of a tensor.
struct Chunk {
    Row row;
    int index;  // of the row
    int64_t first, last;
};
__device__ Chunk this_chunk(const Row* rows, int num_rows) {
    const int chunk = int(blockIdx.x);
    int low = 0, high = num_rows;  // the tensor is in [low, high)
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (rows[middle].first_chunk <= chunk)
            low = middle;
        else
            high = middle;
    }
    const Row row = rows[low];
    const int64_t first = int64_t(chunk - row.first_chunk) * kChunk;
    return {row, low, first, first + kChunk < row.n ? first + kChunk : row.n};
}

// ---- norm --------------------------------------------------------------------------------------------------------

// In double, as on the CPU: fp32 would overflow at gradients of 1e19, whose norm is finite.
template <int SIZE>
__device__ double squares(const Chunk& chunk) {
    double sum = 0;
#pragma unroll 4
    for (int64_t i = chunk.first + int64_t(threadIdx.x) * SIZE; i < chunk.last; i += kThreads * SIZE) {
        const auto g = load_group<SIZE>(chunk.row.gradient + i);
#pragma unroll
        for (int k = 0; k < SIZE; k++) sum += double(g.v[k]) * double(g.v[k]);
    }
    return sum;
}

__global__ void __launch_bounds__(kThreads) chunk_squares(double* partials, const Row* rows, int num_rows) {
    const Chunk chunk = this_chunk(rows, num_rows);
    const double sum = gpu::block_sum(chunk.row.grouped ? squares<kGroup>(chunk) : squares<1>(chunk));
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads)
    finish_norm(float* scalars, const double* partials, int64_t chunks, float max_norm) {
    double sum = 0;
#pragma unroll 8
    for (int64_t i = threadIdx.x; i < chunks; i += kThreads) sum += partials[i];
    const float norm = float(sqrt(gpu::block_sum(sum)));
    if (threadIdx.x == 0) {
        scalars[kGradientNorm] = norm;
        scalars[kGradientScale] = max_norm > 0 && norm > max_norm ? max_norm / norm : 1.0f;
        scalars[kFinite] = std::isfinite(norm) && std::isfinite(scalars[kLoss]) ? 1.0f : 0.0f;
    }
}

// ---- update ------------------------------------------------------------------------------------------------------

struct Factors {
    float beta1, one_minus_beta1, beta2, one_minus_beta2, m_bound, eps, weight_decay;
};
// What the step and the tensor add to them.
struct StepFactors {
    float rate, gradient_scale, m_correction, root_correction;
};

// What is fused is written out, for the CPU's bits.
__device__ void update(float& p, float& m, float& v, float gradient, const Factors& f, const StepFactors& step) {
    const float g = gradient * step.gradient_scale;
    v = fmaf(f.beta2, v, f.one_minus_beta2 * g * g);
    const float root = sqrtf(v), bound = f.m_bound * root;
    const float moved = fmaf(f.beta1, m, f.one_minus_beta1 * g);
    m = moved < -bound ? -bound : moved > bound ? bound : moved;  // fminf and fmaxf would drop a NaN
    const float direction = m * step.m_correction / fmaf(root, step.root_correction, f.eps);
    p = fmaf(-step.rate, fmaf(f.weight_decay, p, direction), p);
}

template <int SIZE>
__device__ void update_chunk(const Chunk& chunk, const Factors& f, const StepFactors& step) {
    const Row& row = chunk.row;
    for (int64_t i = chunk.first + int64_t(threadIdx.x) * SIZE; i < chunk.last; i += kThreads * SIZE) {
        auto p = load_group<SIZE>(row.master + i), m = load_group<SIZE>(row.m + i), v = load_group<SIZE>(row.v + i);
        const auto g = load_group<SIZE>(row.gradient + i);
        Group<bf16, SIZE> rounded;
#pragma unroll
        for (int k = 0; k < SIZE; k++) {
            update(p.v[k], m.v[k], v.v[k], g.v[k], f, step);
            rounded.v[k] = gpu::from_float<bf16>(p.v[k]);
        }
        store_group(row.master + i, p);
        store_group(row.m + i, m);
        store_group(row.v + i, v);
        if (row.weight) store_group(row.weight + i, rounded);
    }
}

// Without a master: element i is rounded by word i of the stream. Groups of four share a Philox block.
template <bool GROUPED>
__device__ void update_rounding(const Chunk& chunk, const Factors& f, const StepFactors& step,
                                const rng::Stream& stream) {
    static_assert(kGroup == 4 && kChunk % kGroup == 0);
    const Row& row = chunk.row;
    for (int64_t i = chunk.first + int64_t(threadIdx.x) * kGroup; i < chunk.last; i += kThreads * kGroup) {
        Group<bf16, kGroup> w = {};
        Group<float, kGroup> m = {}, v = {}, g = {};
        if constexpr (GROUPED) {
            w = load_group<kGroup>(row.weight + i), g = load_group<kGroup>(row.gradient + i);
            m = load_group<kGroup>(row.m + i), v = load_group<kGroup>(row.v + i);
        } else {
#pragma unroll
            for (int k = 0; k < kGroup; k++)
                if (i + k < chunk.last)
                    w.v[k] = row.weight[i + k], g.v[k] = row.gradient[i + k], m.v[k] = row.m[i + k],
                    v.v[k] = row.v[i + k];
        }
        const rng::Block random = stream.block(uint64_t(i) / kGroup);
#pragma unroll
        for (int k = 0; k < kGroup; k++) {
            float p = gpu::to_float(w.v[k]);
            update(p, m.v[k], v.v[k], g.v[k], f, step);
            w.v[k].bits = rng::round_to_bf16(__float_as_uint(p), random.x[k]);
        }
        if constexpr (GROUPED) {
            store_group(row.weight + i, w);
            store_group(row.m + i, m);
            store_group(row.v + i, v);
        } else {
#pragma unroll
            for (int k = 0; k < kGroup; k++)
                if (i + k < chunk.last) row.weight[i + k] = w.v[k], row.m[i + k] = m.v[k], row.v[i + k] = v.v[k];
        }
    }
}

__global__ void __launch_bounds__(kThreads)
    update_all(const float* scalars, const Row* rows, int num_rows, Factors f, uint64_t seed) {
    if (scalars[kFinite] == 0.0f) return;
    const Chunk chunk = this_chunk(rows, num_rows);
    const float* corrections = scalars + kCorrections + 2 * chunk.row.counter;
    const StepFactors step = {scalars[kRate], scalars[kGradientScale], corrections[0], corrections[1]};
    if (!chunk.row.decays) f.weight_decay = 0;
    if (!chunk.row.master) {
        const rng::Stream stream = {seed, rng::Purpose::rounding, uint32_t(chunk.index), uint64_t(scalars[kUpdate])};
        if (chunk.row.grouped)
            update_rounding<true>(chunk, f, step, stream);
        else
            update_rounding<false>(chunk, f, step, stream);
    } else {
        if (chunk.row.grouped)
            update_chunk<kGroup>(chunk, f, step);
        else
            update_chunk<1>(chunk, f, step);
    }
}

}  // namespace

// ---- launchers ---------------------------------------------------------------------------------------------------

void write_trained_table(int32_t* table, const std::vector<TrainedTensor>& tensors) {
    std::vector<Row> rows;
    int64_t chunks = 0;
    for (const TrainedTensor& t : tensors) {
        CHECK(t.counter >= 0 && t.counter < kCounters, "a trained tensor has counter ", t.counter, " of ", kCounters);
        Row row = {.master = t.master.empty() ? nullptr : t.master.get<float>(),
                   .weight = t.weight.empty() ? nullptr : t.weight.get<bf16>(),
                   .gradient = t.gradient.get<float>(),
                   .m = t.m.get<float>(),
                   .v = t.v.get<float>(),
                   .n = t.parameter().size(),
                   .first_chunk = int32_t(chunks),
                   .counter = int16_t(t.counter),
                   .decays = t.decays,
                   .grouped = reinterpret_cast<uintptr_t>(t.weight.data) % (kGroup * sizeof(bf16)) == 0};
        for (const float* p : {row.gradient, static_cast<const float*>(row.master), static_cast<const float*>(row.m),
                               static_cast<const float*>(row.v)})
            row.grouped = row.grouped && gpu::packable(p, row.n);
        rows.push_back(row);
        chunks += num_chunks(row.n);
    }
    // On the stream, behind the updates that read the table before.
    CUDA_CHECK(cudaMemcpyAsync(table, rows.data(), rows.size() * sizeof(Row), cudaMemcpyHostToDevice, gpu::stream()));
    CUDA_CHECK(cudaStreamSynchronize(gpu::stream()));
}

void gradient_norm(float* scalars, const int32_t* table, const std::vector<TrainedTensor>& tensors, float max_norm) {
    const int64_t chunks = num_chunks(tensors);
    double* partials = reinterpret_cast<double*>(workspace(2 * chunks));
    if (chunks > 0)
        gpu::run(chunk_squares, unsigned(chunks), kThreads, 0, partials, reinterpret_cast<const Row*>(table),
                 int(tensors.size()));
    gpu::run(finish_norm, 1, kThreads, 0, scalars, partials, chunks, max_norm);
}

void adamw(const float* scalars, const int32_t* table, const std::vector<TrainedTensor>& tensors, const AdamW& hyper) {
    const int64_t chunks = num_chunks(tensors);
    if (chunks == 0) return;
    const Factors factors = {.beta1 = float(hyper.beta1),
                             .one_minus_beta1 = float(1 - hyper.beta1),
                             .beta2 = float(hyper.beta2),
                             .one_minus_beta2 = float(1 - hyper.beta2),
                             .m_bound = float(adamw_moment_bound(hyper.beta1, hyper.beta2)),
                             .eps = float(hyper.eps),
                             .weight_decay = float(hyper.weight_decay)};
    gpu::run(update_all, unsigned(chunks), kThreads, 0, scalars, reinterpret_cast<const Row*>(table),
             int(tensors.size()), factors, hyper.seed);
}

}  // namespace kernels::cuda
