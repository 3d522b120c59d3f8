// The update: the global norm of the gradients and AdamW, each in one launch over all that is trained. A block takes a
// chunk of one tensor, or of one range of gradients, and finds it in a table in device memory. `rows` (num_rows) is
// that table.
#include <vector>

#include "kernels/adamw_factors.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/slices.cuh"

namespace kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kChunk = 8192;
constexpr int kSlice = 4;  // neighbours that a thread moves at once; they share a Philox block

// What the kernels know of a range of gradients.
struct GradientRow {
    const float* gradients;
    int64_t n;
    int64_t first_unit;
    int32_t first_chunk;
    bool sliced;
};
static_assert(sizeof(GradientRow) <= kTableInts * sizeof(int32_t) && kChunk % kNormUnit == 0);

// What the kernels know of a tensor.
struct Row {
    float* master;  // null: the weight is the parameter
    bf16* weight;   // may be null, but for one of the two
    const float* gradient;
    float *m, *v;
    int64_t n;            // elements of each
    int64_t first_word;   // of the random stream, for its first element
    int32_t first_chunk;  // its chunks follow those of the tensors before it
    uint32_t id;
    int8_t group;
    bool decays;
    bool sliced = false;  // whole slices, all of them aligned
};
static_assert(sizeof(Row) <= kTableInts * sizeof(int32_t));

int64_t num_chunks(int64_t n) { return (n + kChunk - 1) / kChunk; }
int64_t num_chunks(const std::vector<TrainedTensor>& tensors) {
    int64_t chunks = 0;
    for (const TrainedTensor& t : tensors) chunks += num_chunks(t.parameter().size());
    return chunks;
}

// This block's part of a tensor.
template <class R>
struct Chunk {
    R row;
    int64_t first, last;
};
template <class R>
__device__ Chunk<R> this_chunk(const R* rows, int num_rows) {
    const int chunk = int(blockIdx.x);
    int low = 0, high = num_rows;  // the tensor is in [low, high)
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (rows[middle].first_chunk <= chunk)
            low = middle;
        else
            high = middle;
    }
    const R row = rows[low];
    const int64_t first = int64_t(chunk - row.first_chunk) * kChunk;
    return {row, first, first + kChunk < row.n ? first + kChunk : row.n};
}

// ---- norm --------------------------------------------------------------------------------------------------------

// sums (units of all ranks, then what each rank tells). A block sums the units of its chunk one after the other: in
// double, as on the CPU, since fp32 would overflow at gradients of 1e19, whose norm is finite.
__global__ void __launch_bounds__(kThreads) sum_units(double* sums, const GradientRow* rows, int num_rows) {
    const Chunk<GradientRow> chunk = this_chunk(rows, num_rows);
    for (int64_t unit = chunk.first; unit < chunk.last; unit += kNormUnit) {
        const int64_t last = unit + kNormUnit < chunk.last ? unit + kNormUnit : chunk.last;
        double sum = 0;
#pragma unroll 2
        for (int64_t i = unit + int64_t(threadIdx.x) * kSlice; i < last; i += kThreads * kSlice) {
            const int count = last - i < kSlice ? int(last - i) : kSlice;
            const Floats<kSlice> g = load_part<kSlice>(chunk.row.gradients + i, chunk.row.sliced, count);
#pragma unroll
            for (int k = 0; k < kSlice; k++) sum += double(g.v[k]) * double(g.v[k]);
        }
        sum = gpu::block_sum(sum);
        if (threadIdx.x == 0) sums[chunk.row.first_unit + unit / kNormUnit] = sum;
    }
}

__global__ void tell(RankScalars* own, const float* scalars) { *own = {scalars[kLoss], scalars[kWishes]}; }

// scalars (kStepScalars), sums (units, then what each rank tells)
__global__ void __launch_bounds__(kThreads)
    finish_norm(float* scalars, const double* sums, int64_t units, int ranks, float max_norm) {
    double sum = 0;
#pragma unroll 8
    for (int64_t i = threadIdx.x; i < units; i += kThreads) sum += sums[i];
    const float norm = float(sqrt(gpu::block_sum(sum)));
    if (threadIdx.x == 0)
        store_norm(scalars, reinterpret_cast<const RankScalars*>(sums + units), ranks, norm, max_norm);
}

