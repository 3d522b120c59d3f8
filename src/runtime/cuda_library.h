// Finds a library of CUDA's on a machine that may have a driver and PyTorch, but no toolkit in the usual place.
#pragma once

#include <string>

// A library that was opened, or why it could not be.
struct CudaLibrary {
    void* handle = nullptr;  // from dlopen; it stays open
    std::string problem;     // without a handle: what the loader said, and every folder that was looked in
};

// Opens lib`name`.so.`major` from where the loader looks by itself, else from a toolkit, else from the packages of a
// Python, where `package` is NVIDIA's name for its folder.
CudaLibrary open_cuda_library(const std::string& name, const std::string& package, int major);
