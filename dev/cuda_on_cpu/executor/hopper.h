// What compute capability 9.0 added, as a kernel sees it on the CPU: mbarriers, tensor maps and their copies, wgmma,
// register budgets and named barriers. hopper.cuh has the same wrappers around PTX, and says what each does.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

#include "dev/cuda_on_cpu/executor/collectives.h"

namespace executor {

void mbarrier_init(uint64_t* barrier, unsigned arrivals, Place place);
void mbarrier_arrive(uint64_t* barrier, int64_t expected_bytes, Place place);
void mbarrier_add_bytes(uint64_t* barrier, int64_t bytes, Place place);  // negative: they have arrived
bool mbarrier_test(uint64_t* barrier, unsigned parity, Place place);
void mbarrier_wait(uint64_t* barrier, unsigned parity, Place place);
void fence_mbarrier_init();
void fence_proxy_async();

void tensor_load(void* shared, const CUtensorMap* map, const int* at, int rank, uint64_t* barrier, Place place);
void tensor_store(const CUtensorMap* map, const int* at, int rank, const void* shared, Place place);
void bulk_commit();
void bulk_wait(int groups_left, bool read_only);

uint32_t shared_address(const void* p);
// The operands of one thread: A is in registers where `a` is not null, else where its descriptor says.
struct WgmmaOperands {
    float* d;  // columns / 2
    const uint32_t* a;
    uint64_t a_descriptor, b_descriptor;
    int columns;
    bool accumulate, a_transposed, b_transposed;
};
// The accumulators that a wait is given, so that the compiler reads them behind it.
struct WgmmaWait {
    int groups_left;
    const float* accumulators[2];
};
void wgmma(WgmmaOperands& operands, Place place);
void wgmma_fence(Place place);
void wgmma_commit(Place place);
void wgmma_wait(WgmmaWait wait, Place place);
void set_max_registers(int registers, bool more, Place place);
void named_barrier(int id, int threads, bool wait, Place place);

}  // namespace executor

namespace gpu {

inline uint32_t smem_address(const void* p) { return executor::shared_address(p); }

inline void mbarrier_init(uint64_t* barrier, unsigned arrivals, EXECUTOR_PLACE) {
    executor::mbarrier_init(barrier, arrivals, place);
}
inline void mbarrier_init_fence() { executor::fence_mbarrier_init(); }
inline void mbarrier_arrive(uint64_t* barrier, EXECUTOR_PLACE) { executor::mbarrier_arrive(barrier, 0, place); }
inline void mbarrier_arrive_expect(uint64_t* barrier, unsigned bytes, EXECUTOR_PLACE) {
    executor::mbarrier_arrive(barrier, bytes, place);
}
inline void mbarrier_expect(uint64_t* barrier, unsigned bytes, EXECUTOR_PLACE) {
    executor::mbarrier_add_bytes(barrier, int64_t(bytes), place);
}
inline void mbarrier_complete(uint64_t* barrier, unsigned bytes, EXECUTOR_PLACE) {
    executor::mbarrier_add_bytes(barrier, -int64_t(bytes), place);
}
inline bool mbarrier_test(uint64_t* barrier, unsigned parity, EXECUTOR_PLACE) {
    return executor::mbarrier_test(barrier, parity, place);
}
inline void mbarrier_wait(uint64_t* barrier, unsigned parity, EXECUTOR_PLACE) {
    executor::mbarrier_wait(barrier, parity, place);
}
inline void fence_proxy_async() { executor::fence_proxy_async(); }

template <int RANK>
inline void tensor_load(void* shared, const CUtensorMap& map, uint64_t* barrier, const int (&at)[RANK],
                        EXECUTOR_PLACE) {
    executor::tensor_load(shared, &map, at, RANK, barrier, place);
}
template <int RANK>
inline void tensor_store(const CUtensorMap& map, const int (&at)[RANK], const void* shared, EXECUTOR_PLACE) {
    executor::tensor_store(&map, at, RANK, shared, place);
}
inline void bulk_commit() { executor::bulk_commit(); }
template <int N>
inline void bulk_wait() {
    executor::bulk_wait(N, false);
}
template <int N>
inline void bulk_wait_read() {
    executor::bulk_wait(N, true);
}

template <int N, bool A_TRANSPOSED = false, bool B_TRANSPOSED = false>
inline void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate, EXECUTOR_PLACE) {
    static_assert(N % 8 == 0 && N >= 8 && N <= 256);
    executor::WgmmaOperands operands{d, nullptr, a, b, N, accumulate, A_TRANSPOSED, B_TRANSPOSED};
    executor::wgmma(operands, place);
}
template <int N, bool B_TRANSPOSED = false>
inline void wgmma(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate, EXECUTOR_PLACE) {
    static_assert(N % 8 == 0 && N >= 8 && N <= 256);
    executor::WgmmaOperands operands{d, a, 0, b, N, accumulate, false, B_TRANSPOSED};
    executor::wgmma(operands, place);
}
inline void wgmma_fence(EXECUTOR_PLACE) { executor::wgmma_fence(place); }
template <size_t N>
inline void wgmma_fence(float (&)[N], EXECUTOR_PLACE) {
    executor::wgmma_fence(place);
}
template <size_t N, size_t M>
inline void wgmma_fence(float (&)[N], float (&)[M], EXECUTOR_PLACE) {
    executor::wgmma_fence(place);
}
inline void wgmma_commit(EXECUTOR_PLACE) { executor::wgmma_commit(place); }
template <int GROUPS>
inline void wgmma_wait(EXECUTOR_PLACE) {
    executor::wgmma_wait({GROUPS, {}}, place);
}
template <int GROUPS, size_t N>
inline void wgmma_wait(float (&d)[N], EXECUTOR_PLACE) {
    executor::wgmma_wait({GROUPS, {d}}, place);
}
template <int GROUPS, size_t N, size_t M>
inline void wgmma_wait(float (&d)[N], float (&e)[M], EXECUTOR_PLACE) {
    executor::wgmma_wait({GROUPS, {d, e}}, place);
}

template <int REGISTERS>
inline void take_registers(EXECUTOR_PLACE) {
    executor::set_max_registers(REGISTERS, true, place);
}
template <int REGISTERS>
inline void give_registers(EXECUTOR_PLACE) {
    executor::set_max_registers(REGISTERS, false, place);
}
inline void named_barrier_sync(int id, int threads, EXECUTOR_PLACE) {
    executor::named_barrier(id, threads, true, place);
}
inline void named_barrier_arrive(int id, int threads, EXECUTOR_PLACE) {
    executor::named_barrier(id, threads, false, place);
}

inline CUresult encode_tensor_map(CUtensorMap* map, CUtensorMapDataType type, unsigned rank, void* address,
                                  const cuuint64_t* dims, const cuuint64_t* strides, const cuuint32_t* box,
                                  CUtensorMapSwizzle swizzle) {
    const cuuint32_t steps[5] = {1, 1, 1, 1, 1};
    return cuTensorMapEncodeTiled(map, type, rank, address, dims, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                  swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

}  // namespace gpu