// ---- update ------------------------------------------------------------------------------------------------------

// The update of one element. Every product that is fused with a sum is written out, so that the bits are the CPU's;
// the bound is the same fused or not.
__device__ void update(float& p, float& m, float& v, float gradient, const AdamWFactors& f, const StepFactors& step) {
    const float g = gradient * step.gradient_scale;
    v = fmaf(f.beta2, v, f.one_minus_beta2 * g * g);
    const float root = sqrtf(v), bound = f.m_bound * root + f.m_slack;
    const float moved = fmaf(f.beta1, m, f.one_minus_beta1 * g);
    m = moved < -bound ? -bound : moved > bound ? bound : moved;  // fminf and fmaxf would drop a NaN
    const float direction = m * step.m_correction / fmaf(root, step.root_correction, f.eps);
    p = fmaf(-step.rate, fmaf(f.weight_decay, p, direction), p);
}

// Updates a chunk with a master.
template <int SIZE>
__device__ void update_chunk(const Chunk<Row>& chunk, const AdamWFactors& f, const StepFactors& step) {
    const Row& row = chunk.row;
    for (int64_t i = chunk.first + int64_t(threadIdx.x) * SIZE; i < chunk.last; i += kThreads * SIZE) {
        Floats<SIZE> p = load_slice<SIZE>(row.master + i), m = load_slice<SIZE>(row.m + i),
                     v = load_slice<SIZE>(row.v + i);
        const Floats<SIZE> g = load_slice<SIZE>(row.gradient + i);
#pragma unroll
        for (int k = 0; k < SIZE; k++) update(p.v[k], m.v[k], v.v[k], g.v[k], f, step);
        store_slice(row.master + i, p);
        store_slice(row.m + i, m);
        store_slice(row.v + i, v);
        if (row.weight) store_floats(row.weight + i, p);
    }
}

// Updates a chunk without a master: element i is rounded by word first_word + i of the stream. The end of a tensor may
// hold less than a slice.
template <bool SLICED>
__device__ void update_rounding(const Chunk<Row>& chunk, const AdamWFactors& f, const StepFactors& step,
                                const rng::Stream& stream) {
    static_assert(kSlice == 4 && kChunk % kSlice == 0);
    const Row& row = chunk.row;
    for (int64_t i = chunk.first + int64_t(threadIdx.x) * kSlice; i < chunk.last; i += kThreads * kSlice) {
        const int count = SLICED || chunk.last - i >= kSlice ? kSlice : int(chunk.last - i);
        Slice<bf16, kSlice> w = load_part<kSlice>(row.weight + i, SLICED, count);
        const Floats<kSlice> g = load_part<kSlice>(row.gradient + i, SLICED, count);
        Floats<kSlice> m = load_part<kSlice>(row.m + i, SLICED, count), v = load_part<kSlice>(row.v + i, SLICED, count);
        const rng::Block random = stream.block(uint64_t(row.first_word + i) / kSlice);
#pragma unroll
        for (int k = 0; k < kSlice; k++) {
            float p = w[k];
            update(p, m.v[k], v.v[k], g.v[k], f, step);
            bf16 rounded;
            rounded.bits = rng::round_to_bf16(__float_as_uint(p), random.x[k]);
            w.set(k, rounded);
        }
        store_part(row.weight + i, w, SLICED, count);
        store_part(row.m + i, m, SLICED, count);
        store_part(row.v + i, v, SLICED, count);
    }
}

