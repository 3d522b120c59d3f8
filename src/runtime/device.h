// What the program needs of a device besides arithmetic: whether there is one, its memory, copies, and waiting. Nothing
// above this line knows how a GPU is driven. Needs no CUDA header; in a binary without CUDA only the CPU's part is
// there.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/tensor.h"

namespace device {

// Why no GPU can be used, or "" if one can: a binary without CUDA, no driver, no GPU, or one that is too old.
std::string cuda_problem();
// The CPU's name, or the GPU's name, architecture and memory.
std::string description(Device device);

// Zero-filled; null where there is not that much.
void* allocate(Device device, size_t bytes);
void release(Device device, void* block, size_t bytes);
// Host memory, zero-filled, null where there is not that much; for a GPU page-locked: copies in the background and
// kernels use it under the same address.
void* allocate_host(Device device, size_t bytes);
void release_host(Device device, void* block);
// Bytes that can still be had.
size_t bytes_available(Device device);
// Bytes in use: by this process on the CPU, by all processes on the GPU.
size_t bytes_in_use(Device device);

// All elements of a contiguous tensor, from and to host memory. Done when these return.
void upload(const Tensor& to, const void* from);
void download(void* to, const Tensor& from);
// Between tensors of one type, shape and device, contiguous. Done when this returns.
void copy(const Tensor& to, const Tensor& from);
// Until everything that was launched is done.
void wait(Device device);

// Host data on their way to a device, off the critical path: they are copied beside the work that is under way, and
// only the work that is launched afterwards waits for them.
class Upload {
  public:
    Upload() = default;
    ~Upload() { release(); }
    Upload(const Upload&) = delete;
    Upload& operator=(const Upload&) = delete;
    void prepare(Device device, size_t bytes);
    void release();
    // Memory to fill before the next send().
    void* host();
    // Brings what was filled in to a contiguous tensor.
    void send(const Tensor& to);

  private:
    struct Slot {
        void *host = nullptr, *staged = nullptr;        // page-locked; on the device
        void *uploaded = nullptr, *consumed = nullptr;  // events
    };
    Device device_ = Device::cpu;
    size_t bytes_ = 0;
    std::array<Slot, 2> slots_;
    size_t next_ = 0;
};

// Numbers on their way back, which the host asks for later.
class Download {
  public:
    Download() = default;
    ~Download() { release(); }
    Download(const Download&) = delete;
    Download& operator=(const Download&) = delete;
    void prepare(Device device, size_t bytes);
    void release();
    // Copies a contiguous tensor once the work launched so far is done. Returns the copy's number, from 0 on.
    int64_t start(const Tensor& from);
    // One of the last two; waits for it.
    const void* get(int64_t number);

  private:
    struct Slot {
        void *host = nullptr, *done = nullptr;
    };
    Device device_ = Device::cpu;
    size_t bytes_ = 0;
    std::array<Slot, 2> slots_;
    int64_t started_ = 0;
};

// How long the device took from begin() to end(), asked for later: begin() and end() themselves don't wait.
class Stopwatch {
  public:
    Stopwatch() = default;
    ~Stopwatch() { release(); }
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;
    void prepare(Device device);
    void release();
    void begin();
    void end();
    // Of the interval of that number, from 0 on, one of the last two; waits for its end.
    double seconds(int64_t number) const;

  private:
    struct Slot {
        double begin = 0, end = 0;                // on the CPU
        void *began = nullptr, *ended = nullptr;  // events
    };
    Device device_ = Device::cpu;
    std::array<Slot, 2> slots_;
    int64_t ended_ = 0;
};

// Launches that are repeated with the same arguments. On a GPU the first run is direct, since libraries choose their
// algorithms in it, the second is captured into a CUDA graph, and from then on the graph is launched: one call instead
// of hundreds. On the CPU every run is direct.
class Graph {
  public:
    Graph() = default;
    ~Graph() { forget(); }
    Graph(Graph&& other) noexcept;
    Graph& operator=(const Graph&) = delete;
    void run(Device device, const std::function<void()>& launches);
    // To be called before any argument changes.
    void forget();

  private:
    int runs_ = 0;
    void* executable_ = nullptr;
};

}  // namespace device
