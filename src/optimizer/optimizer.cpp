#include "optimizer/optimizer.h"

#include <algorithm>
#include <cmath>

namespace {
// Adapters count Adam's steps on their own: a reset may start their count anew.
int counter(const Parameter& p) { return p.is_adapter() ? 1 : 0; }
}  // namespace

Optimizer::Optimizer(DType compute_type, Device device, const OptimizerConfig& config)
    : type_(compute_type), device_(device), config_(config), memory_(device) {}

void Optimizer::plan(MemoryPlan& plan, const std::vector<Parameter*>& trained) {
    std::vector<Parameter*> adapters = trained;
    std::erase_if(adapters, [](const Parameter* p) { return !p->is_adapter(); });
    if (type_ != DType::f32)
        plan_buckets(plan, adapter_masters_, adapters, &Parameter::master, MemoryCategory::masters, DType::f32);
    plan_buckets(plan, gradients_, trained, &Parameter::gradient, MemoryCategory::gradients, DType::f32);
    plan_buckets(plan, m_, trained, &Parameter::m, MemoryCategory::moments, DType::f32);
    plan_buckets(plan, v_, trained, &Parameter::v, MemoryCategory::moments, DType::f32);
    if (device_ == Device::cuda)
        plan.add(&trained_.table, MemoryCategory::workspaces, DType::i32, 1,
                 kernels::trained_table_ints(int64_t(trained.size())));
    plan.add(&scalars_, MemoryCategory::workspaces, DType::f32, 1, kernels::kStepScalars);
}

void Optimizer::allocate(const std::vector<Parameter*>& trained) {
    plan(memory_, trained);
    memory_.allocate();
    parameters_ = trained;
    scalars_upload_.prepare(device_, scalars_.bytes());
    results_.prepare(device_, scalars_.bytes());
    stopwatch_.prepare(device_);
    trained_.tensors.clear();
    for (Parameter* p : trained) {
        p->adam_step = 0;
        const bool fp32 = p->value().dtype == DType::f32;
        trained_.tensors.push_back({.master = fp32 ? p->value() : Tensor{},
                                    .weight = type_ == DType::f32 ? Tensor{} : p->weight,
                                    .gradient = p->gradient,
                                    .m = p->m,
                                    .v = p->v,
                                    .decays = p->is_matrix(),
                                    .counter = counter(*p)});
    }
    trained_.prepare();
}

void Optimizer::release() {
    graph_.forget();
    memory_.release();
    parameters_.clear();
}

std::vector<Optimizer::Bucket> Optimizer::buckets() const {
    std::vector<Bucket> all;
    for (size_t i = 0; i < kBuckets; i++)
        if (!gradients_[i].empty()) all.push_back({gradients_[i], m_[i], v_[i]});
    return all;
}

void Optimizer::begin_update(double rate) {
    stopwatch_.begin();
    float* s = static_cast<float*>(scalars_upload_.host());
    std::fill_n(s, kernels::kStepScalars, 0.0f);
    s[kernels::kRate] = float(rate);
    s[kernels::kUpdate] = float(parameters_.front()->adam_step + 1);
    for (Parameter* p : parameters_) {
        const double t = double(++p->adam_step);
        float* corrections = s + kernels::kCorrections + 2 * counter(*p);
        corrections[0] = float(1.0 / (1.0 - std::pow(config_.adamw.beta1, t)));
        corrections[1] = float(1.0 / std::sqrt(1.0 - std::pow(config_.adamw.beta2, t)));
    }
    scalars_upload_.send(scalars_);
}

int64_t Optimizer::update(const std::function<void()>& then) {
    const auto launches = [&] {
        kernels::gradient_norm(scalars_, trained_, float(config_.max_norm));
        kernels::adamw(scalars_, trained_, config_.adamw);
        then();
    };
    if (graphs_)
        graph_.run(device_, std::ref(launches));  // a reference: std::function allocates nothing for it
    else
        launches();
    stopwatch_.end();
    return results_.start(scalars_);
}

Optimizer::Result Optimizer::result(int64_t number) {
    const float* s = static_cast<const float*>(results_.get(number));
    return {s[kernels::kLoss], s[kernels::kGradientNorm], stopwatch_.seconds(number), s[kernels::kFinite] != 0};
}
