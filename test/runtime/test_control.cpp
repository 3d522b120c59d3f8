// The line between ranks that have met: what they exchange, and what all learn when one dies, hangs or fails. The ranks
// are processes of this machine.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "test/runtime/rank_processes.h"

namespace {

// What a process takes to notice a failure and to end, with a margin for a busy machine.
constexpr double kSoon = kNoticedWithin + 2;

void pause(double seconds) { usleep(useconds_t(seconds * 1e6)); }

// Ranks that do the same, each with its Control.
class Ranks {
  public:
    Ranks(int size, const Meeting& meeting, const std::function<std::string(int, Control&)>& work) {
        const int port = free_port();
        void* const shared = mmap(nullptr, sizeof *met_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        met_ = new (shared) std::atomic<int>(0);
        for (int rank = 0; rank < size; rank++)
            ranks_.push_back(std::make_unique<RankProcess>([=, met = met_] {
                Control control(place_of(rank, size, port), meeting);
                (*met)++;
                return work(rank, control);
            }));
    }
    ~Ranks() { munmap(met_, sizeof *met_); }
    Ranks(const Ranks&) = delete;
    Ranks& operator=(const Ranks&) = delete;

    void wait_until_met() const {
        for (int i = 0; i < 1000 && *met_ < int(ranks_.size()); i++) pause(0.01);
    }
    RankProcess& operator[](int rank) { return *ranks_[size_t(rank)]; }
    std::vector<std::string> said() {
        std::vector<std::string> all;
        for (const auto& rank : ranks_) all.push_back(rank->said());
        return all;
    }

  private:
    std::vector<std::unique_ptr<RankProcess>> ranks_;
    std::atomic<int>* met_;  // how many have met, in memory that all processes share
};

// Waits for what never comes, as a rank does whose peer has failed.
std::string wait_for_others(Control& control) {
    control.gather("");
    for (;;) {
        control.check();
        pause(0.01);
    }
}

std::string contribution(int rank, int round) {
    return std::string(round == 2 ? size_t(3) << 20 : size_t(rank), char('a' + rank)) + std::to_string(round);
}

using Texts = std::vector<std::string>;

}  // namespace

class Exchange : public testing::TestWithParam<int> {};

TEST_P(Exchange, BringsWhatEachRankGives) {
    const int size = GetParam();
    Ranks ranks(size, {}, [size](int rank, Control& control) -> std::string {
        for (int round = 0; round < 20; round++) {
            const std::vector<std::string> all = control.gather(contribution(rank, round));
            if (int(all.size()) != size) return "wrong size";
            for (int other = 0; other < size; other++)
                if (all[size_t(other)] != contribution(other, round)) return "wrong gather";
            if (control.broadcast(contribution(rank, round)) != contribution(0, round)) return "wrong broadcast";
            control.barrier();
            control.note(round);
        }
        control.leave();
        // The first process ends long before the last, which is no failure.
        pause(0.3 * rank);
        return control.failed() ? "failed" : "fine";
    });
    EXPECT_EQ(ranks.said(), Texts(size_t(size), "fine"));
}
INSTANTIATE_TEST_SUITE_P(OfRanks, Exchange, testing::Values(2, 3, 5));

TEST(Control, OneRankAlone) {
    Control control({}, {});
    EXPECT_EQ(control.gather("x"), Texts{"x"});
    EXPECT_EQ(control.broadcast("y"), "y");
    control.barrier();
    control.note(1);
    control.check();
    EXPECT_FALSE(control.failed());
    EXPECT_TRUE(control.fail("z", 3));
    control.leave();
}

TEST(Control, BarrierWaitsForTheLast) {
    Ranks ranks(3, {}, [](int rank, Control& control) {
        control.barrier();
        const double start = seconds_now();
        if (rank == 1) pause(0.5);
        control.barrier();
        const double took = seconds_now() - start;
        control.leave();
        return took > 0.4 ? std::string("waited") : std::to_string(took);
    });
    EXPECT_EQ(ranks.said(), Texts(3, "waited"));
}

TEST(Control, TooMuchForOneCall) {
    Ranks ranks(2, {}, [](int, Control& control) { return control.gather(std::string(kMostBytes + 1, 'x'))[0]; });
    EXPECT_EQ(ranks[0].said(), "Error 1: a gather() of 16777217 bytes; the most is 16777216");
}

TEST(Control, CallsOutOfStep) {
    Ranks ranks(3, {}, [](int rank, Control& control) {
        control.barrier();
        if (rank == 2) control.barrier();
        return control.gather("")[0];
    });
    const std::string message = "the ranks are out of step: rank 2 calls barrier() where rank 0 calls gather()";
    EXPECT_EQ(ranks[0].said().substr(0, 61), "PeerFailed 1 prints: " + message.substr(0, 40));
    EXPECT_EQ(ranks[1].said().substr(0, 61), "PeerFailed 1 silent: " + message.substr(0, 40));
    EXPECT_NE(ranks[2].said().find("rank 2 calls barrier() where rank "), std::string::npos) << ranks[2].said();
}

// ---- a rank dies

TEST(Control, RankIsKilled) {
    Ranks ranks(3, {}, [](int rank, Control& control) {
        if (rank == 1) {
            control.barrier();
            pause(60);
        }
        control.barrier();
        return wait_for_others(control);
    });
    ranks.wait_until_met();
    kill(ranks[1].pid(), SIGKILL);
    const double start = seconds_now();
    EXPECT_EQ(ranks[0].said(), "PeerFailed 1 prints: rank 1 has ended");
    EXPECT_EQ(ranks[2].said(), "PeerFailed 1 silent: rank 1 has ended");
    EXPECT_LT(seconds_now() - start, kSoon);
}

TEST(Control, Rank0IsKilled) {
    Ranks ranks(3, {}, [](int rank, Control& control) {
        control.barrier();
        if (rank == 0) pause(60);
        return wait_for_others(control);
    });
    ranks.wait_until_met();
    kill(ranks[0].pid(), SIGKILL);
    const double start = seconds_now();
    EXPECT_EQ(ranks[1].said(), "PeerFailed 1 prints: rank 0 has ended");
    EXPECT_EQ(ranks[2].said(), "PeerFailed 1 silent: rank 0 has ended");
    EXPECT_LT(seconds_now() - start, kSoon);
}

TEST(Control, RankEndsWithoutAWord) {
    Ranks ranks(2, {}, [](int rank, Control& control) {
        control.barrier();
        return rank == 1 ? std::string("gone") : wait_for_others(control);
    });
    EXPECT_EQ(ranks.said(), (Texts{"PeerFailed 1 prints: rank 1 has ended", "gone"}));
}

TEST(Control, RankStandsStill) {
    Ranks ranks(3, {.silence = 3}, [](int, Control& control) {
        control.barrier();
        return wait_for_others(control);
    });
    ranks.wait_until_met();
    kill(ranks[1].pid(), SIGSTOP);
    EXPECT_EQ(ranks[0].said(), "PeerFailed 1 prints: rank 1 has not been heard of for 3 s");
    EXPECT_EQ(ranks[2].said(), "PeerFailed 1 silent: rank 1 has not been heard of for 3 s");
    EXPECT_GT(ranks[0].seconds(), 3);
    kill(ranks[1].pid(), SIGCONT);
    EXPECT_EQ(ranks[1].said(), "PeerFailed 1 silent: rank 1 has not been heard of for 3 s");
}

TEST(Control, Rank0StandsStill) {
    Ranks ranks(3, {.silence = 3}, [](int, Control& control) {
        control.barrier();
        return wait_for_others(control);
    });
    ranks.wait_until_met();
    kill(ranks[0].pid(), SIGSTOP);
    EXPECT_EQ(ranks[1].said(), "PeerFailed 1 prints: rank 0 has not been heard of for 3 s");
    EXPECT_EQ(ranks[2].said(), "PeerFailed 1 silent: rank 0 has not been heard of for 3 s");
}

TEST(Control, AllStandStillAndGoOn) {
    Ranks ranks(2, {.silence = 3}, [](int, Control& control) -> std::string {
        control.barrier();
        pause(1);
        control.barrier();
        control.leave();
        return "fine";
    });
    ranks.wait_until_met();
    for (int rank = 0; rank < 2; rank++) kill(ranks[rank].pid(), SIGSTOP);
    pause(4);
    for (int rank = 0; rank < 2; rank++) kill(ranks[rank].pid(), SIGCONT);
    EXPECT_EQ(ranks.said(), Texts(2, "fine"));
}

// ---- a rank hangs

TEST(Control, RankDoesNotGetOn) {
    Ranks ranks(3, {.timeout = 2}, [](int rank, Control& control) {
        for (int step = 1; step <= 6; step++) {
            if (step == 5 && rank == 1) pause(60);
            control.note(step);
            pause(0.1);
        }
        return wait_for_others(control);
    });
    const std::string message = "rank 1 has not got beyond 4 for 2 s, where others wait for it";
    EXPECT_EQ(ranks[0].said(), "PeerFailed 1 prints: " + message);
    EXPECT_EQ(ranks[2].said(), "PeerFailed 1 silent: " + message);
    EXPECT_GT(ranks[0].seconds(), 2);
    EXPECT_LT(ranks[0].seconds(), 4 + kSoon);
}

TEST(Control, RankDoesNotJoinACall) {
    Ranks ranks(4, {.timeout = 2}, [](int rank, Control& control) {
        control.note(7);
        if (rank >= 2) pause(60);
        return control.gather("")[0];
    });
    EXPECT_EQ(ranks[0].said(),
              "PeerFailed 1 prints: ranks 2, 3 have not come to a gather() for 2 s, where others wait for it");
}

TEST(Control, NobodyGetsOn) {
    Ranks ranks(2, {.timeout = 2}, [](int, Control& control) -> std::string {
        control.note(7);
        for (;;) {
            control.check();
            pause(0.05);
        }
    });
    EXPECT_EQ(ranks[0].said(), "PeerFailed 1 prints: no rank has got beyond 7 for 2 s");
    EXPECT_EQ(ranks[1].said(), "PeerFailed 1 silent: no rank has got beyond 7 for 2 s");
}

TEST(Control, SlowRanksDoNotHang) {
    Ranks ranks(2, {.timeout = 2}, [](int rank, Control& control) -> std::string {
        for (int step = 1; step <= 4; step++) {
            pause(rank == 1 ? 1.2 : 0.1);
            control.note(step);
        }
        control.leave();
        return "fine";
    });
    EXPECT_EQ(ranks.said(), Texts(2, "fine"));
}

// ---- a rank fails

TEST(Control, RankFails) {
    Ranks ranks(3, {}, [](int rank, Control& control) {
        control.barrier();
        if (rank == 2) {
            pause(0.3);
            return std::string(control.fail("a shard is short", 3) ? "prints" : "silent");
        }
        return wait_for_others(control);
    });
    EXPECT_EQ(ranks.said(), (Texts{"PeerFailed 3 prints: rank 2: a shard is short",
                                   "PeerFailed 3 silent: rank 2: a shard is short", "silent"}));
}

TEST(Control, Rank0Fails) {
    Ranks ranks(3, {}, [](int rank, Control& control) {
        control.barrier();
        if (rank == 0) return std::string(control.fail("the disk is full", 1) ? "prints" : "silent");
        return wait_for_others(control);
    });
    const std::string other = "PeerFailed 1 silent: rank 0: the disk is full";
    EXPECT_EQ(ranks.said(), (Texts{"prints", other, other}));
}

TEST(Control, AllFailAlike) {
    Ranks ranks(3, {}, [](int, Control& control) {
        control.barrier();
        return std::string(control.fail("no such file", 1) ? "prints" : "silent");
    });
    EXPECT_EQ(ranks.said(), (Texts{"prints", "silent", "silent"}));
}

TEST(Control, WaitsAreEndedOnce) {
    Ranks ranks(2, {}, [](int rank, Control& control) -> std::string {
        control.barrier();
        if (rank == 1) {
            control.fail("x", 1);
            return "";
        }
        std::atomic<int> ended{0};
        control.on_failure([&] { ended++; });
        for (int i = 0; i < 500 && !ended; i++) pause(0.01);
        pause(1.5);
        control.on_failure({});
        std::string error = "no error";
        try {
            control.check();
        } catch (const PeerFailed& failed) {
            error = failed.what();
        }
        return std::to_string(ended) + ", " + error;
    });
    EXPECT_EQ(ranks[0].said(), "1, rank 1: x");
}

TEST(Control, AFailureMayBeKnownBeforeThereAreWaits) {
    Ranks ranks(2, {}, [](int rank, Control& control) -> std::string {
        control.barrier();
        if (rank == 1) {
            control.fail("x", 1);
            return "";
        }
        while (!control.failed()) pause(0.01);
        pause(0.2);
        std::atomic<int> ended{0};
        control.on_failure([&] { ended++; });
        for (int i = 0; i < 300 && !ended; i++) pause(0.01);
        control.on_failure({});
        return std::to_string(ended);
    });
    EXPECT_EQ(ranks[0].said(), "1");
}

TEST(Control, ConsequenceFindsItsCause) {
    Ranks ranks(2, {}, [](int rank, Control& control) -> std::string {
        control.barrier();
        if (rank == 1) {
            pause(0.5);
            _exit(9);
        }
        control.check();  // nothing is known yet
        control.check_soon();
        return "no cause";
    });
    EXPECT_EQ(ranks[0].said(), "PeerFailed 1 prints: rank 1 has ended");
}

TEST(Control, ProcessThatDoesNotEndIsEnded) {
    Ranks ranks(3, {.grace = 1}, [](int rank, Control& control) -> std::string {
        control.barrier();
        if (rank == 1) return std::string(control.fail("no memory", 5) ? "prints" : "silent");
        pause(60);
        return "";
    });
    EXPECT_EQ(ranks[1].said(), "silent");
    EXPECT_EQ(ranks[0].code(), 5);
    EXPECT_EQ(ranks[0].errors(), "train_relora: rank 1: no memory\n");
    EXPECT_EQ(ranks[2].code(), 5);
    EXPECT_EQ(ranks[2].errors(), "");
    EXPECT_LT(ranks[0].seconds(), 1 + kSoon + 1);
}
