// Calls of templates by the type that a tensor has at run time.
#pragma once

#include "runtime/tensor.h"

namespace kernels {

// Calls body with a null pointer to the element type.
template <class Body>
auto by_type(DType type, const Body& body) {
    return type == DType::bf16 ? body(static_cast<bf16*>(nullptr)) : body(static_cast<float*>(nullptr));
}

}  // namespace kernels
