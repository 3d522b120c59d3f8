// Transfers where the device is the CPU: a copy, or a look at the clock, done when the call returns.
#pragma once

#include <cstring>

#include "runtime/backend.h"
#include "runtime/clock.h"

namespace device::cpu {

class Upload : public UploadSlot {
  public:
    Upload(Backend& backend, size_t bytes) : memory_(backend, bytes) {}
    void* host() override { return memory_.get(); }
    void send(const Tensor& to) override { std::memcpy(to.data, memory_.get(), to.bytes()); }

  private:
    HostBlock memory_;
};

class Download : public DownloadSlot {
  public:
    Download(Backend& backend, size_t bytes) : memory_(backend, bytes) {}
    void start(const Tensor& from) override { std::memcpy(memory_.get(), from.data, from.bytes()); }
    const void* get() override { return memory_.get(); }

  private:
    HostBlock memory_;
};

class ClockInterval : public Interval {
  public:
    void begin() override { begin_ = seconds_now(); }
    void end() override { end_ = seconds_now(); }
    double seconds() const override { return end_ - begin_; }

  private:
    double begin_ = 0, end_ = 0;
};

class DirectRun : public Replay {
  public:
    void run(const std::function<void()>& launches) override { launches(); }
};

}  // namespace device::cpu
