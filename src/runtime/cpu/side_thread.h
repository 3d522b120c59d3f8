// The thread for what goes on beside the main work on a CPU.
#pragma once

#include <omp.h>

#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/backend.h"

namespace device::cpu {

class SideThread : public SideWork {
  public:
    SideThread() : thread_([this] { work(); }) {}
    ~SideThread() override {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }

    void run(const std::function<void()>& work) override {
        {
            const std::lock_guard lock(mutex_);
            queue_.push_back(&work);
        }
        changed_.notify_all();
    }
    void join() override {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return done_ == queue_.size(); });
        queue_.clear();
        done_ = 0;
        if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    }

  private:
    void work() {
        omp_set_num_threads(1);
        std::unique_lock lock(mutex_);
        for (;;) {
            changed_.wait(lock, [&] { return stop_ || done_ < queue_.size(); });
            if (stop_) return;
            const std::function<void()>& next = *queue_[done_];
            std::exception_ptr error = error_;
            lock.unlock();
            // After an error all that follows is left undone.
            if (!error) try {
                    next();
                } catch (...) {
                    error = std::current_exception();
                }
            lock.lock();
            error_ = error;
            done_++;
            changed_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<const std::function<void()>*> queue_;  // since the last join
    size_t done_ = 0;                                  // of them
    bool stop_ = false;
    std::exception_ptr error_;
    std::thread thread_;
};

}  // namespace device::cpu
