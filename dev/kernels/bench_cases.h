// What the cases at a model's sizes are made of.
#pragma once

#include "dev/kernels/registry.h"
#include "model/activations.h"
#include "model/lora.h"

namespace registry::bench {

inline constexpr int64_t kT = 1024, kRank = 128;

// A model and the sequences of its micro-batch.
struct Model {
    GPT2Config config;
    int64_t B = 1;
    int64_t N() const { return B * kT; }
    int64_t C() const { return config.channels; }
    int64_t V() const { return config.vocab_size; }
    int64_t Vp() const { return config.padded_vocab(); }
};

// A linear of a block, with the number of adapters that it carries side by side.
struct Linear {
    int64_t out, in;
    int sections;
};
inline std::vector<Linear> linears(const Model& model) {
    std::vector<Linear> all;
    for (int i = 0; i < kLinears; i++)
        all.push_back({linear_out(model.config, i), linear_in(model.config, i), LoraConfig{}.adapter(i).sections});
    return all;
}

// A list of cases, in which one that several linears, models or types share comes once.
class Cases {
  public:
    void add(const std::string& op, const std::string& shape, const std::function<Run(Memory&)>& setup) {
        for (const Case& c : all_)
            if (c.op == op && c.shape == shape) return;
        all_.push_back({op, shape, 0, setup});
    }
    const std::vector<Case>& all() const { return all_; }

  private:
    std::vector<Case> all_;
};

inline std::string label(DType type, int64_t rows, int64_t cols) { return str(dtype_name(type), "_", rows, "x", cols); }

// ---- bench_products.cpp ------------------------------------------------------------------------------------------

// Adds products with the weights, or with the effective weights of merged adapters.
void add_weight_products(Cases& cases, DType type, const Model& model);
// Adds the head's products, over a chunk of rows.
void add_head_products(Cases& cases, DType type, const Model& model, Device device);
// Adds the low-rank products of a route.
void add_adapter_products(Cases& cases, DType type, const Model& model, relora::Route route);
// Adds the forming of effective weights W + s B A, which merged adapters do after each update: a product and a sum.
void add_formation(Cases& cases, DType type, const Model& model);

}  // namespace registry::bench
