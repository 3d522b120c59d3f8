// The stand-in of cuTensorMapEncodeTiled, with the limits that cuda.h states.
#include "dev/cuda_on_cpu/executor/tensor_map.h"

#include <cstring>
#include <string>

#include "dev/cuda_on_cpu/executor/device_memory.h"
#include "dev/cuda_on_cpu/executor/report.h"

namespace executor {

namespace {

int bytes_of(CUtensorMapDataType type) {
    switch (type) {
        case CU_TENSOR_MAP_DATA_TYPE_UINT8: return 1;
        case CU_TENSOR_MAP_DATA_TYPE_UINT16:
        case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
        case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16: return 2;
        case CU_TENSOR_MAP_DATA_TYPE_UINT32:
        case CU_TENSOR_MAP_DATA_TYPE_INT32:
        case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
        case CU_TENSOR_MAP_DATA_TYPE_FLOAT32_FTZ:
        case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32:
        case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ: return 4;
        case CU_TENSOR_MAP_DATA_TYPE_UINT64:
        case CU_TENSOR_MAP_DATA_TYPE_INT64:
        case CU_TENSOR_MAP_DATA_TYPE_FLOAT64: return 8;
        default: return 0;
    }
}

// Why the driver would refuse this; empty if it would not.
std::string fault(const void* map, const void* address, int rank, const cuuint64_t* dims, const cuuint64_t* strides,
                  const cuuint32_t* box, int element_bytes, int swizzle) {
    const auto number = [](uint64_t n) { return std::to_string(n); };
    if (uintptr_t(map) % 64) return "a map at an address that is not a multiple of 64";
    if (uintptr_t(address) % 16) return "a tensor at an address that is not a multiple of 16";
    for (int i = 0; i < rank; i++) {
        if (!dims[i] || dims[i] > uint64_t(1) << 32) return "a dimension of " + number(dims[i]);
        if (!box[i] || box[i] > 256) return "a box of " + number(box[i]) + " in a dimension";
        if (i + 1 < rank && (strides[i] % 16 || strides[i] >= uint64_t(1) << 40))
            return "a stride of " + number(strides[i]) + " bytes, which is no multiple of 16 below 2^40";
    }
    const uint64_t row_bytes = box[0] * uint64_t(element_bytes);
    if (row_bytes % 16) return "a box whose rows of " + number(row_bytes) + " bytes are no multiple of 16";
    if (swizzle && row_bytes > uint64_t(16) << swizzle)
        return "a box whose rows of " + number(row_bytes) + " bytes are longer than the swizzle";
    return "";
}

}  // namespace

}  // namespace executor

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* address,
                                const cuuint64_t* dims, const cuuint64_t* strides, const cuuint32_t* box,
                                const cuuint32_t* steps, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion, CUtensorMapFloatOOBfill fill) {
    using namespace executor;
    const auto refuse = [](const std::string& why) {
        complain("cuTensorMapEncodeTiled with " + why);
        return CUDA_ERROR_INVALID_VALUE;
    };
    if (rank < 1 || rank > TensorMap::kMaxRank) return refuse(std::to_string(rank) + " dimensions");
    TensorMap encoded{};
    encoded.element_bytes = uint8_t(bytes_of(type));
    if (!encoded.element_bytes || interleave != CU_TENSOR_MAP_INTERLEAVE_NONE || swizzle > CU_TENSOR_MAP_SWIZZLE_128B ||
        fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE)
        die("cuTensorMapEncodeTiled: this type, interleave, swizzle or fill is not emulated");
    const std::string why = fault(map, address, int(rank), dims, strides, box, encoded.element_bytes, int(swizzle));
    if (!why.empty()) return refuse(why);
    if (swizzle && box[0] * encoded.element_bytes != 16u << swizzle)
        die("cuTensorMapEncodeTiled: a box whose rows are shorter than the swizzle is not emulated");
    size_t bytes = dims[0] * encoded.element_bytes;
    for (cuuint32_t i = 0; i < rank; i++) {
        if (steps[i] != 1) die("cuTensorMapEncodeTiled: elementStrides other than 1 are not emulated");
        encoded.dims[i] = dims[i];
        encoded.box[i] = uint16_t(box[i]);
        if (i > 0) bytes += (dims[i] - 1) * (encoded.strides[i - 1] = strides[i - 1]);
    }
    if (const std::string wrong = device_range_fault(address, bytes); !wrong.empty())
        die("the tensor of cuTensorMapEncodeTiled " + wrong);
    encoded.mark = TensorMap::kMark;
    encoded.address = static_cast<char*>(address);
    encoded.rank = uint8_t(rank);
    encoded.swizzle = uint8_t(swizzle);
    memset(map, 0, sizeof *map);
    memcpy(map, &encoded, sizeof encoded);
    return CUDA_SUCCESS;
}
