// Cross-entropy against log-sum-exp in fp64, its gradient against finite differences of that.

#include "test/kernels/op_test.h"

namespace {

struct Sizes {
    int64_t N, V, Vp;
};
const std::vector<Sizes> kSizes = {{1, 1, 1},       {3, 5, 8},        {67, 24, 24},
                                   {3, 1000, 1024}, {67, 1025, 1088}, {2, 50257, 50304}};
constexpr double kScale = 0.125;

template <class T>
struct Problem {
    explicit Problem(const Sizes& s, double deviation = 3.0)
        : sizes(s), logits(s.N, s.Vp), losses(1, s.N), targets(static_cast<size_t>(s.N)) {
        logits.randomize(1, deviation);
        for (int64_t n = 0; n < s.N; n++) targets[size_t(n)] = int32_t((n * 7919 + s.V - 1) % s.V);
        // What lies in the padding must not matter.
        for (int64_t n = 0; n < s.N; n++)
            for (int64_t c = s.V; c < s.Vp; c++) logits.set(n * s.Vp + c, 1e9);
    }
    double sum_exp(int64_t n) const {
        double sum = 0;
        for (int64_t c = 0; c < sizes.V; c++) sum += std::exp(logits[n * sizes.Vp + c]);
        return sum;
    }
    kernels::CrossEntropy args(const Tensor& dlogits) {
        return {.losses = losses.tensor(),
                .logits = logits.tensor(),
                .dlogits = dlogits,
                .targets = targets.data(),
                .V = sizes.V,
                .scale = float(kScale)};
    }
    Sizes sizes;
    Buffer<T> logits;
    Buffer<float> losses;
    std::vector<int32_t> targets;
};

}  // namespace

template <class T>
class CrossEntropy : public PerType<T> {};
TYPED_TEST_SUITE(CrossEntropy, StorageTypes);

// The losses of bf16 logits are as exact as those of fp32 ones: only the logits themselves are rounded.
TYPED_TEST(CrossEntropy, LossAndGradient) {
    for (const Sizes& s : kSizes) {
        Problem<TypeParam> problem(s);
        Buffer<TypeParam> dlogits(s.N, s.Vp, 5.0);
        kernels::cross_entropy(problem.args(dlogits.tensor()));
        for (int64_t n = 0; n < s.N; n++) {
            const double sum = problem.sum_exp(n);
            const int64_t target = problem.targets[size_t(n)];
            const double loss = std::log(sum) - problem.logits[n * s.Vp + target];
            EXPECT_NEAR(problem.losses[n], loss, 3e-6) << at({s.N, s.V}, n);
            for (int64_t c = 0; c < s.V; c++) {
                // d(loss)/dx_c by a central difference; only one term of the sum moves.
                const double h = 1e-4, x = problem.logits[n * s.Vp + c];
                const double up = std::exp(x) * std::expm1(h) / sum, down = std::exp(x) * std::expm1(-h) / sum;
                const double slope = (std::log1p(up) - std::log1p(down)) / (2 * h) - (c == target ? 1.0 : 0.0);
                const double noise = kScale * (2e-7 + 2e-6 * std::abs(slope));
                expect_close<TypeParam>(dlogits[n * s.Vp + c], kScale * slope, noise, at({s.N, s.V}, n * s.V + c));
            }
            for (int64_t c = s.V; c < s.Vp; c++) EXPECT_EQ(dlogits[n * s.Vp + c], 0) << "padding " << c;
        }
    }
}

TYPED_TEST(CrossEntropy, GradientMayReplaceTheLogits) {
    for (const Sizes& s : kSizes) {
        Problem<TypeParam> apart(s), in_place(s);
        Buffer<TypeParam> dlogits(s.N, s.Vp);
        kernels::cross_entropy(apart.args(dlogits.tensor()));
        kernels::cross_entropy(in_place.args(in_place.logits.tensor()));
        for (int64_t i = 0; i < dlogits.size(); i++) ASSERT_EQ(in_place.logits[i], dlogits[i]) << at({s.N, s.Vp}, i);
        for (int64_t n = 0; n < s.N; n++) EXPECT_EQ(in_place.losses[n], apart.losses[n]);
    }
}

