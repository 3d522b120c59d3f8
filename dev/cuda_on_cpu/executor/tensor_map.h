// What a CUtensorMap holds here, in place of the driver's own format.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

namespace executor {

struct TensorMap {
    static constexpr uint64_t kMark = 0x74656E736F726D61;
    static constexpr int kMaxRank = 5;
    uint64_t mark;
    char* address;
    uint64_t strides[kMaxRank - 1];  // in bytes, of dimension 1 and higher ones
    uint64_t dims[kMaxRank];
    uint16_t box[kMaxRank];
    uint8_t rank, element_bytes;
    uint8_t swizzle;  // 0: none; 1 to 3: 32, 64 or 128 bytes

    // A row of the box lies contiguously in shared memory, and the rows behind each other.
    size_t row_bytes() const { return size_t(box[0]) * element_bytes; }
    size_t rows() const {
        size_t rows = 1;
        for (int i = 1; i < rank; i++) rows *= box[i];
        return rows;
    }
    size_t box_bytes() const { return rows() * row_bytes(); }
};
static_assert(sizeof(TensorMap) <= sizeof(CUtensorMap));

}  // namespace executor
