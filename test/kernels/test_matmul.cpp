// Matrix products against fp64 sums: every transposition, leading dimensions, bias, alpha, accumulation.
#include "test/kernels/op_test.h"

namespace {

template <class T>
class MatmulTest : public PerType<T> {};
TYPED_TEST_SUITE(MatmulTest, StorageTypes);

struct Product {
    int64_t M, N, K;
};
const Product kProducts[] = {{1, 1, 1}, {3, 5, 7}, {67, 24, 33}, {64, 128, 64}, {1, 257, 19}, {130, 3, 200}};
constexpr int64_t kMostResults = 2 * 9'001;

// A workspace for products with results of so many elements.
class Workspace {
  public:
    explicit Workspace(int64_t results) : memory_(1, kernels::workspace_floats(Device::cpu, DType::bf16, results)) {
        kernels::set_workspace(Device::cpu, memory_.tensor());
    }
    ~Workspace() { kernels::set_workspace(Device::cpu, {}); }

  private:
    Buffer<float> memory_;
};

// A buffer's columns [1, 1 + cols) as an operand, so that its rows have gaps.
Tensor inner(const Tensor& t, int64_t cols) { return t.col_range(1, cols); }

template <class In, class Out>
void check_product(const Product& shape, bool ta, bool tb, bool with_bias, float alpha, bool accumulate) {
    const auto [M, N, K] = shape;
    const std::string where = str(M, "x", N, "x", K, ta ? " a^T" : "", tb ? " b^T" : "", with_bias ? " bias" : "",
                                  " alpha ", alpha, accumulate ? " accumulate" : "");
    Buffer<In> a(ta ? K : M, (ta ? M : K) + 3), b(tb ? N : K, (tb ? K : N) + 2), bias(1, N);
    Buffer<Out> c(M, N + 4);
    a.randomize(1);
    b.randomize(2);
    bias.randomize(3);
    c.randomize(4);
    const Buffer<Out> before = c;
    kernels::matmul({.a = inner(a.tensor(), ta ? M : K),
                     .b = inner(b.tensor(), tb ? K : N),
                     .c = inner(c.tensor(), N),
                     .bias = with_bias ? bias.tensor() : Tensor{},
                     .transpose_a = ta,
                     .transpose_b = tb,
                     .alpha = alpha,
                     .accumulate = accumulate});
    for (int64_t i = 0; i < M; i++)
        for (int64_t j = 0; j < c.cols; j++) {
            const int64_t at = i * c.cols + j;
            if (j == 0 || j > N) {
                ASSERT_EQ(c[at], before[at]) << where << ": a gap between rows was written";
                continue;
            }
            double sum = 0, magnitude = 0;
            for (int64_t k = 0; k < K; k++) {
                const double x = a[ta ? k * a.cols + 1 + i : i * a.cols + 1 + k],
                             y = b[tb ? (j - 1) * b.cols + 1 + k : k * b.cols + j];
                sum += x * y;
                magnitude += std::abs(x * y);
            }
            const double want = alpha * sum + (with_bias ? bias[j - 1] : 0) + (accumulate ? before[at] : 0);
            expect_close<Out>(c[at], want, 3e-7 * (magnitude + std::abs(before[at]) + 1), where);
        }
}

TYPED_TEST(MatmulTest, EqualsTheSums) {
    const Workspace workspace(kMostResults);
    for (const Product& shape : kProducts)
        for (const bool ta : {false, true})
            for (const bool tb : {false, true}) {
                check_product<TypeParam, TypeParam>(shape, ta, tb, false, 1.0f, false);
                check_product<TypeParam, TypeParam>(shape, ta, tb, true, 1.0f, false);
                check_product<TypeParam, TypeParam>(shape, ta, tb, false, 0.25f, false);
                check_product<TypeParam, TypeParam>(shape, ta, tb, false, 1.0f, true);
                check_product<TypeParam, float>(shape, ta, tb, false, 0.25f, false);
                check_product<TypeParam, float>(shape, ta, tb, false, 1.0f, true);
            }
}

TYPED_TEST(MatmulTest, ResidualIsAddedAndTheSumRoundedOnce) {
    using T = TypeParam;
    const Workspace workspace(kMostResults);
    for (const auto& [M, N, K] : kProducts)
        for (const bool with_bias : {false, true}) {
            Buffer<T> a(M, K), b(N, K), bias(1, N), residual(M, N), c(M, N);
            a.randomize(1);
            b.randomize(2);
            bias.randomize(3);
            residual.randomize(4, 8.0);
            kernels::matmul({.a = a.tensor(),
                             .b = b.tensor(),
                             .c = c.tensor(),
                             .bias = with_bias ? bias.tensor() : Tensor{},
                             .residual = residual.tensor(),
                             .transpose_b = true});
            for (int64_t i = 0; i < M; i++)
                for (int64_t j = 0; j < N; j++) {
                    double sum = residual[i * N + j] + (with_bias ? bias[j] : 0), magnitude = std::abs(sum) + 1;
                    for (int64_t k = 0; k < K; k++) {
                        sum += double(a[i * K + k]) * b[j * K + k];
                        magnitude += std::abs(a[i * K + k] * b[j * K + k]);
                    }
                    expect_close<T>(c[i * N + j], sum, 3e-7 * magnitude, str(M, "x", N, "x", K, " at ", i, ", ", j));
                }
        }
}

// A CPU that can't multiply bf16 converts operands of these sizes in parts: of depth, of rows, of columns.
TEST(Matmul, LargeOnesOfBf16EqualTheSums) {
    const Workspace workspace(kMostResults);
    for (const Product& shape : {Product{2, 3, 2'000'001}, Product{9'001, 2, 1'000}, Product{2, 9'001, 1'000}}) {
        check_product<bf16, bf16>(shape, false, true, true, 1.0f, false);
        check_product<bf16, float>(shape, true, false, false, 0.25f, false);
        check_product<bf16, float>(shape, true, true, false, 1.0f, true);
        check_product<bf16, float>(shape, false, false, false, 1.0f, true);
    }
}

double gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }
double gelu_slope(double x) { return (gelu(x + 1e-5) - gelu(x - 1e-5)) / 2e-5; }

