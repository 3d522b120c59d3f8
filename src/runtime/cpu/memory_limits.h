// How much memory this process may have: of the machine, of its control groups, and by its own limits.
#pragma once

#include <cstddef>
#include <string>

namespace cpu {

// The memory that can still be had, by whichever limit is the tightest.
size_t memory_available();

// What the control groups of a process leave, of either version: `memberships` is its /proc/PID/cgroup, and `mount` where
// the groups are mounted. SIZE_MAX where nothing limits it.
size_t left_by_control_groups(const std::string& memberships, const std::string& mount);

}  // namespace cpu
