// The optimizer: AdamW over what trains in a phase. Gradients lie in contiguous buckets; of moments and masters a rank
// keeps all, or its share (segments.h).
#pragma once

#include <functional>
#include <vector>

#include "kernels/kernels.h"
#include "optimizer/reduction.h"
#include "optimizer/segments.h"
#include "runtime/parameter.h"
#include "runtime/transfers.h"

struct OptimizerConfig {
    kernels::AdamW adamw;
    double max_norm = 0;  // gradients are clipped to this global norm; 0: not
    Sharing sharing;
    DType reduced_as = DType::f32;  // the type of gradients on their way to other ranks
};

class Optimizer {
  public:
    Optimizer(DType compute_type, Device device, const OptimizerConfig& config, const Ranks& ranks = kAlone);

    // ---- memory of a phase: of parameters that Sharing::divide() has divided
    void plan(MemoryPlan& plan, const std::vector<Parameter*>& trained);
    // Allocates what plan() plans; the moments start at zero. `weights`: where the weights of each bucket lie.
    void allocate(const std::vector<Parameter*>& trained, const Buckets& weights);
    void release();
    // On a GPU the launches of an update are captured once and replayed, unless this is set to false.
    void set_graphs(bool on) { graphs_ = on; }

    // ---- an update
    // Comes before an update's first micro-batch: sets the loss to 0, the learning rates, and Adam's corrections for
    // the next step counts; an update that is skipped counts too. `wishes`: this rank's.
    struct Rates {
        double A = 0, B = 0, others = 0;  // of the adapters' factors, and of all else that trains
    };
    struct Wishes {
        bool stop = false, save = false;  // after the update
    };
    // An update whose loss or gradient norm is above is skipped, as one that is not finite is; 0: no limit.
    struct Limits {
        float loss = 0, norm = 0;
    };
    void begin_update(const Rates& rates, const Wishes& wishes, const Limits& limits);
    // Where the loss of an update is summed: (1, 1) fp32 on the device, the same tensor throughout a phase.
    Tensor loss() const { return scalars_.col_range(kernels::kLoss, 1); }
    // To be called by the last micro-batch's backward pass as it completes the gradients of a stage: ranks reduce them.
    // Empty where a rank is alone.
    const std::function<void(int stage)>& completed() const { return reduction_.completed(); }
    // Clips the gradients' global norm and updates everything that trains; then `then` launches what depends on the
    // parameters, the same throughout a phase. Returns the number by which result() knows this update.
    int64_t update(const std::function<void()>& then);
    // Loss and gradient norm; what some rank wishes. Time from begin_update on, as the
    // device saw it, and of it what reducing took, and what of that was not hidden behind the backward pass.
    struct Result {
        double loss = 0, gradient_norm = 0, seconds = 0, reduce_seconds = 0, exposed_seconds = 0;
        bool taken = false;  // else the update has been skipped
        Wishes wishes;
    };
    // The result of one of the last two updates; waits for it.
    Result result(int64_t number);

    // Bytes that this rank sends in an update: gradients that are reduced, and weights that are gathered.
    struct Traffic {
        int64_t gradients = 0, weights = 0;
    };
    Traffic traffic(const std::vector<Parameter*>& trained) const;

  private:
    void gather_weights();

    const DType type_;
    const Device device_;
    const OptimizerConfig config_;
    const Ranks& ranks_;
    MemoryPlan memory_;
    Buckets gradients_, weights_;
    std::vector<Segment> segments_;
    std::vector<Parameter*> parameters_;  // those that train
    kernels::TrainedTensors trained_;     // what this rank updates of their tensors
    kernels::GradientRanges own_gradients_;
    kernels::NormSums norm_sums_;
    Tensor scalars_;  // (1, kStepScalars)
    Reduction reduction_;
    device::Upload scalars_upload_;
    device::Download results_;
    device::Stopwatch stopwatch_;  // one interval an update
    device::Graph graph_;
    bool graphs_ = true;
};
