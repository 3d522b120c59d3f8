#include "train/memory_check.h"

#include "runtime/device.h"
#include "train/console.h"
#include "train/dry_run.h"

void check_memory(const Options& o, int sharers) {
    // Routes that are left to be chosen are those that need the least, where there is too little for others.
    Routes routes = o.lora.routes;
    if (o.chooses_routes()) routes.fill(relora::Route::factored);
    const bool on_cpu = o.run_device == Device::cpu;
    const size_t available = device::bytes_available(o.run_device) / size_t(on_cpu ? sharers : 1);
    const auto gib = [](size_t bytes) { return format("%.1f GiB", double(bytes) / (1 << 30)); };
    for (const PhaseEstimate& phase : estimate_phases(o, routes))
        if (phase.total_bytes > available)
            OUT_OF_MEMORY("the ", phase.name, " phase needs ", gib(phase.total_bytes), " of memory",
                          on_cpu && sharers > 1 ? " in each process" : "", ", and ", gib(available),
                          on_cpu ? " can be had here (of the machine, its control group and ulimit -v, the least)"
                                 : " are free on the GPU");
}
