// Matrix products against fp64 sums: every transposition, leading dimensions, bias, alpha, accumulation.
#include "op_test.h"

namespace {

template <class T>
class MatmulTest : public PerType<T> {};
TYPED_TEST_SUITE(MatmulTest, StorageTypes);

struct Product {
    int64_t M, N, K;
};
const Product kProducts[] = {{1, 1, 1}, {3, 5, 7}, {67, 24, 33}, {64, 128, 64}, {1, 257, 19}, {130, 3, 200}};

// A buffer's columns [1, 1 + cols) as an operand, so that its rows have gaps.
Tensor inner(const Tensor& t, int64_t cols) { return t.col_range(1, cols); }

template <class In, class Out>
void check_product(const Product& shape, bool ta, bool tb, bool with_bias, float alpha, bool accumulate) {
    const auto [M, N, K] = shape;
    const std::string where = str(M, "x", N, "x", K, ta ? " a^T" : "", tb ? " b^T" : "", with_bias ? " bias" : "", " alpha ", alpha,
                                  accumulate ? " accumulate" : "");
    Buffer<In> a(ta ? K : M, (ta ? M : K) + 3), b(tb ? N : K, (tb ? K : N) + 2), bias(1, N);
    Buffer<Out> c(M, N + 4);
    a.randomize(1);
    b.randomize(2);
    bias.randomize(3);
    c.randomize(4);
    const Buffer<Out> before = c;
    Buffer<float> workspace(M, N);
    kernels::set_workspace(Device::cpu, workspace.tensor());
    kernels::matmul({.a = inner(a.tensor(), ta ? M : K), .b = inner(b.tensor(), tb ? K : N), .c = inner(c.tensor(), N),
                     .bias = with_bias ? bias.tensor() : Tensor{}, .transpose_a = ta, .transpose_b = tb, .alpha = alpha,
                     .accumulate = accumulate});
    kernels::set_workspace(Device::cpu, {});
    for (int64_t i = 0; i < M; i++)
        for (int64_t j = 0; j < c.cols; j++) {
            const int64_t at = i * c.cols + j;
            if (j == 0 || j > N) {
                ASSERT_EQ(c[at], before[at]) << where << ": a gap between rows was written";
                continue;
            }
            double sum = 0, magnitude = 0;
            for (int64_t k = 0; k < K; k++) {
                const double x = a[ta ? k * a.cols + 1 + i : i * a.cols + 1 + k], y = b[tb ? (j - 1) * b.cols + 1 + k : k * b.cols + j];
                sum += x * y;
                magnitude += std::abs(x * y);
            }
            const double want = alpha * sum + (with_bias ? bias[j - 1] : 0) + (accumulate ? before[at] : 0);
            expect_close<Out>(c[at], want, 3e-7 * (magnitude + std::abs(before[at]) + 1), where);
        }
}

TYPED_TEST(MatmulTest, EqualsTheSums) {
    for (const Product& shape : kProducts)
        for (const bool ta : {false, true})
            for (const bool tb : {false, true}) {
                check_product<TypeParam, TypeParam>(shape, ta, tb, false, 1.0f, false);
                check_product<TypeParam, TypeParam>(shape, ta, tb, true, 1.0f, false);
                check_product<TypeParam, TypeParam>(shape, ta, tb, false, 0.25f, true);
                check_product<TypeParam, float>(shape, ta, tb, false, 0.25f, false);
                check_product<TypeParam, float>(shape, ta, tb, false, 1.0f, true);
            }
}

TEST(Matmul, RefusesShapesThatDoNotFit) {
    Buffer<float> a(3, 4), b(5, 6), c(3, 6);
    EXPECT_THROW(kernels::matmul({.a = a.tensor(), .b = b.tensor(), .c = c.tensor()}), Error);
    Buffer<bf16> d(4, 6);
    EXPECT_THROW(kernels::matmul({.a = a.tensor(), .b = d.tensor(), .c = c.tensor()}), Error);
}

}  // namespace
