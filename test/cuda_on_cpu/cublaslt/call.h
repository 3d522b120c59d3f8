// The tests of cuBLASLt's stand-in share these: random numbers in device memory, and a product made of the library's
// calls.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#define GTEST_DONT_DEFINE_FAIL 1  // error.h has a FAIL of its own
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "kernels/cuda/cublaslt_objects.h"
#include "runtime/tensor.h"

inline constexpr cudaDataType_t kFloat = CUDA_R_32F, kBf16 = CUDA_R_16BF;
inline size_t type_bytes(cudaDataType_t type) { return type == kFloat ? 4 : 2; }

// `elements` numbers of either type in device memory, behind `offset` unused ones.
class Numbers {
  public:
    Numbers(cudaDataType_t type, int64_t elements, unsigned seed, int64_t offset = 0)
        : type_(type), elements_(elements), offset_(offset) {
        EXPECT_EQ(cudaMalloc(&memory_, size_t(offset + elements) * type_bytes(type)), cudaSuccess);
        std::mt19937 generator(seed);
        std::normal_distribution<float> normal;
        std::vector<double> values(static_cast<size_t>(elements));
        for (double& v : values) v = normal(generator);
        write(values);
    }
    ~Numbers() { cudaFree(memory_); }
    Numbers(const Numbers&) = delete;
    Numbers& operator=(const Numbers&) = delete;

    void* data() const { return static_cast<char*>(memory_) + size_t(offset_) * type_bytes(type_); }
    cudaDataType_t type() const { return type_; }
    void write(const std::vector<double>& values) {
        std::vector<float> wide(values.begin(), values.end());
        std::vector<bf16> narrow;
        for (const float v : wide) narrow.push_back(bf16(v));
        const void* from = type_ == kFloat ? static_cast<const void*>(wide.data()) : narrow.data();
        EXPECT_EQ(cudaMemcpy(data(), from, bytes(), cudaMemcpyHostToDevice), cudaSuccess);
    }
    std::vector<double> read() const {
        EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
        std::vector<float> wide(static_cast<size_t>(elements_));
        std::vector<bf16> narrow(static_cast<size_t>(elements_));
        void* to = type_ == kFloat ? static_cast<void*>(wide.data()) : narrow.data();
        EXPECT_EQ(cudaMemcpy(to, data(), bytes(), cudaMemcpyDeviceToHost), cudaSuccess);
        std::vector<double> values;
        for (int64_t i = 0; i < elements_; i++)
            values.push_back(type_ == kFloat ? wide[size_t(i)] : float(narrow[size_t(i)]));
        return values;
    }

  private:
    size_t bytes() const { return size_t(elements_) * type_bytes(type_); }
    cudaDataType_t type_;
    int64_t elements_, offset_;
    void* memory_ = nullptr;
};

inline constexpr size_t kWorkspaceBytes = size_t(64) << 10;

struct Sizes {
    int64_t m, n, k;
    bool ta = false, tb = false;
    int64_t gap = 0;     // between the columns of every matrix
    int64_t offset = 0;  // of every matrix from the start of its allocation
    int32_t batch = 1;
};

// A product in place, D = C, with everything it needs, for a test to change before search() and run().
struct Call {
    Sizes s;
    int64_t lda, ldb, ldc;
    Numbers A, B, C;
    Numbers bias, aux, workspace{kFloat, int64_t(kWorkspaceBytes) / 4, 6}, spare{kFloat, 2048, 7};
    kernels::cuda::LtHandle handle;
    kernels::cuda::LtOperation op;
    kernels::cuda::LtLayout a, b, c, d;
    kernels::cuda::LtPreference preference;
    std::vector<cublasLtMatmulHeuristicResult_t> found;
    cublasLtMatmulAlgo_t algorithm{};
    float alpha = 1, beta = 0;
    void *data_a, *data_b, *data_c, *data_d, *scratch;
    size_t scratch_bytes = kWorkspaceBytes;
    const void* alpha_pointer = &alpha;
    const cublasLtMatmulAlgo_t* algorithm_pointer = &algorithm;

