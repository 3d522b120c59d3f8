#include "dev/cuda_on_cpu/nccl/progress.h"

#include <chrono>
#include <thread>

#include "dev/cuda_on_cpu/executor/options.h"
#include "dev/cuda_on_cpu/nccl/handles.h"
#include "dev/cuda_on_cpu/runtime/stream_work.h"

namespace nccl {

void serve_other_ranks() {
    // In deferred mode a whole second, so that mistakes show that rely on the work to have run.
    static const bool started = [] {
        executor::prepare_for_threads();
        const auto patience = std::chrono::milliseconds(executor::options().deferred ? 1000 : 0);
        std::thread([patience] {
            while (true) {
                for (const auto& communicator : live_communicators()) communicator->serve(patience);
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
            }
        }).detach();
        return true;
    }();
    (void)started;
}

}  // namespace nccl
