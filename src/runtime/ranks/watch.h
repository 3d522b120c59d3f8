// The thread that owns this process's connections, and what it and the main thread say to each other.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "runtime/ranks/side.h"
#include "runtime/ranks/socket.h"

namespace ranks {

class Watch {
  public:
    Watch(const Place& place, const Meeting& meeting, Met met);
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

    // Joins a collective call, and waits for what it returns or for PeerFailed.
    std::vector<std::string> call(Call call, const std::string& mine);
    void note(int64_t progress) { progress_.store(progress, std::memory_order_relaxed); }
    void on_failure(std::function<void()> end_waits);
    bool failed() const { return failed_.load(std::memory_order_acquire); }
    // Throws PeerFailed if a failure is known, or becomes known within these seconds.
    void check(double seconds);
    // Tells the others, as Control::fail does.
    bool fail(const std::string& message, int exit_code);

  private:
    struct Request {
        Call call;
        std::string mine;
    };
    struct OwnFailure {
        std::string message;
        int exit_code;
    };

    // ---- on the watching thread
    void run();
    void take_requests();
    void call_end_waits();
    void learn(const Failure& failure);
    // Ends the process if its main thread doesn't: it may be in a wait that nothing ends.
    void end_in_time();

    [[noreturn]] void throw_failure() const;
    void wake();

    const Meeting meeting_;
    const double started_;
    std::unique_ptr<Side> side_;
    Descriptor waker_;
    std::atomic<int64_t> progress_{0};
    std::atomic<bool> failed_{false};
    std::thread thread_, ender_;

    std::mutex mutex_;  // guards all from here on
    std::condition_variable changed_;
    std::optional<Request> request_;
    std::optional<OwnFailure> own_failure_;
    std::optional<std::vector<std::string>> answer_;
    std::optional<Failure> failure_;
    bool left_ = false;      // the ranks have parted, and nothing is a failure any more
    bool stopping_ = false;  // the thread has to end
    bool ended_ = false;     // it has ended

    std::mutex callback_mutex_;  // held while end_waits_ runs
    std::function<void()> end_waits_;
    bool end_waits_due_ = false;  // a failure is known, for which it has not been called
};

}  // namespace ranks
