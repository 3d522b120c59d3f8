// What compute capability 9.0a added, for kernels that are compiled for it alone (-arch=sm_90a): mbarriers, copies of
// boxes of a tensor (TMA), products of a warpgroup (wgmma), register budgets and named barriers. The executor checks
// the rules that the comments name.
//
// Memory has two paths, which the ISA calls proxies. Threads take the generic one; tensor copies, and wgmma where its
// operands are in shared memory, the asynchronous one. What a thread writes they see only behind fence_proxy_async().
#pragma once

#include <cuda.h>

#include "kernels/cuda/gpu.cuh"

#ifdef __CUDACC__

// The dynamic part of shared memory as T*, at a multiple of 1024 bytes, where every swizzle begins anew.
#define GPU_SHARED_TILES(T, name)                                 \
    extern __shared__ __align__(1024) unsigned char gpu_tiles_[]; \
    T* name = reinterpret_cast<T*>(gpu_tiles_)

namespace gpu {

// ---- mbarriers: a phase is over when so many arrivals, and all bytes that were announced, are there --------------

// One thread initialises a barrier; mbarrier_init_fence() and a barrier of the block come before any other use.
__device__ inline void mbarrier_init(uint64_t* barrier, unsigned arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(smem_address(barrier)), "r"(arrivals) : "memory");
}
__device__ inline void mbarrier_init_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ inline void mbarrier_arrive(uint64_t* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(smem_address(barrier)) : "memory");
}
// Announces bytes that copies will bring in this phase, and arrives.
__device__ inline void mbarrier_arrive_expect(uint64_t* barrier, unsigned bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(smem_address(barrier)), "r"(bytes)
                 : "memory");
}
// Announces bytes, and counts bytes as if a copy had brought them.
__device__ inline void mbarrier_expect(uint64_t* barrier, unsigned bytes) {
    asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(smem_address(barrier)), "r"(bytes)
                 : "memory");
}
__device__ inline void mbarrier_complete(uint64_t* barrier, unsigned bytes) {
    asm volatile("mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(smem_address(barrier)), "r"(bytes)
                 : "memory");
}
// Is the phase of this parity over? The first phase has parity 0, and the one before it counts as over.
__device__ inline bool mbarrier_test(uint64_t* barrier, unsigned parity) {
    uint32_t over;
    asm volatile(
        "{\n"
        ".reg .pred over;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\n"
        "selp.u32 %0, 1, 0, over;\n"
        "}"
        : "=r"(over)
        : "r"(smem_address(barrier)), "r"(parity)
        : "memory");
    return over;
}
__device__ inline void mbarrier_wait(uint64_t* barrier, unsigned parity) {
    while (!mbarrier_test(barrier, parity)) {
    }
}

__device__ inline void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- copies of boxes: the map is a kernel's parameter, const __grid_constant__ CUtensorMap -----------------------

// Starts copying the box at these coordinates, of which the first is that of neighbours in memory. It comes to a
// multiple of 128 bytes; what lies outside of the tensor is zero. All its bytes are counted by the mbarrier.
template <int RANK>
__device__ inline void tensor_load(void* shared, const CUtensorMap& map, uint64_t* barrier, const int (&at)[RANK]) {
    static_assert(RANK >= 2 && RANK <= 4);
    const uint32_t to = smem_address(shared), reports_to = smem_address(barrier);
    if constexpr (RANK == 2)
        asm volatile(
            "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3,%4}], "
            "[%2];" ::"r"(to),
            "l"(&map), "r"(reports_to), "r"(at[0]), "r"(at[1])
            : "memory");
    else if constexpr (RANK == 3)
        asm volatile(
            "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3,%4,%5}], "
            "[%2];" ::"r"(to),
            "l"(&map), "r"(reports_to), "r"(at[0]), "r"(at[1]), "r"(at[2])
            : "memory");
    else
        asm volatile(
            "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, "
            "{%3,%4,%5,%6}], [%2];" ::"r"(to),
            "l"(&map), "r"(reports_to), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3])
            : "memory");
}
// Starts copying a box to the tensor, as part of this thread's next group. What lies outside is dropped.
template <int RANK>
__device__ inline void tensor_store(const CUtensorMap& map, const int (&at)[RANK], const void* shared) {
    static_assert(RANK >= 2 && RANK <= 4);
    const uint32_t from = smem_address(shared);
    if constexpr (RANK == 2)
        asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2,%3}], [%1];" ::"l"(&map),
                     "r"(from), "r"(at[0]), "r"(at[1])
                     : "memory");
    else if constexpr (RANK == 3)
        asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2,%3,%4}], [%1];" ::"l"(&map),
                     "r"(from), "r"(at[0]), "r"(at[1]), "r"(at[2])
                     : "memory");
    else
        asm volatile(
            "cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%2,%3,%4,%5}], [%1];" ::"l"(&map),
            "r"(from), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3])
            : "memory");
}
__device__ inline void bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Waits until at most N of this thread's newest groups are under way; with _read, until all others have read shared
// memory, which a thread waits for before it exits.
template <int N>
__device__ inline void bulk_wait() {
    asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory");
}
template <int N>
__device__ inline void bulk_wait_read() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory");
}

