// Batches of windows in a random order that is computed, not stored: the whole state is two integers.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "io/token_dataset.h"
#include "runtime/token_batch.h"

// Where the reading stands: the epoch, and how many of its windows all ranks together have taken.
struct DataState {
    int64_t epoch = 0, position = 0;
    bool operator==(const DataState&) const = default;
};

// The window that comes `i`-th among `n` in an epoch: for fixed (n, seed, epoch) a permutation of 0 … n-1.
int64_t shuffled_window(int64_t i, int64_t n, uint64_t seed, int64_t epoch);

// A global batch is the next world*B windows; rank r has the r-th B of them. A batch that reaches the end of an epoch
// goes on with the next epoch's windows. A thread reads the next batch while this one is being used.
class DataLoader {
  public:
    // `data` must outlive the loader. Throws if the data set is smaller than one global batch.
    DataLoader(const TokenDataset& data, int B, int T, uint64_t seed, bool shuffle, int rank = 0, int world = 1);
    ~DataLoader();
    DataLoader(const DataLoader&) = delete;
    DataLoader& operator=(const DataLoader&) = delete;

    // The next batch of this rank. It stays until the next call.
    TokenBatch next();
    // What next() has handed out so far; what was read ahead does not count.
    DataState state() const { return state_; }
    // Goes on from a state of a loader with the same data and T; batch size and number of ranks may differ.
    void restore(const DataState& state);
    // Total time that next() had to wait for data.
    double wait_seconds() const { return wait_seconds_; }
    int64_t num_windows() const { return num_windows_; }

  private:
    void read_ahead();
    void fill(const DataState& from);
    DataState after(const DataState& state, int64_t windows) const;

    const TokenDataset& data_;
    const int B_, T_;
    const uint64_t seed_;
    const bool shuffle_;
    const int rank_, world_;
    const int64_t num_windows_;
    DataState state_;
    double wait_seconds_ = 0;
    std::vector<int32_t> front_;  // (2, B, T): inputs and targets of the batch being handed out

    // Shared with the thread, which fills back_ unlocked while `requested_`.
    std::mutex mutex_;
    std::condition_variable changed_;
    bool requested_ = true, stop_ = false;
    DataState read_from_;
    std::vector<int32_t> back_;  // (2, B, T)
    std::exception_ptr error_;
    std::thread reader_;
};
