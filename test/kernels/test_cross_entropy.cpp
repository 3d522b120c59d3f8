// Cross-entropy against log-sum-exp in fp64, its gradient against finite differences of that.

#include "test/kernels/op_test.h"

namespace {

struct Sizes {
    int64_t N, V, Vp;
};
const std::vector<Sizes> kSizes = {{1, 1, 1},       {3, 5, 8},        {67, 24, 24},
                                   {3, 1000, 1024}, {67, 1025, 1088}, {2, 50257, 50304}};
constexpr double kScale = 0.125;

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
    Buffer<float> logits, losses;
    std::vector<int32_t> targets;
};

}  // namespace

template <class T>
class CrossEntropy : public PerType<T> {};
TYPED_TEST_SUITE(CrossEntropy, StorageTypes);

TYPED_TEST(CrossEntropy, LossAndGradient) {
    for (const Sizes& s : kSizes) {
        Problem problem(s);
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

TEST(CrossEntropyInPlace, GradientMayReplaceTheLogits) {
    for (const Sizes& s : kSizes) {
        Problem apart(s), in_place(s);
        Buffer<float> dlogits(s.N, s.Vp);
        kernels::cross_entropy(apart.args(dlogits.tensor()));
        kernels::cross_entropy(in_place.args(in_place.logits.tensor()));
        for (int64_t i = 0; i < dlogits.size(); i++) ASSERT_EQ(in_place.logits[i], dlogits[i]) << at({s.N, s.Vp}, i);
        for (int64_t n = 0; n < s.N; n++) EXPECT_EQ(in_place.losses[n], apart.losses[n]);
    }
}

TEST(CrossEntropyLossOnly, LeavesTheLogitsAndAgreesWithTheGradientRun) {
    Problem problem({67, 1025, 1088});
    const Buffer<float> before = problem.logits;
    kernels::cross_entropy(problem.args({}));
    for (int64_t i = 0; i < before.size(); i++) ASSERT_EQ(problem.logits[i], before[i]);
    for (int64_t n = 0; n < 67; n++) {
        const double loss = std::log(problem.sum_exp(n)) - before[n * 1088 + problem.targets[size_t(n)]];
        EXPECT_NEAR(problem.losses[n], loss, 3e-6);
    }
}

TEST(CrossEntropyExtremes, LargeLogitsMaskedBlocksAndNaN) {
    const int64_t V = 3000;
    Problem problem({4, V, V}, 1.0);
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
