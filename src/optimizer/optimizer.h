// The optimizer: AdamW over what trains in a phase. Gradients, moments and the adapters' masters lie in contiguous
// buckets, so that what one rank keeps of a bucket, or sends of it, is a range.
#pragma once

#include <functional>
#include <vector>

#include "kernels/kernels.h"
#include "runtime/parameter.h"
#include "runtime/transfers.h"

struct OptimizerConfig {
    kernels::AdamW adamw;
    double max_norm = 0;  // gradients are clipped to this global norm; 0: not
};

class Optimizer {
  public:
    Optimizer(DType compute_type, Device device, const OptimizerConfig& config);

    // ---- memory of a phase
    void plan(MemoryPlan& plan, const std::vector<Parameter*>& trained);
    // Allocates what plan() plans; the moments start at zero.
    void allocate(const std::vector<Parameter*>& trained);
    void release();
    // On a GPU the launches of an update are captured once and replayed, unless this is set to false.
    void set_graphs(bool on) { graphs_ = on; }

    // ---- an update
    // Comes before an update's first micro-batch: sets the loss to 0, the learning rate, and Adam's corrections for the
    // next step counts. An update that is skipped because its gradient is not finite counts too.
    void begin_update(double rate);
    // Where the loss of an update is summed: (1, 1) fp32 on the device, the same tensor throughout a phase.
    Tensor loss() const { return scalars_.col_range(kernels::kLoss, 1); }
    // Clips the gradients' global norm and updates everything that trains; then `then` launches what depends on the
    // parameters, the same throughout a phase. Returns the number by which result() knows this update.
    int64_t update(const std::function<void()>& then);
    // Loss and gradient norm; where either is not finite the update has been skipped. Time from begin_update on, as the
    // device saw it.
    struct Result {
        double loss = 0, gradient_norm = 0, seconds = 0;
        bool finite = false;
    };
    // The result of one of the last two updates; waits for it.
    Result result(int64_t number);

    // What trains, side by side as the parameters' own tensors are.
    struct Bucket {
        Tensor gradients, m, v;  // (1, n) each
    };
    std::vector<Bucket> buckets() const;

  private:
    const DType type_;
    const Device device_;
    const OptimizerConfig config_;
    MemoryPlan memory_;
    Buckets gradients_, m_, v_, adapter_masters_;
    std::vector<Parameter*> parameters_;  // those that train
    kernels::TrainedTensors trained_;     // their tensors
    Tensor scalars_;                      // (1, kStepScalars)
    device::Upload scalars_upload_;
    device::Download results_;
    device::Stopwatch stopwatch_;  // one interval an update
    device::Graph graph_;
    bool graphs_ = true;
};
