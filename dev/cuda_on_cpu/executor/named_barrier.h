// Named barriers (bar.sync and bar.arrive with a number): some warps of a block meet, as many threads as they say.
#pragma once

#include "dev/cuda_on_cpu/executor/collectives.h"

namespace executor {

class NamedBarriers {
  public:
    void begin_block() {
        for (Barrier& barrier : barriers_) barrier = {};
    }
    void arrive(int id, int threads, bool wait, Place place);

  private:
    static constexpr int kBarriers = 16;  // 0 is that of __syncthreads
    struct Barrier {
        int arrived = 0, threads = 0;
        unsigned turn = 0;
        Place place{};
    } barriers_[kBarriers];
};

}  // namespace executor
