#include "runtime/device.h"

#include "runtime/backend.h"
#include "runtime/build.h"

namespace device {

Backend& backend(Device device) {
    if constexpr (kBuiltWithCuda)
        if (device == Device::cuda) return cuda_backend();
    CHECK(device == Device::cpu, cuda_problem());
    return cpu_backend();
}

void check_contiguous(const Tensor& t) {
    CHECK(t.contiguous(), "a tensor with gaps between its rows was copied as a whole");
}

HostBlock::HostBlock(Backend& backend, size_t bytes) : backend_(backend), memory_(backend.allocate_host(bytes)) {
    if (!memory_) OUT_OF_MEMORY("can't allocate ", bytes, " bytes of host memory");
}
HostBlock::~HostBlock() { backend_.release_host(memory_); }

std::string cuda_problem() {
    if constexpr (kBuiltWithCuda)
        return cuda_backend_problem();
    else
        return "this binary was built without CUDA";
}

int count(Device device) { return backend(device).count(); }
void use(Device device, int number) { backend(device).use(number); }
std::string description(Device device) { return backend(device).description(); }

void* allocate(Device device, size_t bytes) { return backend(device).allocate(bytes); }
void release(Device device, void* block, size_t bytes) { backend(device).release(block, bytes); }
void* allocate_host(Device device, size_t bytes) { return backend(device).allocate_host(bytes); }
void release_host(Device device, void* block) { backend(device).release_host(block); }
size_t bytes_available(Device device) { return backend(device).bytes_available(); }
size_t bytes_in_use(Device device) { return backend(device).bytes_in_use(); }

void upload(const Tensor& to, const void* from) {
    check_contiguous(to);
    backend(to.device).copy(to.data, from, to.bytes());
}

void download(void* to, const Tensor& from) {
    check_contiguous(from);
    backend(from.device).copy(to, from.data, from.bytes());
}

void copy(const Tensor& to, const Tensor& from) {
    CHECK(to.device == from.device && to.dtype == from.dtype && to.rows == from.rows && to.cols == from.cols,
          "a copy between unequal tensors");
    check_contiguous(to);
    download(to.data, from);
}

void wait(Device device) { backend(device).wait(); }

}  // namespace device
