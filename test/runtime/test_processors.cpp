// The processors that a process may use: quotas of control groups from made folders, and what follows for threads.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "runtime/processors.h"

namespace fs = std::filesystem;

namespace {

using Files = std::map<std::string, std::string>;

// What granted_processors says where these files are.
int granted(const Files& files) {
    char name[] = "/tmp/processorsXXXXXX";
    const fs::path root = mkdtemp(name);
    for (const auto& [path, text] : files) {
        fs::create_directories((root / path).parent_path());
        std::ofstream(root / path) << text;
    }
    const int found = granted_processors(root.string());
    fs::remove_all(root);
    return found;
}

// Files of a process in a group of version 2, whose root is mounted; and of version 1, whose cpu is.
Files unified(const std::string& group, const std::string& root, const Files& more) {
    Files files = {{"proc/self/cgroup", "0::" + group + "\n"},
                   {"proc/self/mountinfo", "22 1 0:20 / /proc rw - proc proc rw\n31 23 0:28 " + root +
                                               " /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"}};
    files.insert(more.begin(), more.end());
    return files;
}
Files legacy(const std::string& group, const std::string& root, const Files& more) {
    Files files = {{"proc/self/cgroup", "4:memory:/other\n2:cpu,cpuacct:" + group + "\n1:name=systemd:/\n"},
                   {"proc/self/mountinfo", "32 31 0:29 " + root +
                                               " /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                                               "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"}};
    files.insert(more.begin(), more.end());
    return files;
}

const std::string kGroups = "sys/fs/cgroup/", kCpu = "sys/fs/cgroup/cpu/";

}  // namespace

TEST(Processors, QuotaOfVersion2IsTheLeastOfAGroupAndThoseAbove) {
    EXPECT_EQ(granted(unified("/a/b", "/", {{kGroups + "a/b/cpu.max", "200000 100000\n"}})), 2);
    EXPECT_EQ(granted(unified("/a/b", "/", {{kGroups + "a/b/cpu.max", "max 100000\n"}})), 0);
    EXPECT_EQ(
        granted(unified("/a/b", "/",
                        {{kGroups + "a/b/cpu.max", "800000 100000\n"}, {kGroups + "a/cpu.max", "150000 50000\n"}})),
        3);
    EXPECT_EQ(granted(unified("/a/b", "/", {{kGroups + "a/b/c/cpu.max", "100000 100000\n"}})), 0);
    EXPECT_EQ(granted(unified("/a", "/", {{kGroups + "a/cpu.max", "10000 100000\n"}})), 1);
    EXPECT_EQ(granted(unified("/a", "/", {{kGroups + "a/cpu.max", "150000 100000\n"}})), 2);
}

TEST(Processors, QuotaOfVersion1) {
    EXPECT_EQ(granted(legacy("/a", "/",
                             {{kCpu + "a/cpu.cfs_quota_us", "400000\n"}, {kCpu + "a/cpu.cfs_period_us", "100000\n"}})),
              4);
    EXPECT_EQ(
        granted(legacy("/a", "/", {{kCpu + "a/cpu.cfs_quota_us", "-1\n"}, {kCpu + "a/cpu.cfs_period_us", "100000\n"}})),
        0);
    EXPECT_EQ(
        granted(legacy("/a", "/", {{kCpu + "cpu.cfs_quota_us", "100000\n"}, {kCpu + "cpu.cfs_period_us", "100000\n"}})),
        1);
}

// A container sees its own group as the root of the mount, under a name from outside or as "/".
TEST(Processors, QuotaSeenFromInsideAContainer) {
    const Files two = {{kGroups + "cpu.max", "200000 100000\n"}};
    EXPECT_EQ(granted(unified("/", "/", two)), 2);
    EXPECT_EQ(granted(unified("/docker/0a1b", "/docker/0a1b", two)), 2);
    EXPECT_EQ(granted(unified("/../../other", "/", two)), 2);
    EXPECT_EQ(granted(legacy("/docker/0a1b/job", "/docker/0a1b",
                             {{kCpu + "job/cpu.cfs_quota_us", "300000"}, {kCpu + "job/cpu.cfs_period_us", "100000"}})),
              3);
}

TEST(Processors, WhatIsNoQuotaLimitsNothing) {
    for (const char* text : {"", "max", "words", "0 100000", "100000", "100000 0", "-5 100000", "1e300 1", "nan nan"})
        EXPECT_EQ(granted(unified("/a", "/", {{kGroups + "a/cpu.max", text}})), 0) << text;
    EXPECT_EQ(granted({}), 0);
    EXPECT_EQ(granted({{"proc/self/cgroup", "words\n::\n0:\n"}, {"proc/self/mountinfo", " - \nwords - \n"}}), 0);
}

TEST(Processors, ThreadsAreBoundedByTheTightest) {
    const auto threads = [](const Processors& processors, int processes) {
        const ThreadLimit limit = thread_limit(processors, processes);
        return std::to_string(limit.threads) + ": " + limit.reason;
    };
    EXPECT_EQ(threads({.online = 8, .allowed = 8}, 1), "8: this machine has 8 processors");
    EXPECT_EQ(threads({.online = 8, .allowed = 8}, 3), "2: this machine has 8 processors for 3 processes");
    EXPECT_EQ(threads({.online = 2, .allowed = 2}, 3), "1: this machine has 2 processors for 3 processes");
    EXPECT_EQ(threads({.online = 8, .allowed = 1}, 4), "1: this process may use 1 of 8 processors (its affinity)");
    EXPECT_EQ(threads({.online = 8, .allowed = 8, .granted = 1}, 1),
              "1: its control group grants the time of 1 processor");
    EXPECT_EQ(threads({.online = 8, .allowed = 6, .granted = 4}, 2),
              "2: its control group grants the time of 4 processors for 2 processes");
    EXPECT_EQ(threads({.online = 2, .allowed = 2, .granted = 64}, 1), "2: this machine has 2 processors");
}
