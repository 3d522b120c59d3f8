#include "runtime/cpu/control_groups.h"

#include <fstream>
#include <sstream>

namespace fs = std::filesystem;

namespace device::cpu {
namespace {

// Whether a list "a,b,c" has this name.
bool lists(const std::string& list, const std::string& name) {
    return ("," + list + ",").find("," + name + ",") != std::string::npos;
}

// Where groups are mounted, and the group that the mount shows as its root.
struct Mount {
    fs::path folder, group;
};

// The mounts of version 2, or of a controller of version 1.
std::vector<Mount> mounts_of(const std::string& controller, bool version2, const std::string& root) {
    std::vector<Mount> mounts;
    std::ifstream lines(root + "/proc/self/mountinfo");
    // A line is ID PARENT DEVICE GROUP FOLDER OPTIONS… - TYPE SOURCE OPTIONS.
    for (std::string line; std::getline(lines, line);) {
        const size_t dash = line.find(" - ");
        if (dash == std::string::npos) continue;
        std::istringstream where(line.substr(0, dash)), what(line.substr(dash + 3));
        std::string skipped, group, folder, type, source, options;
        where >> skipped >> skipped >> skipped >> group >> folder;
        what >> type >> source >> options;
        if (version2 ? type == "cgroup2" : type == "cgroup" && lists(options, controller))
            mounts.push_back({root + folder, group});
    }
    return mounts;
}

}  // namespace

std::vector<ControlGroup> control_groups(const std::string& controller, const std::string& root) {
    std::vector<ControlGroup> groups;
    std::ifstream lines(root + "/proc/self/cgroup");
    // A line is NUMBER:CONTROLLERS:GROUP; version 2 has no controllers in it.
    for (std::string line; std::getline(lines, line);) {
        const size_t first = line.find(':'), second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const bool version2 = controllers.empty();
        if (!version2 && !lists(controllers, controller)) continue;
        for (const Mount& mount : mounts_of(controller, version2, root)) {
            groups.push_back({mount.folder, version2});
            const fs::path below = fs::path(line.substr(second + 1)).lexically_relative(mount.group);
            // A container may see a name from outside, for the group that is mounted as its root.
            if (below.empty() || below == "." || *below.begin() == "..") continue;
            fs::path folder = mount.folder;
            for (const fs::path& name : below) groups.push_back({folder /= name, version2});
        }
    }
    return groups;
}

}  // namespace device::cpu
