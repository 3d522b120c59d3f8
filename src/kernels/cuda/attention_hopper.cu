// Launches attention's kernels for compute capability 9.0. This file is compiled for sm_90a alone, whose instructions
// no later GPU has.
#include <algorithm>
#include <cmath>

#include "kernels/cuda/attention_hopper.h"
#include "kernels/cuda/attention_hopper_backward.cuh"
#include "kernels/cuda/attention_hopper_forward.cuh"
#include "kernels/cuda/cuda.h"

namespace kernels::cuda {
namespace {

// Maps a contiguous tensor, whose dimensions come from that of neighbours on, for boxes of this size. A launch copies
// the map.
template <int RANK, class T>
CUtensorMap tensor_map(const T* tensor, const int64_t (&sizes)[RANK], const cuuint32_t (&box)[RANK],
                       CUtensorMapSwizzle swizzle) {
    cuuint64_t dims[RANK], strides[RANK];
    for (int i = 0; i < RANK; i++) {
        dims[i] = cuuint64_t(sizes[i]);
        strides[i] = dims[i] * (i > 0 ? strides[i - 1] : sizeof(T));
    }
    CUtensorMap map;
    const CUresult error = gpu::encode_tensor_map(
        &map, sizeof(T) == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32, RANK,
        const_cast<T*>(tensor), dims, strides, box, swizzle);
    CHECK(error == CUDA_SUCCESS, "attention: the driver refuses a tensor map of ", sizes[0], "x", sizes[1], " (error ",
          int(error), ")");
    return map;
}
CUtensorMap map_rows(const bf16* rows, int64_t B, int64_t T, int64_t columns) {
    return tensor_map(rows, {columns, T, B}, {kBox, kBox, 1}, CU_TENSOR_MAP_SWIZZLE_128B);
}

// A block stays on each multiprocessor, if there is as much work.
unsigned resident_blocks(int64_t works) {
    int multiprocessors = 0;
    CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, gpu::current_device()));
    return unsigned(std::min<int64_t>(works, multiprocessors));
}
int64_t works_of(int64_t B, int64_t T, int64_t NH) { return B * NH * gpu::div_ceil(T, kRows); }

template <int HS>
void run_forward(bf16* out, float* lse, const bf16* qkv, int64_t B, int64_t T, int64_t NH) {
    gpu::allow_smem(wgmma_forward<HS>, kWgmmaForwardShared<HS>);
    gpu::run(wgmma_forward<HS>, resident_blocks(works_of(B, T, NH)), kHopperThreads, kWgmmaForwardShared<HS>, out, lse,
             map_rows(qkv, B, T, 3 * NH * HS), int(B * NH), int(NH), int(T), kLog2e / std::sqrt(float(HS)));
}

template <int HS>
void run_backward(bf16* dqkv, const bf16* dout, const bf16* qkv, float* scratch, int64_t B, int64_t T, int64_t NH) {
    const int64_t heads = B * NH, padded = padded_length(T), C = NH * HS;
    const BackwardMaps maps{
        map_rows(qkv, B, T, 3 * C), map_rows(dout, B, T, C),
        tensor_map(scratch, {2 * padded, heads}, {2 * kWgmmaQueries<HS>, 1}, CU_TENSOR_MAP_SWIZZLE_NONE)};
    const BackwardShape shape{int(heads), int(NH), int(T), int(padded)};
    constexpr size_t BYTES = WgmmaBackwardShared<HS>::kBytes;
    gpu::allow_smem(wgmma_backward<HS>, BYTES);
    gpu::run(wgmma_backward<HS>, resident_blocks(works_of(B, T, NH)), kHopperThreads, BYTES, dqkv, maps,
             QuerySums(scratch, heads, padded, HS), shape, 1.0f / std::sqrt(float(HS)));
}

}  // namespace

std::string wgmma_problem() {
    int major = 0, minor = 0;
    CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, gpu::current_device()));
    CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, gpu::current_device()));
    if (major == 9 && minor == 0) return "";
    return str("needs a GPU of compute capability 9.0 (H100, H200), not ", major, ".", minor);
}

void wgmma_attention_forward(bf16* out, float* lse, const bf16* qkv, int64_t B, int64_t T, int64_t NH, int64_t HS) {
    HS == 64 ? run_forward<64>(out, lse, qkv, B, T, NH) : run_forward<128>(out, lse, qkv, B, T, NH);
}

void wgmma_attention_backward(bf16* dqkv, const bf16* dout, const bf16* qkv, float* scratch, int64_t B, int64_t T,
                              int64_t NH, int64_t HS) {
    HS == 64 ? run_backward<64>(dqkv, dout, qkv, scratch, B, T, NH)
             : run_backward<128>(dqkv, dout, qkv, scratch, B, T, NH);
}

}  // namespace kernels::cuda
