// The element types, and sums over ranks. No order of the ranks is promised, so the order differs from place to place.
#pragma once

#include <nccl.h>

#include <cstddef>
#include <vector>

namespace nccl {

size_t type_bytes(ncclDataType_t type);  // 0 of what is no type
const char* type_name(ncclDataType_t type);
bool can_sum(ncclDataType_t type);

// to[i] = the sum over ranks of from[rank][i]. `first` is the place of to[0] in the whole, on which the order depends.
// `to` may be one of the operands.
void sum(void* to, const std::vector<const void*>& from, size_t count, size_t first, ncclDataType_t type);

}  // namespace nccl
