// The tests of the executor and of the runtime share these: a vector in device memory, and a launch that must succeed.
#pragma once

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "dev/cuda_on_cpu/executor/executor.h"

// Device memory with the contents of a vector.
template <class T>
struct DeviceVector {
    explicit DeviceVector(const std::vector<T>& values) : n(values.size()) {
        EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&data), n * sizeof(T)), cudaSuccess);
        EXPECT_EQ(cudaMemcpy(data, values.data(), n * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
        EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);  // now it is there for every stream
    }
    ~DeviceVector() { cudaFree(data); }
    DeviceVector(const DeviceVector&) = delete;
    std::vector<T> read() const {
        std::vector<T> values(n);
        EXPECT_EQ(cudaMemcpy(values.data(), data, n * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
        return values;
    }
    size_t n;
    T* data = nullptr;
};
template <class T = float>
std::vector<T> zeros(size_t n) {
    return std::vector<T>(n, T(0));
}

template <class... Params, class... Args>
void run(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, Args&&... args) {
    launch(kernel, grid, block, shared_bytes, nullptr, std::forward<Args>(args)...);
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}
