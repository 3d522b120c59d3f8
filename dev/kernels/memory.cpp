// Operands of kernel cases, on either device, each behind a guard.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "dev/kernels/registry.h"
#include "runtime/cuda/gpu.h"

namespace registry {
namespace {
constexpr size_t kGuardBytes = 256;
constexpr char kGuard = 0x5A;
}  // namespace

CheckedMemory::~CheckedMemory() {
    for (const Operand& o : operands_)
        if (device() == Device::cpu)
            std::free(o.block);
        else
            cudaFree(o.block);
}

Tensor CheckedMemory::place(int64_t rows, int64_t cols, DType type, const std::vector<float>& values, bool compared) {
    const bool shifted =
        placement_ == Placement::misaligned || (placement_ == Placement::mixed && operands_.size() % 2 == 1);
    const size_t n = size_t(rows * cols), size = dtype_size(type),
                 first = kGuardBytes + (compared && shifted ? size : 0);
    // The guard lies before the operand. The allocation ends exactly where the operand does, so that AddressSanitizer
    // sees an overrun even of one byte.
    std::vector<char> bytes(first + n * size, kGuard);
    for (size_t i = 0; i < n; i++) {
        char* to = bytes.data() + first + i * size;
        const float value = values.empty() ? NAN : values[i];
        const bf16 rounded(value);
        const int32_t id = int32_t(std::isnan(value) ? -1 : value);
        std::memcpy(to,
                    type == DType::f32    ? static_cast<const void*>(&value)
                    : type == DType::bf16 ? static_cast<const void*>(&rounded)
                                          : &id,
                    size);
    }
    void* block = nullptr;
    if (device() == Device::cpu) {
        block = std::malloc(bytes.size());
        std::memcpy(block, bytes.data(), bytes.size());
    } else {
        CUDA_CHECK(cudaMalloc(&block, bytes.size()));
        // The copy goes to the ops' stream: cudaMemcpy may return before pageable memory has arrived, and no other
        // stream waits for it.
        CUDA_CHECK(cudaMemcpyAsync(block, bytes.data(), bytes.size(), cudaMemcpyHostToDevice, gpu::stream()));
    }
    Tensor tensor = make_tensor(static_cast<char*>(block) + first, type, rows, cols, device());
    operands_.push_back({tensor, static_cast<char*>(block), std::move(bytes), compared});
    return tensor;
}

Tensor CheckedMemory::random(int64_t rows, int64_t cols, DType type, double deviation, double mean) {
    std::mt19937 generator(++seed_);
    std::normal_distribution<float> normal{float(mean), float(deviation)};
    std::vector<float> values(size_t(rows * cols));
    for (float& v : values) v = normal(generator);
    return place(rows, cols, type, values, true);
}
Tensor CheckedMemory::output(int64_t rows, int64_t cols, DType type) { return place(rows, cols, type, {}, true); }
Tensor CheckedMemory::zeros(int64_t rows, int64_t cols, DType type) {
    return place(rows, cols, type, std::vector<float>(size_t(rows * cols)), true);
}
Tensor CheckedMemory::ids(int64_t count, int64_t limit) {
    std::mt19937 generator(++seed_);
    std::vector<float> values(static_cast<size_t>(count));
    for (float& v : values)
        v = float(generator() % 3 == 0 ? generator() % std::min<int64_t>(limit, 3) : generator() % limit);
    return place(1, count, DType::i32, values, true);
}
Tensor CheckedMemory::values(int64_t rows, int64_t cols, DType type, const std::vector<float>& values) {
    return place(rows, cols, type, values, true);
}
Tensor CheckedMemory::scratch(int64_t rows, int64_t cols, DType type) { return place(rows, cols, type, {}, false); }

std::vector<std::vector<double>> CheckedMemory::contents() {
    std::vector<std::vector<double>> all;
    if (device() == Device::cuda) CUDA_CHECK(cudaStreamSynchronize(gpu::stream()));
    for (const Operand& o : operands_) {
        std::vector<char> now(o.initial.size());
        if (device() == Device::cpu)
            std::memcpy(now.data(), o.block, now.size());
        else
            CUDA_CHECK(cudaMemcpy(now.data(), o.block, now.size(), cudaMemcpyDeviceToHost));
        const size_t first = size_t(static_cast<char*>(o.tensor.data) - o.block);
        EXPECT_EQ(std::memcmp(now.data(), o.initial.data(), first), 0)
            << "written before operand " << &o - operands_.data();
        if (!o.compared) continue;
        std::vector<double> values(size_t(o.tensor.size()));
        for (size_t i = 0; i < values.size(); i++) {
            const char* from = now.data() + first + i * dtype_size(o.tensor.dtype);
            float f32;
            bf16 half;
            int32_t i32;
            if (o.tensor.dtype == DType::f32) std::memcpy(&f32, from, 4), values[i] = double(f32);
            if (o.tensor.dtype == DType::bf16) std::memcpy(&half, from, 2), values[i] = double(float(half));
            if (o.tensor.dtype == DType::i32) std::memcpy(&i32, from, 4), values[i] = i32;
        }
        all.push_back(std::move(values));
    }
    return all;
}

}  // namespace registry
