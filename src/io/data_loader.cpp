// Shuffling by a Feistel network, and a double buffer filled by one thread.
#include "io/data_loader.h"

#include <algorithm>
#include <bit>

#include "runtime/clock.h"
#include "runtime/error.h"
#include "runtime/rng.h"

namespace {

constexpr int kRounds = 8;

}  // namespace

int64_t shuffled_window(int64_t i, int64_t n, uint64_t seed, int64_t epoch) {
    // The network permutes 0 … 4^half - 1, which holds n and for n > 1 is less than 4n. Walking along the cycle until
    // it comes back below n makes that a permutation of 0 … n-1 (Black and Rogaway, "Ciphers with arbitrary finite
    // domains", 2002).
    const int half = std::max(1, (int(std::bit_width(uint64_t(n - 1))) + 1) / 2);
    const uint64_t mask = (uint64_t(1) << half) - 1;
    uint64_t place = uint64_t(i);
    do {
        uint64_t left = place >> half, right = place & mask;
        for (int round = 0; round < kRounds; round++) {
            const rng::Stream stream{seed, rng::Purpose::shuffle, uint32_t(round), uint64_t(epoch)};
            const uint64_t mixed = left ^ (stream.block(right).x[0] & mask);
            left = right;
            right = mixed;
        }
        place = left << half | right;
    } while (place >= uint64_t(n));
    return int64_t(place);
}

DataLoader::DataLoader(const TokenDataset& data, int B, int T, uint64_t seed, bool shuffle, int rank, int world)
    : data_(data),
      B_(B),
      T_(T),
      seed_(seed),
      shuffle_(shuffle),
      rank_(rank),
      world_(world),
      num_windows_(data.num_windows(T)) {
    CHECK(B > 0 && T > 0, "a batch of ", B, " sequences of ", T, " tokens: both must be positive");
    CHECK(rank >= 0 && rank < world, "rank ", rank, " is not one of ", world);
    const int64_t batch = int64_t(world) * B;
    USAGE_CHECK(num_windows_ >= batch, data.name(), " holds ", data.num_tokens(), " tokens, one batch of ", batch,
                " sequences of ", T, " needs ", batch * T + 1, ": use more data, fewer or shorter sequences");
    front_.resize(size_t(2) * B * T);
    back_.resize(front_.size());
    reader_ = std::thread([this] { read_ahead(); });
}

DataLoader::~DataLoader() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    changed_.notify_all();
    reader_.join();
}

TokenBatch DataLoader::next() {
    {
        std::unique_lock lock(mutex_);
        const double start = seconds_now();
        changed_.wait(lock, [&] { return !requested_; });
        wait_seconds_ += seconds_now() - start;
        if (error_) std::rethrow_exception(error_);
        std::swap(front_, back_);
        state_ = read_from_ = after(state_, int64_t(world_) * B_);
        requested_ = true;
    }
    changed_.notify_all();
    return {.tokens = front_.data(), .targets = front_.data() + front_.size() / 2, .B = B_, .T = T_};
}

void DataLoader::restore(const DataState& state) {
    CHECK(state.epoch >= 0 && state.position >= 0 && state.position < num_windows_, "data position ", state.position,
          " of epoch ", state.epoch, " is not within the ", num_windows_, " windows of ", data_.name(),
          ": was the run started with other data or another sequence length?");
    {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return !requested_; });
        error_ = nullptr;
        state_ = read_from_ = state;
        requested_ = true;
    }
    changed_.notify_all();
}

void DataLoader::read_ahead() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [&] { return requested_ || stop_; });
        if (stop_) return;
        const DataState from = read_from_;
        lock.unlock();
        std::exception_ptr error;
        try {
            fill(from);
        } catch (...) {
            error = std::current_exception();
        }
        lock.lock();
        error_ = error;
        requested_ = false;
        changed_.notify_all();
    }
}

void DataLoader::fill(const DataState& from) {
    for (int b = 0; b < B_; b++) {
        const DataState at = after(from, int64_t(rank_) * B_ + b);
        const int64_t window = shuffle_ ? shuffled_window(at.position, num_windows_, seed_, at.epoch) : at.position;
        int32_t* inputs = back_.data() + int64_t(b) * T_;
        data_.read_window(window, T_, inputs, inputs + int64_t(B_) * T_);
    }
}

DataState DataLoader::after(const DataState& state, int64_t windows) const {
    const int64_t position = state.position + windows;
    return {state.epoch + position / num_windows_, position % num_windows_};
}
