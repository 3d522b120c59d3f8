// Limits of control groups, from folders that hold what Linux has in /sys/fs/cgroup.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "runtime/cpu/memory_limits.h"

namespace fs = std::filesystem;

namespace {

class MemoryLimits : public testing::Test {
  protected:
    MemoryLimits() {
        fs::remove_all(root_.parent_path());
        fs::create_directories(root_);
        file(
            "../proc/self/mountinfo",
            "30 23 0:27 / /groups rw - cgroup2 cgroup2 rw\n31 23 0:28 / /groups/memory rw - cgroup cgroup rw,memory\n");
    }
    void file(const std::string& name, const std::string& text) {
        fs::create_directories((root_ / name).parent_path());
        std::ofstream(root_ / name) << text;
    }
    size_t left() { return device::cpu::left_by_control_groups(root_.parent_path()); }

    const fs::path root_ = fs::path(testing::TempDir()) / "machine" / "groups";
};

TEST_F(MemoryLimits, Version2CountsWhatIsNotReclaimable) {
    file("../proc/self/cgroup", "0::/a/b\n");
    file("a/b/memory.max", "1000\n");
    file("a/b/memory.current", "700\n");
    file("a/b/memory.stat", "anon 500\ninactive_file 200\n");
    EXPECT_EQ(left(), 500u);
}

TEST_F(MemoryLimits, TheTightestGroupAboveCounts) {
    file("../proc/self/cgroup", "0::/a/b\n");
    file("a/b/memory.max", "max\n");
    file("a/memory.max", "300\n");
    file("a/memory.current", "100\n");
    EXPECT_EQ(left(), 200u);
    file("memory.max", "50\n");
    file("memory.current", "90\n");
    EXPECT_EQ(left(), 0u);
}

TEST_F(MemoryLimits, Version1HasItsOwnNames) {
    file("../proc/self/cgroup", "12:cpu,cpuacct:/x\n5:hugetlb,memory:/x\n");
    file("memory/memory.limit_in_bytes", "4096\n");  // in a container the own group is the root
    file("memory/memory.usage_in_bytes", "96\n");
    EXPECT_EQ(left(), 4000u);
}

TEST_F(MemoryLimits, NothingLimitsWhereThereAreNoGroups) {
    EXPECT_EQ(left(), SIZE_MAX);
    file("../proc/self/cgroup", "0::/\nno colon\n");
    EXPECT_EQ(left(), SIZE_MAX);
    const size_t available = device::cpu::memory_available();
    EXPECT_GT(available, size_t(1) << 20);
}

}  // namespace
