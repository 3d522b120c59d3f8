// The stand-in for cuBLASLt: its results against fp64 sums for every algorithm it offers, and what it refuses.
#include <cmath>
#include <functional>
#include <limits>
#include <tuple>

#include "test/cuda_on_cpu/cublaslt/call.h"

namespace {

// The sum behind element (i, j) of a batch's product, and the sum of its terms' magnitudes.
struct Sum {
    double value = 0, magnitude = 0;
};
Sum sum_of(const Call& call, const std::vector<double>& a, const std::vector<double>& b, int64_t batch, int64_t i,
           int64_t j) {
    const Sizes& s = call.s;
    const int64_t first_a = batch * call.lda * (s.ta ? s.m : s.k), first_b = batch * call.ldb * (s.tb ? s.k : s.n);
    Sum sum;
    for (int64_t k = 0; k < s.k; k++) {
        const double term = a[size_t(first_a + (s.ta ? i * call.lda + k : k * call.lda + i))] *
                            b[size_t(first_b + (s.tb ? k * call.ldb + j : j * call.ldb + k))];
        sum.value += term;
        sum.magnitude += std::abs(term);
    }
    return sum;
}
// A result may be off by this much: fp32 sums, then one rounding to the result's type.
double tolerance(const Call& call, double magnitude, double value) {
    return 1e-6 * (magnitude + 1) + (call.C.type() == kBf16 ? 1.02 / 256 : 1e-7) * std::abs(value);
}

double gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }
double gelu_derivative(double x) { return (gelu(x + 1e-5) - gelu(x - 1e-5)) / 2e-5; }

// Runs every algorithm on offer; `want` makes a result of alpha times the sum, the old C, and the element's place.
using Want = std::function<double(double scaled_sum, double old_c, int64_t i, int64_t j)>;
void expect_results(Call& call, const Want& want) {
    const std::vector<double> a = call.A.read(), b = call.B.read(), before = call.C.read();
    ASSERT_EQ(call.search(), CUBLAS_STATUS_SUCCESS);
    for (size_t candidate = 0; candidate < call.found.size(); candidate++) {
        call.C.write(before);
        call.algorithm = call.found[candidate].algo;
        ASSERT_EQ(call.run(), CUBLAS_STATUS_SUCCESS);
        const std::vector<double> after = call.C.read();
        // A part of a long sum may have been rounded to bf16 on the way, with the schemes that allow it.
        const double rounded = call.C.type() == kBf16 && candidate + 2 < call.found.size() ? 0.02 : 0;
        for (int64_t batch = 0; batch < call.s.batch; batch++)
            for (int64_t j = 0; j < call.s.n; j++)
                for (int64_t i = 0; i < call.ldc; i++) {
                    const size_t at = size_t((batch * call.s.n + j) * call.ldc + i);
                    if (i >= call.s.m) {
                        ASSERT_EQ(after[at], before[at]) << "a gap between columns was written";
                        continue;
                    }
                    const Sum sum = sum_of(call, a, b, batch, i, j);
                    const double value = want(call.alpha * sum.value, before[at], i, j);
                    ASSERT_NEAR(after[at], value, tolerance(call, sum.magnitude, value) + rounded * sum.magnitude)
                        << i << ", " << j << " of " << call.s.m << "x" << call.s.n << "x" << call.s.k << ", algorithm "
                        << candidate;
                }
    }
}

const std::pair<cudaDataType_t, cudaDataType_t> kTypes[] = {{kFloat, kFloat}, {kBf16, kBf16}, {kBf16, kFloat}};
const Sizes kSizes[] = {{1, 1, 1}, {1, 7, 5}, {9, 1, 3}, {17, 13, 1}, {33, 14, 70}, {64, 48, 96}};

TEST(CublasLt, MultipliesAndAdds) {
    for (const auto& [type, result] : kTypes)
        for (Sizes sizes : kSizes)
            for (const int transposes : {0, 1, 2, 3})
                for (const int64_t gap : {0, 3}) {
                    sizes.ta = transposes & 1, sizes.tb = transposes & 2;
                    sizes.gap = gap, sizes.offset = gap * 2;
                    Call call(sizes, type, result);
                    expect_results(call, [](double sum, double, int64_t, int64_t) { return sum; });
                    call.alpha = 0.25f;
                    call.beta = 1;
                    expect_results(call, [](double sum, double c, int64_t, int64_t) { return sum + c; });
                }
}

