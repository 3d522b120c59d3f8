// The parameter table, weights, adapters and optimizer of GPT-2. The network itself is in forward.cpp.
#include "model/gpt2.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace {
constexpr const char* kLinearNames[kLinears] = {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"};
}

const char* linear_name(int linear) { return kLinearNames[linear]; }
int64_t linear_in(const GPT2Config& config, int linear) {
    return linear == kMlpProj ? 4 * config.channels : config.channels;
}
int64_t linear_out(const GPT2Config& config, int linear) {
    return linear == kAttnQKV ? 3 * config.channels : linear == kMlpFc ? 4 * config.channels : config.channels;
}

Parameter* GPT2::add_parameter(const std::string& name, int64_t rows, int64_t cols, bool is_matrix, bool conv1d) {
    table_.push_back(std::make_unique<Parameter>());
    Parameter* p = table_.back().get();
    p->name = "transformer." + name;
    p->rows = p->file_rows = rows;
    p->cols = cols;
    p->is_matrix = is_matrix;
    p->conv1d = conv1d;
    return p;
}

GPT2::GPT2(const GPT2Config& config, DType compute_type, Device device, bool masters)
    : config_(config),
      type_(compute_type),
      device_(device),
      masters_(masters && compute_type != DType::f32),
      weights_plan_(device),
      phase_plan_(device) {
    USAGE_CHECK(config.layers > 0 && config.heads > 0 && config.channels > 0,
                "--layers, --heads and --channels must be positive");
    USAGE_CHECK(config.channels % config.heads == 0, "--heads ", config.heads, " doesn't divide --channels ",
                config.channels);
    const int64_t C = config.channels;
    wte_ = add_parameter("wte.weight", config.padded_vocab(), C, true, false);
    wte_->file_rows = config.vocab_size;
    wpe_ = add_parameter("wpe.weight", config.max_positions, C, true, false);
    for (int64_t layer = 0; layer < config.layers; layer++) {
        const std::string prefix = "h." + std::to_string(layer) + ".";
        Block block{};
        const auto vector = [&](const char* name, int64_t size) {
            return add_parameter(prefix + name, 1, size, false, false);
        };
        block.ln1_weight = vector("ln_1.weight", C);
        block.ln1_bias = vector("ln_1.bias", C);
        block.ln2_weight = vector("ln_2.weight", C);
        block.ln2_bias = vector("ln_2.bias", C);
        for (int i = 0; i < kLinears; i++) {
            const std::string name = prefix + kLinearNames[i];
            block.linear[i].weight =
                add_parameter(name + ".weight", linear_out(config, i), linear_in(config, i), true, true);
            block.linear[i].bias = add_parameter(name + ".bias", 1, linear_out(config, i), false, false);
        }
        blocks_.push_back(block);
    }
    lnf_weight_ = add_parameter("ln_f.weight", 1, C, false, false);
    lnf_bias_ = add_parameter("ln_f.bias", 1, C, false, false);
}

// ---- weights -----------------------------------------------------------------------------------------------------

void GPT2::plan_weights(MemoryPlan& plan) {
    plan_compute_weights(plan);
    plan_masters(plan);
}

void GPT2::plan_compute_weights(MemoryPlan& plan) {
    for (auto& p : table_) plan.add(&p->weight, MemoryCategory::weights, type_, p->rows, p->cols);
}

void GPT2::plan_masters(MemoryPlan& plan) {
    if (!masters_) return;
    for (auto& p : table_)
        plan.add(&p->master, on_host(*p) ? MemoryCategory::host : MemoryCategory::masters, DType::f32, p->rows,
                 p->cols);
}

void GPT2::allocate_weights() {
    plan_compute_weights(weights_plan_);
    weights_plan_.allocate();
    masters_plan_ = std::make_unique<MemoryPlan>(device_);
    plan_masters(*masters_plan_);
    masters_plan_->allocate();
    if (type_ == DType::f32)
        for (auto& p : table_) p->master = p->weight;
}

// Takes the masters to where they belong, now that some weights are frozen.
void GPT2::move_masters() {
    std::vector<Tensor> before;
    for (auto& p : table_) before.push_back(p->master);
    auto plan = std::make_unique<MemoryPlan>(device_);
    plan_masters(*plan);
    plan->allocate();
    for (size_t i = 0; i < table_.size(); i++) device::copy(table_[i]->master, before[i]);
    masters_plan_ = std::move(plan);
}

void GPT2::initialise(uint64_t seed) {
    const float residual_stddev = float(0.02 / std::sqrt(2.0 * double(config_.layers)));
    for (uint32_t id = 0; id < table_.size(); id++) {
        Parameter& p = *table_[id];
        const bool is_residual = p.name.ends_with("c_proj.weight");
        const bool is_norm_weight = p.name.find("ln_") != std::string::npos && p.name.ends_with(".weight");
        if (p.is_matrix)
            kernels::fill_normal(p.value().row_range(0, p.file_rows), is_residual ? residual_stddev : 0.02f,
                                 {seed, rng::Purpose::init, id, 0});
        else if (is_norm_weight)
            kernels::fill(p.value(), 1.0f);
    }
    masters_to_weights();
}

void GPT2::masters_to_weights() {
    for (Parameter* p : parameters())
        if (p->value().data != p->weight.data) kernels::convert(p->weight, p->master);
    form_effective_weights();
}

// ---- the method --------------------------------------------------------------------------------------------------

