// Finds a library of CUDA's on a machine that may have a driver and PyTorch, but no toolkit in the usual place.
#pragma once

#include <string>

// A library that was opened, or why it could not be.
struct CudaLibrary {
    void* handle = nullptr;  // from dlopen; it stays open
    std::string problem;     // without a handle: what the loader said, and every folder that was looked in

    // The library's function of this name, or null where there is none.
    template <class Function>
    Function find(const char* name) const {
        return reinterpret_cast<Function>(symbol(name));
    }

  private:
    void* symbol(const char* name) const;
};

// What a library is called, and where NVIDIA's packages for Python put it.
struct CudaLibraryName {
    std::string file;    // "libnccl.so.2": the number is that of the library's own interface
    std::string folder;  // "nccl": under nvidia/ in the packages
    int cuda_major;      // of the toolkits to look into
};
// cuBLAS and the other libraries of a toolkit of CUDA: `name` is as in lib`name`.so, `package` is the name of its
// folder in the packages for CUDA 12. Since CUDA 13 they share a folder.
CudaLibraryName toolkit_library(const std::string& name, const std::string& package, int cuda_major);

// Opens a library from where the loader looks by itself, else from a toolkit, else from the packages of a Python.
CudaLibrary open_cuda_library(const CudaLibraryName& name);