// Epilogues are compared with the formulas, and bit for bit with a product and a GELU op.
TYPED_TEST(MatmulTest, EpiloguesAreGeluAndItsGradient) {
    using T = TypeParam;
    const Workspace workspace(kMostResults);
    for (const auto& [M, N, K] : kProducts) {
        Buffer<T> x(M, K), w(N, K), v(K, N), bias(1, N), aux(M, N), c(M, N), plain(M, N), apart(M, N);
        x.randomize(1);
        w.randomize(2);
        v.randomize(3);
        bias.randomize(4);
        const auto sum = [&, K = K, N = N](int64_t i, int64_t j, bool forward) {
            double value = 0;
            for (int64_t k = 0; k < K; k++) value += x[i * K + k] * (forward ? w[j * K + k] : v[k * N + j]);
            return value;
        };
        for (const bool with_bias : {false, true}) {
            kernels::Matmul product{.a = x.tensor(),
                                    .b = w.tensor(),
                                    .c = plain.tensor(),
                                    .bias = with_bias ? bias.tensor() : Tensor{},
                                    .transpose_b = true};
            kernels::matmul(product);
            kernels::gelu_forward(apart.tensor(), plain.tensor());
            product.c = c.tensor(), product.aux = aux.tensor(), product.epilogue = kernels::Epilogue::gelu;
            kernels::matmul(product);
            for (int64_t i = 0; i < M * N; i++) {
                const std::string where = at({M, N}, i);
                const double p = sum(i / N, i % N, true) + (with_bias ? bias[i % N] : 0);
                expect_close<T>(aux[i], p, 3e-7 * double(K + 1) * 4, where);
                expect_close<T>(c[i], gelu(aux[i]), 1e-6, where);
                EXPECT_EQ(aux[i], plain[i]) << where;
                EXPECT_EQ(c[i], apart[i]) << where;
            }
        }
        kernels::matmul({.a = x.tensor(), .b = v.tensor(), .c = plain.tensor()});
        kernels::gelu_backward(apart.tensor(), plain.tensor(), aux.tensor());
        const Buffer<T> before = aux;
        kernels::matmul({.a = x.tensor(),
                         .b = v.tensor(),
                         .c = c.tensor(),
                         .epilogue = kernels::Epilogue::gelu_backward,
                         .aux = aux.tensor()});
        for (int64_t i = 0; i < M * N; i++) {
            const std::string where = at({M, N}, i);
            // The product is rounded to T before the slope comes on.
            const double slope = gelu_slope(aux[i]), p = sum(i / N, i % N, false),
                         noise = 3e-7 * double(K + 1) * 4 + kRounding<T> * std::abs(p);
            expect_close<T>(c[i], p * slope, 1.2 * noise, where);
            EXPECT_EQ(aux[i], before[i]) << where;
            EXPECT_EQ(c[i], apart[i]) << where;
        }
    }
}

