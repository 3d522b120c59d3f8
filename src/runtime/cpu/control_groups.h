// The control groups (cgroups) of this process, of version 1 and 2.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace device::cpu {

struct ControlGroup {
    std::filesystem::path folder;  // its files, which have other names in each version
    bool version2;
};

// The groups in which a controller ("cpu", "memory") limits this process: its own and those above, as far as they are
// mounted. /proc and the mounts lie in the folder `root`, "" for the machine's own.
std::vector<ControlGroup> control_groups(const std::string& controller, const std::string& root = "");

}  // namespace device::cpu
