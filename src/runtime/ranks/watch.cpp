#include "runtime/ranks/watch.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <utility>

#include "runtime/clock.h"

namespace ranks {

namespace {

// Threads that are started meanwhile get no signals: those are the main thread's.
class SignalsBlocked {
  public:
    SignalsBlocked() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

  private:
    sigset_t before_;
};

std::chrono::duration<double> in_seconds(double seconds) { return std::chrono::duration<double>(seconds); }

}  // namespace

Watch::Watch(const Place& place, const Meeting& meeting, Met met)
    : meeting_(meeting), started_(seconds_now()), waker_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    CHECK(waker_, "cannot make an event descriptor");
    const auto make = place.rank == 0 ? make_hub : make_spoke;
    side_ = make(place, meeting_, std::move(met),
                 {.answer =
                      [this](std::vector<std::string> all) {
                          const std::lock_guard lock(mutex_);
                          answer_ = std::move(all);
                          changed_.notify_all();
                      },
                  .failure = [this](const Failure& failure) { learn(failure); }});
    const SignalsBlocked blocked;
    thread_ = std::thread([this] { run(); });
}

Watch::~Watch() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake();
    thread_.join();
    {
        const std::lock_guard lock(mutex_);
        ended_ = true;
        changed_.notify_all();
    }
    if (ender_.joinable()) ender_.join();
}

// ---- the main thread

std::vector<std::string> Watch::call(Call call, const std::string& mine) {
    CHECK(mine.size() <= kMostBytes, "a ", name_of(call), "() of ", mine.size(), " bytes; the most is ", kMostBytes);
    std::unique_lock lock(mutex_);
    CHECK(!left_, "a ", name_of(call), "() after the ranks have left");
    if (failure_) throw_failure();
    request_ = {call, mine};
    wake();
    changed_.wait(lock, [this] { return answer_ || failure_; });
    if (!answer_) throw_failure();
    left_ = call == Call::leave;
    return *std::exchange(answer_, std::nullopt);
}

void Watch::on_failure(std::function<void()> end_waits) {
    const std::lock_guard lock(callback_mutex_);
    end_waits_ = std::move(end_waits);
    if (end_waits_due_) wake();
}

void Watch::check(double seconds) {
    if (seconds <= 0 && !failed()) return;
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, in_seconds(seconds), [this] { return failure_.has_value(); })) throw_failure();
}

bool Watch::fail(const std::string& message, int exit_code) {
    std::unique_lock lock(mutex_);
    if (left_) return true;
    if (!failure_) {
        own_failure_ = {message.substr(0, kMostBytes / 2), exit_code};
        wake();
        changed_.wait_for(lock, in_seconds(kNoticedWithin), [this] { return failure_.has_value(); });
    }
    return !failure_ || failure_->prints;
}

void Watch::throw_failure() const {
    throw PeerFailed(failure_->news.message, __FILE__, __LINE__, failure_->news.exit_code, failure_->prints);
}

void Watch::wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(waker_.get(), &one, sizeof one);
}

// ---- the watching thread

void Watch::run() {
    const double period = std::min(kBeat, meeting_.silence / 4);
    double last = started_, next_beat = started_;
    for (;;) {
        std::vector<pollfd> polls{{.fd = waker_.get(), .events = POLLIN, .revents = 0}};
        side_->add_polls(polls);
        const double wait = std::max(0.0, next_beat - seconds_now());
        poll(polls.data(), polls.size(), int(wait * 1000) + 1);
        const double now = seconds_now();
        // A process that was stopped, or a machine that slept, finds its own clock far ahead of what it has heard.
        if (now - last > 3 * period) side_->forgive(now - last);
        last = now;
        if (polls[0].revents != 0) {
            uint64_t count = 0;
            [[maybe_unused]] const ssize_t got = read(waker_.get(), &count, sizeof count);
        }
        side_->serve(polls.data() + 1);
        take_requests();
        if (now >= next_beat) {
            side_->beat(progress_.load(std::memory_order_relaxed), now);
            next_beat = now + period;
        }
        call_end_waits();
        const std::lock_guard lock(mutex_);
        if (stopping_) break;
    }
    side_->close();
}

void Watch::take_requests() {
    std::optional<Request> request;
    std::optional<OwnFailure> own_failure;
    {
        const std::lock_guard lock(mutex_);
        request = std::exchange(request_, std::nullopt);
        own_failure = std::exchange(own_failure_, std::nullopt);
    }
    if (request) side_->join(request->call, request->mine, progress_.load(std::memory_order_relaxed));
    if (own_failure) side_->fail(own_failure->message, own_failure->exit_code);
}

void Watch::learn(const Failure& failure) {
    {
        const std::lock_guard lock(callback_mutex_);
        end_waits_due_ = true;
    }
    const std::lock_guard lock(mutex_);
    failure_ = failure;
    failed_.store(true, std::memory_order_release);
    changed_.notify_all();
    try {
        ender_ = std::thread([this] { end_in_time(); });
    } catch (const std::system_error&) {
        // Without a thread for it, the process ends when its main thread does.
    }
}

void Watch::call_end_waits() {
    const std::lock_guard lock(callback_mutex_);
    if (!end_waits_due_ || !end_waits_) return;
    end_waits_due_ = false;
    end_waits_();
}

void Watch::end_in_time() {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, in_seconds(meeting_.grace), [this] { return ended_; })) return;
    if (failure_->prints) std::fprintf(stderr, "train_relora: %s\n", failure_->news.message.c_str());
    std::fflush(stderr);
    _exit(failure_->news.exit_code);
}

}  // namespace ranks
