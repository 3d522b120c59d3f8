// AdamW against its formula in fp64, over several updates.
#include <cstring>

#include "test/kernels/op_test.h"

namespace {

// One update of tensors with Adam's corrections for step t, which is also the number of the update.
void update(const std::vector<kernels::TrainedTensor>& tensors, double lr, int64_t t, double scale = 1,
            const kernels::AdamW& hyper = {}) {
    Buffer<float> scalars(1, kernels::kStepScalars);
    scalars.set(kernels::kGradientScale, scale);
    scalars.set(kernels::kTaken, 1);
    scalars.set(kernels::kRates, lr);
    scalars.set(kernels::kCorrections, 1 / (1 - std::pow(hyper.beta1, double(t))));
    scalars.set(kernels::kCorrections + 1, 1 / std::sqrt(1 - std::pow(hyper.beta2, double(t))));
    scalars.set(kernels::kUpdate, double(t));
    kernels::adamw(scalars.tensor(), {.tensors = tensors}, hyper);
}
void update(const kernels::TrainedTensor& tensor, double lr, int64_t t, double scale = 1,
            const kernels::AdamW& hyper = {}) {
    update(std::vector{tensor}, lr, t, scale, hyper);
}

// A tensor without a master.
struct Rounded {
    explicit Rounded(int64_t n, double value = 0, double slope = 0)
        : weight(1, n, value), gradient(1, n, slope), m(1, n), v(1, n) {}
    kernels::TrainedTensor tensor() {
        return {
            .weight = weight.tensor(), .gradient = gradient.tensor(), .m = m.tensor(), .v = v.tensor(), .decays = true};
    }
    Buffer<bf16> weight;
    Buffer<float> gradient, m, v;
};

}  // namespace

template <class T>
class AdamW : public PerType<T> {};
TYPED_TEST_SUITE(AdamW, StorageTypes);

TYPED_TEST(AdamW, FollowsTheFormulaForTenUpdates) {
    for (const Shape& shape : kShapes)
        for (const bool with_weight : {false, true}) {
            const auto [rows, cols] = shape;
            Buffer<float> master(rows, cols), gradient(rows, cols), m(rows, cols), v(rows, cols);
            Buffer<TypeParam> weight(rows, cols, 7.0);
            master.randomize(1, 0.05);
            const double lr = 3e-3, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, decay = 0.1, clip = 0.25;
            std::vector<double> p, pm(size_t(master.size()), 0.0), pv(size_t(master.size()), 0.0);
            for (int64_t i = 0; i < master.size(); i++) p.push_back(master[i]);
            for (int64_t t = 1; t <= 10; t++) {
                gradient.randomize(unsigned(10 + t), 0.3);
                if (t < 4) gradient.set(0, 0.0);  // 0/(0 + eps) first, then a late start
                update({.master = master.tensor(),
                        .weight = with_weight ? weight.tensor() : Tensor{},
                        .gradient = gradient.tensor(),
                        .m = m.tensor(),
                        .v = v.tensor(),
                        .decays = true},
                       lr, t, clip, {.beta1 = beta1, .beta2 = beta2, .eps = eps, .weight_decay = decay});
                for (size_t i = 0; i < p.size(); i++) {
                    const double g = gradient[int64_t(i)] * clip;
                    pm[i] = beta1 * pm[i] + (1 - beta1) * g;
                    pv[i] = beta2 * pv[i] + (1 - beta2) * g * g;
                    const double m_hat = pm[i] / (1 - std::pow(beta1, t)), v_hat = pv[i] / (1 - std::pow(beta2, t));
                    p[i] -= lr * (m_hat / (std::sqrt(v_hat) + eps) + decay * p[i]);
                }
            }
            for (int64_t i = 0; i < master.size(); i++) {
                EXPECT_NEAR(master[i], p[size_t(i)], 1e-7) << at(shape, i);
                EXPECT_NEAR(m[i], pm[size_t(i)], 1e-7) << at(shape, i);
                EXPECT_NEAR(v[i], pv[size_t(i)], 1e-6 * pv[size_t(i)] + 1e-12) << at(shape, i);
                EXPECT_EQ(weight[i], with_weight ? double(float(TypeParam(float(master[i])))) : 7.0) << at(shape, i);
            }
        }
}