void GPT2::wrap(const LoraConfig& lora) {
    CHECK(!wrapped(), "the model has adapters already");
    CHECK(masters_ || type_ == DType::f32, "adapters on weights without masters could not be merged");
    adapters_.reserve(size_t(config_.layers * kLinears));
    for (int64_t layer = 0; layer < config_.layers; layer++)
        for (int i = 0; i < kLinears; i++) {
            if (!lora.targets[i]) continue;
            relora::Linear& linear = blocks_[size_t(layer)].linear[i];
            relora::Adapter a;
            a.id = uint32_t(layer * kLinears + i);
            a.sections = lora.sections(i);
            a.rank = lora.rank;
            a.in = linear_in(config_, i);
            a.out = linear_out(config_, i);
            a.scale = float(lora.alpha / double(lora.rank));
            a.dropout = float(lora.dropout);
            a.route = lora.taken_routes()[size_t(i)];
            USAGE_CHECK(a.rank > 0 && a.rank <= std::min(a.in, a.out / a.sections), "--rank ", a.rank, " is not in 1..",
                        std::min(a.in, a.out / a.sections), ", the most that ", kLinearNames[i], " can have");
            const std::string base = linear.weight->name.substr(0, linear.weight->name.size() - 7);
            const auto describe = [&](Parameter& p, const char* name, int64_t rows, int64_t cols) {
                p.name = base + "." + name;
                p.rows = p.file_rows = rows;
                p.cols = cols;
                p.is_matrix = true;
                p.sections = a.sections;
            };
            describe(a.A, "lora_A", a.sections * a.rank, a.in);
            describe(a.B, "lora_B", a.out, a.rank);
            adapters_.push_back(a);
            linear.adapter = &adapters_.back();
            linear.weight->trains = false;
        }
    if (masters_plan_ && masters_ && device_ == Device::cuda) move_masters();
}

void GPT2::initialise_adapters(uint64_t seed, uint64_t restart) {
    for (relora::Adapter& a : adapters_) relora::initialise(a, seed, restart);
    form_effective_weights();
}

void GPT2::form_effective_weights() {
    for (const relora::Adapter& a : adapters_) relora::form_effective_weight(a, frozen_weight(a), scratch_);
}

const Tensor& GPT2::frozen_weight(const relora::Adapter& a) const {
    const Parameter& p = *linear_of(a).weight;
    return on_host(p) ? p.weight : p.master;
}

double GPT2::merge() {
    double squared = 0;
    for (const relora::Adapter& a : adapters_) squared += relora::merge(a, *linear_of(a).weight, scratch_);
    return std::sqrt(squared);
}

relora::ZeroedCount GPT2::reset_moments(const relora::Reset& reset, uint64_t seed, uint64_t restart) {
    relora::ZeroedCount sum;
    for (relora::Adapter& a : adapters_) {
        const relora::ZeroedCount count = relora::reset_moments(a, reset, scratch_, seed, restart);
        sum.zeroed += count.zeroed;
        sum.total += count.total;
    }
    return sum;
}

// ---- optimizer ---------------------------------------------------------------------------------------------------

std::vector<Parameter*> GPT2::parameters() {
    std::vector<Parameter*> all;
    for (auto& p : table_) all.push_back(p.get());
    for (relora::Adapter& a : adapters_) all.insert(all.end(), {&a.A, &a.B});
    return all;
}

std::vector<Parameter*> GPT2::trained_parameters() {
    std::vector<Parameter*> trained = parameters();
    std::erase_if(trained, [](const Parameter* p) { return !p->trains; });
    return trained;
}

int64_t GPT2::num_trained() const {
    int64_t n = 0;
    for (Parameter* p : const_cast<GPT2*>(this)->trained_parameters()) n += p->file_size();
    return n;
}

double GPT2::flops_per_token(int64_t T) const {
    double flops = 12.0 * double(config_.layers * config_.channels * T);
    for (const auto& p : table_) flops += (p->trains ? 6.0 : 4.0) * double(p->file_size());
    for (const relora::Adapter& a : adapters_) flops += 6.0 * double(a.A.size() + a.B.size());
    return flops;
}

void GPT2::begin_update(double rate, const kernels::AdamW& hyper) {
    stopwatch_.begin();
    float* s = static_cast<float*>(scalars_upload_.host());
    std::fill_n(s, kernels::kStepScalars, 0.0f);
    s[kernels::kRate] = float(rate);
    s[kernels::kUpdate] = float(wte_->adam_step + 1);
    for (Parameter* p : trained_parameters()) {
        const double t = double(++p->adam_step);
        float* corrections = s + kernels::kCorrections + 2 * counter(*p);
        corrections[0] = float(1.0 / (1.0 - std::pow(hyper.beta1, t)));
        corrections[1] = float(1.0 / std::sqrt(1.0 - std::pow(hyper.beta2, t)));
    }
    scalars_upload_.send(scalars_);
}

int64_t GPT2::update(const kernels::AdamW& hyper, double max_norm) {
    const auto launches = [&] {
        kernels::gradient_norm(scalars_, trained_, float(max_norm));
        kernels::adamw(scalars_, trained_, hyper);
        form_effective_weights();
    };
    if (graphs_)
        update_graph_.run(device_, std::ref(launches));  // a reference: std::function allocates nothing for it
    else
        launches();
    stopwatch_.end();
    return results_.start(scalars_);
}

GPT2::UpdateResult GPT2::update_result(int64_t number) {
    const float* s = static_cast<const float*>(results_.get(number));
    return {s[kernels::kLoss], s[kernels::kGradientNorm], stopwatch_.seconds(number), s[kernels::kFinite] != 0};
}
