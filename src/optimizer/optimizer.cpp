#include "optimizer/optimizer.h"

#include <algorithm>
#include <cmath>

namespace {
// A and B have rates of their own, and count Adam's steps on their own: a reset may start their count anew.
int group(const Parameter& p) { return p.role == Role::adapter_A ? 1 : p.role == Role::adapter_B ? 2 : 0; }

// Wishes of ranks are added as one number: 1 for each that stops, this for each that saves. Fewer ranks are exact.
constexpr float kOneSaves = 4096;
}  // namespace

Optimizer::Optimizer(DType compute_type, Device device, const OptimizerConfig& config, const Ranks& ranks)
    : type_(compute_type),
      device_(device),
      config_(config),
      ranks_(ranks),
      memory_(device),
      reduction_(ranks, device, config.reduced_as, !config.sharing.on) {}

void Optimizer::plan(MemoryPlan& plan, const std::vector<Parameter*>& trained) {
    const Sharing& sharing = config_.sharing;
    if (type_ != DType::f32) {
        std::vector<Parameter*> adapters = trained;
        std::erase_if(adapters, [](const Parameter* p) { return !p->is_adapter(); });
        for (Parameter* p : adapters) p->has_master = true;
        plan_kept(plan, adapters, &Parameter::master, MemoryCategory::masters);
    }
    plan_buckets(plan, gradients_, trained, &Parameter::gradient, MemoryCategory::gradients, DType::f32);
    plan_kept(plan, trained, &Parameter::m, MemoryCategory::moments);
    plan_kept(plan, trained, &Parameter::v, MemoryCategory::moments);
    segments_ = segments_of(trained, sharing.ranks);
    norm_sums_ = {.rank = sharing.rank, .ranks = sharing.ranks};
    for (const Segment& s : segments_) norm_sums_.units += kernels::norm_units(s.size);
    const auto workspace = [&](Tensor& t, DType type, int64_t n) {
        plan.add(&t, MemoryCategory::workspaces, type, 1, n);
    };
    workspace(norm_sums_.sums, DType::i32, kernels::norm_sums_ints(norm_sums_.units, sharing.ranks));
    if (device_ == Device::cuda) {
        workspace(trained_.table, DType::i32, kernels::trained_table_ints(int64_t(trained.size())));
        workspace(own_gradients_.table, DType::i32, kernels::gradient_table_ints(int64_t(segments_.size())));
    }
    workspace(scalars_, DType::f32, kernels::kStepScalars);
    if (sharing.reduces) reduction_.plan(plan, segments_, sharing.ranks);
}

void Optimizer::allocate(const std::vector<Parameter*>& trained, const Buckets& weights) {
    plan(memory_, trained);
    memory_.allocate();
    parameters_ = trained;
    weights_ = weights;
    scalars_upload_.prepare(device_, scalars_.bytes());
    results_.prepare(device_, scalars_.bytes());
    stopwatch_.prepare(device_);
    trained_.tensors.clear();
    for (size_t i = 0; i < trained.size(); i++) {
        Parameter* const p = trained[i];
        p->adam_step = 0;
        if (p->kept_size() == 0) continue;
        const Tensor weight = p->kept_of(p->weight);
        trained_.tensors.push_back({.master = p->has_master         ? p->master.as_row()
                                              : type_ == DType::f32 ? weight
                                                                    : Tensor{},
                                    .weight = type_ == DType::f32 ? Tensor{} : weight,
                                    .gradient = p->kept_of(p->gradient),
                                    .m = p->m.as_row(),
                                    .v = p->v.as_row(),
                                    .decays = p->is_matrix() && !p->is_adapter(),
                                    .group = group(*p),
                                    .id = uint32_t(i),
                                    .first = p->shared ? p->part.first : 0});
    }
    own_gradients_.ranges.clear();
    int64_t units = 0;
    for (const Segment& s : segments_) {
        // Each rank counts the gradients of its share, even where all have them all.
        const ElementRange part = s.part(config_.sharing.rank);
        if (part.count > 0)
            own_gradients_.ranges.push_back({gradients_[size_t(s.bucket)].col_range(s.first + part.first, part.count),
                                             units + part.first / kernels::kNormUnit});
        units += kernels::norm_units(s.size);
    }
    if (device_ == Device::cuda) {
        const auto rows = [](const Tensor& table, int64_t ints) { return table.col_range(0, ints); };
        trained_.table = rows(trained_.table, kernels::trained_table_ints(int64_t(trained_.tensors.size())));
        own_gradients_.table =
            rows(own_gradients_.table, kernels::gradient_table_ints(int64_t(own_gradients_.ranges.size())));
    }
    trained_.prepare();
    own_gradients_.prepare();
    reduction_.prepare(segments_, gradients_, scalars_);
}

