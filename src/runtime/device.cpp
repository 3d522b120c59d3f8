#include "runtime/device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "runtime/clock.h"

#if RELORA_CUDA
#include "runtime/gpu.h"
#endif

namespace device {
namespace {

void check_contiguous(const Tensor& t) {
    CHECK(t.contiguous(), "a tensor with gaps between its rows was copied as a whole");
}

#if RELORA_CUDA
cudaEvent_t event(void* handle) { return static_cast<cudaEvent_t>(handle); }

void* create_event() {
    cudaEvent_t created;
    CUDA_CHECK(cudaEventCreateWithFlags(&created, cudaEventDisableTiming));
    return created;
}
#endif

}  // namespace

// ---- the device itself -------------------------------------------------------------------------------------------

std::string cuda_problem() {
#if RELORA_CUDA
    constexpr int kOldest = 8;  // compute capability, for bf16 and asynchronous copies
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess || count == 0) {
        cudaGetLastError();
        return str("there is no usable GPU (CUDA reports: ",
                   status == cudaSuccess ? "no device" : cudaGetErrorString(status), ")");
    }
    int major = 0, minor = 0;
    CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, gpu::current_device()));
    CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, gpu::current_device()));
    if (major < kOldest)
        return str("the GPU is of architecture sm_", major, minor, ", and sm_80 is the oldest that can be used");
    return "";
#else
    return "this binary was built without CUDA";
#endif
}

std::string description(Device device) {
#if RELORA_CUDA
    if (device == Device::cuda) {
        cudaDeviceProp properties;
        CUDA_CHECK(cudaGetDeviceProperties(&properties, gpu::current_device()));
        return str(properties.name, " (sm_", properties.major, properties.minor, ", ", properties.totalGlobalMem >> 30,
                   " GiB)");
    }
#endif
    CHECK(device == Device::cpu, cuda_problem());
    std::ifstream cpuinfo("/proc/cpuinfo");
    for (std::string line; std::getline(cpuinfo, line);)
        if (line.starts_with("model name") && line.find(": ") != std::string::npos)
            return line.substr(line.find(": ") + 2);
    return "CPU";
}

void* allocate(Device device, size_t bytes) {
#if RELORA_CUDA
    if (device == Device::cuda) {
        void* block = nullptr;
        if (cudaMalloc(&block, bytes) != cudaSuccess) {
            cudaGetLastError();  // forgets the failure
            return nullptr;
        }
        CUDA_CHECK(cudaMemsetAsync(block, 0, bytes, gpu::stream()));
        return block;
    }
#endif
    CHECK(device == Device::cpu, cuda_problem());
    void* block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return nullptr;
    madvise(block, bytes, MADV_HUGEPAGE);
    return block;
}

void release(Device device, void* block, size_t bytes) {
#if RELORA_CUDA
    if (device == Device::cuda) {
        cudaFree(block);  // waits for the work that uses it
        return;
    }
#endif
    (void)device;
    munmap(block, bytes);
}

void* allocate_host(Device device, size_t bytes) {
#if RELORA_CUDA
    if (device == Device::cuda) {
        void* block = nullptr;
        if (cudaMallocHost(&block, bytes) != cudaSuccess) {
            cudaGetLastError();  // forgets the failure
            return nullptr;
        }
        std::memset(block, 0, bytes);
        return block;
    }
#endif
    (void)device;
    return std::calloc(bytes, 1);
}

void release_host(Device device, void* block) {
#if RELORA_CUDA
    if (device == Device::cuda) {
        cudaFreeHost(block);
        return;
    }
#endif
    (void)device;
    std::free(block);
}

size_t bytes_available(Device device) {
#if RELORA_CUDA
    if (device == Device::cuda) {
        size_t free = 0, total = 0;
        CUDA_CHECK(cudaMemGetInfo(&free, &total));
        return free;
    }
#endif
    (void)device;
    std::ifstream meminfo("/proc/meminfo");
    for (std::string word; meminfo >> word;)
        if (word == "MemAvailable:") {
            size_t kib = 0;
            meminfo >> kib;
            return kib * 1024;
        }
    return SIZE_MAX;
}

size_t bytes_in_use(Device device) {
#if RELORA_CUDA
    if (device == Device::cuda) {
        size_t free = 0, total = 0;
        CUDA_CHECK(cudaMemGetInfo(&free, &total));
        return total - free;
    }
#endif
    (void)device;
    std::ifstream statm("/proc/self/statm");
    size_t total = 0, resident = 0;
    statm >> total >> resident;
    return resident * size_t(sysconf(_SC_PAGESIZE));
}