TYPED_TEST(CrossEntropy, LossAloneLeavesTheLogits) {
    Problem<TypeParam> problem({67, 1025, 1088});
    const Buffer<TypeParam> before = problem.logits;
    kernels::cross_entropy(problem.args({}));
    for (int64_t i = 0; i < before.size(); i++) ASSERT_EQ(problem.logits[i], before[i]);
    for (int64_t n = 0; n < 67; n++) {
        const double loss = std::log(problem.sum_exp(n)) - before[n * 1088 + problem.targets[size_t(n)]];
        EXPECT_NEAR(problem.losses[n], loss, 3e-6);
    }
}

// What rounding the logits to bf16 costs, against fp64 of those that were not rounded. A logit moves by e at most, half
// a unit in the last place of the largest: so the loss of a row by 2e, a probability by the factor exp(2e). Over rows
// the errors are independent, but for the variance of the rounding / 2 that the log of a sum of exponentials gains.
// Five deviations of their mean hold it.
TEST(CrossEntropyRounding, CostsTheMeanLossLittle) {
    const Sizes s{512, 1025, 1088};
    Problem<float> exact(s);
    Problem<bf16> rounded(s);  // the same numbers, rounded
    kernels::cross_entropy(rounded.args({}));
    const std::vector<float> losses(rounded.losses.data(), rounded.losses.data() + s.N);
    Buffer<bf16> dlogits(s.N, s.Vp);
    kernels::cross_entropy(rounded.args(dlogits.tensor()));
    double mean = 0, squares = 0;
    for (int64_t n = 0; n < s.N; n++) {
        const double sum = exact.sum_exp(n);
        const int64_t target = exact.targets[size_t(n)];
        double largest = 0;
        for (int64_t c = 0; c < s.V; c++) {
            const double x = exact.logits[n * s.Vp + c];
            largest = std::max(largest, std::abs(x));
            squares += std::pow(rounded.logits[n * s.Vp + c] - x, 2) / double(s.N * s.V);
        }
        const double e = kRounding<bf16> * largest;
        const double difference = losses[size_t(n)] - (std::log(sum) - exact.logits[n * s.Vp + target]);
        EXPECT_LE(std::abs(difference), 2 * e + 3e-6) << n;
        mean += difference / double(s.N);
        for (int64_t c = 0; c < s.V; c++) {
            const double p = std::exp(exact.logits[n * s.Vp + c]) / sum, want = kScale * (p - (c == target));
            const double moved = kScale * (p * std::expm1(2 * e) + 1e-6);
            expect_close<bf16>(dlogits[n * s.Vp + c], want, 1.01 * moved, at({s.N, s.V}, n * s.V + c));
        }
    }
    // The target's rounding, and that of the mean over the softmax, which is smaller; then the variance / 2.
    const double bound = 5 * std::sqrt(2 * squares / double(s.N)) + squares / 2;
    EXPECT_LE(std::abs(mean), bound);
    EXPECT_LT(bound, 2.5e-3);
}

TEST(CrossEntropyExtremes, LargeLogitsMaskedBlocksAndNaN) {
    const int64_t V = 3000;
    Problem<float> problem({4, V, V}, 1.0);
    const auto row = [&](int64_t n) { return n * V; };
    for (int64_t c = 0; c < V; c++) problem.logits.set(row(0) + c, problem.logits[row(0) + c] + 10000.0);
    for (int64_t c = 0; c < 2048; c++) problem.logits.set(row(1) + c, -INFINITY);
    problem.logits.set(row(2) + 5, NAN);
    problem.logits.set(row(3) + 5, INFINITY);
    problem.targets = {0, 2999, 1, 1};
    double shifted = 0, masked = 0;
    for (int64_t c = 0; c < V; c++) shifted += std::exp(problem.logits[c] - 10000.0);
    for (int64_t c = 2048; c < V; c++) masked += std::exp(problem.logits[row(1) + c]);
    Buffer<float> dlogits(4, V);
    kernels::cross_entropy(problem.args(dlogits.tensor()));
    EXPECT_NEAR(problem.losses[0], std::log(shifted) - (problem.logits[0] - 10000.0), 3e-6);
    EXPECT_NEAR(problem.losses[1], std::log(masked) - problem.logits[row(1) + 2999], 3e-6);
    EXPECT_TRUE(std::isnan(problem.losses[2]));
    EXPECT_TRUE(std::isnan(problem.losses[3]));
    for (int64_t i = 0; i < 4 * V; i++) ASSERT_EQ(std::isnan(dlogits[i]), i >= row(2)) << i;
}
