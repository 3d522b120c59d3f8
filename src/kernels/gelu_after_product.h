// How both halves compute a product with a GELU epilogue that is not fused: the product alone, then the GELU op.
#pragma once

#include "kernels/by_type.h"
#include "kernels/kernels.h"

namespace kernels {

// `multiply`, `gelu_forward` and `gelu_backward` are those of the half that calls this.
template <class Multiply, class Forward, class Backward>
void gelu_after_product(const Matmul& m, const Multiply& multiply, const Forward& gelu_forward,
                        const Backward& gelu_backward) {
    Matmul product = m;
    product.epilogue = Epilogue::none;
    product.aux = {};
    if (m.epilogue == Epilogue::gelu) product.c = m.aux;
    multiply(product);
    by_type(m.c.dtype, [&]<class T>(T*) {
        if (m.epilogue == Epilogue::gelu)
            gelu_forward(m.c.get<T>(), m.aux.get<T>(), m.c.size());
        else
            gelu_backward(m.c.get<T>(), m.c.get<T>(), m.aux.get<T>(), m.c.size());
    });
}

}  // namespace kernels
