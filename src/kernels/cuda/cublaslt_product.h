// A product as cuBLASLt takes it. Its matrices are column-major, so a row-major c = op(a) op(b) is asked for as
// c^T = op(b)^T op(a)^T: the same memory with the operands swapped. Descriptors and algorithm are kept per shape.
#pragma once

#include <cublasLt.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "kernels/cuda/cublaslt_objects.h"
#include "kernels/cuda/cuda.h"

#define CUBLAS_CHECK(call, product)                                                                               \
    do {                                                                                                          \
        const cublasStatus_t cublas_status = (call);                                                              \
        if (cublas_status != CUBLAS_STATUS_SUCCESS)                                                               \
            FAIL(#call, ": cuBLASLt reports ", cublasLtGetStatusName(cublas_status), " for ", describe(product)); \
    } while (0)

namespace kernels::cuda {

// What an algorithm is chosen for. Leading dimensions and alignments are those of the operands. Neither alpha nor beta
// has a say in cuBLASLt's choice, but a product that reads c or a residual as well has its own timings.
struct Shape {
    int64_t M, N, K;
    int64_t a_ld, b_ld, c_ld, aux_ld;
    int64_t batch, a_distance, b_distance, c_distance;
    uint32_t a_alignment, b_alignment, c_alignment, bias_alignment, aux_alignment;
    cudaDataType_t type, result_type;
    cublasLtEpilogue_t epilogue;
    bool transpose_a, transpose_b, adds;
    bool operator==(const Shape&) const = default;
};

// A product as cuBLASLt takes it, but for the operands.
struct Compiled {
    LtOperation operation;
    LtLayout a, b, c;
    cublasLtMatmulAlgo_t algorithm;
    // What the search for an algorithm came to; this one until there was a search.
    cublasStatus_t status = CUBLAS_STATUS_NOT_INITIALIZED;
};

// cuBLASLt's handle, created at its first use.
cublasLtHandle_t cublaslt_handle();
Shape shape_of(const Matmul& m);
// A product in words, for errors.
std::string describe(const Matmul& m);

// The largest power of two that divides the address, up to the 256 that cuBLASLt assumes when it isn't told.
inline uint32_t alignment(const void* p) {
    const auto address = reinterpret_cast<uintptr_t>(p);
    return uint32_t(std::min<uintptr_t>(256, address & -address));
}
// A matrix of one row may have any leading dimension; cuBLASLt wants one that is not below its columns.
inline int64_t leading_dimension(const Tensor& t) { return t.rows == 1 ? t.cols : t.ld; }

// Where an epilogue reads the bias, or writes the column sums: cuBLASLt has them in the type of c, and never adds to
// what is there.
void* bias_pointer(const Matmul& m);
// Runs a product, with `result` in the place of c.
cublasStatus_t run_cublasLtMatmul(const Compiled& compiled, const cublasLtMatmulAlgo_t& algorithm, const Matmul& m,
                                  void* result);
// Multiplies; returns another status than success if cuBLASLt has no algorithm for the product.
cublasStatus_t multiply(const Matmul& m);
// Forgets all products, so that their algorithms are chosen anew.
void forget_products();

// cublaslt_algorithm.cpp. Chooses the algorithm of a product whose descriptors are set; success, or why there is none.
cublasStatus_t choose_algorithm(Compiled& compiled, const Shape& shape, const Matmul& m);

}  // namespace kernels::cuda
