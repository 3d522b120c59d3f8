// How much memory this process may have: of the machine, of its control groups, and by its own limits.
#pragma once

#include <cstddef>
#include <string>

namespace device::cpu {

// The memory that can still be had, by whichever limit is the tightest.
size_t memory_available();

// What the control groups of this process leave, where /proc and the mounts lie in the folder `root`, "" for the
// machine's own. SIZE_MAX where nothing limits it.
size_t left_by_control_groups(const std::string& root = "");

}  // namespace device::cpu
