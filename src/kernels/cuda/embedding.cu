// Token plus position embedding, and its gradient. The rows of a token are brought together by a stable sort, so that
// they are summed in order without atomics.
#include <algorithm>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/slices.cuh"

namespace kernels::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;

// Where a thread stands in a grid whose warps are rows, 32 slices of one, by tiles of columns.
template <int SIZE>
struct Place {
    int64_t row = int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;
    int64_t column = (int64_t(blockIdx.y) * 32 + threadIdx.x % 32) * SIZE;
};
template <int SIZE>
dim3 grid_of(int64_t rows, int64_t C) {
    return dim3(gpu::div_ceil(rows, kWarps), gpu::div_ceil(C, 32 * SIZE));
}

// ---- forward -----------------------------------------------------------------------------------------------------

// out (N, C), tokens (N), wte (V, C), wpe (>=seq_len, C)
template <class T, int SIZE>
__global__ void __launch_bounds__(kThreads)
    embed(T* out, const int32_t* tokens, const T* wte, const T* wpe, int64_t N, int64_t seq_len, int64_t C) {
    const Place<SIZE> own;
    if (own.row >= N || own.column >= C) return;
    Floats<SIZE> sum = load_floats<SIZE>(wpe + own.row % seq_len * C + own.column);
    add_to(sum, load_floats<SIZE>(wte + tokens[own.row] * C + own.column));
    const Slice<T, SIZE> rounded = from_floats<T>(sum);
    T* to = out + own.row * C + own.column;
    if constexpr (sizeof rounded == sizeof(uint4)) {  // an assignment would be split into four stores
        uint4 words;
        memcpy(&words, &rounded, sizeof words);
        __stcg(reinterpret_cast<uint4*>(to), words);
    } else {
        store_slice(to, rounded);
    }
}

// ---- backward: positions -----------------------------------------------------------------------------------------

// dwpe (positions, C), dout (N, C)
template <class T, int SIZE>
__global__ void __launch_bounds__(kThreads) sum_positions(float* dwpe, int64_t positions, const T* dout, int64_t N,
                                                          int64_t seq_len, int64_t C, bool accumulate) {
    const Place<SIZE> own;
    if (own.row >= positions || own.column >= C) return;
    float* to = dwpe + own.row * C + own.column;
    Floats<SIZE> sum = {};
    if (accumulate) sum = load_floats<SIZE>(to);
    if (own.row < seq_len) {
#pragma unroll 8
        for (int64_t n = own.row; n < N; n += seq_len) add_to(sum, load_floats<SIZE>(dout + n * C + own.column));
    }
    store_floats(to, sum);
}

// ---- backward: the sort of tokens --------------------------------------------------------------------------------

// A key is a token (uint16, as the data has them) over the number of its row, which therefore has 16 bits as well.
constexpr int kTokenShift = 16;
constexpr int64_t kSortedRows = int64_t(1) << kTokenShift;
__device__ uint32_t token_of(uint32_t key) { return key >> kTokenShift; }
__device__ int row_of(uint32_t key) { return int(key & (kSortedRows - 1)); }

// One pass of the sort goes by one digit of the token. A block sorts a tile, where a warp owns kRounds x 32 keys.
constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;
constexpr int kRounds = 8, kTile = kThreads * kRounds;
static_assert(kDigits == kThreads);
__device__ uint32_t digit_of(uint32_t key, int shift) { return key >> shift & (kDigits - 1); }

// keys, tokens (rows)
__global__ void __launch_bounds__(kThreads) make_keys(uint32_t* keys, const int32_t* tokens, int rows) {
    const int row = blockIdx.x * kThreads + threadIdx.x;
    if (row < rows) keys[row] = uint32_t(tokens[row]) << kTokenShift | uint32_t(row);
}

