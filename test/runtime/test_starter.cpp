// The starter of the ranks of one machine, with shell scripts as ranks; and ranks that meet as a starter's environment
// says.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "runtime/ranks/line_mixer.h"
#include "runtime/ranks/starter.h"
#include "test/runtime/rank_processes.h"

namespace {

void pause(double seconds) { usleep(useconds_t(seconds * 1e6)); }

std::vector<std::string> sorted_lines(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    std::sort(lines.begin(), lines.end());
    return lines;
}
// Seconds from the first failure to SIGTERM, and from there to SIGKILL.
constexpr double kStop = 1.5, kKill = 1;

using Lines = std::vector<std::string>;

// A process that starts ranks, whose standard output goes to a file, and whose standard input is a line.
class Started {
  public:
    Started(int count, std::vector<std::string> command) {
        if (const int fd = mkstemp(path_.data()); fd >= 0) close(fd);
        process_ = std::make_unique<RankProcess>([this, count, command]() mutable {
            int ends[2];
            if (pipe(ends) != 0 || write(ends[1], "typed\n", 6) != 6) return std::string("no pipe");
            dup2(ends[0], STDIN_FILENO);
            close(ends[0]);
            close(ends[1]);
            const int out = open(path_.c_str(), O_WRONLY | O_APPEND);
            dup2(out, STDOUT_FILENO);
            std::vector<char*> argv;
            for (std::string& word : command) argv.push_back(word.data());
            argv.push_back(nullptr);
            return std::to_string(start_ranks(count, argv.data(), kStop, kKill));
        });
    }
    ~Started() { unlink(path_.c_str()); }
    // A script for every rank.
    static Lines shell(const std::string& script) { return {"/bin/sh", "-c", script}; }

    pid_t pid() const { return process_->pid(); }
    std::string code() { return process_->said(); }
    double seconds() { return process_->seconds(); }
    std::string errors() { return process_->errors(); }
    // Waits until the ranks have written so many lines to standard output.
    void await_lines(size_t count) const {
        for (int i = 0; i < 1000 && sorted_lines(output()).size() < count; i++) pause(0.01);
    }
    std::string output() const {
        std::ifstream file(path_);
        return {std::istreambuf_iterator<char>(file), {}};
    }

  private:
    std::string path_ = "/tmp/ranks-out-XXXXXX";
    std::unique_ptr<RankProcess> process_;
};

}  // namespace

TEST(Starter, EachRankHasItsPlaceAndStreams) {
    Started ranks(3,
                  Started::shell("read line; echo \"$RELORA_RANK of $RELORA_RANKS: $line ${RELORA_LISTENER:+listens}\";"
                                 "echo plain >&2; echo \"rank $RELORA_RANK: has it\" >&2; printf end >&2"));
    EXPECT_EQ(ranks.code(), "0");
    EXPECT_EQ(sorted_lines(ranks.output()), (Lines{"0 of 3: typed listens", "1 of 3:  ", "2 of 3:  "}));
    EXPECT_EQ(sorted_lines(ranks.errors()),
              (Lines{"rank 0: end", "rank 0: has it", "rank 0: plain", "rank 1: end", "rank 1: has it", "rank 1: plain",
                     "rank 2: end", "rank 2: has it", "rank 2: plain"}));
}

TEST(Starter, RanksShareANonce) {
    Started ranks(2, Started::shell("echo $RELORA_NONCE $RELORA_PORT"));
    EXPECT_EQ(ranks.code(), "0");
    const Lines lines = sorted_lines(ranks.output());
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_EQ(lines[0], lines[1]);
    EXPECT_GT(lines[0].size(), 18u);
}

TEST(Starter, FirstFailureGivesTheCode) {
    Started ranks(3,
                  Started::shell("[ $RELORA_RANK = 1 ] && exit 3; sleep 0.5;"
                                 "[ $RELORA_RANK = 0 ] && echo 'train_relora: rank 1: a shard is short' >&2; exit 4"));
    EXPECT_EQ(ranks.code(), "3");
    EXPECT_EQ(ranks.errors(), "train_relora: rank 1: a shard is short\n");
}

TEST(Starter, RankIsKilled) {
    Started ranks(3, Started::shell("[ $RELORA_RANK = 1 ] && kill -9 $$; sleep 0.5; exit 1"));
    EXPECT_EQ(ranks.code(), "137");
    EXPECT_EQ(ranks.errors(), "rank 1 was ended by signal 9 (Killed)\n");
}

TEST(Starter, OthersAreEnded) {
    Started ranks(3, Started::shell("[ $RELORA_RANK = 2 ] && exit 7; exec sleep 100"));
    EXPECT_EQ(ranks.code(), "7");
    EXPECT_EQ(ranks.errors(), "");
    EXPECT_GT(ranks.seconds(), kStop);
    EXPECT_LT(ranks.seconds(), kStop + 5);
}

TEST(Starter, OthersAreKilledInTheEnd) {
    Started ranks(
        2, Started::shell("[ $RELORA_RANK = 1 ] && exit 7; trap '' TERM; echo on >&2; while :; do sleep 1; done"));
    EXPECT_EQ(ranks.code(), "7");
    EXPECT_EQ(ranks.errors(), "rank 0: on\n");
    EXPECT_GT(ranks.seconds(), kStop + kKill);
    EXPECT_LT(ranks.seconds(), kStop + kKill + 5);
}