TEST(CublasLt, MultipliesBatches) {
    Call call({.m = 19, .n = 10, .k = 65, .tb = true, .gap = 1, .batch = 3}, kBf16, kFloat);
    call.beta = 2;
    expect_results(call, [](double sum, double c, int64_t, int64_t) { return sum + 2 * c; });
}

TEST(CublasLt, AppliesEpilogues) {
    for (const auto& [type, result] : kTypes)
        for (Sizes sizes : {Sizes{40, 11, 24}, Sizes{33, 14, 70}}) {
            Call call(sizes, type, result);
            call.alpha = 0.3f;
            const std::vector<double> bias = call.bias.read(), aux = call.aux.read();
            call.set_epilogue(CUBLASLT_EPILOGUE_BIAS);
            expect_results(call, [&](double sum, double, int64_t i, int64_t) { return sum + bias[size_t(i)]; });
            for (const auto epilogue : {CUBLASLT_EPILOGUE_DGELU, CUBLASLT_EPILOGUE_DGELU_BGRAD}) {
                call.set_epilogue(epilogue);
                expect_results(call, [&](double sum, double, int64_t i, int64_t j) {
                    return sum * gelu_derivative(aux[size_t(j * call.aux_ld() + i)]);
                });
            }
            EXPECT_EQ(call.aux.read(), aux);
            const std::vector<double> results = call.C.read(), sums = call.bias.read();
            for (int64_t i = 0; i < sizes.m; i++) {
                double sum = 0, magnitude = 0;
                for (int64_t j = 0; j < sizes.n; j++) {
                    sum += results[size_t(j * call.ldc + i)];
                    magnitude += std::abs(results[size_t(j * call.ldc + i)]);
                }
                EXPECT_NEAR(sums[size_t(i)], sum, tolerance(call, magnitude, sum));
            }
            call.bias.write(bias);
            const std::vector<double> a = call.A.read(), b = call.B.read();
            for (const bool with_bias : {true, false}) {
                const auto added = [&](int64_t i) { return with_bias ? bias[size_t(i)] : 0.0; };
                call.set_epilogue(with_bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX);
                expect_results(call, [&](double sum, double, int64_t i, int64_t) { return gelu(sum + added(i)); });
                const std::vector<double> before_gelu = call.aux.read();
                for (int64_t i = 0; i < sizes.m; i++) {
                    const Sum sum = sum_of(call, a, b, 0, i, 0);
                    const double want = call.alpha * sum.value + added(i);
                    EXPECT_NEAR(before_gelu[size_t(i)], want, tolerance(call, sum.magnitude, want));
                }
            }
        }
}

TEST(CublasLt, LeavesAnUnusedCAlone) {
    Call call({16, 16, 16}, kFloat, kFloat);
    call.C.write(std::vector<double>(256, std::numeric_limits<double>::quiet_NaN()));
    expect_results(call, [](double sum, double, int64_t, int64_t) { return sum; });
}

TEST(CublasLt, SpoilsItsWorkspace) {
    Call call({16, 16, 96}, kFloat, kFloat);
    ASSERT_EQ(call.search(), CUBLAS_STATUS_SUCCESS);
    ASSERT_EQ(call.run(), CUBLAS_STATUS_SUCCESS);
    const std::vector<double> workspace = call.workspace.read();
    for (size_t i = 0; i < call.found[0].workspaceSize / 4; i++) ASSERT_TRUE(std::isnan(workspace[i]));
    EXPECT_FALSE(std::isnan(workspace[call.found[0].workspaceSize / 4]));
}

// A sum that is reduced in place has another order each time; all others are the same every time.
TEST(CublasLt, OnlyReductionInPlaceVaries) {
    for (const uint32_t reductions : {CUBLASLT_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE,
                                      CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, CUBLASLT_REDUCTION_SCHEME_NONE}) {
        Call call({32, 32, 96}, kFloat, kFloat);
        call.set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions);
        ASSERT_EQ(call.search(), CUBLAS_STATUS_SUCCESS);
        ASSERT_EQ(call.run(), CUBLAS_STATUS_SUCCESS);
        const std::vector<double> first = call.C.read();
        ASSERT_EQ(call.run(), CUBLAS_STATUS_SUCCESS);
        EXPECT_EQ(call.C.read() == first, reductions != CUBLASLT_REDUCTION_SCHEME_MASK);
    }
}

