#include "runtime/cpu/memory_limits.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>

namespace fs = std::filesystem;

namespace cpu {
namespace {

// The number behind a name in a file of lines "NAME NUMBER…".
std::optional<size_t> number_after(const fs::path& file, const std::string& name) {
    std::ifstream lines(file);
    for (std::string word; lines >> word;) {
        size_t number = 0;
        if (word == name && lines >> number) return number;
    }
    return {};
}

// The number that a file holds; none where it holds a word, as "max".
std::optional<size_t> number_in(const fs::path& file) {
    std::ifstream in(file);
    size_t number = 0;
    return in >> number ? std::optional(number) : std::nullopt;
}

size_t difference(size_t a, size_t b) { return a > b ? a - b : 0; }

// The names that a version of control groups has for the same things.
struct GroupFiles {
    const char *limit, *used, *reclaimable;
};
constexpr GroupFiles kVersion1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"},
    kVersion2{"memory.max", "memory.current", "inactive_file"};

// What a group leaves; file pages that are not in use count as free.
size_t left_by_group(const fs::path& group, const GroupFiles& files) {
    const auto limit = number_in(group / files.limit);
    if (!limit) return SIZE_MAX;
    const size_t used = number_in(group / files.used).value_or(0);
    return difference(*limit, difference(used, number_after(group / "memory.stat", files.reclaimable).value_or(0)));
}

size_t left_on_machine() {
    const auto kib = number_after("/proc/meminfo", "MemAvailable:");
    return kib ? *kib * 1024 : SIZE_MAX;
}

size_t left_by_own_limit() {
    rlimit limit{};
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return SIZE_MAX;
    const size_t pages = number_in("/proc/self/statm").value_or(0);
    return difference(limit.rlim_cur, pages * size_t(sysconf(_SC_PAGESIZE)));
}

}  // namespace

size_t left_by_control_groups(const std::string& memberships, const std::string& mount) {
    size_t left = SIZE_MAX;
    std::ifstream lines(memberships);
    // A line is NUMBER:CONTROLLERS:GROUP; version 2 has no controllers in it.
    for (std::string line; std::getline(lines, line);) {
        const size_t first = line.find(':'), second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const bool is_version2 = controllers.empty();
        if (!is_version2 && ("," + controllers + ",").find(",memory,") == std::string::npos) continue;
        const fs::path root = is_version2 ? fs::path(mount) : fs::path(mount) / "memory";
        // The limits of the groups above hold, too. In a container the own group is often mounted as the root.
        fs::path group = fs::path(line.substr(second + 1)).relative_path();
        for (;; group = group.parent_path()) {
            left = std::min(left, left_by_group(root / group, is_version2 ? kVersion2 : kVersion1));
            if (group.empty()) break;
        }
    }
    return left;
}

size_t memory_available() {
    return std::min(
        {left_on_machine(), left_by_own_limit(), left_by_control_groups("/proc/self/cgroup", "/sys/fs/cgroup")});
}

}  // namespace cpu
