// Moments that are kept from one phase to the next.
#include <gtest/gtest.h>

#include "optimizer/kept_moments.h"
#include "test/model/fixture.h"

using namespace fixture;

namespace {

std::vector<float> values(const Tensor& t) { return {t.get<float>(), t.get<float>() + t.size()}; }

TEST(KeptMoments, AreTheSameAfterTheSwitchAndNewOnesAreZero) {
    const SafetensorsReader file("test/fixtures/gpt2_tiny.safetensors");
    const Batch batch(file);
    Training training(DType::f32, {.B = kB, .T = kT});
    training.model.initialise(1);
    for (int i = 0; i < 3; i++) {
        training.loss_and_gradients(batch, {}, 1e-3);
        training.update();
    }
    training.model.wrap({.rank = 4});
    std::vector<Parameter*> others = training.model.trained_parameters();
    std::erase_if(others, [](const Parameter* p) { return p->is_adapter(); });
    std::vector<std::vector<float>> before;
    for (const Parameter* p : others)
        for (const Tensor& t : {p->m, p->v}) before.push_back(values(t));

    const KeptMoments kept(training.model.trained_parameters());
    training.optimizer.release();
    training.model.release_phase();
    training.model.allocate_phase({.B = kB, .T = kT});
    training.optimizer.allocate(training.model.trained_parameters(), training.model.weights());
    kept.restore();

    size_t at = 0;
    for (const Parameter* p : others) {
        EXPECT_EQ(p->adam_step, 3) << p->name;
        for (const Tensor& t : {p->m, p->v}) EXPECT_EQ(values(t), before[at++]) << p->name;
        EXPECT_GT(kernels::norm_squared(p->v), 0) << p->name;
    }
    for (const relora::Adapter& a : training.model.adapters())
        for (const Parameter* p : {&a.A, &a.B}) {
            EXPECT_EQ(p->adam_step, 0) << p->name;
            EXPECT_EQ(kernels::norm_squared(p->m) + kernels::norm_squared(p->v), 0) << p->name;
        }
}

}  // namespace
