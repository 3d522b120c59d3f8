// A tiny GPT-2 with weights, loss, logits and gradients computed by PyTorch: test/fixtures/make_gpt2_fixture.py.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "model/gpt2.h"

namespace fixture {

inline constexpr GPT2Config kConfig{.vocab_size = 61, .max_positions = 12, .layers = 2, .heads = 3, .channels = 24};
inline constexpr int64_t kB = 2, kT = 10;

template <class T>
std::vector<T> array(const SafetensorsReader& file, const std::string& name) {
    const SafetensorsEntry& entry = file.at(name);
    std::vector<T> values(size_t(entry.bytes()) / sizeof(T));
    std::memcpy(values.data(), file.data(entry), size_t(entry.bytes()));
    return values;
}

// A parameter-shaped array of the file in our layout: linear weights are stored transposed.
inline std::vector<float> in_memory_layout(const SafetensorsReader& file, const std::string& name, const Parameter& p) {
    const std::vector<float> stored = array<float>(file, name);
    if (!p.conv1d) return stored;
    std::vector<float> values(stored.size());
    for (int64_t r = 0; r < p.rows; r++)
        for (int64_t c = 0; c < p.cols; c++) values[size_t(r * p.cols + c)] = stored[size_t(c * p.rows + r)];
    return values;
}

inline void load(GPT2& model, const SafetensorsReader& base, const SafetensorsReader* adapters = nullptr,
                 const std::string& fused = "") {
    for (Parameter* p : model.parameters()) {
        const bool is_adapter = p->name.find("lora_") != std::string::npos;
        const std::vector<float> values =
            is_adapter ? in_memory_layout(*adapters, adapters->find(fused + p->name) ? fused + p->name : p->name, *p)
                       : in_memory_layout(base, p->name, *p);
        ASSERT_EQ(int64_t(values.size()), p->file_size()) << p->name;
        std::memcpy(p->master.get<float>(), values.data(), values.size() * 4);
    }
    model.masters_to_weights();
}

// Loss and gradients of one micro-batch that is a whole update, its dropout drawn for `pass`; no parameter moves.
inline double loss_and_gradients(GPT2& model, const std::vector<int32_t>& tokens, const std::vector<int32_t>& targets,
                                 const relora::Pass& pass = {}, double rate = 0) {
    model.begin_update(rate, {});
    model.forward_backward(tokens.data(), targets.data(), kB, kT, 1.0f, false, pass);
    return model.loss_so_far();
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