// ---- products of a warpgroup, whose 128 threads execute all of this together -------------------------------------

#define GPU_REGISTERS_8(d, i)                                                                                   \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
        "+f"(d[i + 7])
#define GPU_REGISTERS_32(d, i) \
    GPU_REGISTERS_8(d, i), GPU_REGISTERS_8(d, i + 8), GPU_REGISTERS_8(d, i + 16), GPU_REGISTERS_8(d, i + 24)
#define GPU_NAMES_32                                         \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
    "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define GPU_NAMES_64                                                   \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"           \
    "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
    "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
    "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
// The strings are the numbers of the operands behind the accumulators.
#define GPU_WGMMA_SHARED(SHAPE, NAMES, A, B, ACCUMULATE, A_TRANSPOSED_, B_TRANSPOSED_, ...)             \
    asm volatile("{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, %" ACCUMULATE                      \
                 ", 0;\n"                                                                               \
                 "wgmma.mma_async.sync.aligned." SHAPE ".f32.bf16.bf16 {" NAMES "}, %" A ", %" B        \
                 ", accumulate, 1, 1, %" A_TRANSPOSED_ ", %" B_TRANSPOSED_ ";\n}"                       \
                 : __VA_ARGS__                                                                          \
                 : "l"(a), "l"(b), "r"(int(accumulate)), "n"(int(A_TRANSPOSED)), "n"(int(B_TRANSPOSED)) \
                 : "memory")
#define GPU_WGMMA_REGISTERS(SHAPE, NAMES, A0, A1, A2, A3, B, ACCUMULATE, B_TRANSPOSED_, ...)                        \
    asm volatile("{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, %" ACCUMULATE                                  \
                 ", 0;\n"                                                                                           \
                 "wgmma.mma_async.sync.aligned." SHAPE ".f32.bf16.bf16 {" NAMES "}, {%" A0 ",%" A1 ",%" A2 ",%" A3  \
                 "}, %" B ", accumulate, 1, 1, %" B_TRANSPOSED_ ";\n}"                                              \
                 : __VA_ARGS__                                                                                      \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(accumulate)), "n"(int(B_TRANSPOSED)) \
                 : "memory")

// Starts d = a (64x16) * b (16xN), or d += that. Thread t of the warpgroup holds the numbers that mma_bf16 gives it of
// rows 16 (t / 32) on, for each 8 columns four. Operands are K-major in memory, or the other way round if transposed.
template <int N, bool A_TRANSPOSED = false, bool B_TRANSPOSED = false>
__device__ inline void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate) {
    static_assert(N == 64 || N == 128);
    if constexpr (N == 64)
        GPU_WGMMA_SHARED("m64n64k16", GPU_NAMES_32, "32", "33", "34", "35", "36", GPU_REGISTERS_32(d, 0));
    else
        GPU_WGMMA_SHARED("m64n128k16", GPU_NAMES_64, "64", "65", "66", "67", "68", GPU_REGISTERS_32(d, 0),
                         GPU_REGISTERS_32(d, 32));
}
// The same with rows in registers, as mma_bf16 takes them. These stay as they are, and in scope, until the wait.
template <int N, bool B_TRANSPOSED = false>
__device__ inline void wgmma(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
    static_assert(N == 64 || N == 128);
    if constexpr (N == 64)
        GPU_WGMMA_REGISTERS("m64n64k16", GPU_NAMES_32, "32", "33", "34", "35", "36", "37", "38",
                            GPU_REGISTERS_32(d, 0));
    else
        GPU_WGMMA_REGISTERS("m64n128k16", GPU_NAMES_64, "64", "65", "66", "67", "68", "69", "70",
                            GPU_REGISTERS_32(d, 0), GPU_REGISTERS_32(d, 32));
}
#undef GPU_WGMMA_SHARED
#undef GPU_WGMMA_REGISTERS
#undef GPU_NAMES_32
#undef GPU_NAMES_64
#undef GPU_REGISTERS_32
#undef GPU_REGISTERS_8