// counts (tiles, kDigits): how many keys (rows) of a tile have each digit.
__global__ void __launch_bounds__(kThreads) count_digits(uint32_t* counts, const uint32_t* keys, int rows, int shift) {
    GPU_SHARED(uint32_t, bins, [kDigits]);
    bins[threadIdx.x] = 0;
    __syncthreads();
#pragma unroll
    for (int r = 0; r < kRounds; r++) {
        const int i = blockIdx.x * kTile + r * kThreads + threadIdx.x;
        if (i < rows) atomicAdd(&bins[digit_of(keys[i], shift)], 1u);
    }
    __syncthreads();
    counts[blockIdx.x * kDigits + threadIdx.x] = bins[threadIdx.x];
}

// The sum of v over the threads before this one.
__device__ uint32_t sum_before(uint32_t v) {
    GPU_SHARED(uint32_t, totals, [kWarps]);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    uint32_t sum = v;
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
        const uint32_t other = __shfl_up_sync(0xFFFFFFFFu, sum, offset);
        if (lane >= offset) sum += other;
    }
    if (lane == 31) totals[warp] = sum;
    __syncthreads();
    for (int w = 0; w < warp; w++) sum += totals[w];
    return sum - v;
}

// sorted, keys (rows), counts (tiles, kDigits): brings each key to its place by the digit; equal ones stay in order.
__global__ void __launch_bounds__(kThreads)
    scatter(uint32_t* sorted, const uint32_t* keys, const uint32_t* counts, int tiles, int rows, int shift) {
    // Where the keys of a digit go: first how many each warp has, then where its first one goes.
    GPU_SHARED(uint32_t, places, [kWarps][kDigits]);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, digit = threadIdx.x;
#pragma unroll
    for (int w = 0; w < kWarps; w++) places[w][digit] = 0;
    __syncthreads();

    const int first = blockIdx.x * kTile + warp * kRounds * 32 + lane;
    uint32_t own[kRounds], rank[kRounds];
#pragma unroll
    for (int r = 0; r < kRounds; r++) own[r] = first + r * 32 < rows ? keys[first + r * 32] : ~0u;  // behind all others
#pragma unroll
    for (int r = 0; r < kRounds; r++) {
        const uint32_t d = digit_of(own[r], shift);
        uint32_t same = 0xFFFFFFFFu;  // lanes with this digit
#pragma unroll
        for (int bit = 0; bit < kDigitBits; bit++) {
            const bool set = d >> bit & 1;
            const uint32_t vote = __ballot_sync(0xFFFFFFFFu, set);
            same &= set ? vote : ~vote;
        }
        const uint32_t before = __popc(same & ((1u << lane) - 1)), so_far = places[warp][d];
        rank[r] = so_far + before;
        __syncwarp();
        if (before == 0) places[warp][d] = so_far + __popc(same);
        __syncwarp();
    }

    uint32_t in_all = 0, in_tiles_before = 0;
#pragma unroll 8
    for (int t = 0; t < tiles; t++) {
        const uint32_t count = counts[t * kDigits + digit];
        in_all += count;
        if (t < int(blockIdx.x)) in_tiles_before += count;
    }
    uint32_t place = sum_before(in_all) + in_tiles_before;  // waits for every warp's counts, too
#pragma unroll
    for (int w = 0; w < kWarps; w++) {
        const uint32_t count = places[w][digit];
        places[w][digit] = place;
        place += count;
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < kRounds; r++)
        if (first + r * 32 < rows) sorted[places[warp][digit_of(own[r], shift)] + rank[r]] = own[r];
}

// ---- backward: tokens --------------------------------------------------------------------------------------------