// A partial reset can keep m where it zeroes v. Without gradient there must be no step of size lr m / eps, and with one
// the step is no larger than Adam's recurrences can make it.
TEST(AdamW, AKeptFirstMomentWithoutSecondMomentMakesNoJump) {
    Buffer<float> p(1, 2, 1.0), g(1, 2), m(1, 2, 0.5), v(1, 2);
    g.set(1, 1e-3);
    update({.master = p.tensor(), .gradient = g.tensor(), .m = m.tensor(), .v = v.tensor()}, 0.01, 1000);
    EXPECT_EQ(p[0], 1.0);
    EXPECT_EQ(m[0], 0.0);
    // The bound for beta 0.9, 0.95, worked out by hand: 0.1 / sqrt(0.05 (1 - 0.81 / 0.95)) = 1.1650.
    EXPECT_NEAR((1.0 - p[1]) / 0.01, 1.165, 0.003);
}

// What a reset kept goes on by the recurrence alone where no bound holds it: where beta1^2 is not below beta2, or on
// request, with v at 0 or not.
TEST(AdamW, AKeptFirstMomentStaysWhereNothingBoundsIt) {
    for (const kernels::AdamW& hyper :
         {kernels::AdamW{.beta1 = 0.95, .beta2 = 0.9}, kernels::AdamW{.beta1 = 0.9, .beta2 = 0.81},
          kernels::AdamW{.beta1 = 0.9, .beta2 = 0.95, .bounds_m = false}}) {
        const double lr = 1e-9, t = 1000;
        Buffer<float> p(1, 4, 1.0), g(1, 4), m(1, 4, 0.5), v(1, 4);
        g.set(1, 1e-3);
        m.set(2, -0.5);
        v.set(3, 1e-12);
        std::vector<double> m64, v64, p64;
        for (int64_t i = 0; i < 4; i++) {
            m64.push_back(hyper.beta1 * m[i] + (1 - hyper.beta1) * g[i]);
            v64.push_back(hyper.beta2 * v[i] + (1 - hyper.beta2) * g[i] * g[i]);
            const double m_hat = m64.back() / (1 - std::pow(hyper.beta1, t)),
                         v_hat = v64.back() / (1 - std::pow(hyper.beta2, t));
            p64.push_back(p[i] - lr * m_hat / (std::sqrt(v_hat) + hyper.eps));
        }
        update({.master = p.tensor(), .gradient = g.tensor(), .m = m.tensor(), .v = v.tensor()}, lr, int64_t(t), 1,
               hyper);
        for (int64_t i = 0; i < 4; i++) {
            EXPECT_NEAR(m[i], m64[size_t(i)], 1e-7) << i;
            EXPECT_NEAR(v[i], v64[size_t(i)], 1e-6 * v64[size_t(i)]) << i;
            EXPECT_NEAR(p[i], p64[size_t(i)], 2e-7) << i;
        }
    }
}

// The bound alters nothing while moments grow from gradients, to the bit.
TEST(AdamW, WithoutTheBoundOnlyWhatAResetKeptDiffers) {
    const auto trained = [](bool bounds, bool reset) {
        Buffer<float> p(1, 100, 1.0), g(1, 100), m(1, 100), v(1, 100);
        for (int64_t t = 1; t <= 20; t++) {
            if (reset && t == 11)
                for (int64_t i = 0; i < 100; i++) v.set(i, 0.0);
            g.randomize(unsigned(t), 0.3);
            update({.master = p.tensor(), .gradient = g.tensor(), .m = m.tensor(), .v = v.tensor()}, 1e-3, t, 1,
                   {.bounds_m = bounds});
        }
        std::vector<double> values;
        for (int64_t i = 0; i < 100; i++) values.insert(values.end(), {p[i], m[i], v[i]});
        return values;
    };
    EXPECT_EQ(trained(true, false), trained(false, false));
    EXPECT_NE(trained(true, true), trained(false, true));
}