// ---- copies ------------------------------------------------------------------------------------------------------
// A tensor of the GPU may lie in page-locked host memory: CUDA knows by the address.

void upload(const Tensor& to, const void* from) {
    check_contiguous(to);
#if RELORA_CUDA
    if (to.device == Device::cuda) {
        CUDA_CHECK(cudaMemcpyAsync(to.data, from, to.bytes(), cudaMemcpyDefault, gpu::stream()));
        return wait(Device::cuda);
    }
#endif
    std::memcpy(to.data, from, to.bytes());
}

void download(void* to, const Tensor& from) {
    check_contiguous(from);
#if RELORA_CUDA
    if (from.device == Device::cuda) {
        CUDA_CHECK(cudaMemcpyAsync(to, from.data, from.bytes(), cudaMemcpyDefault, gpu::stream()));
        return wait(Device::cuda);
    }
#endif
    std::memcpy(to, from.data, from.bytes());
}

void copy(const Tensor& to, const Tensor& from) {
    CHECK(to.device == from.device && to.dtype == from.dtype && to.rows == from.rows && to.cols == from.cols,
          "a copy between unequal tensors");
    check_contiguous(to);
    download(to.data, from);
}

void wait(Device device) {
#if RELORA_CUDA
    if (device == Device::cuda) CUDA_CHECK(cudaStreamSynchronize(gpu::stream()));
#endif
    (void)device;
}

void Upload::prepare(Device device, size_t bytes) {
    release();
    device_ = device;
    bytes_ = bytes;
    for (Slot& slot : slots_) {
        slot.host = allocate_host(device, bytes);
        CHECK(slot.host, "can't allocate ", bytes, " bytes of host memory");
#if RELORA_CUDA
        if (device == Device::cuda) {
            CUDA_CHECK(cudaMalloc(&slot.staged, bytes));
            slot.uploaded = create_event();
            slot.consumed = create_event();
        }
#endif
    }
}

void Upload::release() {
    for (Slot& slot : slots_) {
        if (!slot.host) continue;
#if RELORA_CUDA
        if (device_ == Device::cuda) {
            cudaFree(slot.staged);
            cudaEventDestroy(event(slot.uploaded));
            cudaEventDestroy(event(slot.consumed));
        }
#endif
        release_host(device_, slot.host);
        slot = {};
    }
}

void* Upload::host() {
    Slot& slot = slots_[next_];
    CHECK(slot.host, "an upload was not prepared");
#if RELORA_CUDA
    if (device_ == Device::cuda) CUDA_CHECK(cudaEventSynchronize(event(slot.uploaded)));
#endif
    return slot.host;
}

void Upload::send(const Tensor& to) {
    check_contiguous(to);
    CHECK(to.bytes() <= bytes_ && to.device == device_, "an upload of ", to.bytes(), " bytes was prepared for ", bytes_,
          " or for another device");
    Slot& slot = slots_[next_];
    next_ = (next_ + 1) % slots_.size();
#if RELORA_CUDA
    if (device_ == Device::cuda) {
        CUDA_CHECK(cudaStreamWaitEvent(gpu::copy_stream(), event(slot.consumed), 0));
        CUDA_CHECK(cudaMemcpyAsync(slot.staged, slot.host, to.bytes(), cudaMemcpyHostToDevice, gpu::copy_stream()));
        CUDA_CHECK(cudaEventRecord(event(slot.uploaded), gpu::copy_stream()));
        CUDA_CHECK(cudaStreamWaitEvent(gpu::stream(), event(slot.uploaded), 0));
        // The tensor itself may still be read by the work under way: this copy waits its turn, and takes microseconds.
        CUDA_CHECK(cudaMemcpyAsync(to.data, slot.staged, to.bytes(), cudaMemcpyDeviceToDevice, gpu::stream()));
        CUDA_CHECK(cudaEventRecord(event(slot.consumed), gpu::stream()));
        return;
    }
#endif
    std::memcpy(to.data, slot.host, to.bytes());
}

void Download::prepare(Device device, size_t bytes) {
    release();
    device_ = device;
    bytes_ = bytes;
    for (Slot& slot : slots_) {
        slot.host = allocate_host(device, bytes);
        CHECK(slot.host, "can't allocate ", bytes, " bytes of host memory");
#if RELORA_CUDA
        if (device == Device::cuda) slot.done = create_event();
#endif
    }
}

void Download::release() {
    for (Slot& slot : slots_) {
        if (!slot.host) continue;
#if RELORA_CUDA
        if (device_ == Device::cuda) cudaEventDestroy(event(slot.done));
#endif
        release_host(device_, slot.host);
        slot = {};
    }
    started_ = 0;
}

