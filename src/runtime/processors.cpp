#include "runtime/processors.h"

#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>

#include "runtime/cpu/control_groups.h"
#include "runtime/error.h"

namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

// The quota of one group, in processors.
double quota_of(const device::cpu::ControlGroup& group) {
    double quota = 0, period = 0;
    if (group.version2) {
        std::ifstream(group.folder / "cpu.max") >> quota >> period;  // "max" is no number, and leaves 0
    } else {
        std::ifstream(group.folder / "cpu.cfs_quota_us") >> quota;
        std::ifstream(group.folder / "cpu.cfs_period_us") >> period;
    }
    return quota > 0 && period > 0 ? quota / period : kNoLimit;
}

}  // namespace

int granted_processors(const std::string& root) {
    double least = kNoLimit;
    for (const device::cpu::ControlGroup& group : device::cpu::control_groups("cpu", root))
        least = std::min(least, quota_of(group));
    return least < 1e6 ? int(std::ceil(least)) : 0;
}

Processors find_processors() {
    Processors found;
    found.online = int(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
    found.allowed = omp_get_num_procs();
    found.granted = granted_processors();
    if (const char* const text = std::getenv("OMP_NUM_THREADS"))
        found.wanted = int(std::clamp(std::strtol(text, nullptr, 10), 0L, 1L << 20));
    return found;
}

ThreadLimit thread_limit(const Processors& p, int processes) {
    const std::string shared = processes > 1 ? str(" for ", processes, " processes") : "";
    const auto counted = [](int n) { return str(n, n == 1 ? " processor" : " processors"); };
    ThreadLimit limit{std::max(1, p.online / processes), str("this machine has ", counted(p.online), shared)};
    // Whoever started the processes may have given each its own processors; a quota is for all together.
    if (p.allowed < p.online)
        limit = {p.allowed, str("this process may use ", p.allowed, " of ", counted(p.online), " (its affinity)")};
    const int granted = std::max(1, p.granted / processes);
    if (p.granted > 0 && granted < limit.threads)
        limit = {granted, str("its control group grants the time of ", counted(p.granted), shared)};
    return limit;
}
