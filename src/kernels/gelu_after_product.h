// How both halves compute a product with a GELU epilogue that is not fused: the product alone, then the GELU op, then
// the column sums.
#pragma once

#include "kernels/by_type.h"
#include "kernels/kernels.h"

namespace kernels {

// The functions are those of the half that calls this.
template <class Multiply, class Forward, class Backward, class Sums>
void gelu_after_product(const Matmul& m, const Multiply& multiply, const Forward& gelu_forward,
                        const Backward& gelu_backward, const Sums& bias_backward) {
    Matmul product = m;
    product.epilogue = Epilogue::none;
    product.aux = {};
    product.column_sums = {};
    if (m.epilogue == Epilogue::gelu) product.c = m.aux;
    multiply(product);
    by_type(m.c.dtype, [&]<class T>(T*) {
        if (m.epilogue == Epilogue::gelu)
            gelu_forward(m.c.get<T>(), m.aux.get<T>(), m.c.size());
        else
            gelu_backward(m.c.get<T>(), m.c.get<T>(), m.aux.get<T>(), m.c.size());
        if (!m.column_sums.empty())
            bias_backward(m.column_sums.get<float>(), m.c.get<T>(), m.c.rows, m.c.cols, m.accumulate_sums);
    });
}

}  // namespace kernels
