#include "test/cuda_on_cpu/nccl/ranks.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace fs = std::filesystem;

namespace {

using Clock = std::chrono::steady_clock;

std::string hexadecimal(const ncclUniqueId& id) {
    std::string text;
    for (unsigned char byte : id.internal) {
        char two[3];
        snprintf(two, sizeof two, "%02x", byte);
        text += two;
    }
    return text;
}
ncclUniqueId from_hexadecimal(const std::string& text) {
    ncclUniqueId id;
    for (size_t i = 0; i < sizeof id.internal; i++)
        id.internal[i] = char(std::stoi(text.substr(2 * i, 2), nullptr, 16));
    return id;
}

std::string name_of_this_test() {
    const testing::TestInfo* const test = testing::UnitTest::GetInstance()->current_test_info();
    return std::string(test->test_suite_name()) + "." + test->name();
}

class Process {
  public:
    Process(const Rank& rank, const Launch& launch, const fs::path& output) : output_(output) {
        std::vector<std::string> environment;
        for (char** variable = environ; *variable; variable++)
            if (strncmp(*variable, "EXECUTOR_CAPABILITY=", 20) != 0 && strncmp(*variable, "GTEST_", 6) != 0)
                environment.emplace_back(*variable);
        std::string devices = "9.0";
        for (int i = 1; i < rank.ranks; i++) devices += ",9.0";
        environment.push_back("EXECUTOR_CAPABILITY=" + devices);
        environment.push_back("TEST_RANK=" + std::to_string(rank.rank) + " " + std::to_string(rank.ranks) + " " +
                              hexadecimal(rank.id));
        for (const auto& [name, value] : launch.environment) environment.push_back(std::string(name) + "=" + value);
        std::vector<std::string> arguments = {"kernel_tests", "--gtest_brief=1",
                                              "--gtest_filter=" + name_of_this_test()};
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, 1, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        posix_spawn_file_actions_adddup2(&actions, 1, 2);
        if (posix_spawn(&id_, "/proc/self/exe", &actions, nullptr, pointers(arguments).data(),
                        pointers(environment).data()) != 0)
            id_ = 0;
        posix_spawn_file_actions_destroy(&actions);
    }
    // Its exit status once it has ended; it is killed where that takes too long.
    int wait_until(Clock::time_point end) {
        int status = -1;
        while (id_ > 0 && waitpid(id_, &status, WNOHANG) == 0) {
            if (Clock::now() > end) kill(id_, SIGKILL);
            usleep(2000);
        }
        return status;
    }
    std::string said() const {
        std::ostringstream text;
        text << std::ifstream(output_).rdbuf();
        return text.str();
    }

  private:
    static std::vector<char*> pointers(std::vector<std::string>& strings) {
        std::vector<char*> pointers;
        for (std::string& string : strings) pointers.push_back(string.data());
        pointers.push_back(nullptr);
        return pointers;
    }
    pid_t id_ = 0;
    fs::path output_;
};

}  // namespace

ncclComm_t Rank::join() const {
    ncclComm_t comm = nullptr;
    EXPECT_EQ(cudaSetDevice(rank), cudaSuccess);
    EXPECT_EQ(ncclCommInitRank(&comm, ranks, id, rank), ncclSuccess);
    return comm;
}

void in_every_rank(int ranks, const std::function<void(const Rank&)>& body, const Launch& launch) {
    if (const char* const mine = getenv("TEST_RANK")) {
        Rank rank;
        std::string id;
        std::istringstream(mine) >> rank.rank >> rank.ranks >> id;
        rank.id = from_hexadecimal(id);
        if (rank.ranks != ranks) return;
        std::ofstream(fs::path(getenv("TEST_FOLDER")) / ("ran_" + std::to_string(rank.rank)));
        body(rank);
        return;
    }
    ncclUniqueId id;
    ASSERT_EQ(ncclGetUniqueId(&id), ncclSuccess);
    std::string folder = (fs::temp_directory_path() / "relora_ranks_XXXXXX").string();
    ASSERT_TRUE(mkdtemp(folder.data()));

    setenv("TEST_FOLDER", folder.c_str(), 1);
    std::vector<Process> processes;
    for (int rank = 0; rank < ranks; rank++)
        processes.emplace_back(Rank{rank, ranks, id}, launch, fs::path(folder) / std::to_string(rank));
    const Clock::time_point end = Clock::now() + std::chrono::seconds(Rank::kPatience);
    for (int rank = 0; rank < ranks; rank++) {
        const int status = processes[size_t(rank)].wait_until(end);
        const bool to_be_killed = std::count(launch.killed.begin(), launch.killed.end(), rank) > 0;
        EXPECT_EQ(status, to_be_killed ? SIGKILL : 0)
            << "rank " << rank << " of " << ranks << (Clock::now() > end ? " took too long" : "") << ", which said:\n"
            << processes[size_t(rank)].said();
        EXPECT_TRUE(fs::exists(fs::path(folder) / ("ran_" + std::to_string(rank))))
            << "rank " << rank << " did nothing";
    }
    fs::remove_all(folder);
}