    Call(const Sizes& sizes, cudaDataType_t type, cudaDataType_t result)
        : s(sizes),
          lda((s.ta ? s.k : s.m) + s.gap),
          ldb((s.tb ? s.n : s.k) + s.gap),
          ldc(s.m + s.gap),
          A(type, lda * (s.ta ? s.m : s.k) * s.batch, 1, s.offset),
          B(type, ldb * (s.tb ? s.k : s.n) * s.batch, 2, s.offset),
          C(result, ldc * s.n * s.batch, 3, s.offset),
          bias(result, s.m, 4),
          aux(result, aux_ld() * s.n, 5) {
        using kernels::cuda::create;
        EXPECT_EQ(create(handle, cublasLtCreate), CUBLAS_STATUS_SUCCESS);
        EXPECT_EQ(create(op, cublasLtMatmulDescCreate, CUBLAS_COMPUTE_32F, CUDA_R_32F), CUBLAS_STATUS_SUCCESS);
        set(CUBLASLT_MATMUL_DESC_TRANSA, s.ta ? CUBLAS_OP_T : CUBLAS_OP_N);
        set(CUBLASLT_MATMUL_DESC_TRANSB, s.tb ? CUBLAS_OP_T : CUBLAS_OP_N);
        const auto make = cublasLtMatrixLayoutCreate;
        create(a, make, type, uint64_t(s.ta ? s.k : s.m), uint64_t(s.ta ? s.m : s.k), lda);
        create(b, make, type, uint64_t(s.tb ? s.n : s.k), uint64_t(s.tb ? s.k : s.n), ldb);
        create(c, make, result, uint64_t(s.m), uint64_t(s.n), ldc);
        create(d, make, result, uint64_t(s.m), uint64_t(s.n), ldc);
        const int64_t strides[] = {lda * (s.ta ? s.m : s.k), ldb * (s.tb ? s.k : s.n), ldc * s.n, ldc * s.n};
        const kernels::cuda::LtLayout* const layouts[] = {&a, &b, &c, &d};
        for (size_t i = 0; i < 4; i++) {
            set(*layouts[i], CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, s.batch);
            set(*layouts[i], CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, strides[i]);
        }
        EXPECT_EQ(create(preference, cublasLtMatmulPreferenceCreate), CUBLAS_STATUS_SUCCESS);
        set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(kWorkspaceBytes));
        set_alignments(s.offset ? 4 : 256);
        data_a = A.data(), data_b = B.data(), data_c = data_d = C.data(), scratch = workspace.data();
    }

    int64_t aux_ld() const { return (s.m + 7) / 8 * 8; }
    template <class T>
    void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
        EXPECT_EQ(kernels::cuda::set(op, attribute, value), CUBLAS_STATUS_SUCCESS);
    }
    template <class T>
    void set(cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
        EXPECT_EQ(kernels::cuda::set(preference, attribute, value), CUBLAS_STATUS_SUCCESS);
    }
    template <class T>
    void set(const kernels::cuda::LtLayout& layout, cublasLtMatrixLayoutAttribute_t attribute, const T& value) {
        EXPECT_EQ(kernels::cuda::set(layout, attribute, value), CUBLAS_STATUS_SUCCESS);
    }
    void set_alignments(uint32_t bytes) {
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, bytes);
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, bytes);
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, bytes);
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, bytes);
    }
    void set_epilogue(cublasLtEpilogue_t epilogue) {
        set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
        set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias.data());
        set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux.data());
        set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, aux_ld());
    }
    cublasStatus_t search(int wanted = 8) {
        found.resize(8);
        int count = 0;
        const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
            handle.get(), op.get(), a.get(), b.get(), c.get(), d.get(), preference.get(), wanted, found.data(), &count);
        found.resize(size_t(count));
        if (count > 0) algorithm = found[0].algo;
        return status;
    }
    cublasStatus_t run() {
        return cublasLtMatmul(handle.get(), op.get(), alpha_pointer, data_a, a.get(), data_b, b.get(), &beta, data_c,
                              c.get(), data_d, d.get(), algorithm_pointer, scratch, scratch_bytes, nullptr);
    }
};
