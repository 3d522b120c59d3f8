// What goes on beside the work of a device: data on their way there and back, times that are asked for later, and
// launches that are repeated. On the CPU everything is done where it is called.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>

#include "runtime/tensor.h"

namespace device {

// What each half of the runtime implements (backend.h).
class UploadSlot;
class DownloadSlot;
class Interval;
class Replay;
class SideWork;

// How many uploads, downloads and intervals are under way at once.
inline constexpr size_t kSlots = 2;

// Host data on their way to a device, off the critical path: they are copied beside the work that is under way, and
// only the work that is launched afterwards waits for them.
class Upload {
  public:
    Upload();
    ~Upload();
    Upload(const Upload&) = delete;
    Upload& operator=(const Upload&) = delete;
    // Gets memory for uploads of up to so many bytes.
    void prepare(Device device, size_t bytes);
    void release();
    // Memory to fill before the next send().
    void* host();
    // Brings what was filled in to a contiguous tensor.
    void send(const Tensor& to);

  private:
    Device device_ = Device::cpu;
    size_t bytes_ = 0;
    std::array<std::unique_ptr<UploadSlot>, kSlots> slots_;
    size_t next_ = 0;
};

// Numbers on their way back, which the host asks for later.
class Download {
  public:
    Download();
    ~Download();
    Download(const Download&) = delete;
    Download& operator=(const Download&) = delete;
    void prepare(Device device, size_t bytes);
    void release();
    // Copies a contiguous tensor once the work launched so far is done. Returns the copy's number, from 0 on.
    int64_t start(const Tensor& from);
    // The numbers of one of the last two copies; waits for it.
    const void* get(int64_t number);

  private:
    Device device_ = Device::cpu;
    size_t bytes_ = 0;
    std::array<std::unique_ptr<DownloadSlot>, kSlots> slots_;
    int64_t started_ = 0;
};

// How long the device took from begin() to end(), asked for later: begin() and end() themselves don't wait.
class Stopwatch {
  public:
    Stopwatch();
    ~Stopwatch();
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;
    void prepare(Device device);
    void release();
    void begin();
    void end();
    // How long an interval took, one of the last two, counted from 0 on; waits for its end.
    double seconds(int64_t number) const;

  private:
    std::array<std::unique_ptr<Interval>, kSlots> slots_;
    int64_t ended_ = 0;
};

// Work beside the main one, in order: on a GPU on a stream of its own, on the CPU by a thread, which takes one core.
class Side {
  public:
    Side();
    ~Side();
    Side(const Side&) = delete;
    Side& operator=(const Side&) = delete;
    void prepare(Device device);
    // Launches `work` behind all that has been launched so far, and beside all that will be until join(). It has to
    // exist until then.
    void run(const std::function<void()>& work);
    // Makes what is launched from now on wait for all that was run. Throws what the work has thrown.
    void join();

  private:
    std::unique_ptr<SideWork> work_;
};

// Launches that are repeated with the same arguments. On a GPU the first run is direct, since libraries choose their
// algorithms in it, the second is captured into a CUDA graph, and from then on the graph is launched: one call instead
// of hundreds. On the CPU, and in a debug build, every run is direct.
class Graph {
  public:
    Graph();
    ~Graph();
    Graph(Graph&& other) noexcept;
    Graph& operator=(const Graph&) = delete;
    // Launches, in whichever of these ways.
    void run(Device device, const std::function<void()>& launches);
    // Forgets the launches; to be called before any of their arguments changes.
    void forget();

  private:
    std::unique_ptr<Replay> replay_;
};

}  // namespace device
