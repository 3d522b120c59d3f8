// Matrix products on cuBLASLt, and what takes the place of an epilogue that it can't fuse. Every sum is accumulated in
// fp32, and fp32 operands are multiplied as such, never as TF32: CUBLAS_COMPUTE_32F.
#include <algorithm>
#include <string>

#include "kernels/cuda/cublaslt_product.h"
#include "kernels/cuda/cuda.h"
#include "kernels/gelu_after_product.h"
#include "runtime/cuda/gpu.h"

namespace kernels::cuda {
namespace {

// Fills the rows of c with the bias, twice as many by each copy.
void copy_bias_to_rows(const Matmul& m) {
    const size_t width = size_t(m.c.cols) * dtype_size(m.c.dtype);
    const size_t pitch = size_t(leading_dimension(m.c)) * dtype_size(m.c.dtype);
    char* const c = static_cast<char*>(m.c.data);
    CUDA_CHECK(cudaMemcpyAsync(c, m.bias.data, width, cudaMemcpyDeviceToDevice, gpu::stream()));
    for (int64_t rows = 1; rows < m.c.rows; rows *= 2)
        CUDA_CHECK(cudaMemcpy2DAsync(c + size_t(rows) * pitch, pitch, c, pitch, width,
                                     size_t(std::min(rows, m.c.rows - rows)), cudaMemcpyDeviceToDevice, gpu::stream()));
}

// cuBLASLt's kernels may read the bias 16 bytes at a time, whatever its alignment (pytorch/pytorch#194497).
constexpr uint32_t kBiasAlignment = 16;
bool has_aligned_bias(const Matmul& m) { return m.bias.empty() || alignment(m.bias.data) >= kBiasAlignment; }

// ---- GELU epilogues ----------------------------------------------------------------------------------------------

// Whether a GELU belongs into the product: from compute capability 9.0 on, as in llm.c, where the fused products of
// older GPUs lost more than the GELU's own pass over memory costs.
bool gelu_pays_in_product() {
    static const bool pays = [] {
        int major = 0;
        CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, gpu::current_device()));
        return major >= 9;
    }();
    return pays;
}

// cuBLASLt's GELU is the tanh form. It demands that aux's leading dimension be a multiple of 8, and moves 16 bytes at a
// time.
constexpr int64_t kAuxColumns = 8;
constexpr uint32_t kAuxAlignment = 16;

bool fuses(const Matmul& m) {
    return m.c.dtype == DType::bf16 && leading_dimension(m.aux) % kAuxColumns == 0 &&
           alignment(m.aux.data) >= kAuxAlignment && has_aligned_bias(m) && gelu_pays_in_product();
}

// Takes the column sums from where the epilogue left them.
void take_column_sums(const Matmul& m) {
    if (m.column_sums.empty()) return;
    float* to = m.column_sums.get<float>();
    const bf16* from = static_cast<const bf16*>(bias_pointer(m));
    if (m.accumulate_sums)
        add(to, to, from, m.c.cols);
    else
        convert(to, from, m.c.cols);
}

}  // namespace

void matmul(const Matmul& m) {
    CHECK(m.bias.empty() || m.bias.dtype == m.c.dtype, "cuBLASLt adds a bias of the result's type only: ", describe(m));
    if (m.epilogue != Epilogue::none) {
        if (fuses(m)) {
            if (multiply(m) == CUBLAS_STATUS_SUCCESS) return take_column_sums(m);
            Matmul product = m;
            product.column_sums = {};
            if (!m.column_sums.empty() && multiply(product) == CUBLAS_STATUS_SUCCESS)
                return bias_backward(m.column_sums.get<float>(), m.c.get<bf16>(), m.c.rows, m.c.cols,
                                     m.accumulate_sums);
        }
        return gelu_after_product(
            m, cuda::matmul, [](auto... a) { cuda::gelu_forward(a...); }, [](auto... a) { cuda::gelu_backward(a...); },
            [](auto... a) { cuda::bias_backward(a...); });
    }
    Matmul product = m;
    if (!m.residual.empty()) {
        if (has_aligned_bias(m) && multiply(m) == CUBLAS_STATUS_SUCCESS) return;
        product.residual = {};
        cuda::matmul(product);
        return by_type(m.c.dtype,
                       [&]<class T>(T*) { add(m.c.get<T>(), m.c.get<T>(), m.residual.get<T>(), m.c.size()); });
    }
    if (!m.bias.empty()) {
        if (has_aligned_bias(m) && multiply(m) == CUBLAS_STATUS_SUCCESS) return;
        // No algorithm adds this bias, as PyTorch saw with operands of one row or column. So c starts from it.
        copy_bias_to_rows(m);
        product.bias = {};
        product.accumulate = true;
    }
    if (const cublasStatus_t status = multiply(product); status != CUBLAS_STATUS_SUCCESS)
        throw NoAlgorithm(
            str("cuBLASLt has no algorithm (", cublasLtGetStatusName(status), ") for ", describe(product)), __FILE__,
            __LINE__);
}

}  // namespace kernels::cuda
