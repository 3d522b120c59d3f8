// What each route takes, measured: the real ops on one linear of real shape.
#include <algorithm>

#include "runtime/clock.h"
#include "runtime/device.h"
#include "runtime/memory.h"
#include "runtime/signals.h"
#include "train/routes.h"

using relora::Route;

namespace {

// One linear as the model holds it, in memory of its own, with an adapter for each route.
class Trial {
  public:
    Trial(const RouteSetting& setting, int index)
        : s_(setting),
          takes_gelu_(index == kMlpProj),
          gives_gelu_(index == kMlpFc),
          joins_residual_(index == kAttnProj || index == kMlpProj),
          memory_(setting.device) {
        weight_.rows = linear_out(s_.config, index);
        weight_.cols = linear_in(s_.config, index);
        for (int r = 0; r < relora::kRoutes; r++) {
            relora::AdapterConfig config = s_.lora.adapter(index);
            config.route = Route(r);
            adapters_.push_back(relora::make_adapter(uint32_t(r), weight_, config, 0));
        }
        const int64_t in = weight_.cols, out = weight_.rows;
        const auto plan = [&](Tensor& t, DType type, int64_t rows, int64_t cols) {
            memory_.add(&t, MemoryCategory::workspaces, type, rows, cols);
        };
        for (Tensor* t : {&x_, &dx_}) plan(*t, s_.type, s_.rows, in);
        for (Tensor* t : {&y_, &dy_}) plan(*t, s_.type, s_.rows, out);
        if (gives_gelu_) plan(after_.activated, s_.type, s_.rows, out);
        if (joins_residual_) plan(after_.residual, s_.type, s_.rows, out);
        if (takes_gelu_) {
            plan(before_.preactivation, s_.type, s_.rows, in);
            plan(before_.bias_gradient, DType::f32, 1, in);
        }
        plan(weight_.weight, s_.type, out, in);
        weight_.has_master = s_.type != DType::f32 && s_.device == Device::cpu;
        if (weight_.has_master) plan(weight_.master, DType::f32, out, in);
        plan(bias_.weight, s_.type, 1, out);
        int64_t largest_result = 0;
        for (relora::Adapter& a : adapters_) {
            for (Parameter* p : {&a.A, &a.B}) {
                plan(p->weight, s_.type, p->rows, p->cols);
                plan(p->gradient, DType::f32, p->rows, p->cols);
            }
            largest_result = std::max(largest_result, relora::largest_result(a, s_.rows));
        }
        relora::plan_adapters(memory_, adapters_, scratch_, s_.type, s_.rows);
        if (const int64_t floats = kernels::workspace_floats(s_.device, s_.type, largest_result); floats > 0)
            plan(workspace_, DType::f32, 1, floats);
        memory_.allocate();
        relora::place_adapters(adapters_, scratch_, s_.type, s_.device, s_.rows);
        outer_workspace_ = kernels::set_workspace(s_.device, workspace_);
        // Numbers of a common size: zeros would cost a GPU less power, and so less time.
        uint32_t id = 0;
        const auto fill = [&](const Tensor& t, float stddev) {
            kernels::fill_normal(t, stddev, {0, rng::Purpose::init, id++, 0});
        };
        for (const Tensor* t : {&x_, &dy_, &weight_.weight}) fill(*t, 0.02f);
        if (!weight_.master.empty()) fill(weight_.master, 0.02f);
        for (const relora::Adapter& a : adapters_)
            for (const Parameter* p : {&a.A, &a.B}) fill(p->weight, 0.02f);
        if (takes_gelu_) fill(before_.preactivation, 1.0f);
    }
    ~Trial() { kernels::set_workspace(s_.device, outer_workspace_); }
    Trial(const Trial&) = delete;
    Trial& operator=(const Trial&) = delete;

    RouteTime time(Route route) {
        relora::Adapter& adapter = adapters_[size_t(route)];
        const relora::Linear linear{&weight_, &bias_, &adapter};
        return {.micro_batch = seconds([&] {
                    relora::linear_forward(y_, x_, linear, scratch_, {}, after_);
                    relora::linear_backward(dx_, dy_, x_, linear, scratch_, {}, false, before_);
                }),
                .update = seconds([&] { relora::form_effective_weight(adapter, scratch_); })};
    }

  private:
    template <class Body>
    double seconds(const Body& body) {
        const int repeats = s_.device == Device::cuda ? 10 : 1;  // so that the GPU is seen, not the launch
        const double start = seconds_now();
        for (int i = 0; i < repeats; i++) body();
        device::wait(s_.device);
        return (seconds_now() - start) / repeats;
    }

    const RouteSetting& s_;
    const bool takes_gelu_, gives_gelu_, joins_residual_;
    MemoryPlan memory_;
    Parameter weight_, bias_;
    std::vector<relora::Adapter> adapters_;  // by route
    relora::Scratch scratch_;
    Tensor x_, dx_, y_, dy_;  // (rows, in), (rows, in), (rows, out), (rows, out)
    relora::After after_;
    relora::Before before_;
    Tensor workspace_, outer_workspace_;
};

}  // namespace

RouteTimes measured_times(const RouteSetting& s) {
    constexpr int kLeastRounds = 4, kMostRounds = 100;  // the first warms up
    constexpr double kSeconds = 0.5;                    // for each linear: what disturbs a short round spares another
    RouteTimes times{};
    for (int i = 0; i < kLinears; i++) {
        if (!s.lora.targets[i]) continue;
        Trial trial(s, i);
        const double start = seconds_now();
        for (int round = 0; round < kLeastRounds || (round < kMostRounds && seconds_now() - start < kSeconds); round++)
            for (int r = 0; r < relora::kRoutes; r++) {
                signals::throw_if_stopped();
                const RouteTime now = trial.time(Route(r));
                RouteTime& best = times[size_t(i)][size_t(r)];
                best = round <= 1
                           ? now
                           : RouteTime{std::min(best.micro_batch, now.micro_batch), std::min(best.update, now.update)};
            }
    }
    return times;
}
