// The whole model against PyTorch: loss, logits and every gradient, full-rank and with adapters.
#include "test/model/fixture.h"

namespace {

using namespace fixture;

struct Case {
    DType type;
    Recompute recompute;
};
// fp32 sums in another order differ by a few 1e-7 per op; bf16 rounds every activation to 8 bits (2^-9
// relative).
double loss_tolerance(DType type) { return type == DType::f32 ? 1e-5 : 2e-2; }
double gradient_tolerance(DType type) { return type == DType::f32 ? 2e-5 : 5e-2; }

void expect_gradients(GPT2& model, const SafetensorsReader& file, const std::string& prefix, DType type) {
    for (Parameter* p : model.trained_parameters()) {
        const std::vector<float> expected = in_memory_layout(file, prefix + p->name, *p);
        EXPECT_LT(relative_error(p->gradient.get<float>(), expected), gradient_tolerance(type)) << p->name;
    }
}

class GPT2Fixture : public testing::TestWithParam<Case> {};

TEST_P(GPT2Fixture, LossLogitsAndGradientsAreThoseOfPyTorch) {
    const auto [type, recompute] = GetParam();
    const SafetensorsReader file("test/fixtures/gpt2_tiny.safetensors");
    Training training(type, {.B = kB, .T = kT, .recompute = recompute});
    GPT2& model = training.model;
    load(model, file);
    const Batch batch(file);
    const double expected = array<float>(file, "loss")[0];

    EXPECT_NEAR(model.forward(batch), expected, loss_tolerance(type));
    EXPECT_NEAR(training.loss_and_gradients(batch), expected, loss_tolerance(type));
    expect_gradients(model, file, "grad.", type);

    const auto logits = array<float>(file, "logits");
    for (int64_t t : {int64_t(0), kT - 1}) {
        const float* row = model.logits_at({.tokens = batch.tokens.data(), .B = 1, .T = kT}, t).get<float>();
        const std::vector<float> expected_row(logits.begin() + t * 61, logits.begin() + (t + 1) * 61);
        EXPECT_LT(relative_error(row, expected_row), type == DType::f32 ? 1e-5 : 2e-2);
    }
}

TEST_P(GPT2Fixture, AdaptersGiveThoseOfPyTorch) {
    const auto [type, recompute] = GetParam();
    const SafetensorsReader base("test/fixtures/gpt2_tiny.safetensors"),
        file("test/fixtures/gpt2_tiny_lora.safetensors");
    const Batch batch(base);
    for (const bool separate : {true, false})
        for (const relora::Route route : {relora::Route::merged, relora::Route::factored, relora::Route::project}) {
            const std::string prefix = separate ? "" : "fused.";
            if (!file.find(prefix + "loss")) continue;
            const LoraConfig lora{
                .rank = 4, .alpha = 8, .separate_qkv = separate, .routes = {route, route, route, route}};
            Training training(type, {.B = kB, .T = kT, .recompute = recompute}, &lora);
            load(training.model, base, &file, prefix);
            EXPECT_NEAR(training.loss_and_gradients(batch), array<float>(file, prefix + "loss")[0],
                        loss_tolerance(type));
            expect_gradients(training.model, file, prefix + "grad.", type);
        }
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
    constexpr const char* kRecompute[] = {"", "Pointwise", "Block"};
    return std::string(dtype_name(info.param.type)) + kRecompute[int(info.param.recompute)];
}

INSTANTIATE_TEST_SUITE_P(TypesAndRecompute, GPT2Fixture,
                         testing::Values(Case{DType::f32, Recompute::none}, Case{DType::f32, Recompute::pointwise},
                                         Case{DType::f32, Recompute::block}, Case{DType::bf16, Recompute::none}),
                         name_of);

TEST(GPT2, AccumulationAddsGradients) {
    const SafetensorsReader file("test/fixtures/gpt2_tiny.safetensors");
    Training training(DType::f32, {.B = 1, .T = kT});
    load(training.model, file);
    const Batch batch(file);
    // The batch of two as two micro-batches of one, each weighted by a half.
    for (int64_t b = 0; b < kB; b++)
        training.model.forward_backward(
            {.tokens = batch.tokens.data() + b * kT, .targets = batch.targets.data() + b * kT, .B = 1, .T = kT},
            training.optimizer.loss(), 0.5f, b > 0, {});
    expect_gradients(training.model, file, "grad.", DType::f32);
}

TEST(GPT2, InitialisationIsGPT2s) {
    GPT2 model({.vocab_size = 1000, .max_positions = 64, .layers = 2, .heads = 4, .channels = 128}, DType::f32);
    model.allocate_weights();
    model.initialise(7);
    for (Parameter* p : model.parameters()) {
        const float* w = p->value().get<float>();
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < p->file_size(); i++) {
            sum += w[i];
            squares += double(w[i]) * w[i];
        }
        const double n = double(p->file_size()), deviation = std::sqrt(squares / n);
        if (p->is_matrix()) {
            const double expected = p->name.ends_with("c_proj.weight") ? 0.02 / std::sqrt(4.0) : 0.02;
            EXPECT_NEAR(deviation, expected, 5 * expected / std::sqrt(2 * n)) << p->name;
            EXPECT_NEAR(sum / n, 0, 5 * expected / std::sqrt(n)) << p->name;
            for (int64_t i = p->file_size(); i < p->size(); i++) EXPECT_EQ(w[i], 0) << p->name << " padding";
        } else {
            const bool ones = p->name.find("ln_") != std::string::npos && p->name.ends_with(".weight");
            EXPECT_EQ(sum, ones ? n : 0.0) << p->name;
        }
    }
}

TEST(GPT2, ParameterCountsAreThePublishedOnes) {
    EXPECT_EQ(named_config("gpt2").num_parameters(), 124439808);
    EXPECT_EQ(named_config("gpt2-medium").num_parameters(), 354823168);
    EXPECT_EQ(named_config("gpt2-large").num_parameters(), 774030080);
    EXPECT_EQ(named_config("gpt2-xl").num_parameters(), 1557611200);
}

TEST(GPT2, ControlMatchesTheTrainedSizeOfTheLowRankPhase) {
    const GPT2Config config = named_config("gpt2");
    GPT2 wrapped(config, DType::f32);
    wrapped.wrap({});
    // c_attn 6 C r, attn c_proj 2 C r, c_fc and c_proj 5 C r each, over 12 layers, beside embeddings, norms and biases.
    const int64_t frozen = 12 * 12 * 768 * 768, adapters = 12 * 18 * 768 * 128;
    EXPECT_EQ(wrapped.num_trained(), config.num_parameters() - frozen + adapters);
    const GPT2Config control = control_config(config, wrapped.num_trained());
    EXPECT_NEAR(double(control.num_parameters()) / double(wrapped.num_trained()), 1.0, 0.02);
    EXPECT_EQ(control.head_size(), config.head_size());
}

}  // namespace
