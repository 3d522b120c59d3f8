// What the program needs of a device besides arithmetic: whether there is one, its memory, copies, and waiting. No code
// above this room knows how a GPU is driven. This needs no CUDA header; in a binary without CUDA only the CPU's half is
// there, and a function that is asked for the GPU throws.
#pragma once

#include <string>

#include "runtime/tensor.h"

namespace device {

// Why no GPU can be used, or "" if one can: a binary without CUDA, no driver, no GPU, or one that is too old.
std::string cuda_problem();
// How many devices there are of a kind that can be used, and which of them this process takes; the first unless said.
int count(Device device);
void use(Device device, int number);
// The CPU's name, or the GPU's name, architecture and memory.
std::string description(Device device);

// Device memory, zero-filled; null where there is not that much.
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

// These copy all elements of a contiguous tensor, from host memory and to it, and are done when they return.
void upload(const Tensor& to, const void* from);
void download(void* to, const Tensor& from);
// Copies between contiguous tensors of one type, shape and device. Done when this returns.
void copy(const Tensor& to, const Tensor& from);
// Returns once everything that was launched is done.
void wait(Device device);

}  // namespace device
