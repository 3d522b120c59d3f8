// cuBLASLt, loaded at its first use. Linked in, its half a gigabyte would cost every run 200 MB and 0.2 s, and the
// program could not start where it is missing; so a binary with the CUDA half runs on machines without CUDA, on the
// CPU.
#include <cublasLt.h>

#include "runtime/cuda_library.h"
#include "runtime/error.h"

namespace {

// The library of the headers' own major version, within which calls and constants stay the same.
const CudaLibrary& library() {
    static const CudaLibrary library = [] {
        CudaLibrary opened = open_cuda_library(toolkit_library("cublasLt", "cublas", CUBLAS_VER_MAJOR));
        if (!opened.handle)
            opened.problem +=
                str("; set CUDA_HOME to a toolkit of CUDA ", CUBLAS_VER_MAJOR, ", or install one, or pip install ",
                    CUBLAS_VER_MAJOR >= 13 ? str("'nvidia-cublas==", CUBLAS_VER_MAJOR, ".*'")
                                           : str("nvidia-cublas-cu", CUBLAS_VER_MAJOR));
        return opened;
    }();
    return library;
}

}  // namespace

#define FORWARD(name, parameters, arguments)                                  \
    cublasStatus_t CUBLASWINAPI name parameters {                             \
        static const auto function = library().find<decltype(&name)>(#name);  \
        return function ? function arguments : CUBLAS_STATUS_NOT_INITIALIZED; \
    }

extern "C" {

const char* CUBLASWINAPI cublasLtGetStatusName(cublasStatus_t status) {
    if (!library().handle) return library().problem.c_str();
    static const auto function = library().find<decltype(&cublasLtGetStatusName)>("cublasLtGetStatusName");
    return function ? function(status) : "a library without cublasLtGetStatusName";
}
size_t CUBLASWINAPI cublasLtGetVersion() {
    static const auto function = library().find<decltype(&cublasLtGetVersion)>("cublasLtGetVersion");
    return function ? function() : 0;
}
FORWARD(cublasLtCreate, (cublasLtHandle_t * handle), (handle))
FORWARD(cublasLtDestroy, (cublasLtHandle_t handle), (handle))
FORWARD(cublasLtMatmulDescCreate, (cublasLtMatmulDesc_t * operation, cublasComputeType_t compute, cudaDataType_t scale),
        (operation, compute, scale))
FORWARD(cublasLtMatmulDescDestroy, (cublasLtMatmulDesc_t operation), (operation))
FORWARD(cublasLtMatmulDescSetAttribute,
        (cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, const void* value, size_t size),
        (operation, attribute, value, size))
FORWARD(cublasLtMatrixLayoutCreate,
        (cublasLtMatrixLayout_t * layout, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld),
        (layout, type, rows, cols, ld))
FORWARD(cublasLtMatrixLayoutDestroy, (cublasLtMatrixLayout_t layout), (layout))
FORWARD(cublasLtMatrixLayoutSetAttribute,
        (cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute, const void* value, size_t size),
        (layout, attribute, value, size))
FORWARD(cublasLtMatmulPreferenceCreate, (cublasLtMatmulPreference_t * preference), (preference))
FORWARD(cublasLtMatmulPreferenceDestroy, (cublasLtMatmulPreference_t preference), (preference))
FORWARD(cublasLtMatmulPreferenceSetAttribute,
        (cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
         size_t size),
        (preference, attribute, value, size))
FORWARD(cublasLtMatmulAlgoGetHeuristic,
        (cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
         cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int wanted,
         cublasLtMatmulHeuristicResult_t* results, int* found),
        (handle, operation, a, b, c, d, preference, wanted, results, found))
FORWARD(cublasLtMatmul,
        (cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void* alpha, const void* a,
         cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout, const void* beta,
         const void* c, cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout,
         const cublasLtMatmulAlgo_t* algorithm, void* workspace, size_t workspace_bytes, cudaStream_t stream),
        (handle, operation, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, algorithm, workspace,
         workspace_bytes, stream))

}  // extern "C"