TEST(Starter, SignalsGoOnOnce) {
    for (const auto& [signal, name] : {std::pair{SIGINT, "INT"}, {SIGTERM, "TERM"}, {SIGUSR1, "USR1"}}) {
        const std::string code = std::to_string(128 + signal);
        Started ranks(
            2, Started::shell(str("trap 'echo got >&2' ", name, "; echo ready; sleep 1 & wait $!; wait; exit ", code)));
        ranks.await_lines(2);
        // A terminal sends to the whole group of the starter.
        kill(-ranks.pid(), signal);
        EXPECT_EQ(ranks.code(), code);
        EXPECT_EQ(sorted_lines(ranks.errors()), (Lines{"rank 0: got", "rank 1: got"}));
    }
}

TEST(Starter, StopsTakeTheTimeTheyNeed) {
    // Both stop at the signal, one much later than the other.
    Started ranks(
        2, Started::shell("trap '[ $RELORA_RANK = 1 ] || sleep 3; kill $!; echo saved >&2; exit 143' TERM; echo ready;"
                          "sleep 100 & wait $!"));
    ranks.await_lines(2);
    kill(ranks.pid(), SIGTERM);
    EXPECT_EQ(ranks.code(), "143");
    EXPECT_EQ(sorted_lines(ranks.errors()), (Lines{"rank 0: saved", "rank 1: saved"}));
    EXPECT_GT(ranks.seconds(), 3);
}

TEST(Starter, NoRankOutlivesIt) {
    Started ranks(2, Started::shell("echo $$; exec sleep 100"));
    ranks.await_lines(2);
    const Lines pids = sorted_lines(ranks.output());
    ASSERT_EQ(pids.size(), 2u);
    kill(ranks.pid(), SIGKILL);
    for (const std::string& pid : pids) {
        bool gone = false;
        for (int i = 0; i < 100 && !gone; i++) {
            std::ifstream command("/proc/" + pid + "/cmdline");
            std::string first;
            std::getline(command, first, '\0');  // nothing is left of one that has ended, though it may be listed
            gone = first.empty();
            pause(0.02);
        }
        EXPECT_TRUE(gone) << pid;
    }
}

TEST(Starter, ProgramIsMissing) {
    Started ranks(2, {"/no/such/program"});
    EXPECT_EQ(ranks.code(), "127");
    EXPECT_EQ(sorted_lines(ranks.errors()),
              (Lines{"rank 0: cannot start /no/such/program: No such file or directory",
                     "rank 1: cannot start /no/such/program: No such file or directory"}));
}

TEST(Starter, LinesGetAPrefix) {
    ranks::PrefixedLines lines("rank 3: ");
    EXPECT_EQ(lines.add("a\nb"), "rank 3: a\n");
    EXPECT_EQ(lines.add("c\n\nrank 3: d\n"), "rank 3: bc\nrank 3: \nrank 3: d\n");
    EXPECT_EQ(lines.add("train_relora: e\ntrain_relora"), "train_relora: e\n");
    EXPECT_EQ(lines.rest(), "rank 3: train_relora\n");
    EXPECT_EQ(lines.rest(), "");
    const std::string longest(100000, 'x');
    EXPECT_EQ(lines.add(longest), "rank 3: " + longest + "\n");
}

// A rank as its environment says: the test below and test/ranks start it. With TEST_STAYS it waits for what comes.
TEST(RankOfEnvironment, DISABLED_MeetsTheOthers) {
    const auto set = [](const char* name, const char* otherwise) {
        const char* const value = std::getenv(name);
        return std::string(value ? value : otherwise);
    };
    const Place place = find_place();
    Control control(place, {.shared_folder = set("TEST_SHARED_FOLDER", ""),
                            .patience = std::stod(set("TEST_PATIENCE", "30")),
                            .silence = std::stod(set("TEST_SILENCE", "60"))});
    std::string all;
    for (const std::string& one : control.gather(str(place.rank, "@", ranks::host_name()))) all += " " + one;
    printf("rank %d of %d by %s met%s\n", place.rank, place.size, place.starter.c_str(), all.c_str());
    fflush(stdout);
    for (int i = 0; i < 3000 && !set("TEST_STAYS", "").empty(); i++) {
        control.check();
        pause(0.01);
    }
    control.barrier();
    control.leave();
}

TEST(Starter, RanksMeet) {
    Started ranks(3, {"/proc/self/exe", "--gtest_also_run_disabled_tests",
                      "--gtest_filter=RankOfEnvironment.DISABLED_MeetsTheOthers"});
    EXPECT_EQ(ranks.code(), "0");
    const std::string output = ranks.output(), host = "@" + ranks::host_name();
    for (const char* rank : {"0", "1", "2"})
        EXPECT_NE(output.find(str("rank ", rank, " of 3 by this program met 0", host, " 1", host, " 2", host, "\n")),
                  std::string::npos)
            << output << ranks.errors();
}