TEST(CublasLt, OffersWhatThePreferenceAllows) {
    Call call({32, 32, 96}, kFloat, kFloat);
    EXPECT_EQ(call.search(), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(call.found.size(), 4u);
    EXPECT_EQ(call.search(2), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(call.found.size(), 2u);
    EXPECT_EQ(call.search(0), CUBLAS_STATUS_INVALID_VALUE);
    call.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(8192));
    EXPECT_EQ(call.search(), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(call.found.size(), 1u);
    call.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(0));
    EXPECT_EQ(call.search(), CUBLAS_STATUS_NOT_SUPPORTED);
    EXPECT_EQ(call.found.size(), 0u);
}

// ---- refusals ----------------------------------------------------------------------------------------------------

struct Refusal {
    const char* what;
    std::function<void(Call&)> change;
    cublasStatus_t status = CUBLAS_STATUS_INVALID_VALUE;
};
constexpr cublasStatus_t kNotSupported = CUBLAS_STATUS_NOT_SUPPORTED;

// These changes are made ahead of the search: it refuses, and so does the product with an algorithm from before.
TEST(CublasLt, RefusesDescriptors) {
    const auto epilogue = [](cublasLtEpilogue_t e) { return [e](Call& call) { call.set_epilogue(e); }; };
    const Refusal refusals[] = {
        {"a destroyed handle", [](Call& c) { cublasLtDestroy(c.handle.get()); }, CUBLAS_STATUS_NOT_INITIALIZED},
        {"no handle", [](Call& c) { c.handle.reset(); }, CUBLAS_STATUS_NOT_INITIALIZED},
        {"a destroyed operation", [](Call& c) { cublasLtMatmulDescDestroy(c.op.get()); }},
        {"no operation", [](Call& c) { c.op.reset(); }},
        {"a destroyed layout", [](Call& c) { cublasLtMatrixLayoutDestroy(c.b.get()); }},
        {"no layout", [](Call& c) { c.b.reset(); }},
        {"TF32",
         [](Call& c) {
             kernels::cuda::create(c.op, cublasLtMatmulDescCreate, CUBLAS_COMPUTE_32F_FAST_TF32, CUDA_R_32F);
         },
         kNotSupported},
        {"fp16", [](Call& c) { c.set(c.a, CUBLASLT_MATRIX_LAYOUT_TYPE, CUDA_R_16F); }, kNotSupported},
        {"types that differ", [](Call& c) { c.set(c.a, CUBLASLT_MATRIX_LAYOUT_TYPE, CUDA_R_16BF); }, kNotSupported},
        {"C of another type", [](Call& c) { c.set(c.c, CUBLASLT_MATRIX_LAYOUT_TYPE, CUDA_R_16BF); }, kNotSupported},
        {"row-major", [](Call& c) { c.set(c.a, CUBLASLT_MATRIX_LAYOUT_ORDER, CUBLASLT_ORDER_ROW); }, kNotSupported},
        {"device scalars", [](Call& c) { c.set(CUBLASLT_MATMUL_DESC_POINTER_MODE, CUBLASLT_POINTER_MODE_DEVICE); },
         kNotSupported},
        {"a leading dimension below the rows", [](Call& c) { c.set(c.a, CUBLASLT_MATRIX_LAYOUT_LD, int64_t(31)); }},
        {"a transpose that doesn't fit", [](Call& c) { c.set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T); }},
        {"other sizes", [](Call& c) { c.set(c.b, CUBLASLT_MATRIX_LAYOUT_COLS, uint64_t(47)); }},
        {"an empty matrix", [](Call& c) { c.set(c.a, CUBLASLT_MATRIX_LAYOUT_ROWS, uint64_t(0)); }},
        {"unequal batches", [](Call& c) { c.set(c.a, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, 2); }},
        {"GELU", epilogue(CUBLASLT_EPILOGUE_GELU), kNotSupported},
        {"BGRADA", epilogue(CUBLASLT_EPILOGUE_BGRADA), kNotSupported},
        {"BGRADB", epilogue(CUBLASLT_EPILOGUE_BGRADB), kNotSupported},
        {"a bias of another type",
         [](Call& c) {
             c.set_epilogue(CUBLASLT_EPILOGUE_BIAS);
             c.set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_16BF);
         },
         kNotSupported},
        {"an aux of another type",
         [](Call& c) {
             c.set_epilogue(CUBLASLT_EPILOGUE_DGELU);
             c.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE, CUDA_R_16BF);
         },
         kNotSupported},
        {"an aux's leading dimension not divisible by 8",
         [](Call& c) {
             c.set_epilogue(CUBLASLT_EPILOGUE_DGELU);
             c.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, int64_t(36));
         }},
    };
    for (const auto& [what, change, status] : refusals) {
        Call call({32, 48, 20}, kFloat, kFloat);
        ASSERT_EQ(call.search(), CUBLAS_STATUS_SUCCESS);
        const cublasLtMatmulAlgo_t algorithm = call.algorithm;
        change(call);
        EXPECT_EQ(call.search(), status) << what;
        EXPECT_EQ(call.found.size(), 0u) << what;
        call.algorithm = algorithm;
        EXPECT_EQ(call.run(), status) << what;
    }
}