// scalars (kStepScalars)
__global__ void __launch_bounds__(kThreads)
    update_all(const float* scalars, const Row* rows, int num_rows, AdamWFactors f, uint64_t seed) {
    if (scalars[kTaken] == 0.0f) return;
    const Chunk<Row> chunk = this_chunk(rows, num_rows);
    const StepFactors step = step_factors(scalars, chunk.row.group);
    if (!chunk.row.decays) f.weight_decay = 0;
    if (!chunk.row.master) {
        const rng::Stream stream = {seed, rng::Purpose::rounding, chunk.row.id, uint64_t(scalars[kUpdate])};
        if (chunk.row.sliced)
            update_rounding<true>(chunk, f, step, stream);
        else
            update_rounding<false>(chunk, f, step, stream);
    } else {
        if (chunk.row.sliced)
            update_chunk<kSlice>(chunk, f, step);
        else
            update_chunk<1>(chunk, f, step);
    }
}

}  // namespace

// ---- launchers ---------------------------------------------------------------------------------------------------

namespace {

template <class R>
void write_table(int32_t* table, const std::vector<R>& rows) {
    // The copy goes to the stream, behind the updates that read the table before.
    CUDA_CHECK(cudaMemcpyAsync(table, rows.data(), rows.size() * sizeof(R), cudaMemcpyHostToDevice, gpu::stream()));
    CUDA_CHECK(cudaStreamSynchronize(gpu::stream()));
}

}  // namespace

void write_trained_table(int32_t* table, const std::vector<TrainedTensor>& tensors) {
    std::vector<Row> rows;
    int64_t chunks = 0;
    for (const TrainedTensor& t : tensors) {
        CHECK(t.group >= 0 && t.group < kGroups, "a trained tensor has group ", t.group, " of ", kGroups);
        Row row = {.master = t.master.empty() ? nullptr : t.master.get<float>(),
                   .weight = t.weight.empty() ? nullptr : t.weight.get<bf16>(),
                   .gradient = t.gradient.get<float>(),
                   .m = t.m.get<float>(),
                   .v = t.v.get<float>(),
                   .n = t.parameter().size(),
                   .first_word = t.first,
                   .first_chunk = int32_t(chunks),
                   .id = t.id,
                   .group = int8_t(t.group),
                   .decays = t.decays};
        row.sliced = sliceable<kSlice>(row.n, row.master, row.weight, row.gradient, row.m, row.v);
        rows.push_back(row);
        chunks += num_chunks(row.n);
    }
    write_table(table, rows);
}

void write_gradient_table(int32_t* table, const std::vector<GradientRange>& ranges) {
    std::vector<GradientRow> rows;
    int64_t chunks = 0;
    for (const GradientRange& range : ranges) {
        const float* const gradients = range.gradients.get<float>();
        const int64_t n = range.gradients.size();
        rows.push_back({gradients, n, range.first, int32_t(chunks), sliceable<kSlice>(0, gradients)});
        chunks += num_chunks(n);
    }
    write_table(table, rows);
}

void gradient_squares(double* sums, const float* scalars, const int32_t* table,
                      const std::vector<GradientRange>& ranges, int64_t units, int rank, int ranks) {
    CUDA_CHECK(cudaMemsetAsync(sums, 0, size_t(units + ranks) * sizeof(double), gpu::stream()));
    int64_t chunks = 0;
    for (const GradientRange& range : ranges) chunks += num_chunks(range.gradients.size());
    if (chunks > 0)
        gpu::run(sum_units, unsigned(chunks), kThreads, 0, sums, reinterpret_cast<const GradientRow*>(table),
                 int(ranges.size()));
    gpu::run(tell, 1, 1, 0, reinterpret_cast<RankScalars*>(sums + units) + rank, scalars);
}

void gradient_norm(float* scalars, const double* sums, int64_t units, int ranks, float max_norm) {
    gpu::run(finish_norm, 1, kThreads, 0, scalars, sums, units, ranks, max_norm);
}

void adamw(const float* scalars, const int32_t* table, const std::vector<TrainedTensor>& tensors, const AdamW& hyper) {
    const int64_t chunks = num_chunks(tensors);
    if (chunks == 0) return;
    gpu::run(update_all, unsigned(chunks), kThreads, 0, scalars, reinterpret_cast<const Row*>(table),
             int(tensors.size()), adamw_factors(hyper), hyper.seed);
}

}  // namespace kernels::cuda
