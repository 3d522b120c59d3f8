// The whole of what ranks keep in parts: for checkpoints, resets and merges. All ranks make the same calls in the same
// order.
#pragma once

#include <functional>

#include "runtime/parameter.h"
#include "runtime/ranks.h"

class Whole {
  public:
    // `scratch`: fp32 memory for a master that doesn't train; what trains is gathered where its gradient was.
    explicit Whole(const Ranks& ranks = kAlone, const Tensor& scratch = {}) : ranks_(ranks), scratch_(scratch) {}

    const Ranks& ranks() const { return ranks_; }
    // A parameter's master or moment, (rows, cols); the next call may take its memory.
    Tensor of(const Parameter& p, Tensor Parameter::*kept) const;
    // What the parameter is: its master, or its weight where it has none.
    Tensor value(const Parameter& p) const;
    // Lets `change` change all of a moment, and keeps this rank's part.
    void change(Parameter& p, Tensor Parameter::*kept, const std::function<void(const Tensor& whole)>& change) const;
    // Gives every rank all of a weight of which each has changed its part.
    void gather_weight(const Parameter& p) const;

  private:
    const Ranks& ranks_;
    const Tensor scratch_;
};
