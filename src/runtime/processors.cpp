#include "runtime/processors.h"

#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <vector>

#include "runtime/error.h"

namespace fs = std::filesystem;

namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

// Where a hierarchy of control groups is mounted, and the group in it that the mount shows as its root.
struct Mount {
    fs::path point, root;
};

// The mounts of a kind of file system with this super option, or with any.
std::vector<Mount> mounts_of(const std::string& root, const std::string& type, const std::string& option) {
    std::vector<Mount> mounts;
    std::ifstream file(root + "/proc/self/mountinfo");
    // ID PARENT DEVICE ROOT POINT OPTIONS [MORE...] - TYPE SOURCE SUPER-OPTIONS
    for (std::string line; std::getline(file, line);) {
        const size_t dash = line.find(" - ");
        if (dash == std::string::npos) continue;
        std::istringstream left(line.substr(0, dash)), right(line.substr(dash + 3));
        std::string skipped, group, point, mounted, source, options;
        left >> skipped >> skipped >> skipped >> group >> point;
        right >> mounted >> source >> options;
        if (mounted == type && (option.empty() || ("," + options + ",").find("," + option + ",") != std::string::npos))
            mounts.push_back({root + point, group});
    }
    return mounts;
}

// The quota of one group, in processors.
double quota_of(const fs::path& group, bool unified) {
    double quota = 0, period = 0;
    if (unified) {
        std::ifstream(group / "cpu.max") >> quota >> period;  // "max" is no number, and leaves 0
    } else {
        std::ifstream(group / "cpu.cfs_quota_us") >> quota;
        std::ifstream(group / "cpu.cfs_period_us") >> period;
    }
    return quota > 0 && period > 0 ? quota / period : kNoLimit;
}

// The least quota of a group and those above it, as far as a mount shows them.
double least_quota(const Mount& mount, const std::string& group, bool unified) {
    const fs::path below = fs::path(group).lexically_relative(mount.root);
    // A group that the mount doesn't show has only the mount's root to ask.
    const bool shown = !below.empty() && below != "." && *below.begin() != "..";
    double least = quota_of(mount.point, unified);
    fs::path at = mount.point;
    if (shown)
        for (const fs::path& name : below) least = std::min(least, quota_of(at /= name, unified));
    return least;
}

}  // namespace

int granted_processors(const std::string& root) {
    double least = kNoLimit;
    std::ifstream file(root + "/proc/self/cgroup");
    for (std::string line; std::getline(file, line);) {  // ID:CONTROLLERS:GROUP, without controllers in version 2
        const size_t first = line.find(':'), second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const bool unified = controllers.empty();
        if (!unified && ("," + controllers + ",").find(",cpu,") == std::string::npos) continue;
        for (const Mount& mount : mounts_of(root, unified ? "cgroup2" : "cgroup", unified ? "" : "cpu"))
            least = std::min(least, least_quota(mount, line.substr(second + 1), unified));
    }
    return least < 1e6 ? int(std::ceil(least)) : 0;
}

Processors find_processors() {
    Processors found;
    found.online = int(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
    found.allowed = omp_get_num_procs();
    found.granted = granted_processors("");
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
