// AdamW against its formula in fp64, over several updates.
#include "op_test.h"

namespace {

// One update of one tensor with Adam's corrections for step t.
void update(const kernels::TrainedTensor& tensor, double lr, int64_t t, double scale = 1, const kernels::AdamW& hyper = {}) {
    Buffer<float> scalars(1, kernels::kStepScalars);
    scalars.set(kernels::kGradientScale, scale);
    scalars.set(kernels::kFinite, 1);
    scalars.set(kernels::kRate, lr);
    scalars.set(kernels::kCorrections, 1 / (1 - std::pow(hyper.beta1, double(t))));
    scalars.set(kernels::kCorrections + 1, 1 / std::sqrt(1 - std::pow(hyper.beta2, double(t))));
    kernels::adamw(scalars.tensor(), {.tensors = {tensor}}, hyper);
}

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
                update({.master = master.tensor(), .weight = with_weight ? weight.tensor() : Tensor{},
                        .gradient = gradient.tensor(), .m = m.tensor(), .v = v.tensor(), .decays = true},
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

// What a partial reset leaves behind: m kept where v is zeroed. Without gradient there must be no step of size lr m / eps,
// and with one the step is no larger than Adam's recurrences can make it.
TEST(AdamW, AKeptFirstMomentWithoutSecondMomentMakesNoJump) {
    Buffer<float> p(1, 2, 1.0), g(1, 2), m(1, 2, 0.5), v(1, 2);
    g.set(1, 1e-3);
    update({.master = p.tensor(), .gradient = g.tensor(), .m = m.tensor(), .v = v.tensor()}, 0.01, 1000);
    EXPECT_EQ(p[0], 1.0);
    EXPECT_EQ(m[0], 0.0);
    // By hand for beta 0.9, 0.95: 0.1 / sqrt(0.05 (1 - 0.81 / 0.95)) = 1.1650.
    EXPECT_NEAR((1.0 - p[1]) / 0.01, 1.165, 0.003);
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
    const kernels::TrainedTensors trained{.tensors = {{.master = p.tensor(), .gradient = g.tensor(), .m = m.tensor(), .v = v.tensor()}}};
    kernels::gradient_norm(scalars.tensor(), trained, 1.0f);
    EXPECT_EQ(scalars[kernels::kFinite], 0);
    kernels::adamw(scalars.tensor(), trained, {});
    for (int64_t i = 0; i < 5; i++) {
        EXPECT_EQ(p[i], 1.0);
        EXPECT_EQ(m[i], 2.0);
        EXPECT_EQ(v[i], 3.0);
    }
}