// Only the search refuses it: the product itself knows no preference.
TEST(CublasLt, RefusesADestroyedPreference) {
    Call call({8, 8, 8}, kFloat, kFloat);
    EXPECT_EQ(cublasLtMatmulPreferenceDestroy(call.preference.get()), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(call.search(), CUBLAS_STATUS_INVALID_VALUE);
    const uint64_t bytes = 8192;
    EXPECT_EQ(kernels::cuda::set(call.preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, bytes),
              CUBLAS_STATUS_INVALID_VALUE);
}

// An object can be destroyed only once, and only as what it is, however many have been created since.
TEST(CublasLt, RefusesToDestroyTwice) {
    Call call({8, 8, 8}, kFloat, kFloat);
    EXPECT_EQ(cublasLtMatrixLayoutDestroy(reinterpret_cast<cublasLtMatrixLayout_t>(call.op.get())),
              CUBLAS_STATUS_INVALID_VALUE);
    EXPECT_EQ(cublasLtMatmulDescDestroy(call.op.get()), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtMatrixLayoutDestroy(call.a.get()), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtMatmulPreferenceDestroy(call.preference.get()), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtDestroy(call.handle.get()), CUBLAS_STATUS_SUCCESS);
    const Call other({8, 8, 8}, kFloat, kFloat);
    EXPECT_EQ(cublasLtMatmulDescDestroy(call.op.get()), CUBLAS_STATUS_INVALID_VALUE);
    EXPECT_EQ(cublasLtMatrixLayoutDestroy(call.a.get()), CUBLAS_STATUS_INVALID_VALUE);
    EXPECT_EQ(cublasLtMatmulPreferenceDestroy(call.preference.get()), CUBLAS_STATUS_INVALID_VALUE);
    EXPECT_EQ(cublasLtDestroy(call.handle.get()), CUBLAS_STATUS_NOT_INITIALIZED);
}

TEST(CublasLt, RefusesAttributesOfTheWrongSize) {
    Call call({8, 8, 8}, kFloat, kFloat);
    const int64_t value = 0;
    EXPECT_EQ(cublasLtMatmulDescSetAttribute(call.op.get(), CUBLASLT_MATMUL_DESC_TRANSA, &value, sizeof(value)),
              CUBLAS_STATUS_INVALID_VALUE);
    EXPECT_EQ(cublasLtMatrixLayoutSetAttribute(call.a.get(), CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &value, sizeof(value)),
              CUBLAS_STATUS_INVALID_VALUE);
    EXPECT_EQ(cublasLtMatmulPreferenceSetAttribute(call.preference.get(), CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                   &value, sizeof(value)),
              CUBLAS_STATUS_INVALID_VALUE);
    EXPECT_EQ(cublasLtMatmulDescSetAttribute(call.op.get(), CUBLASLT_MATMUL_DESC_TRANSA, nullptr, sizeof(int)),
              CUBLAS_STATUS_INVALID_VALUE);
}

TEST(CublasLt, FindsNothingForABiasOverOneRowOrColumn) {
    for (const Sizes& sizes : {Sizes{1, 8, 8}, Sizes{8, 8, 1}}) {
        Call call(sizes, kFloat, kFloat);
        EXPECT_EQ(call.search(), CUBLAS_STATUS_SUCCESS);
        call.set_epilogue(CUBLASLT_EPILOGUE_BIAS);
        EXPECT_EQ(call.search(), CUBLAS_STATUS_NOT_SUPPORTED);
    }
}

// These changes are made between the search and the product.
TEST(CublasLt, RefusesToRun) {
    static float host_memory[64 * 64];
    const auto shifted = [](void* p, size_t bytes) { return static_cast<void*>(static_cast<char*>(p) + bytes); };
    const Refusal refusals[] = {
        {"no algorithm", [](Call& c) { c.algorithm_pointer = nullptr; }},
        {"an algorithm never obtained", [](Call& c) { c.algorithm = {}; }},
        {"an algorithm for another transpose", [](Call& c) { c.set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T); }},
        {"an algorithm for another leading dimension",
         [](Call& c) {
             c.data_b = c.spare.data();
             c.set(c.b, CUBLASLT_MATRIX_LAYOUT_LD, int64_t(33));
         }},
        {"an algorithm without the epilogue", [](Call& c) { c.set_epilogue(CUBLASLT_EPILOGUE_BIAS); }},
        {"A on the host", [](Call& c) { c.data_a = host_memory; }},
        {"no B", [](Call& c) { c.data_b = nullptr; }},
        {"a result that ends behind its memory", [&](Call& c) { c.data_c = c.data_d = shifted(c.data_d, 256); }},
        {"B aligned to less", [&](Call& c) { c.data_b = shifted(c.spare.data(), 16); }},
        {"a result in A", [](Call& c) { c.data_c = c.data_d = c.data_a; }},
        {"a result partly in C", [&](Call& c) { c.data_d = c.spare.data(), c.data_c = shifted(c.data_d, 256); }},
        {"no alpha", [](Call& c) { c.alpha_pointer = nullptr; }},
        {"alpha on the device", [](Call& c) { c.alpha_pointer = c.data_b; }},
        {"no workspace", [](Call& c) { c.scratch = nullptr; }},
        {"too small a workspace", [](Call& c) { c.scratch_bytes = c.found[0].workspaceSize - 1; }},
        {"a misaligned workspace", [&](Call& c) { c.scratch = shifted(c.scratch, 8), c.scratch_bytes -= 8; }},
        {"a workspace on the host", [](Call& c) { c.scratch = host_memory, c.scratch_bytes = sizeof(host_memory); }},
        {"a result in the workspace", [](Call& c) { c.data_c = c.data_d = c.scratch; }},
    };
    for (const auto& [what, change, status] : refusals) {
        Call call({32, 32, 32}, kFloat, kFloat);
        ASSERT_EQ(call.search(), CUBLAS_STATUS_SUCCESS);
        change(call);
        EXPECT_EQ(call.run(), status) << what;
    }
}

