// The reduction of gradients over ranks, beside the backward pass: ranks exchange the shares of a segment and each sums
// what came for its own, rank 0's part first. So the sum has one order whatever the number of links and the library,
// and it is the one in which a single rank accumulates as many micro-batches.
#pragma once

#include <functional>
#include <vector>

#include "optimizer/segments.h"
#include "runtime/ranks.h"
#include "runtime/transfers.h"

class Reduction {
  public:
    // `wire`: the type that gradients have on their way. Each rank gets the sums of its share, or, with `to_all`, all.
    Reduction(const Ranks& ranks, Device device, DType wire, bool to_all);

    // Plans memory for these segments among so many ranks.
    void plan(MemoryPlan& plan, const std::vector<Segment>& segments, int ranks);
    // Prepares what is launched for these segments. `scalars` gets the times (kernels::StepScalar).
    void prepare(const std::vector<Segment>& segments, const Buckets& gradients, const Tensor& scalars);
    // To be called for each stage in order, once its gradients are launched; behind the last one, what is launched next
    // waits for all sums.
    const std::function<void(int stage)>& completed() const { return completed_; }
    // Memory that transports may use between updates.
    const Tensor& staging() const { return received_; }

  private:
    void reduce(const Segment& segment, const Tensor& gradients);

    const Ranks& ranks_;
    const Device device_;
    const DType wire_;
    const bool to_all_;
    Tensor received_, sent_;             // (1, n): a row of each rank; `sent_` only where gradients are converted
    Tensor side_clock_, waiting_clock_;  // (1, 2) int32
    std::vector<std::function<void()>> stages_;
    std::function<void(int)> completed_;
    device::Side side_;
};
