// Launches and other work, on their way to a stream.
#include "dev/cuda_on_cpu/executor/device_memory.h"
#include "dev/cuda_on_cpu/executor/grid.h"
#include "dev/cuda_on_cpu/executor/multiprocessor.h"
#include "dev/cuda_on_cpu/executor/report.h"
#include "dev/cuda_on_cpu/runtime/errors.h"
#include "dev/cuda_on_cpu/runtime/stream_work.h"
#include "dev/cuda_on_cpu/runtime/streams.h"

namespace executor {

void submit(const Launch& launch, cudaStream_t stream, const PointerArgument* pointers, size_t num_pointers,
            std::function<void()> thread) {
    if (Multiprocessor::mine().in_kernel()) kernel_error("a launch inside a kernel");
    for (size_t i = 0; i < num_pointers; i++)
        if (const std::string fault = kernel_pointer_fault(pointers[i].pointer); !fault.empty())
            die("argument " + std::to_string(pointers[i].index) + " of " + function_name(launch.kernel) + " " + fault);
    if (const std::string fault = launch_fault(launch); !fault.empty()) {
        complain("launch of " + function_name(launch.kernel) + " with " + fault);
        remember(cudaErrorInvalidConfiguration);
        return;
    }
    remember(enqueue(stream, [launch, thread = std::move(thread)] { run_grid(launch, thread); }));
}

cudaError_t enqueue(cudaStream_t stream, std::function<void()> work) {
    return submit_work(resolve(stream, "work"), [work = std::move(work)] {
        DeviceAccess access;
        work();
    });
}

void prepare_for_threads() {
    stream_mutex();
    streams();
    dynamic_shared_limit(nullptr);
    DeviceAccess access;
}

bool is_device_pointer(const void* pointer, size_t bytes) { return device_range_fault(pointer, bytes).empty(); }

}  // namespace executor
