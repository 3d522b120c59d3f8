// The memory that the processes of a communicator share: who they are, and a channel for each pair. Its name comes from
// the unique id and is gone as soon as all ranks are there, so that nothing is left behind by processes that are
// killed.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace nccl {

constexpr int kMostRanks = 64;

// A process, told from a later one with the same number by its start.
struct Process {
    int64_t id = 0, start = 0;
    static Process mine();
    bool alive() const;  // one that has ended and that its parent has not asked for isn't
};

// Bytes on their way from one rank to another.
struct Channel {
    static constexpr size_t kBytes = 256 << 10;
    alignas(64) std::atomic<uint64_t> written;
    alignas(64) std::atomic<uint64_t> read;
    alignas(64) char ring[kBytes];

    size_t filled() const {
        return size_t(written.load(std::memory_order_acquire) - read.load(std::memory_order_acquire));
    }
    size_t free() const { return kBytes - filled(); }
    // These move as many bytes as the caller knows to fit.
    void write(const void* from, size_t bytes);
    void take(void* to, size_t bytes);
};

class Shared {
  public:
    enum class State : int { absent, here, left, aborted };
    struct Rank {
        std::atomic<State> state;
        Process process;
        int device;
        std::atomic<uint64_t> waits_for;  // a bit for each rank that this one's work waits for
    };

    // Joins as one of the ranks. Where that fails, refused() is the caller's mistake, which the other ranks learn as
    // well, or problem() is what the system did not do.
    Shared(const std::string& name, int ranks, int rank, int device);
    ~Shared();
    Shared(const Shared&) = delete;

    const std::string& problem() const { return problem_; }
    std::string refused() const { return header_ && header_->refused ? header_->why : ""; }
    bool everyone_came() const { return header_->came == ranks_; }
    // What keeps the communicator from working: a rank that has ended or aborted; empty if nothing.
    std::string broken() const;
    void leave(State how) { me().state = how; }
    Rank& me() { return header_->rank[rank_]; }
    // Does a peer's work wait for this rank's?
    bool demanded() const;
    Channel& channel(int from, int to) { return channels_[from * ranks_ + to]; }

    // Is this the memory of processes that have all ended?
    static bool abandoned(const void* memory);

  private:
    struct Header {
        std::atomic<int> came, refused, left_early;
        char why[256];  // with refused
        Rank rank[kMostRanks];
    };
    size_t bytes() const;
    void join(int device);
    void refuse(const std::string& why);

    std::string name_, problem_;
    int ranks_, rank_;
    Header* header_ = nullptr;
    Channel* channels_ = nullptr;
};

// Removes what processes left behind that were killed before their communicator was complete.
void remove_leftovers();
extern const char* const kNamePrefix;

}  // namespace nccl
