// A GPU as a device. A tensor of the GPU may lie in page-locked host memory: CUDA knows by the address.
#include "runtime/backend.h"

#include <cstring>

#include "runtime/cuda/gpu.h"
#include "runtime/cuda/transfers.h"

namespace device {
namespace {

// The compute capability (major number) from which on GPUs have bf16 and asynchronous copies.
constexpr int kOldestCapability = 8;

class CudaBackend : public Backend {
  public:
    std::string description() override {
        cudaDeviceProp properties;
        CUDA_CHECK(cudaGetDeviceProperties(&properties, gpu::current_device()));
        return str(properties.name, " (sm_", properties.major, properties.minor, ", ", properties.totalGlobalMem >> 30,
                   " GiB)");
    }

    void* allocate(size_t bytes) override {
        void* block = nullptr;
        if (cudaMalloc(&block, bytes) != cudaSuccess) {
            cudaGetLastError();  // forgets the failure
            return nullptr;
        }
        CUDA_CHECK(cudaMemsetAsync(block, 0, bytes, gpu::stream()));
        return block;
    }
    void release(void* block, size_t) override { cudaFree(block); }  // waits for the work that uses it
    void* allocate_host(size_t bytes) override {
        void* block = nullptr;
        if (cudaMallocHost(&block, bytes) != cudaSuccess) {
            cudaGetLastError();  // forgets the failure
            return nullptr;
        }
        std::memset(block, 0, bytes);
        return block;
    }
    void release_host(void* block) override { cudaFreeHost(block); }

    size_t bytes_available() override { return memory().free; }
    size_t bytes_in_use() override {
        const Memory m = memory();
        return m.total - m.free;
    }

    void copy(void* to, const void* from, size_t bytes) override {
        CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, gpu::stream()));
        wait();
    }
    void wait() override { CUDA_CHECK(cudaStreamSynchronize(gpu::stream())); }

    std::unique_ptr<UploadSlot> upload_slot(size_t bytes) override {
        return std::make_unique<cuda::Upload>(*this, bytes);
    }
    std::unique_ptr<DownloadSlot> download_slot(size_t bytes) override {
        return std::make_unique<cuda::Download>(*this, bytes);
    }
    std::unique_ptr<Interval> interval() override { return std::make_unique<cuda::EventInterval>(); }
    std::unique_ptr<Replay> replay() override { return std::make_unique<cuda::GraphReplay>(); }
    std::unique_ptr<SideWork> side() override { return std::make_unique<cuda::SideStream>(); }
    int count() override {
        int count = 0;
        CUDA_CHECK(cudaGetDeviceCount(&count));
        return count;
    }
    void use(int number) override { CUDA_CHECK(cudaSetDevice(number)); }

  private:
    struct Memory {
        size_t free = 0, total = 0;
    };
    static Memory memory() {
        Memory m;
        CUDA_CHECK(cudaMemGetInfo(&m.free, &m.total));
        return m;
    }
};

}  // namespace

Backend& cuda_backend() {
    static CudaBackend backend;
    return backend;
}

std::string cuda_backend_problem() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess || count == 0) {
        cudaGetLastError();  // forgets the failure
        return str("there is no usable GPU (CUDA reports: ",
                   status == cudaSuccess ? "no device" : cudaGetErrorString(status), ")");
    }
    int major = 0, minor = 0;
    CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, gpu::current_device()));
    CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, gpu::current_device()));
    if (major < kOldestCapability)
        return str("the GPU is of architecture sm_", major, minor, ", and sm_80 is the oldest that can be used");
    return "";
}

}  // namespace device