// Adds row(key, i) of x, from i = first on by `step`, as long as i < last and key i is of this token. Returns where it
// ends. All lanes of a warp take part, those beyond the last column with `inside` false.
template <int SIZE, class T, class Row>
__device__ int add_run(Floats<SIZE>& sum, const T* x, int64_t C, bool inside, const uint32_t* keys, uint32_t token,
                       int first, int last, int step, const Row& row) {
    constexpr int UNROLL = 8;
    const int lane = threadIdx.x % 32;
    while (true) {
        const int i = first + lane * step;
        const uint32_t key = i < last ? keys[i] : 0;
        const bool same = i < last && token_of(key) == token;
        const int lane_row = same ? row(key, i) : 0;
        const int count = __popc(__ballot_sync(0xFFFFFFFFu, same));
        for (int start = 0; start < count; start += UNROLL) {
            Slice<T, SIZE> terms[UNROLL];
#pragma unroll
            for (int u = 0; u < UNROLL; u++) {
                terms[u] = {};
                const int64_t n = __shfl_sync(0xFFFFFFFFu, lane_row, start + u);
                if (inside && start + u < count) terms[u] = load_slice<SIZE>(x + n * C);
            }
#pragma unroll
            for (int u = 0; u < UNROLL; u++) add_to(sum, terms[u]);
        }
        first += count * step;
        if (count < 32) return first;
    }
}

// The sorted keys are cut into chunks. A warp sums one run of a token within a chunk: a whole one goes to dwte; a piece
// goes to partials (chunks, 2, C), in place 0 if the run began in an earlier chunk and in 1 if it began in this one.
// dwte (V, C), dout (rows, C), keys (rows).
template <class T, int SIZE>
__global__ void __launch_bounds__(kThreads)
    sum_runs(float* dwte, float* partials, const T* dout, const uint32_t* keys, int rows, int64_t C, int chunk) {
    const Place<SIZE> own;
    if (own.row >= rows) return;
    const int first = int(own.row);
    const uint32_t token = token_of(keys[first]);
    const bool begins = first == 0 || token_of(keys[first - 1]) != token;
    if (!begins && first % chunk != 0) return;

    const bool inside = own.column < C;
    const int chunk_end = (first / chunk + 1) * chunk, last = chunk_end < rows ? chunk_end : rows;
    Floats<SIZE> sum = {};
    const int end = add_run(sum, dout + own.column, C, inside, keys, token, first, last, 1,
                            [](uint32_t key, int) { return row_of(key); });
    if (!inside) return;
    const bool ends = end == rows || token_of(keys[end]) != token;
    if (begins && ends) {
        float* to = dwte + token * C + own.column;
        add_to(sum, load_floats<SIZE>(to));
        store_floats(to, sum);
    } else {
        store_floats(partials + (first / chunk * 2 + int(begins)) * C + own.column, sum);
    }
}

// Adds up the pieces of every run that goes on in the next chunk, by a warp for the chunk where it begins. dwte (V, C),
// partials (chunks, 2, C), keys (rows).
template <int SIZE>
__global__ void __launch_bounds__(kThreads)
    join_runs(float* dwte, const float* partials, const uint32_t* keys, int rows, int64_t C, int chunk) {
    const Place<SIZE> own;
    const int64_t next = (own.row + 1) * chunk;
    if (next >= rows) return;
    const int first = int(own.row) * chunk;
    const uint32_t token = token_of(keys[next]);
    const bool goes_on = token_of(keys[next - 1]) == token;
    const bool begins = token_of(keys[first]) != token || first == 0 || token_of(keys[first - 1]) != token;
    if (!goes_on || !begins) return;

    const bool inside = own.column < C;
    Floats<SIZE> sum = {};
    if (inside) sum = load_floats<SIZE>(partials + (own.row * 2 + 1) * C + own.column);
    add_run(sum, partials + own.column, C, inside, keys, token, int(next), rows, chunk,
            [=](uint32_t, int i) { return i / chunk * 2; });
    if (!inside) return;
    float* to = dwte + token * C + own.column;
    add_to(sum, load_floats<SIZE>(to));
    store_floats(to, sum);
}

