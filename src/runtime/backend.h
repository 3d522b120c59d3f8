// What the runtime's half for the CPU (runtime/cpu) and its half for a GPU (runtime/cuda) implement. device.cpp and
// transfers.cpp check what they are given, and choose between the two.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "runtime/tensor.h"

namespace device {

// One of an Upload's slots: memory to fill, and its way to a tensor.
class UploadSlot {
  public:
    virtual ~UploadSlot() = default;
    // Waits until what was sent before has left the memory.
    virtual void* host() = 0;
    virtual void send(const Tensor& to) = 0;
};

// One of a Download's slots.
class DownloadSlot {
  public:
    virtual ~DownloadSlot() = default;
    virtual void start(const Tensor& from) = 0;
    // Waits for what was started.
    virtual const void* get() = 0;
};

// One of a Stopwatch's intervals.
class Interval {
  public:
    virtual ~Interval() = default;
    virtual void begin() = 0;
    virtual void end() = 0;
    // Waits for the end.
    virtual double seconds() const = 0;
};

// What a Graph does with its launches.
class Replay {
  public:
    virtual ~Replay() = default;
    virtual void run(const std::function<void()>& launches) = 0;
};

// What a Side does.
class SideWork {
  public:
    virtual ~SideWork() = default;
    virtual void run(const std::function<void()>& work) = 0;
    virtual void join() = 0;
};

// A device, as device.h and transfers.h describe what it does.
class Backend {
  public:
    virtual std::string description() = 0;
    virtual void* allocate(size_t bytes) = 0;
    virtual void release(void* block, size_t bytes) = 0;
    virtual void* allocate_host(size_t bytes) = 0;
    virtual void release_host(void* block) = 0;
    virtual size_t bytes_available() = 0;
    virtual size_t bytes_in_use() = 0;
    // Copies between this device's memory and the host's, either way; done when it returns.
    virtual void copy(void* to, const void* from, size_t bytes) = 0;
    virtual void wait() = 0;

    virtual std::unique_ptr<UploadSlot> upload_slot(size_t bytes) = 0;
    virtual std::unique_ptr<DownloadSlot> download_slot(size_t bytes) = 0;
    virtual std::unique_ptr<Interval> interval() = 0;
    virtual std::unique_ptr<Replay> replay() = 0;
    virtual std::unique_ptr<SideWork> side() = 0;
    // The number of usable devices; `use` takes one of them for this process.
    virtual int count() = 0;
    virtual void use(int number) = 0;

  protected:
    ~Backend() = default;  // the two live as long as the program
};

// The half for a device; throws where the binary has none.
Backend& backend(Device device);
// Only whole blocks of memory are copied: throws where there are gaps between a tensor's rows.
void check_contiguous(const Tensor& t);
// A block of a backend's host memory, zero-filled; throws OutOfMemory where there is not that much.
class HostBlock {
  public:
    HostBlock(Backend& backend, size_t bytes);
    ~HostBlock();
    HostBlock(const HostBlock&) = delete;
    HostBlock& operator=(const HostBlock&) = delete;
    void* get() const { return memory_; }

  private:
    Backend& backend_;
    void* memory_;
};

Backend& cpu_backend();
// cuda_backend and cuda_backend_problem exist only in a binary with CUDA.
Backend& cuda_backend();
// Why CUDA can't be used on this machine, or "".
std::string cuda_backend_problem();

}  // namespace device
