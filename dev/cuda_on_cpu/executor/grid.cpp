#include "dev/cuda_on_cpu/executor/grid.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>

#include "dev/cuda_on_cpu/executor/multiprocessor.h"
#include "dev/cuda_on_cpu/executor/options.h"
#include "dev/cuda_on_cpu/executor/report.h"
#include "dev/cuda_on_cpu/executor/sanitizers.h"
#include "dev/cuda_on_cpu/executor/tags.h"

namespace executor {

namespace {

std::mutex limits_mutex;
std::map<const void*, size_t>& limits() {
    static std::map<const void*, size_t> limits;
    return limits;
}

}  // namespace

size_t dynamic_shared_limit(const void* kernel) {
    std::lock_guard<std::mutex> lock(limits_mutex);
    const auto found = limits().find(kernel);
    return found == limits().end() ? kStaticSharedBytes : found->second;
}
void set_dynamic_shared_limit(const void* kernel, size_t bytes) {
    std::lock_guard<std::mutex> lock(limits_mutex);
    limits()[kernel] = bytes;
}

std::string launch_fault(const Launch& launch) {
    const dim3 g = launch.grid, b = launch.block;
    const auto shape = [](dim3 d) {
        return std::to_string(d.x) + "x" + std::to_string(d.y) + "x" + std::to_string(d.z);
    };
    if (!g.x || !g.y || !g.z || g.x > 0x7FFFFFFFu || g.y > 65535 || g.z > 65535)
        return "a grid of " + shape(g) + " blocks";
    if (!b.x || !b.y || !b.z || b.z > 64 || size_t(b.x) * b.y * b.z > 1024) return "blocks of " + shape(b) + " threads";
    if (const size_t limit = dynamic_shared_limit(launch.kernel); launch.shared_bytes > limit)
        return std::to_string(launch.shared_bytes) + " bytes of dynamic shared memory, where " + std::to_string(limit) +
               " are allowed";
    return "";
}

void run_grid(const Launch& launch, const std::function<void()>& thread) {
    const size_t blocks = size_t(launch.grid.x) * launch.grid.y * launch.grid.z;
    const bool reverse = options().order == Options::Order::reverse;
    const int wanted = under_tsan() ? 1 : options().workers ? options().workers : omp_get_max_threads();
    const int workers = int(std::min(size_t(wanted), blocks));
    release(&tags.launch);

    std::atomic<size_t> next_block{0}, shared_peak{0};
    const size_t share = std::max<size_t>(1, blocks / (size_t(workers) * 16));  // blocks taken at a time
    const auto work = [&] {
        Multiprocessor& multiprocessor = Multiprocessor::mine();
        multiprocessor.begin_grid(launch, thread);
        for (size_t first; (first = next_block.fetch_add(share)) < blocks;)
            for (size_t i = first; i < std::min(blocks, first + share); i++)
                multiprocessor.run_block(reverse ? blocks - 1 - i : i);
        size_t seen = shared_peak;
        while (seen < multiprocessor.shared.peak_bytes &&
               !shared_peak.compare_exchange_weak(seen, multiprocessor.shared.peak_bytes)) {
        }
        multiprocessor.end_grid();
    };
    if (workers == 1) {
        work();
    } else {
#pragma omp parallel num_threads(workers)
        work();
    }
    acquire(&tags.end);

    if (shared_peak - launch.shared_bytes > kStaticSharedBytes)
        die(function_name(launch.kernel) + " uses " + std::to_string(shared_peak - launch.shared_bytes) +
            " bytes of static shared memory, where 48 KiB are allowed");
    if (shared_peak > kMaxSharedBytes)
        die(function_name(launch.kernel) + " uses " + std::to_string(shared_peak) +
            " bytes of shared memory, where 227 KiB are allowed");
}

}  // namespace executor
