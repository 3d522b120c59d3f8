// The weights of a GPT-2 and their adapters: memory, initial values, the method's walk over all adapters.
#include "model/gpt2.h"

#include <algorithm>
#include <cmath>

GPT2::GPT2(const GPT2Config& config, DType compute_type, Device device)
    : config_(config),
      type_(compute_type),
      device_(device),
      table_(config),
      weights_memory_(device),
      phase_memory_(device) {}

// ---- memory ------------------------------------------------------------------------------------------------------

void GPT2::plan_weights(MemoryPlan& plan) {
    std::vector<Parameter*> base;
    for (const auto& p : table_.rows) base.push_back(p.get());
    plan_buckets(plan, weights_, base, &Parameter::weight, MemoryCategory::weights, type_);
}

void GPT2::allocate_weights() {
    plan_weights(weights_memory_);
    weights_memory_.allocate();
}

void GPT2::plan_phase(MemoryPlan& plan, const BatchLimits& limits) {
    const int64_t N = limits.B * limits.T;
    int64_t largest_result = N * 4 * config_.channels;  // the MLP's, or a chunk of logits
    if (limits.backward)
        largest_result = std::max(largest_result, logit_rows(config_, device_, type_, N) * config_.padded_vocab());
    std::vector<Parameter*> factors;
    for (relora::Adapter& a : adapters_) {
        factors.insert(factors.end(), {&a.A, &a.B});
        largest_result = std::max(largest_result, relora::largest_result(a, N));
        // Where blocks are recomputed, all share the u of the first one.
        const bool first_block = a.id < kLinears;
        a.u_of = limits.recompute == Recompute::block && !first_block ? table_.blocks[0].linear[a.id % kLinears].adapter
                                                                      : nullptr;
    }
    plan_buckets(plan, weights_, factors, &Parameter::weight, MemoryCategory::adapters, type_);
    relora::plan_adapters(plan, adapters_, scratch_, type_, N);
    a_.plan(plan, config_, type_, limits, largest_result);
}

void GPT2::allocate_phase(const BatchLimits& limits) {
    plan_phase(phase_memory_, limits);
    phase_memory_.allocate();
    relora::place_adapters(adapters_, scratch_, type_, device_, limits.B * limits.T);
    a_.place();
    kernels::set_workspace(device_, a_.workspace);
    tokens_upload_.prepare(device_, a_.tokens.bytes());
}

void GPT2::release_phase() {
    graph_of_.clear();
    blocks_graph_of_.clear();
    phase_memory_.release();
}

// ---- weights -----------------------------------------------------------------------------------------------------

void GPT2::initialise(uint64_t seed) {
    // All values of a parameter of which this rank keeps a part are drawn elsewhere.
    MemoryPlan memory(device_);
    Tensor elsewhere;
    int64_t largest = 0;
    for (const auto& p : table_.rows)
        if (p->has_master && p->shared) largest = std::max(largest, p->size());
    if (largest > 0) {
        memory.add(&elsewhere, MemoryCategory::workspaces, DType::f32, 1, largest);
        memory.allocate();
    }
    for (uint32_t id = 0; id < table_.rows.size(); id++) {
        const Parameter& p = *table_.rows[id];
        const bool drawn_elsewhere = p.has_master && p.shared;
        const Tensor values = drawn_elsewhere ? elsewhere.reuse(DType::f32, p.rows, p.cols) : p.value();
        if (drawn_elsewhere) kernels::zero(values);  // a tensor of its own is zero from the start
        if (p.stddev > 0)
            kernels::fill_normal(values.row_range(0, p.file_rows), p.stddev, {seed, rng::Purpose::init, id, 0});
        else if (p.constant != 0)
            kernels::fill(values, p.constant);
        relora::set_value(p, values);
    }
    form_effective_weights();
}

void GPT2::values_changed() {
    for (const Parameter* p : parameters())
        if (!p->shared) relora::round_weight(*p);
    form_effective_weights();
}

void GPT2::form_effective_weights() {
    for (const relora::Adapter& a : adapters_) relora::form_effective_weight(a, scratch_);
}

std::vector<Parameter*> GPT2::parameters() {
    std::vector<Parameter*> all;
    for (const auto& p : table_.rows) all.push_back(p.get());
    for (relora::Adapter& a : adapters_) all.insert(all.end(), {&a.A, &a.B});
    return all;
}

std::vector<Parameter*> GPT2::trained_parameters() {
    std::vector<Parameter*> trained = parameters();
    std::erase_if(trained, [](const Parameter* p) { return !p->trains; });
    return trained;
}

int64_t GPT2::num_trained() {
    int64_t n = 0;
    for (const Parameter* p : trained_parameters()) n += p->file_size();
    return n;
}

// ---- the method --------------------------------------------------------------------------------------------------

void GPT2::wrap(const LoraConfig& lora) {
    CHECK(!wrapped(), "the model has adapters already");
    adapters_.reserve(size_t(config_.layers * kLinears));
    for (int64_t layer = 0; layer < config_.layers; layer++)
        for (int i = 0; i < kLinears; i++) {
            if (!lora.targets[i]) continue;
            relora::Linear& linear = table_.blocks[size_t(layer)].linear[i];
            const uint32_t id = uint32_t(layer * kLinears + i);
            adapters_.push_back(relora::make_adapter(id, *linear.weight, lora.adapter(i), kAdapters));
            linear.adapter = &adapters_.back();
        }
}

void GPT2::initialise_adapters(uint64_t seed, uint64_t restart, bool keeps_A) {
    for (const relora::Adapter& a : adapters_) relora::initialise(a, scratch_, seed, restart, keeps_A);
    form_effective_weights();
}

double GPT2::merge() {
    double squared = 0;
    for (const relora::Adapter& a : adapters_) squared += relora::merge(a, scratch_);
    return std::sqrt(squared);
}

relora::ZeroedCount GPT2::reset_moments(const relora::Reset& reset, uint64_t seed, uint64_t update,
                                        const relora::ChangeWhole& change) {
    relora::ZeroedCount sum;
    for (relora::Adapter& a : adapters_) {
        const relora::ZeroedCount count = relora::reset_moments(a, reset, scratch_, seed, update, change);
        sum.zeroed += count.zeroed;
        sum.total += count.total;
    }
    return sum;
}