void Optimizer::release() {
    graph_.forget();
    memory_.release();
    parameters_.clear();
}

Optimizer::Traffic Optimizer::traffic(const std::vector<Parameter*>& trained) const {
    const Sharing& sharing = config_.sharing;
    Traffic traffic;
    if (sharing.ranks == 1) return traffic;
    for (const Segment& s : segments_of(trained, sharing.ranks)) {
        const int64_t own = s.part(sharing.rank).count;
        traffic.gradients += (s.size - own) * int64_t(dtype_size(config_.reduced_as));
        const int64_t gathered = own * (sharing.ranks - 1);
        if (sharing.on)
            traffic.weights += gathered * int64_t(dtype_size(type_));
        else
            traffic.gradients += gathered * 4;
    }
    return traffic;
}

void Optimizer::begin_update(const Rates& rates, const Wishes& wishes, const Limits& limits) {
    stopwatch_.begin();
    float* s = static_cast<float*>(scalars_upload_.host());
    std::fill_n(s, kernels::kStepScalars, 0.0f);
    for (const auto& [group, rate] : {std::pair(0, rates.others), {1, rates.A}, {2, rates.B}})
        s[kernels::kRates + group] = float(rate);
    s[kernels::kUpdate] = float(parameters_.front()->adam_step + 1);
    s[kernels::kWishes] = (wishes.stop ? 1.0f : 0.0f) + (wishes.save ? kOneSaves : 0.0f);
    s[kernels::kLossLimit] = limits.loss;
    s[kernels::kNormLimit] = limits.norm;
    for (Parameter* p : parameters_) {
        const double t = double(++p->adam_step);
        float* corrections = s + kernels::kCorrections + 2 * group(*p);
        corrections[0] = float(1.0 / (1.0 - std::pow(config_.adamw.beta1, t)));
        corrections[1] = float(1.0 / std::sqrt(1.0 - std::pow(config_.adamw.beta2, t)));
    }
    scalars_upload_.send(scalars_);
}

void Optimizer::gather_weights() {
    for (const Segment& s : segments_)
        ranks_.transport().all_gather(weights_[size_t(s.bucket)].col_range(s.first, s.size), {.share = s.share},
                                      reduction_.staging());
}

int64_t Optimizer::update(const std::function<void()>& then) {
    const auto launches = [&] {
        kernels::gradient_squares(norm_sums_, own_gradients_, scalars_);
        if (!ranks_.alone()) ranks_.transport().all_reduce(norm_sums_.sums);
        kernels::gradient_norm(scalars_, norm_sums_, float(config_.max_norm));
        kernels::adamw(scalars_, trained_, config_.adamw);
        if (!ranks_.alone() && config_.sharing.on) gather_weights();
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
    return {
        .loss = s[kernels::kLoss],
        .gradient_norm = s[kernels::kGradientNorm],
        .seconds = stopwatch_.seconds(number),
        .reduce_seconds = s[kernels::kReduceSeconds],
        .exposed_seconds = s[kernels::kExposedSeconds],
        .taken = s[kernels::kTaken] != 0,
        .wishes = {.stop = std::fmod(s[kernels::kWishes], kOneSaves) != 0, .save = s[kernels::kWishes] >= kOneSaves}};
}