// The sequence that reaches Cauchy-Schwarz's equality, g growing backwards as (b1/b2)^i, must not be altered.
TEST(AdamW, TheBoundNeverBindsOnMomentsThatGrewFromGradients) {
    Buffer<float> p(1, 1), g(1, 1), m(1, 1), v(1, 1);
    double m64 = 0;
    for (int t = 1; t <= 200; t++) {
        const double gradient = std::pow(0.9f / 0.95, double(200 - t));
        g.set(0, gradient);
        m64 = 0.9f * m64 + (1 - 0.9f) * g[0];
        update({.master = p.tensor(), .gradient = g.tensor(), .m = m.tensor(), .v = v.tensor()}, 0.0, t);
        ASSERT_NEAR(m[0], m64, 2e-6 * m64) << t;
    }
    EXPECT_NEAR(m[0] / std::sqrt(v[0]), 1.165, 0.001);
}

TEST(AdamW, LeavesEverythingWhenTheStepIsNotFinite) {
    Buffer<float> p(1, 5, 1.0), g(1, 5, NAN), m(1, 5, 2.0), v(1, 5, 3.0), scalars(1, kernels::kStepScalars, 1.0);
    const kernels::TrainedTensors trained{
        .tensors = {{.master = p.tensor(), .gradient = g.tensor(), .m = m.tensor(), .v = v.tensor()}}};
    scalars.set(kernels::kTaken, 0);
    kernels::adamw(scalars.tensor(), trained, {});
    for (int64_t i = 0; i < 5; i++) {
        EXPECT_EQ(p[i], 1.0);
        EXPECT_EQ(m[i], 2.0);
        EXPECT_EQ(v[i], 3.0);
    }
}

// ---- without masters -----------------------------------------------------------------------------------------------

// Weight decay alone takes every element to w (1 - lr) in fp32, which lies between two bf16.
TEST(AdamWRounding, TakesTheTwoNeighboursInProportion) {
    const int64_t n = 1 << 18;
    int64_t update_number = 1;
    for (const double w : {1.0, -1.5, 3.0e-3, 2.5e10})
        for (const double lr : {0.0001, 0.001, 0.0019}) {
            Rounded r(n, w);
            const double start = r.weight[0];
            update(r.tensor(), lr, ++update_number, 1, {.weight_decay = 1, .seed = 5});
            const double p = float(start) - float(lr) * float(start);
            uint32_t bits;
            const float p32 = float(p);
            std::memcpy(&bits, &p32, 4);
            const auto neighbour = [&](uint32_t up) {
                bf16 b;
                b.bits = uint16_t((bits >> 16) + up);
                return double(float(b));
            };
            const double near = neighbour(0), far = neighbour(1), share = double(bits & 0xFFFFu) / 65536;
            int64_t farther = 0;
            for (int64_t i = 0; i < n; i++) {
                ASSERT_TRUE(r.weight[i] == near || r.weight[i] == far) << r.weight[i] << " for " << p;
                farther += r.weight[i] == far;
            }
            // Five standard deviations of the binomial, and a rounding of fp32: p has 16 bits more than a bf16.
            EXPECT_NEAR(double(farther) / double(n), share,
                        5 * std::sqrt(share * (1 - share) / double(n)) + 2.0 / 65536)
                << w << " " << lr;
        }
}

TEST(AdamWRounding, KeepsWhatIsABf16) {
    for (uint32_t bits = 0; bits < 1 << 16; bits++)
        for (const uint32_t random : {0u, 0x12345678u, 0xFFFFFFFFu}) {
            const bool nan = (bits & 0x7FFFu) > 0x7F80u;
            ASSERT_EQ(rng::round_to_bf16(bits << 16, random), nan ? bits | 0x40u : bits);
        }
    // A NaN whose bits would carry over is still one.
    EXPECT_EQ(rng::round_to_bf16(0x7FFFFFFFu, 0xFFFFFFFFu), 0x7FFFu);
    Rounded r(1000);
    r.weight.randomize(1);
    const Buffer<bf16> before = r.weight;
    update(r.tensor(), 0, 1);
    for (int64_t i = 0; i < r.weight.size(); i++) EXPECT_EQ(r.weight[i], before[i]);
}

