// What a phase takes for weights, gradients and optimizer, by the bytes of each parameter.
#include <gtest/gtest.h>

#include "model/gpt2.h"
#include "optimizer/masters.h"
#include "optimizer/optimizer.h"

namespace {

using relora::Route;

struct Bytes {
    size_t device = 0, host = 0;
};
Bytes planned(GPT2& model) {
    MemoryPlan plan(model.device());
    Masters masters(model.compute_type(), model.device());
    Optimizer optimizer(model.compute_type(), model.device(), {});
    model.plan_weights(plan);
    masters.plan(plan, model.parameters());
    model.plan_phase(plan, {.B = 1, .T = 64});
    optimizer.plan(plan, model.trained_parameters());
    Bytes sum{.host = plan.bytes(MemoryCategory::host)};
    for (const MemoryCategory c : {MemoryCategory::weights, MemoryCategory::masters, MemoryCategory::adapters,
                                   MemoryCategory::gradients, MemoryCategory::moments})
        sum.device += plan.bytes(c);
    return sum;
}
Bytes full_rank(const std::string& name, DType type, Device device) {
    GPT2 model(named_config(name), type, device);
    return planned(model);
}
Bytes low_rank(const std::string& name, DType type, Device device, Route route) {
    GPT2 model(named_config(name), type, device);
    model.wrap({.routes = {route, route, route, route}});
    return planned(model);
}

// bf16: weight 2, master 4, gradient 4, moments 8 for each parameter that trains; fp32: weight 4, gradient 4,
// moments 8. Frozen weights: one or two copies in the compute type on a GPU, the fp32 one on the host. The CPU has the
// fp32 one and the effective or the rounded weight.
TEST(Memory, IsTheSumOverParameters) {
    for (const char* name : {"gpt2", "gpt2-xl"}) {
        const GPT2Config c = named_config(name);
        const size_t C = size_t(c.channels), frozen = size_t(c.layers) * 12 * C * C,
                     adapters = size_t(c.layers) * 18 * C * 128,
                     others = size_t(c.padded_vocab() + c.max_positions) * C + (size_t(c.layers) * 13 + 2) * C;
        for (const Device device : {Device::cpu, Device::cuda})
            for (const DType type : {DType::f32, DType::bf16}) {
                const size_t each = type == DType::bf16 ? 18 : 16, trained = (others + adapters) * each;
                EXPECT_EQ(full_rank(name, type, device).device, (others + frozen) * each);
                EXPECT_EQ(full_rank(name, type, device).host, 0u);
                for (const Route route : {Route::merged, Route::factored, Route::project}) {
                    const bool factored = route == Route::factored,
                               moved = type == DType::bf16 && device == Device::cuda;
                    const size_t a_weight = type == DType::f32 ? (factored ? 4 : 8) : moved ? (factored ? 2 : 4) : 6;
                    EXPECT_EQ(low_rank(name, type, device, route).device, trained + frozen * a_weight)
                        << relora::route_name(route);
                    EXPECT_EQ(low_rank(name, type, device, route).host, moved ? frozen * 4 : 0);
                }
            }
    }
}

// The low-rank phase's device memory for weights, gradients and optimizer, over the full-rank phase's; r = 128, bf16.
TEST(Memory, OfTheLowRankPhaseIsAFractionOfTheFullRankPhases) {
    struct Case {
        const char* name;
        double merged, factored;
    };
    for (const auto& [name, merged, factored] :
         {Case{"gpt2", 0.67, 0.58}, {"gpt2-medium", 0.53, 0.42}, {"gpt2-large", 0.46, 0.35}, {"gpt2-xl", 0.41, 0.29}}) {
        const double full = double(full_rank(name, DType::bf16, Device::cuda).device);
        EXPECT_LE(double(low_rank(name, DType::bf16, Device::cuda, Route::merged).device) / full, merged) << name;
        EXPECT_LE(double(low_rank(name, DType::bf16, Device::cuda, Route::factored).device) / full, factored) << name;
    }
}

}  // namespace
