// CUDA's functions in which several threads meet: barriers, shuffles, votes, and the project's gpu:: wrappers around
// the warp's matrix instructions and asynchronous copies. Every meeting knows its place in the source, so that a
// divergent one can be named.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace executor {

struct Place {
    const char* file;
    int line;
};
inline bool same(Place a, Place b) { return a.line == b.line && (a.file == b.file || !std::strcmp(a.file, b.file)); }
#define EXECUTOR_PLACE ::executor::Place place = {__builtin_FILE(), __builtin_LINE()}

unsigned lane_id();
int block_barrier(Place place, bool vote = false);  // returns the number of threads that voted
void warp_barrier(unsigned mask, Place place);
uint64_t shuffle(unsigned mask, uint64_t value, int source_lane, Place place);
unsigned ballot(unsigned mask, bool vote, Place place);
void fence();

// The operands of one lane.
struct MmaOperands {
    float* d;               // 4
    const uint32_t *a, *b;  // 4 and 2
    const float* c;         // 4
};
struct LdmatrixOperands {
    uint16_t row[8];   // what the lane read at its address
    uint32_t* result;  // matrices of them
    int matrices;
};
void mma_bf16(MmaOperands& operands, Place place);
void ldmatrix(LdmatrixOperands& operands, bool transposed, Place place);

// Copies `source_bytes` and zeros up to `bytes`, at some time before the wait for its group.
void cp_async(void* shared, const void* global, size_t bytes, size_t source_bytes, Place place);
void cp_async_commit();
void cp_async_wait(int groups_left);

template <class T>
inline T shuffle_value(unsigned mask, T value, int source_lane, Place place) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = shuffle(mask, bits, source_lane, place);
    std::memcpy(static_cast<void*>(&value), &bits, sizeof value);
    return value;
}

}  // namespace executor

// ---- barriers and fences -----------------------------------------------------------------------------------------

inline void __syncthreads(EXECUTOR_PLACE) { executor::block_barrier(place); }
inline int __syncthreads_count(int vote, EXECUTOR_PLACE) { return executor::block_barrier(place, vote != 0); }
inline int __syncthreads_or(int vote, EXECUTOR_PLACE) { return executor::block_barrier(place, vote != 0) != 0; }
inline int __syncthreads_and(int vote, EXECUTOR_PLACE) { return executor::block_barrier(place, vote == 0) == 0; }
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, EXECUTOR_PLACE) { executor::warp_barrier(mask, place); }
inline void __threadfence() { executor::fence(); }
inline void __threadfence_block() { executor::fence(); }

// ---- shuffles: a lane whose source lies outside its segment of `width` lanes keeps its own value -----------------

template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, EXECUTOR_PLACE) {
    const int lane = int(executor::lane_id()), first = lane & ~(width - 1);
    return executor::shuffle_value(mask, value, first | (source & (width - 1)), place);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, EXECUTOR_PLACE) {
    const int lane = int(executor::lane_id()), source = lane ^ bits, end = (lane & ~(width - 1)) + width;
    return executor::shuffle_value(mask, value, source < end ? source : lane, place);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, EXECUTOR_PLACE) {
    const int lane = int(executor::lane_id()), in_segment = lane & (width - 1);
    return executor::shuffle_value(mask, value, in_segment + int(delta) < width ? lane + int(delta) : lane, place);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, EXECUTOR_PLACE) {
    const int lane = int(executor::lane_id()), in_segment = lane & (width - 1);
    return executor::shuffle_value(mask, value, in_segment >= int(delta) ? lane - int(delta) : lane, place);
}

// ---- votes -------------------------------------------------------------------------------------------------------

inline unsigned __ballot_sync(unsigned mask, int vote, EXECUTOR_PLACE) {
    return executor::ballot(mask, vote != 0, place);
}
inline int __any_sync(unsigned mask, int vote, EXECUTOR_PLACE) { return executor::ballot(mask, vote != 0, place) != 0; }
inline int __all_sync(unsigned mask, int vote, EXECUTOR_PLACE) { return executor::ballot(mask, vote == 0, place) == 0; }

// ---- gpu.cuh's wrappers ------------------------------------------------------------------------------------------

namespace gpu {

inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4],
                     EXECUTOR_PLACE) {
    executor::MmaOperands operands{d, a, b, c};
    executor::mma_bf16(operands, place);
}

// Each lane reads its own row, in the kernel's own code, so that a sanitizer names the right lane and line.
template <int N>
inline executor::LdmatrixOperands ldmatrix_operands(uint32_t (&result)[N], const void* row) {
    executor::LdmatrixOperands operands{{}, result, N};
    if (int(executor::lane_id()) < 8 * N) std::memcpy(operands.row, __builtin_assume_aligned(row, 16), 16);
    return operands;
}
template <int N>
inline void ldmatrix(uint32_t (&result)[N], const void* row, EXECUTOR_PLACE) {
    executor::LdmatrixOperands operands = ldmatrix_operands(result, row);
    executor::ldmatrix(operands, false, place);
}
template <int N>
inline void ldmatrix_trans(uint32_t (&result)[N], const void* row, EXECUTOR_PLACE) {
    executor::LdmatrixOperands operands = ldmatrix_operands(result, row);
    executor::ldmatrix(operands, true, place);
}

inline void cp_async16(void* shared, const void* global, EXECUTOR_PLACE) {
    executor::cp_async(shared, global, 16, 16, place);
}
inline void cp_async16_zfill(void* shared, const void* global, bool ok, EXECUTOR_PLACE) {
    executor::cp_async(shared, global, 16, ok ? 16 : 0, place);
}
inline void cp_async_commit() { executor::cp_async_commit(); }
template <int N>
inline void cp_async_wait() {
    executor::cp_async_wait(N);
}

}  // namespace gpu
