// AdamW's moments and step counts of parameters that go on training, on the host from the end of one phase to the
// beginning of the next.
#pragma once

#include <vector>

#include "runtime/parameter.h"

class KeptMoments {
  public:
    // Copies this rank's parts; those that have no moments yet begin with fresh ones.
    explicit KeptMoments(const std::vector<Parameter*>& parameters);
    // Gives them back, when the parameters have memory for moments again.
    void restore() const;

  private:
    struct Kept {
        Parameter* parameter;
        int64_t adam_step = 0;
        Tensor m, v;  // empty where the rank keeps none
    };
    MemoryPlan memory_{Device::cpu};
    std::vector<Kept> kept_;
};