template <class T, int SIZE>
void tokens_backward(float* dwte, const T* dout, const int32_t* tokens, int rows, int64_t C) {
    const unsigned tiles = gpu::div_ceil(rows, kTile);
    const int64_t keys_floats = int64_t(tiles) * kTile, counts_floats = int64_t(tiles) * kDigits;
    const int64_t sort_floats = 2 * keys_floats + counts_floats;
    // The shortest chunks whose partial sums have room: a warp goes through one alone.
    int chunk = 32;
    while (gpu::div_ceil(rows, chunk) * 2 * C > kWorkspaceFloats - sort_floats) chunk *= 2;
    const unsigned chunks = gpu::div_ceil(rows, chunk);

    float* partials = workspace(sort_floats + chunks * 2 * C) + sort_floats;
    uint32_t* keys = reinterpret_cast<uint32_t*>(partials - sort_floats);
    uint32_t *other = keys + keys_floats, *counts = other + keys_floats;
    gpu::run(make_keys, gpu::div_ceil(rows, kThreads), kThreads, 0, keys, tokens, rows);
    for (int shift = kTokenShift; shift < 32; shift += kDigitBits) {
        gpu::run(count_digits, tiles, kThreads, 0, counts, keys, rows, shift);
        gpu::run(scatter, tiles, kThreads, 0, other, keys, counts, int(tiles), rows, shift);
        std::swap(keys, other);
    }
    gpu::run(sum_runs<T, SIZE>, grid_of<SIZE>(rows, C), kThreads, 0, dwte, partials, dout, keys, rows, C, chunk);
    gpu::run(join_runs<SIZE>, grid_of<SIZE>(chunks, C), kThreads, 0, dwte, partials, keys, rows, C, chunk);
}

template <class T, int SIZE>
void backward(float* dwte, float* dwpe, int64_t positions, const T* dout, const int32_t* tokens, int64_t N,
              int64_t seq_len, int64_t C, bool accumulate) {
    gpu::run(sum_positions<T, SIZE>, grid_of<SIZE>(positions, C), kThreads, 0, dwpe, positions, dout, N, seq_len, C,
             accumulate);
    for (int64_t first = 0; first < N; first += kSortedRows)
        tokens_backward<T, SIZE>(dwte, dout + first * C, tokens + first, int(std::min(kSortedRows, N - first)), C);
}

}  // namespace

// ---- launchers ---------------------------------------------------------------------------------------------------

template <class T>
void embedding_forward(T* out, const int32_t* tokens, const T* wte, const T* wpe, int64_t N, int64_t seq_len,
                       int64_t C) {
    constexpr int SIZE = kSliceSize<T>;
    if (sliceable<SIZE>(C, out, wte, wpe))
        gpu::run(embed<T, SIZE>, grid_of<SIZE>(N, C), kThreads, 0, out, tokens, wte, wpe, N, seq_len, C);
    else
        gpu::run(embed<T, 1>, grid_of<1>(N, C), kThreads, 0, out, tokens, wte, wpe, N, seq_len, C);
}

template <class T>
void embedding_backward(float* dwte, float* dwpe, int64_t positions, const T* dout, const int32_t* tokens, int64_t N,
                        int64_t seq_len, int64_t C, bool accumulate) {
    constexpr int SIZE = kSliceSize<T>;
    if (sliceable<SIZE>(C, dwte, dwpe, dout))
        backward<T, SIZE>(dwte, dwpe, positions, dout, tokens, N, seq_len, C, accumulate);
    else
        backward<T, 1>(dwte, dwpe, positions, dout, tokens, N, seq_len, C, accumulate);
}

template void embedding_forward(float*, const int32_t*, const float*, const float*, int64_t, int64_t, int64_t);
template void embedding_forward(bf16*, const int32_t*, const bf16*, const bf16*, int64_t, int64_t, int64_t);
template void embedding_backward(float*, float*, int64_t, const float*, const int32_t*, int64_t, int64_t, int64_t,
                                 bool);
template void embedding_backward(float*, float*, int64_t, const bf16*, const int32_t*, int64_t, int64_t, int64_t, bool);

}  // namespace kernels::cuda
