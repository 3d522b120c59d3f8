// Wrap, merge, re-initialisation, resets and the rank of the accumulated update, on the tiny model.
#include <algorithm>
#include <cstring>

#include "test/model/fixture.h"

// LAPACK's singular values of a column-major matrix.
extern "C" void dgesvd_(const char*, const char*, const int*, const int*, double*, const int*, double*, double*,
                        const int*, double*, const int*, double*, const int*, int*);

namespace {

using namespace fixture;

std::vector<double> singular_values(std::vector<double> a, int rows, int cols) {
    std::vector<double> s(size_t(std::min(rows, cols))), work(size_t(20 * std::max(rows, cols)));
    const int lwork = int(work.size()), one = 1;
    int info = 0;
    dgesvd_("N", "N", &rows, &cols, a.data(), &rows, s.data(), nullptr, &one, nullptr, &one, work.data(), &lwork,
            &info);
    EXPECT_EQ(info, 0);
    return s;
}

class ReLoRA : public testing::Test {
  protected:
    const SafetensorsReader file{"test/fixtures/gpt2_tiny.safetensors"};
    const Batch batch{file};
    const double loss = array<float>(file, "loss")[0];

    // The fixture's weights, wrapped and initialised.
    std::unique_ptr<Training> wrapped(DType type = DType::f32, const LoraConfig& lora = {.rank = 4, .alpha = 8}) {
        auto training = std::make_unique<Training>(type, BatchLimits{.B = kB, .T = kT}, &lora);
        for (Parameter* p : training->model.parameters())
            if (!p->is_adapter()) {
                const auto values = in_memory_layout(file, p->name, *p);
                std::memcpy(p->value().get<float>(), values.data(), values.size() * 4);
            }
        training->model.values_changed();
        training->model.initialise_adapters(3, 0);
        return training;
    }
    void train(Training& training, int steps, float lr = 1e-2f) {
        for (int i = 0; i < steps; i++) {
            training.loss_and_gradients(batch, {}, lr);
            training.update();
        }
    }
    static std::vector<float> weights(GPT2& model, const std::string& name) {
        for (Parameter* p : model.parameters())
            if (p->name == name) return {p->value().get<float>(), p->value().get<float>() + p->size()};
        ADD_FAILURE() << name;
        return {};
    }
};

TEST_F(ReLoRA, WrappingChangesNoOutputAndGivesBAGradientAtOnce) {
    auto training = wrapped();
    EXPECT_NEAR(training->loss_and_gradients(batch), loss, 1e-5);  // B = 0: the same function
    for (const relora::Adapter& a : training->model.adapters()) {
        EXPECT_GT(kernels::norm_squared(a.B.gradient), 0) << a.B.name;
        EXPECT_EQ(kernels::norm_squared(a.A.gradient), 0) << a.A.name;  // dA = s B^T dY^T x with B = 0
        // A ~ U(-1/sqrt(in), 1/sqrt(in)): variance 1 / (3 in).
        const double variance = kernels::norm_squared(a.A.value()) / double(a.A.size());
        EXPECT_NEAR(variance * 3 * double(a.in), 1.0, 6 * std::sqrt(0.8 / double(a.A.size()))) << a.A.name;
    }
}

TEST_F(ReLoRA, MergeLeavesTheFunctionUnchanged) {
    for (const DType type : {DType::f32, DType::bf16}) {
        auto training = wrapped(type);
        train(*training, 10);
        const double before = training->model.forward(batch);
        const auto w_before = weights(training->model, "transformer.h.1.mlp.c_fc.weight");
        const double delta = training->model.merge();
        training->model.initialise_adapters(3, 1);
        const double after = training->model.forward(batch);
        EXPECT_GT(delta, 1e-3);
        EXPECT_NE(w_before, weights(training->model, "transformer.h.1.mlp.c_fc.weight"));
        // fp32: rounding of a few sums. bf16: W, A, B and activations each carry 2^-9 relative error.
        EXPECT_NEAR(after, before, type == DType::f32 ? 1e-5 : 2e-2);
    }
}

TEST_F(ReLoRA, ARestartThatKeepsAChangesOnlyWAndB) {
    for (const DType type : {DType::f32, DType::bf16}) {
        auto training = wrapped(type);
        train(*training, 10);
        const auto values = [](const Tensor& t) {
            return std::vector<float>(t.get<float>(), t.get<float>() + t.size());
        };
        std::vector<std::vector<float>> before;
        for (const relora::Adapter& a : training->model.adapters())
            for (const Tensor& t : {a.A.value(), a.A.m, a.A.v, a.B.m, a.B.v}) before.push_back(values(t));
        const double loss_before = training->model.forward(batch);
        training->model.merge();
        training->model.initialise_adapters(3, 1, true);
        EXPECT_NEAR(training->model.forward(batch), loss_before, type == DType::f32 ? 1e-5 : 2e-2);
        size_t at = 0;
        for (const relora::Adapter& a : training->model.adapters()) {
            EXPECT_EQ(kernels::norm_squared(a.B.value()) + kernels::norm_squared(a.B.weight), 0) << a.B.name;
            for (const Tensor& t : {a.A.value(), a.A.m, a.A.v, a.B.m, a.B.v})
                EXPECT_EQ(values(t), before[at++]) << a.A.name;
        }
    }
}

// The rule is an expectation over A: here it is the rms of s dB A over a whole model, for random dB of rms 1.
TEST_F(ReLoRA, WithoutAlphaAStepOfBMovesWAsFar) {
    for (const int64_t rank : {1, 4, 8}) {
        auto training = wrapped(DType::f32, {.rank = rank});
        double elements = 0;
        for (const relora::Adapter& a : training->model.adapters()) {
            kernels::fill_normal(a.B.weight, 1, {9, rng::Purpose::init, a.id, 0});
            elements += double(a.in * a.out);
        }
        EXPECT_NEAR(training->model.merge() / std::sqrt(elements), 1.0, 0.1) << "rank " << rank;
    }
}

TEST_F(ReLoRA, MergeIsWPlusScaledBAInEverySection) {
    auto training = wrapped();
    train(*training, 3);
    for (const relora::Adapter& a : training->model.adapters()) {
        if (a.id != 0 && a.id != 6) continue;  // c_attn of layer 0 (three sections), mlp.c_fc of layer 1
        const std::string name = a.A.name.substr(0, a.A.name.size() - 6) + "weight";
        const auto before = weights(training->model, name);
        const float *A = a.A.value().get<float>(), *B = a.B.value().get<float>();
        std::vector<double> expected(before.begin(), before.end());
        for (int64_t o = 0; o < a.out; o++)
            for (int64_t i = 0; i < a.in; i++)
                for (int64_t r = 0; r < a.rank; r++)
                    expected[size_t(o * a.in + i)] +=
                        2.0 * B[o * a.rank + r] * A[(o / (a.out / a.sections) * a.rank + r) * a.in + i];
        Parameter* w = nullptr;
        for (Parameter* p : training->model.parameters())
            if (p->name == name) w = p;
        std::vector<float> scratch(size_t(a.in * a.out));
        relora::Scratch memory;
        memory.delta = make_tensor(scratch.data(), DType::f32, 1, a.in * a.out);
        relora::merge(a, memory);
        for (size_t i = 0; i < expected.size(); i++)
            ASSERT_NEAR(w->value().get<float>()[i], expected[i], 1e-6) << name << " " << i;
    }
}

TEST_F(ReLoRA, ResetsZeroExactlyWhatWasAskedAndNothingElse) {
    struct Case {
        relora::Reset reset;
        double least, most;
    };
    const Case cases[] = {{{relora::ResetKind::zero, 0, false}, 1, 1},
                          {{relora::ResetKind::magnitude, 0.9, false}, 0.9, 0.91},
                          {{relora::ResetKind::magnitude, 0.99, true}, 0.99, 1},
                          {{relora::ResetKind::random, 0.5, false}, 0.45, 0.55},
                          {{relora::ResetKind::none, 0.5, false}, 0, 0}};
    for (const Case& c : cases) {
        auto training = wrapped();
        train(*training, 3);
        std::vector<std::vector<float>> others;
        const auto other_moments = [&] {
            std::vector<std::vector<float>> all;
            for (Parameter* p : training->model.trained_parameters())
                if (!p->is_adapter())
                    for (const Tensor& t : {p->m, p->v}) all.push_back({t.get<float>(), t.get<float>() + t.size()});
            return all;
        };
        others = other_moments();
        const relora::ZeroedCount count = training->reset_moments(c.reset, 1);
        EXPECT_GE(count.fraction(), c.least);
        EXPECT_LE(count.fraction(), c.most);
        int64_t zeros = 0, total = 0;
        for (const relora::Adapter& a : training->model.adapters())
            for (const Parameter* p : {&a.A, &a.B}) {
                EXPECT_EQ(p->adam_step, c.reset.adam_step ? 0 : 3) << p->name;
                for (const Tensor& t : {p->m, p->v}) {
                    const int64_t rows = t.rows / a.sections;
                    for (int s = 0; s < a.sections; s++) {
                        const float* x = t.row_range(s * rows, rows).get<float>();
                        const int64_t n = rows * t.cols, z = std::count(x, x + n, 0.0f);
                        zeros += z;
                        total += n;
                        // Each section of a moment has exactly ceil(p n) zeros.
                        if (c.reset.kind == relora::ResetKind::magnitude) {
                            EXPECT_EQ(z, int64_t(std::ceil(c.reset.fraction * double(n) - 1e-9))) << p->name;
                        }
                    }
                }
            }
        EXPECT_EQ(count.total, c.reset.kind == relora::ResetKind::none ? 0 : total);
        EXPECT_EQ(count.zeroed, c.reset.kind == relora::ResetKind::none ? 0 : zeros);
        EXPECT_EQ(other_moments(), others);
    }
}

TEST_F(ReLoRA, RankOfTheUpdateGrowsWithEveryCycleAndLoRAsDoesNot) {
    const std::string name = "transformer.h.0.mlp.c_fc.weight";  // (96, 24)
    auto training = wrapped(DType::f32, {.rank = 4, .alpha = 8});
    const auto start = weights(training->model, name);
    const auto rank = [&](const std::vector<float>& now) {
        std::vector<double> difference(start.size());
        for (size_t i = 0; i < start.size(); i++) difference[i] = double(now[i]) - start[i];
        const auto s = singular_values(difference, 24, 96);  // row-major (96, 24) is column-major (24, 96)
        return std::count_if(s.begin(), s.end(), [&](double x) { return x > 1e-5 * s[0]; });
    };
    for (int cycle = 1; cycle <= 5; cycle++) {
        train(*training, 6);
        training->model.merge();
        training->model.initialise_adapters(3, uint64_t(cycle));
        training->reset_moments({relora::ResetKind::magnitude, 0.99, false}, uint64_t(cycle));
        EXPECT_EQ(rank(weights(training->model, name)), 4 * cycle) << "after cycle " << cycle;
    }
    // Also where A stays: it has turned between two merges.
    auto keeping = wrapped(DType::f32, {.rank = 4, .alpha = 8});
    for (int cycle = 1; cycle <= 5; cycle++) {
        train(*keeping, 6);
        keeping->model.merge();
        keeping->model.initialise_adapters(3, uint64_t(cycle), true);
        // A has turned by little in some directions: nearly all of the rank there could be.
        EXPECT_GE(rank(weights(keeping->model, name)), 0.9 * 4 * cycle) << "A kept, after cycle " << cycle;
    }
    auto lora = wrapped(DType::f32, {.rank = 4, .alpha = 8});
    train(*lora, 30);
    lora->model.merge();
    EXPECT_EQ(rank(weights(lora->model, name)), 4);
}

TEST_F(ReLoRA, AdapterGradientsAgreeWithFiniteDifferences) {
    auto training = wrapped();
    train(*training, 5);  // B is not zero any more
    training->loss_and_gradients(batch);
    for (const relora::Adapter& a : training->model.adapters())
        for (const Parameter* p : {&a.A, &a.B}) {
            float* w = p->value().get<float>();
            const int64_t i = p->size() / 2 + 1;
            const float saved = w[i], h = 1e-2f;
            const auto loss_at = [&](float value) {
                w[i] = value;
                training->model.values_changed();
                return training->model.forward(batch);
            };
            const double up = loss_at(saved + h), down = loss_at(saved - h);
            loss_at(saved);
            // Central differences: error of order h^2 plus fp32 noise of the loss over h.
            EXPECT_NEAR(p->gradient.get<float>()[i], (up - down) / (2 * h),
                        3e-4 + 2e-2 * std::abs(p->gradient.get<float>()[i]))
                << p->name;
        }
}

TEST_F(ReLoRA, DropoutIsDrawnAgainInTheBackward) {
    auto training = wrapped(DType::f32, {.rank = 4, .alpha = 8, .dropout = 0.3});
    train(*training, 5);
    const relora::Pass pass{.seed = 5, .index = 9, .training = true};
    const auto run = [&] { return training->loss_and_gradients(batch, pass); };
    const double first = run();
    EXPECT_EQ(first, run());
    EXPECT_NE(first, training->loss_and_gradients(batch));  // without dropout another function
    const relora::Adapter& a = training->model.adapters()[3];
    run();
    std::vector<float> gradient(a.A.gradient.get<float>(), a.A.gradient.get<float>() + a.A.size());
    float* w = a.A.value().get<float>();
    for (const int64_t i : {int64_t(1), a.A.size() / 2, a.A.size() - 1}) {
        const float saved = w[i], h = 1e-2f;
        w[i] = saved + h;
        const double up = run();
        w[i] = saved - h;
        const double down = run();
        w[i] = saved;
        EXPECT_NEAR(gradient[size_t(i)], (up - down) / (2 * h), 3e-4);
    }
}

}  // namespace