int64_t Download::start(const Tensor& from) {
    check_contiguous(from);
    CHECK(from.bytes() <= bytes_ && from.device == device_, "a download of ", from.bytes(), " bytes was prepared for ",
          bytes_, " or from another device");
    Slot& slot = slots_[size_t(started_) % slots_.size()];
#if RELORA_CUDA
    if (device_ == Device::cuda) {
        CUDA_CHECK(cudaMemcpyAsync(slot.host, from.data, from.bytes(), cudaMemcpyDeviceToHost, gpu::stream()));
        CUDA_CHECK(cudaEventRecord(event(slot.done), gpu::stream()));
        return started_++;
    }
#endif
    std::memcpy(slot.host, from.data, from.bytes());
    return started_++;
}

const void* Download::get(int64_t number) {
    CHECK(number >= 0 && number < started_ && number + int64_t(slots_.size()) >= started_, "download ", number, " of ",
          started_, " was asked for; only the last ", slots_.size(), " are kept");
    Slot& slot = slots_[size_t(number) % slots_.size()];
#if RELORA_CUDA
    if (device_ == Device::cuda) CUDA_CHECK(cudaEventSynchronize(event(slot.done)));
#endif
    return slot.host;
}

// ---- time --------------------------------------------------------------------------------------------------------

void Stopwatch::prepare(Device device) {
    release();
    device_ = device;
#if RELORA_CUDA
    if (device == Device::cuda)
        for (Slot& slot : slots_)
            for (void** handle : {&slot.began, &slot.ended}) {
                cudaEvent_t created;
                CUDA_CHECK(cudaEventCreate(&created));
                *handle = created;
            }
#endif
}

void Stopwatch::release() {
#if RELORA_CUDA
    for (const Slot& slot : slots_)
        for (void* handle : {slot.began, slot.ended})
            if (handle) cudaEventDestroy(event(handle));
#endif
    slots_ = {};
    ended_ = 0;
}

void Stopwatch::begin() {
    Slot& slot = slots_[size_t(ended_) % slots_.size()];
#if RELORA_CUDA
    if (device_ == Device::cuda) CUDA_CHECK(cudaEventRecord(event(slot.began), gpu::stream()));
#endif
    slot.begin = seconds_now();
}

void Stopwatch::end() {
    Slot& slot = slots_[size_t(ended_++) % slots_.size()];
#if RELORA_CUDA
    if (device_ == Device::cuda) CUDA_CHECK(cudaEventRecord(event(slot.ended), gpu::stream()));
#endif
    slot.end = seconds_now();
}

double Stopwatch::seconds(int64_t number) const {
    CHECK(number >= 0 && number < ended_ && number + int64_t(slots_.size()) >= ended_, "interval ", number, " of ",
          ended_, " was asked for; only the last ", slots_.size(), " are kept");
    const Slot& slot = slots_[size_t(number) % slots_.size()];
#if RELORA_CUDA
    if (device_ == Device::cuda) {
        CUDA_CHECK(cudaEventSynchronize(event(slot.ended)));
        float ms = 0;
        CUDA_CHECK(cudaEventElapsedTime(&ms, event(slot.began), event(slot.ended)));
        return double(ms) * 1e-3;
    }
#endif
    return slot.end - slot.begin;
}

// ---- graphs ------------------------------------------------------------------------------------------------------

Graph::Graph(Graph&& other) noexcept : runs_(other.runs_), executable_(other.executable_) {
    other.runs_ = 0;
    other.executable_ = nullptr;
}

void Graph::run(Device device, const std::function<void()>& launches) {
#if RELORA_CUDA
    if (device == Device::cuda && runs_++ > 0) {
        if (!executable_) {
            cudaGraph_t graph = nullptr;
            cudaGraphExec_t executable = nullptr;
            CUDA_CHECK(cudaStreamBeginCapture(gpu::stream(), cudaStreamCaptureModeThreadLocal));
            try {
                launches();
            } catch (...) {
                cudaStreamEndCapture(gpu::stream(), &graph);
                throw;
            }
            CUDA_CHECK(cudaStreamEndCapture(gpu::stream(), &graph));
            CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
            CUDA_CHECK(cudaGraphDestroy(graph));
            executable_ = executable;
        }
        CUDA_CHECK(cudaGraphLaunch(static_cast<cudaGraphExec_t>(executable_), gpu::stream()));
        return;
    }
#endif
    (void)device;
    launches();
}

void Graph::forget() {
#if RELORA_CUDA
    if (executable_) {
        cudaStreamSynchronize(gpu::stream());
        cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(executable_));
    }
#endif
    executable_ = nullptr;
    runs_ = 0;
}

}  // namespace device
