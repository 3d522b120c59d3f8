#include "runtime/cpu/memory_limits.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>

#include "runtime/cpu/control_groups.h"

namespace fs = std::filesystem;

namespace device::cpu {
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

size_t left_by_control_groups(const std::string& root) {
    size_t left = SIZE_MAX;
    for (const ControlGroup& group : control_groups("memory", root))
        left = std::min(left, left_by_group(group.folder, group.version2 ? kVersion2 : kVersion1));
    return left;
}

size_t memory_available() { return std::min({left_on_machine(), left_by_own_limit(), left_by_control_groups()}); }

}  // namespace device::cpu
