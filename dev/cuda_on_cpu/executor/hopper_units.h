// What compute capability 9.0 added to a multiprocessor, for the block that runs on it.
#pragma once

#include "dev/cuda_on_cpu/executor/async_proxy.h"
#include "dev/cuda_on_cpu/executor/mbarrier.h"
#include "dev/cuda_on_cpu/executor/named_barrier.h"
#include "dev/cuda_on_cpu/executor/tensor_copy.h"
#include "dev/cuda_on_cpu/executor/warpgroup.h"

namespace executor {

struct HopperUnits {
    AsyncProxy proxy;
    Mbarriers mbarriers;
    TensorCopies copies;
    Warpgroups warpgroups;
    NamedBarriers named_barriers;

    void begin_block(int threads) {
        proxy.begin_block();
        mbarriers.begin_block();
        copies.begin_block(threads);
        warpgroups.begin_block(threads);
        named_barriers.begin_block();
    }
    // Ends the program if something is still under way.
    void end_block() const {
        copies.end_block();
        warpgroups.end_block();
    }
};

}  // namespace executor
