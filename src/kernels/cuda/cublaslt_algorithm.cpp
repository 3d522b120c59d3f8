// The choice of a product's algorithm. A shape keeps the algorithm of its first use, and an algorithm gives the same
// bits every time. cuBLASLt's own choice is the same on every run; one chosen by time (set_autotune) is where it was
// kept.
#include <array>
#include <limits>
#include <utility>

#include "kernels/cuda/cublaslt_product.h"
#include "runtime/cuda/gpu.h"

namespace kernels::cuda {
namespace {

constexpr int kMaxCandidates = 8;  // autotuning times as many
constexpr int kTimedRuns = 5;      // each so often

bool autotune = false;
AlgorithmMemory memory;

// cuBLASLt's suggestions, best first.
struct Candidates {
    std::array<cublasLtMatmulHeuristicResult_t, kMaxCandidates> results;
    int count = 0;
    const cublasLtMatmulAlgo_t& operator[](int i) const { return results[size_t(i)].algo; }
};

cublasStatus_t suggest(Candidates& candidates, const Compiled& compiled, const Shape& shape, const Matmul& m,
                       int wanted) {
    // A sum over K may be cut into parts only if those are kept in fp32 and added up afterwards. The schemes
    // ruled out round the parts to the type of the result; INPLACE, which adds them up in c as they come, does so even
    // in c itself.
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    LtPreference preference;
    CUBLAS_CHECK(create(preference, cublasLtMatmulPreferenceCreate), m);
    CUBLAS_CHECK(set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(kMatmulWorkspaceBytes)), m);
    CUBLAS_CHECK(set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions), m);
    // Alignments of the addresses; the layouts tell it the leading dimensions.
    CUBLAS_CHECK(set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, shape.b_alignment), m);
    CUBLAS_CHECK(set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, shape.a_alignment), m);
    CUBLAS_CHECK(set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, shape.c_alignment), m);
    CUBLAS_CHECK(set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, shape.c_alignment), m);
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        cublaslt_handle(), compiled.operation.get(), compiled.b.get(), compiled.a.get(), compiled.c.get(),
        compiled.c.get(), preference.get(), wanted, candidates.results.data(), &found);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    for (int i = 0; i < found; i++)
        if (candidates.results[size_t(i)].state == CUBLAS_STATUS_SUCCESS)
            candidates.results[size_t(candidates.count++)] = candidates.results[size_t(i)];
    return candidates.count > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

struct DeviceMemory {
    void* data = nullptr;
    ~DeviceMemory() { cudaFree(data); }
};

// The fastest candidate on the real operands; the first where memory is short. Timed runs write to c, which the real
// one is about to overwrite; only where it adds to c, they write to zeroed memory of the same layout instead.
int fastest(const Candidates& candidates, const Compiled& compiled, const Shape& shape, const Matmul& m) {
    DeviceMemory scratch;
    if (m.accumulate) {
        const int64_t span = (shape.batch - 1) * shape.c_distance + (shape.M - 1) * shape.c_ld + shape.N;
        const size_t bytes = size_t(span) * dtype_size(m.c.dtype);
        if (cudaMalloc(&scratch.data, bytes) != cudaSuccess) {
            cudaGetLastError();  // forgets the failure
            return 0;
        }
        CUDA_CHECK(cudaMemsetAsync(scratch.data, 0, bytes, gpu::stream()));
    }
    void* const result = m.accumulate ? scratch.data : m.c.data;
    gpu::Event begin, end;
    int best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (int i = 0; i < candidates.count; i++) {
        if (run_cublasLtMatmul(compiled, candidates[i], m, result) != CUBLAS_STATUS_SUCCESS) continue;  // and warms up
        begin.record(gpu::stream());
        for (int run = 0; run < kTimedRuns; run++)
            CUBLAS_CHECK(run_cublasLtMatmul(compiled, candidates[i], m, result), m);
        end.record(gpu::stream());
        if (const double seconds = gpu::seconds_between(begin, end); seconds < least) {
            least = seconds;
            best = i;
        }
    }
    return best;
}

// An algorithm as text: the words that cuBLASLt describes it by, which hold for its version.
std::string name_of(const cublasLtMatmulAlgo_t& algorithm) {
    std::string name;
    for (const uint64_t word : algorithm.data) name += str(name.empty() ? "" : " ", word);
    return name;
}
// The number of a candidate by its name, or -1.
int number_of(const std::string& name, const Candidates& candidates) {
    for (int i = 0; i < candidates.count; i++)
        if (name_of(candidates[i]) == name) return i;
    return -1;
}
// All that the candidates depend on but for the GPU.
std::string name_of(const Shape& s) {
    return str("cuBLASLt ", cublasLtGetVersion(), "; ", s.M, " ", s.N, " ", s.K, "; ld ", s.a_ld, " ", s.b_ld, " ",
               s.c_ld, " ", s.aux_ld, "; batch ", s.batch, " ", s.a_distance, " ", s.b_distance, " ", s.c_distance,
               "; aligned ", s.a_alignment, " ", s.b_alignment, " ", s.c_alignment, " ", s.bias_alignment, " ",
               s.aux_alignment, "; types ", int(s.type), " ", int(s.result_type), "; epilogue ", int(s.epilogue), "; ",
               s.transpose_a ? "t" : "n", s.transpose_b ? "t" : "n", s.adds ? " added" : "");
}

// The number of the candidate to use: the first where there is no choice, or no timing, which is while the stream is
// being captured, when nothing runs.
int choose(const Candidates& candidates, const Compiled& compiled, const Shape& shape, const Matmul& m) {
    cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    CUDA_CHECK(cudaStreamIsCapturing(gpu::stream(), &capture));
    if (candidates.count == 1 || capture != cudaStreamCaptureStatusNone) return 0;
    const std::string product = memory.recall || memory.keep ? name_of(shape) : "";
    const int recalled = memory.recall ? number_of(memory.recall(product), candidates) : -1;
    const int own = recalled >= 0 ? recalled : fastest(candidates, compiled, shape, m);
    const int chosen = memory.agree ? memory.agree(own) : own;
    if (memory.keep && chosen != recalled) memory.keep(product, name_of(candidates[chosen]));
    return chosen;
}

}  // namespace

cublasStatus_t choose_algorithm(Compiled& compiled, const Shape& shape, const Matmul& m) {
    Candidates candidates;
    const cublasStatus_t status = suggest(candidates, compiled, shape, m, autotune ? kMaxCandidates : 1);
    if (status == CUBLAS_STATUS_SUCCESS) compiled.algorithm = candidates[choose(candidates, compiled, shape, m)];
    return status;
}

void set_autotune(bool on, AlgorithmMemory of_caller) {
    // Choices that other ranks have not made are made anew.
    if (on && of_caller.agree) forget_products();
    autotune = on;
    memory = std::move(of_caller);
}

}  // namespace kernels::cuda