// Each update is a thousandth of what rounding to nearest would need to move at all.
TEST(AdamWRounding, SumsUpUpdatesThatNearestWouldLose) {
    Rounded r(1 << 14, 1.0, 1.0);
    const double lr = 1.0 / 256 / 1000;
    for (int t = 1; t <= 1000; t++) update(r.tensor(), lr, t);
    double mean = 0;
    for (int64_t i = 0; i < r.weight.size(); i++) mean += r.weight[i] / double(r.weight.size());
    // The variance of a step is at most lr / 256.
    EXPECT_NEAR(mean, 1 - 1000 * lr, 6 * std::sqrt(1000 * lr / 256 / double(r.weight.size())) + 1e-5);
}

// The draws depend on seed, tensor, update and element, and on nothing else: not on the threads.
TEST(AdamWRounding, DependsOnItsKeyOnly) {
    const int64_t n = 50000;
    const auto draw = [&](uint64_t seed, int place, int64_t number) {
        std::vector<Rounded> all(3, Rounded(n, 1.0));
        std::vector<kernels::TrainedTensor> tensors;
        for (Rounded& r : all) {
            tensors.push_back(r.tensor());
            tensors.back().id = uint32_t(tensors.size() - 1);
        }
        update(tensors, 0.001, number, 1, {.weight_decay = 1, .seed = seed});
        std::vector<double> weights;
        for (int64_t i = 0; i < n; i++) weights.push_back(all[size_t(place)].weight[i]);
        return weights;
    };
    const std::vector<double> base = draw(1, 0, 7);
    EXPECT_NE(draw(2, 0, 7), base);
    EXPECT_NE(draw(1, 1, 7), base);
    EXPECT_NE(draw(1, 0, 8), base);
    const Threads one(1);
    EXPECT_EQ(draw(1, 0, 7), base);
    const rng::Stream stream{1, rng::Purpose::rounding, 0, 7};
    const float p = 1.0f - 0.001f;
    uint32_t bits;
    std::memcpy(&bits, &p, 4);
    for (int64_t i = 0; i < n; i++) {
        bf16 b;
        b.bits = rng::round_to_bf16(bits, stream.bits(uint64_t(i)));
        ASSERT_EQ(base[size_t(i)], double(float(b))) << i;
    }
}

TEST(AdamWRounding, MovesTheMomentsAsWithAMaster) {
    const int64_t n = 1000;
    Rounded r(n, 1.0);
    r.gradient.randomize(1);
    Buffer<float> master(1, n, 1.0), m(1, n), v(1, n);
    update(r.tensor(), 0.01, 3);
    update(
        {.master = master.tensor(), .gradient = r.gradient.tensor(), .m = m.tensor(), .v = v.tensor(), .decays = true},
        0.01, 3);
    for (int64_t i = 0; i < n; i++) {
        EXPECT_NEAR(r.m[i], m[i], 1e-7);
        EXPECT_NEAR(r.v[i], v[i], 1e-7);
        EXPECT_NEAR(r.weight[i], master[i], 1.0 / 128);
    }
}

TEST(AdamWRounding, RefusesAParameterThatIsNeitherMasterNorBf16) {
    Buffer<float> weight(1, 5), gradient(1, 5), m(1, 5), v(1, 5);
    EXPECT_THROW(
        update({.weight = weight.tensor(), .gradient = gradient.tensor(), .m = m.tensor(), .v = v.tensor()}, 0.01, 1),
        Error);
    EXPECT_THROW(update({.gradient = gradient.tensor(), .m = m.tensor(), .v = v.tensor()}, 0.01, 1), Error);
}