TEST(Matmul, RefusesEpiloguesThatDoNotFit) {
    Buffer<float> a(3, 4), b(4, 6), c(3, 6), aux(3, 6), bias(1, 6);
    const auto product = [&] {
        return kernels::Matmul{.a = a.tensor(),
                               .b = b.tensor(),
                               .c = c.tensor(),
                               .epilogue = kernels::Epilogue::gelu_backward,
                               .aux = aux.tensor()};
    };
    kernels::matmul(product());
    kernels::Matmul no_aux = product(), no_epilogue = product(), in_place = product(), scaled = product(),
                    biased = product(), other = product();
    no_aux.aux = {};
    no_epilogue.epilogue = kernels::Epilogue::none;
    in_place.aux = c.tensor();
    scaled.alpha = 2;
    biased.bias = bias.tensor();
    other.aux = a.tensor();
    for (const kernels::Matmul& m : {no_aux, no_epilogue, in_place, scaled, biased, other})
        EXPECT_THROW(kernels::matmul(m), Error);
}

// A batch of three products side by side in wider matrices gives the same as the products one by one.
TYPED_TEST(MatmulTest, ABatchIsItsProducts) {
    using T = TypeParam;
    constexpr int64_t M = 7, N = 5, K = 11, kCount = 3;
    Buffer<T> a(M, kCount * K), b(kCount * K, N), c(M, kCount * N), one(M, N);
    a.randomize(1);
    b.randomize(2);
    const Workspace workspace(M * N);
    kernels::matmul({.a = a.tensor().col_range(0, K),
                     .b = b.tensor().row_range(0, K),
                     .c = c.tensor().col_range(0, N),
                     .alpha = 0.5f,
                     .batch = {.count = kCount, .a = K, .b = K * N, .c = N}});
    for (int64_t p = 0; p < kCount; p++) {
        kernels::matmul({.a = a.tensor().col_range(p * K, K),
                         .b = b.tensor().row_range(p * K, K),
                         .c = one.tensor(),
                         .alpha = 0.5f});
        for (int64_t i = 0; i < M; i++)
            for (int64_t j = 0; j < N; j++)
                EXPECT_EQ(c[i * kCount * N + p * N + j], one[i * N + j]) << p << " " << i << " " << j;
    }
}

TEST(Matmul, RefusesShapesThatDoNotFit) {
    Buffer<float> a(3, 4), b(5, 6), c(3, 6);
    EXPECT_THROW(kernels::matmul({.a = a.tensor(), .b = b.tensor(), .c = c.tensor()}), Error);
    Buffer<bf16> d(4, 6);
    EXPECT_THROW(kernels::matmul({.a = a.tensor(), .b = d.tensor(), .c = c.tensor()}), Error);
    Buffer<float> e(4, 6);
    EXPECT_THROW(kernels::matmul({.a = a.tensor(), .b = e.tensor(), .c = c.tensor(), .alpha = 2, .accumulate = true}),
                 Error);
    EXPECT_THROW(kernels::matmul({.a = a.tensor(), .b = e.tensor(), .c = c.tensor(), .batch = {.count = 0}}), Error);
}

}  // namespace
