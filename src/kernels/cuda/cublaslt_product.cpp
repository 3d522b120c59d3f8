#include "kernels/cuda/cublaslt_product.h"

#include <unordered_map>

#include "runtime/cuda/gpu.h"

namespace kernels::cuda {
namespace {

struct ShapeHash {
    size_t operator()(const Shape& s) const {
        size_t hash = 0;
        for (const int64_t value :
             {s.M, s.N, s.K, s.a_ld, s.b_ld, s.c_ld, s.aux_ld, s.batch, s.a_distance, s.b_distance, s.c_distance,
              int64_t(s.aux_alignment), int64_t(s.a_alignment) << 32 | s.b_alignment,
              int64_t(s.c_alignment) << 32 | s.bias_alignment, int64_t(s.type) << 32 | s.result_type,
              int64_t(s.epilogue) << 3 | s.transpose_a << 2 | s.transpose_b << 1 | int64_t(s.adds)}) {
            hash = (hash ^ size_t(value)) * 0x9E3779B97F4A7C15u;
            hash ^= hash >> 29;
        }
        return hash;
    }
};

// Created at the first product, when the CUDA runtime exists and cuBLASLt is loaded, and so destroyed ahead of both.
struct Library {
    LtHandle handle;
    std::unordered_map<Shape, Compiled, ShapeHash> products;
    Library() {
        gpu::stream();
        const cublasStatus_t status = create(handle, cublasLtCreate);
        CHECK(status == CUBLAS_STATUS_SUCCESS, "cuBLASLt can't be used: ", cublasLtGetStatusName(status));
    }
};
Library& library() {
    static Library library;
    return library;
}

cudaDataType_t cuda_type(DType type) { return type == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

// The alignment of every operand of a batch, `distance` elements apart: what divides the first address and the
// distance.
uint32_t batch_alignment(const Tensor& t, int64_t distance) {
    return alignment(
        reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(t.data) | uintptr_t(distance) * dtype_size(t.dtype)));
}

cublasLtEpilogue_t epilogue_of(const Matmul& m) {
    if (m.epilogue == Epilogue::gelu_backward)
        return m.column_sums.empty() ? CUBLASLT_EPILOGUE_DGELU : CUBLASLT_EPILOGUE_DGELU_BGRAD;
    if (m.epilogue == Epilogue::gelu)
        return m.bias.empty() ? CUBLASLT_EPILOGUE_GELU_AUX : CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
    return m.bias.empty() ? CUBLASLT_EPILOGUE_DEFAULT : CUBLASLT_EPILOGUE_BIAS;
}

// A row-major matrix as cuBLASLt sees it: transposed. `distance`: elements to that of the next product of the batch.
void describe_matrix(LtLayout& layout, const Tensor& t, int64_t distance, const Matmul& m) {
    CUBLAS_CHECK(create(layout, cublasLtMatrixLayoutCreate, cuda_type(t.dtype), uint64_t(t.cols), uint64_t(t.rows),
                        leading_dimension(t)),
                 m);
    if (m.batch.count == 1) return;
    CUBLAS_CHECK(set(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, int32_t(m.batch.count)), m);
    CUBLAS_CHECK(set(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, distance), m);
}

// The pointers that belong to the operation rather than to cublasLtMatmul's arguments, which differ from call to call.
void point_at_epilogue_operands(const Compiled& compiled, const Matmul& m) {
    if (void* bias = bias_pointer(m)) CUBLAS_CHECK(set(compiled.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias), m);
    if (!m.aux.empty()) CUBLAS_CHECK(set(compiled.operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, m.aux.data), m);
}

cublasStatus_t prepare(Compiled& compiled, const Shape& shape, const Matmul& m) {
    CUBLAS_CHECK(create(compiled.operation, cublasLtMatmulDescCreate, CUBLAS_COMPUTE_32F, CUDA_R_32F), m);
    CUBLAS_CHECK(set(compiled.operation, CUBLASLT_MATMUL_DESC_TRANSA, m.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N), m);
    CUBLAS_CHECK(set(compiled.operation, CUBLASLT_MATMUL_DESC_TRANSB, m.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N), m);
    CUBLAS_CHECK(set(compiled.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, shape.epilogue), m);
    if (!m.bias.empty() || !m.column_sums.empty())
        CUBLAS_CHECK(set(compiled.operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, cuda_type(m.c.dtype)), m);
    // aux is of c's type, which is the default.
    if (!m.aux.empty()) CUBLAS_CHECK(set(compiled.operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, shape.aux_ld), m);
    point_at_epilogue_operands(compiled, m);  // their alignment matters to the search
    describe_matrix(compiled.a, m.a, m.batch.a, m);
    describe_matrix(compiled.b, m.b, m.batch.b, m);
    describe_matrix(compiled.c, m.c, m.batch.c, m);
    return choose_algorithm(compiled, shape, m);
}

}  // namespace

cublasLtHandle_t cublaslt_handle() { return library().handle.get(); }

Shape shape_of(const Matmul& m) {
    return {
        .M = m.c.rows,
        .N = m.c.cols,
        .K = m.transpose_a ? m.a.rows : m.a.cols,
        .a_ld = leading_dimension(m.a),
        .b_ld = leading_dimension(m.b),
        .c_ld = leading_dimension(m.c),
        .aux_ld = leading_dimension(m.aux),
        .batch = m.batch.count,
        .a_distance = m.batch.a,
        .b_distance = m.batch.b,
        .c_distance = m.batch.c,
        .a_alignment = batch_alignment(m.a, m.batch.a),
        .b_alignment = batch_alignment(m.b, m.batch.b),
        .c_alignment = std::min(batch_alignment(m.c, m.batch.c), m.residual.empty() ? 256 : alignment(m.residual.data)),
        .bias_alignment = alignment(m.bias.data),  // column sums always have the workspace's
        .aux_alignment = alignment(m.aux.data),
        .type = cuda_type(m.a.dtype),
        .result_type = cuda_type(m.c.dtype),
        .epilogue = epilogue_of(m),
        .transpose_a = m.transpose_a,
        .transpose_b = m.transpose_b,
        .adds = m.accumulate || !m.residual.empty()};
}

std::string describe(const Matmul& m) {
    const Shape s = shape_of(m);
    return str(s.batch > 1 ? str("a batch of ", s.batch, " products (") : "a product (", s.M, ", ", s.K, ") x (", s.K,
               ", ", s.N, ") of ", dtype_name(m.a.dtype), m.transpose_a ? " a^T" : " a", " (ld ", s.a_ld,
               ", aligned to ", s.a_alignment, ")", m.transpose_b ? " b^T" : " b", " (ld ", s.b_ld, ", aligned to ",
               s.b_alignment, ") ", m.accumulate ? "added to " : "into ", dtype_name(m.c.dtype), " c (ld ", s.c_ld,
               ", aligned to ", s.c_alignment, ")", m.bias.empty() ? "" : " with bias",
               m.residual.empty() ? "" : " and residual", m.epilogue == Epilogue::none ? "" : " and GELU");
}

void* bias_pointer(const Matmul& m) {
    if (m.column_sums.empty()) return m.bias.data;
    return workspace(m.c.cols);
}

cublasStatus_t run_cublasLtMatmul(const Compiled& compiled, const cublasLtMatmulAlgo_t& algorithm, const Matmul& m,
                                  void* result) {
    const bool adds = m.accumulate || !m.residual.empty();
    const float alpha = m.alpha, beta = adds ? 1.0f : 0.0f;
    return cublasLtMatmul(cublaslt_handle(), compiled.operation.get(), &alpha, m.b.data, compiled.b.get(), m.a.data,
                          compiled.a.get(), &beta, m.residual.empty() ? result : m.residual.data, compiled.c.get(),
                          result, compiled.c.get(), &algorithm, matmul_workspace(), size_t(kMatmulWorkspaceBytes),
                          gpu::stream());
}

cublasStatus_t multiply(const Matmul& m) {
    const Shape shape = shape_of(m);
    Compiled& compiled = library().products[shape];
    if (compiled.status == CUBLAS_STATUS_NOT_INITIALIZED) compiled.status = prepare(compiled, shape, m);
    if (compiled.status != CUBLAS_STATUS_SUCCESS) return compiled.status;
    point_at_epilogue_operands(compiled, m);
    CUBLAS_CHECK(run_cublasLtMatmul(compiled, compiled.algorithm, m, m.c.data), m);
    return CUBLAS_STATUS_SUCCESS;
}

void forget_products() { library().products.clear(); }

std::string matmul_problem() {
    try {
        library();
        return "";
    } catch (const Error& error) {
        return error.what();
    }
}

}  // namespace kernels::cuda