// Keeps the compiler from moving accesses to registers across this.
template <size_t N>
__device__ inline void pin(float (&d)[N]) {
#pragma unroll
    for (size_t i = 0; i < N; i++) asm volatile("" : "+f"(d[i])::"memory");
}
// Stands before the first product, and between what threads write to its registers and a product. Given the
// accumulators where they were written.
__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
template <size_t N>
__device__ inline void wgmma_fence(float (&d)[N]) {
    pin(d);
    wgmma_fence();
}
template <size_t N, size_t M>
__device__ inline void wgmma_fence(float (&d)[N], float (&e)[M]) {
    pin(d);
    wgmma_fence(e);
}
__device__ inline void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits until at most GROUPS of the newest groups are under way. Given the accumulators that are read behind it.
template <int GROUPS>
__device__ inline void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(GROUPS) : "memory");
}
template <int GROUPS, size_t N>
__device__ inline void wgmma_wait(float (&d)[N]) {
    wgmma_wait<GROUPS>();
    pin(d);
}
template <int GROUPS, size_t N, size_t M>
__device__ inline void wgmma_wait(float (&d)[N], float (&e)[M]) {
    wgmma_wait<GROUPS>(d);
    pin(e);
}

// ---- registers and barriers --------------------------------------------------------------------------------------

// Sets how many registers each thread of the warpgroup may use: more than now, waiting for others to give theirs, or
// fewer. A multiple of 8 from 24 to 256.
template <int REGISTERS>
__device__ inline void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
template <int REGISTERS>
__device__ inline void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
// A barrier of so many threads of the block, whole warps of them; numbers are 1 to 15. Who only arrives does not wait.
__device__ inline void named_barrier_sync(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ inline void named_barrier_arrive(int id, int threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// ---- tensor maps, on the host ------------------------------------------------------------------------------------

// Fills in a map of a tensor in device memory: dimensions from that of neighbours on, strides in bytes of all but the
// first, and the box that one copy moves. The driver has the function, not the runtime.
inline CUresult encode_tensor_map(CUtensorMap* map, CUtensorMapDataType type, unsigned rank, void* address,
                                  const cuuint64_t* dims, const cuuint64_t* strides, const cuuint32_t* box,
                                  CUtensorMapSwizzle swizzle) {
    static void* const found = [] {
        void* function = nullptr;
        cudaDriverEntryPointQueryResult result;
#if CUDART_VERSION >= 12050
        CUDA_CHECK(
            cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result));
#else   // CUDA 13 has it no longer
        CUDA_CHECK(cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &result));
#endif  // CUDART_VERSION
        return function;
    }();
    if (!found) return CUDA_ERROR_NOT_FOUND;
    const cuuint32_t steps[5] = {1, 1, 1, 1, 1};
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(found)(
        map, type, rank, address, dims, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
        CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

}  // namespace gpu
#endif

namespace gpu {

// How a tile lies in shared memory: its rows have 16 << SWIZZLE bytes (CUtensorMapSwizzle has the same numbers), and
// the pieces of 16 bytes are permuted within each row.
enum class Swizzle { none, bytes32, bytes64, bytes128 };

// An operand of wgmma in shared memory. `stride` is the distance in bytes of blocks of 8 rows of the tile; `leading`
// that of what is as wide as a row of it. Without a swizzle a transposed operand takes them the other way round.
__device__ inline uint64_t matrix_descriptor(const void* tile, int leading, int stride, Swizzle swizzle) {
    const uint64_t mode = swizzle == Swizzle::none ? 0 : 4 - uint64_t(swizzle);
    return smem_address(tile) >> 4 | uint64_t(leading >> 4) << 16 | uint64_t(stride >> 4) << 32 | mode << 62;
}

}  // namespace gpu
