// The threads of the ops.
#include <omp.h>

#include <latch>
#include <system_error>
#include <thread>
#include <vector>

#include "kernels/cpu/cpu.h"

namespace kernels::cpu {
namespace {

// Starts as many threads as will be needed, and ends them: OpenMP's library exits without a word of help where it
// can't.
void try_threads(int count) {
    std::vector<std::jthread> threads;
    std::string problem;
    std::latch tried(1);
    try {
        for (int i = 1; i < count; i++) threads.emplace_back([&] { tried.wait(); });
    } catch (const std::system_error& error) {
        problem = error.code().message();
    }
    tried.count_down();
    CHECK(problem.empty(), "only ", threads.size() + 1, " of ", count, " threads could be started (", problem,
          "): the system limits the processes or the memory of this one (ulimit -u, ulimit -v, pids.max)");
}

}  // namespace

int set_threads(int threads) {
    if (threads <= 0) threads = omp_get_num_procs();
    try_threads(threads);
    omp_set_num_threads(threads);
    return threads;
}

}  // namespace kernels::cpu
