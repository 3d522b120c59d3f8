// A tiny GPT-2 with weights, loss, logits and gradients computed by PyTorch: test/fixtures/make_gpt2_fixture.py.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "model/gpt2.h"
#include "optimizer/masters.h"
#include "optimizer/optimizer.h"

namespace fixture {

inline constexpr GPT2Config kConfig{.vocab_size = 61, .max_positions = 12, .layers = 2, .heads = 3, .channels = 24};
inline constexpr int64_t kB = 2, kT = 10;

template <class T>
std::vector<T> array(const SafetensorsReader& file, const std::string& name) {
    const SafetensorsEntry& entry = file.at(name);
    std::vector<T> values(size_t(entry.bytes()) / sizeof(T));
    file.read(entry, values.data());
    return values;
}

// A parameter-shaped array of the file in our layout: linear weights are stored transposed.
inline std::vector<float> in_memory_layout(const SafetensorsReader& file, const std::string& name, const Parameter& p) {
    const std::vector<float> stored = array<float>(file, name);
    if (!p.transposed_in_files()) return stored;
    std::vector<float> values(stored.size());
    for (int64_t r = 0; r < p.rows; r++)
        for (int64_t c = 0; c < p.cols; c++) values[size_t(r * p.cols + c)] = stored[size_t(c * p.rows + r)];
    return values;
}

// A model that can train, in memory for the fixture's batch: without adapters, or with those of `lora`.
struct Training {
    explicit Training(DType type, const BatchLimits& limits, const LoraConfig* lora = nullptr,
                      const OptimizerConfig& config = {})
        : model(kConfig, type), masters(type, Device::cpu), optimizer(type, Device::cpu, config) {
        if (lora) model.wrap(*lora);
        model.allocate_weights();
        masters.allocate(model.parameters());
        model.allocate_phase(limits);
        optimizer.allocate(model.trained_parameters(), model.weights());
    }
    // Loss and gradients of one micro-batch that is a whole update, its dropout drawn for `pass`; no parameter moves.
    double loss_and_gradients(const TokenBatch& batch, const relora::Pass& pass = {}, double rate = 0) {
        optimizer.begin_update({rate, rate, rate}, {}, {});
        model.forward_backward(batch, optimizer.loss(), 1.0f, false, pass);
        return double(*optimizer.loss().get<float>());
    }
    relora::ZeroedCount reset_moments(const relora::Reset& reset, uint64_t update) {
        return model.reset_moments(
            reset, 3, update, [](Parameter& p, Tensor Parameter::*moment, const auto& change) { change(p.*moment); });
    }
    void update() {
        optimizer.update([this] { model.form_effective_weights(); });
    }

    GPT2 model;
    Masters masters;
    Optimizer optimizer;
};

// The fixture's batch.
struct Batch {
    explicit Batch(const SafetensorsReader& file)
        : tokens(array<int32_t>(file, "tokens")), targets(array<int32_t>(file, "targets")) {}
    std::vector<int32_t> tokens, targets;  // (B, T)
    operator TokenBatch() const { return {.tokens = tokens.data(), .targets = targets.data(), .B = kB, .T = kT}; }
};

inline void load(GPT2& model, const SafetensorsReader& base, const SafetensorsReader* adapters = nullptr,
                 const std::string& fused = "") {
    for (Parameter* p : model.parameters()) {
        const std::vector<float> values =
            p->is_adapter()
                ? in_memory_layout(*adapters, adapters->find(fused + p->name) ? fused + p->name : p->name, *p)
                : in_memory_layout(base, p->name, *p);
        ASSERT_EQ(int64_t(values.size()), p->file_size()) << p->name;
        std::memcpy(p->value().get<float>(), values.data(), values.size() * 4);
    }
    model.values_changed();
}

// |x - y| / |y| over whole arrays.
inline double relative_error(const float* x, const std::vector<float>& y) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < y.size(); i++) {
        difference += (double(x[i]) - y[i]) * (double(x[i]) - y[i]);
        norm += double(y[i]) * y[i];
    }
    return std::sqrt(difference / (norm + 1e-30));
}

}  // namespace fixture