TEST(CublasLt, RefusesEpiloguesWithoutTheirOperands) {
    for (const auto epilogue : {CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_GELU_AUX, CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
                                CUBLASLT_EPILOGUE_DGELU, CUBLASLT_EPILOGUE_DGELU_BGRAD}) {
        Call call({32, 32, 20}, kFloat, kFloat);
        call.set_epilogue(epilogue);
        ASSERT_EQ(call.search(), CUBLAS_STATUS_SUCCESS);
        ASSERT_EQ(call.run(), CUBLAS_STATUS_SUCCESS);
        const auto operand = epilogue == CUBLASLT_EPILOGUE_BIAS ? CUBLASLT_MATMUL_DESC_BIAS_POINTER
                                                                : CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER;
        static float host_memory[32 * 32];
        for (void* const data : {static_cast<void*>(nullptr), static_cast<void*>(host_memory), call.data_d}) {
            call.set(operand, data);
            EXPECT_EQ(call.run(), CUBLAS_STATUS_INVALID_VALUE);
        }
    }
}

// Columns of one buffer side by side share no memory, although their spans do.
TEST(CublasLt, AcceptsInterleavedOperands) {
    Call call({.m = 8, .n = 8, .k = 8, .gap = 56}, kFloat, kFloat);
    call.set_alignments(16);
    ASSERT_EQ(call.search(), CUBLAS_STATUS_SUCCESS);
    for (const auto& [a, result, apart] : {std::tuple{0, 32, true},
                                           {32, 0, true},
                                           {224, 0, true},
                                           {256, 32, true},
                                           {0, 0, false},
                                           {0, 256, false},
                                           {256, 0, false},
                                           {0, 16, false},
                                           {16, 0, false},
                                           {0, 240, false},
                                           {240, 0, false}}) {
        call.data_a = static_cast<char*>(call.spare.data()) + a;
        call.data_c = call.data_d = static_cast<char*>(call.spare.data()) + result;
        EXPECT_EQ(call.run(), apart ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE) << a << ", " << result;
    }
}

}  // namespace
