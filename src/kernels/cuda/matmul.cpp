// Matrix products on cuBLASLt. Its matrices are column-major, so a row-major c = op(a) op(b) is asked for as
// c^T = op(b)^T op(a)^T: the same memory with the operands swapped. Descriptors and algorithm are kept per shape.
//
// Every sum is accumulated in fp32, and fp32 operands are multiplied as such, never as TF32: CUBLAS_COMPUTE_32F.
// A shape keeps the algorithm of its first use, and an algorithm gives the same bits every time. cuBLASLt's own choice
// is the same on every run; one chosen by time (set_autotune) is where it was kept.
#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <unordered_map>

#include "kernels/cuda/cublaslt_objects.h"
#include "kernels/cuda/cuda.h"
#include "kernels/gelu_after_product.h"
#include "runtime/cuda/gpu.h"

#define CUBLAS_CHECK(call, product)                                                                               \
    do {                                                                                                          \
        const cublasStatus_t cublas_status = (call);                                                              \
        if (cublas_status != CUBLAS_STATUS_SUCCESS)                                                               \
            FAIL(#call, ": cuBLASLt reports ", cublasLtGetStatusName(cublas_status), " for ", describe(product)); \
    } while (0)

namespace kernels::cuda {
namespace {

constexpr int kMaxCandidates = 8;  // autotuning times as many
constexpr int kTimedRuns = 5;      // each so often

bool autotune = false;
AlgorithmMemory memory;

// ---- what an algorithm is chosen for -----------------------------------------------------------------------------

// Leading dimensions and alignments are those of the operands. Neither alpha nor beta has a say in cuBLASLt's choice,
// but a product that reads c or a residual as well has its own timings.
struct Shape {
    int64_t M, N, K;
    int64_t a_ld, b_ld, c_ld, aux_ld;
    int64_t batch, a_distance, b_distance, c_distance;
    uint32_t a_alignment, b_alignment, c_alignment, bias_alignment, aux_alignment;
    cudaDataType_t type, result_type;
    cublasLtEpilogue_t epilogue;
    bool transpose_a, transpose_b, adds;
    bool operator==(const Shape&) const = default;
};

struct ShapeHash {
    size_t operator()(const Shape& s) const {
        size_t hash = 0;
        for (const int64_t value :
             {s.M, s.N, s.K, s.a_ld, s.b_ld, s.c_ld, s.aux_ld, s.batch, s.a_distance, s.b_distance, s.c_distance,
              int64_t(s.aux_alignment), int64_t(s.a_alignment) << 32 | s.b_alignment,
              int64_t(s.c_alignment) << 32 | s.bias_alignment, int64_t(s.type) << 32 | s.result_type,
              int64_t(s.epilogue) << 3 | s.transpose_a << 2 | s.transpose_b << 1 | int64_t(s.adds)}) {
            hash = (hash ^ size_t(value)) * 0x9E3779B97F4A7C15u;
            hash ^= hash >> 29;
        }
        return hash;
    }
};

cudaDataType_t cuda_type(DType type) { return type == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

// The largest power of two that divides the address, up to the 256 that cuBLASLt assumes when it isn't told.
uint32_t alignment(const void* p) {
    const auto address = reinterpret_cast<uintptr_t>(p);
    return uint32_t(std::min<uintptr_t>(256, address & -address));
}
// The alignment of every operand of a batch, `distance` elements apart: what divides the first address and the
// distance.
uint32_t alignment(const Tensor& t, int64_t distance) {
    return alignment(
        reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(t.data) | uintptr_t(distance) * dtype_size(t.dtype)));
}

// A matrix of one row may have any leading dimension; cuBLASLt wants one that is not below its columns.
int64_t leading_dimension(const Tensor& t) { return t.rows == 1 ? t.cols : t.ld; }

cublasLtEpilogue_t epilogue_of(const Matmul& m) {
    if (m.epilogue == Epilogue::gelu_backward)
        return m.column_sums.empty() ? CUBLASLT_EPILOGUE_DGELU : CUBLASLT_EPILOGUE_DGELU_BGRAD;
    if (m.epilogue == Epilogue::gelu)
        return m.bias.empty() ? CUBLASLT_EPILOGUE_GELU_AUX : CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
    return m.bias.empty() ? CUBLASLT_EPILOGUE_DEFAULT : CUBLASLT_EPILOGUE_BIAS;
}

Shape shape_of(const Matmul& m) {
    return {.M = m.c.rows,
            .N = m.c.cols,
            .K = m.transpose_a ? m.a.rows : m.a.cols,
            .a_ld = leading_dimension(m.a),
            .b_ld = leading_dimension(m.b),
            .c_ld = leading_dimension(m.c),
            .aux_ld = leading_dimension(m.aux),
            .batch = m.batch.count,
            .a_distance = m.batch.a,
            .b_distance = m.batch.b,
            .c_distance = m.batch.c,
            .a_alignment = alignment(m.a, m.batch.a),
            .b_alignment = alignment(m.b, m.batch.b),
            .c_alignment = std::min(alignment(m.c, m.batch.c), m.residual.empty() ? 256 : alignment(m.residual.data)),
            .bias_alignment = alignment(m.bias.data),  // column sums always have the workspace's
            .aux_alignment = alignment(m.aux.data),
            .type = cuda_type(m.a.dtype),
            .result_type = cuda_type(m.c.dtype),
            .epilogue = epilogue_of(m),
            .transpose_a = m.transpose_a,
            .transpose_b = m.transpose_b,
            .adds = m.accumulate || !m.residual.empty()};
}

std::string describe(const Matmul& m) {
    const Shape s = shape_of(m);
    return str(s.batch > 1 ? str("a batch of ", s.batch, " products (") : "a product (", s.M, ", ", s.K, ") x (", s.K,
               ", ", s.N, ") of ", dtype_name(m.a.dtype), m.transpose_a ? " a^T" : " a", " (ld ", s.a_ld,
               ", aligned to ", s.a_alignment, ")", m.transpose_b ? " b^T" : " b", " (ld ", s.b_ld, ", aligned to ",
               s.b_alignment, ") ", m.accumulate ? "added to " : "into ", dtype_name(m.c.dtype), " c (ld ", s.c_ld,
               ", aligned to ", s.c_alignment, ")", m.bias.empty() ? "" : " with bias",
               m.residual.empty() ? "" : " and residual", m.epilogue == Epilogue::none ? "" : " and GELU");
}

// ---- cuBLASLt's objects ------------------------------------------------------------------------------------------

// A product as cuBLASLt takes it, but for the operands.
struct Compiled {
    LtOperation operation;
    LtLayout a, b, c;
    cublasLtMatmulAlgo_t algorithm;
    // What the search for an algorithm came to; this one until there was a search.
    cublasStatus_t status = CUBLAS_STATUS_NOT_INITIALIZED;
};

// Created at the first product, when the CUDA runtime exists and cuBLASLt is loaded, and so destroyed ahead of both.
struct Library {
    LtHandle handle;
    std::unordered_map<Shape, Compiled, ShapeHash> products;
    Library() {
        gpu::stream();
        const cublasStatus_t status = create(handle, cublasLtCreate);
        CHECK(status == CUBLAS_STATUS_SUCCESS, "cuBLASLt can't be used: ", cublasLtGetStatusName(status));
    }
};
Library& library() {
    static Library library;
    return library;
}
cublasLtHandle_t handle() { return library().handle.get(); }

// A row-major matrix as cuBLASLt sees it: transposed. `distance`: elements to that of the next product of the batch.
void describe_matrix(LtLayout& layout, const Tensor& t, int64_t distance, const Matmul& m) {
    CUBLAS_CHECK(create(layout, cublasLtMatrixLayoutCreate, cuda_type(t.dtype), uint64_t(t.cols), uint64_t(t.rows),
                        leading_dimension(t)),
                 m);
    if (m.batch.count == 1) return;
    CUBLAS_CHECK(set(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, int32_t(m.batch.count)), m);
    CUBLAS_CHECK(set(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, distance), m);
}

// Where an epilogue reads the bias, or writes the column sums: cuBLASLt has them in the type of c, and never adds to
// what is there.
void* bias_pointer(const Matmul& m) {
    if (m.column_sums.empty()) return m.bias.data;
    return workspace(m.c.cols);
}

// The pointers that belong to the operation rather than to cublasLtMatmul's arguments, which differ from call to call.
void point_at_epilogue_operands(const Compiled& compiled, const Matmul& m) {
    if (void* bias = bias_pointer(m)) CUBLAS_CHECK(set(compiled.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias), m);
    if (!m.aux.empty()) CUBLAS_CHECK(set(compiled.operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, m.aux.data), m);
}

// Runs a product, with `result` in the place of c.
cublasStatus_t run_cublasLtMatmul(const Compiled& compiled, const cublasLtMatmulAlgo_t& algorithm, const Matmul& m,
                                  void* result) {
    const bool adds = m.accumulate || !m.residual.empty();
    const float alpha = m.alpha, beta = adds ? 1.0f : 0.0f;
    return cublasLtMatmul(handle(), compiled.operation.get(), &alpha, m.b.data, compiled.b.get(), m.a.data,
                          compiled.a.get(), &beta, m.residual.empty() ? result : m.residual.data, compiled.c.get(),
                          result, compiled.c.get(), &algorithm, matmul_workspace(), size_t(kMatmulWorkspaceBytes),
                          gpu::stream());
}

// ---- the choice of an algorithm ----------------------------------------------------------------------------------

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
        handle(), compiled.operation.get(), compiled.b.get(), compiled.a.get(), compiled.c.get(), compiled.c.get(),
        preference.get(), wanted, candidates.results.data(), &found);
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

cublasStatus_t prepare(Compiled& compiled, const Shape& shape, const Matmul& m) {
    CUBLAS_CHECK(create(compiled.operation, cublasLtMatmulDescCreate, CUBLAS_COMPUTE_32F, CUDA_R_32F), m);
    CUBLAS_CHECK(set(compiled.operation, CUBLASLT_MATMUL_DESC_TRANSA, m.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N), m);
    CUBLAS_CHECK(set(compiled.operation, CUBLASLT_MATMUL_DESC_TRANSB, m.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N), m);
    CUBLAS_CHECK(set(compiled.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, shape.epilogue), m);
    if (!m.bias.empty() || !m.column_sums.empty())
        CUBLAS_CHECK(set(compiled.operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, cuda_type(m.c.dtype)), m);
    // aux is of c's type, which is the default.
    if (!m.aux.empty()) CUBLAS_CHECK(set(compiled.operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, shape.aux_ld), m);
    point_at_epilogue_operands(compiled, m);  // their alignment matters to the search
    describe_matrix(compiled.a, m.a, m.batch.a, m);
    describe_matrix(compiled.b, m.b, m.batch.b, m);
    describe_matrix(compiled.c, m.c, m.batch.c, m);
    Candidates candidates;
    const cublasStatus_t status = suggest(candidates, compiled, shape, m, autotune ? kMaxCandidates : 1);
    if (status == CUBLAS_STATUS_SUCCESS) compiled.algorithm = candidates[choose(candidates, compiled, shape, m)];
    return status;
}

// Multiplies; returns another status than success if cuBLASLt has no algorithm for the product.
cublasStatus_t multiply(const Matmul& m) {
    const Shape shape = shape_of(m);
    Compiled& compiled = library().products[shape];
    if (compiled.status == CUBLAS_STATUS_NOT_INITIALIZED) compiled.status = prepare(compiled, shape, m);
    if (compiled.status != CUBLAS_STATUS_SUCCESS) return compiled.status;
    point_at_epilogue_operands(compiled, m);
    CUBLAS_CHECK(run_cublasLtMatmul(compiled, compiled.algorithm, m, m.c.data), m);
    return CUBLAS_STATUS_SUCCESS;
}

// Fills the rows of c with the bias, twice as many by each copy.
void copy_bias_to_rows(const Matmul& m) {
    const size_t width = size_t(m.c.cols) * dtype_size(m.c.dtype);
    const size_t pitch = size_t(leading_dimension(m.c)) * dtype_size(m.c.dtype);
    char* const c = static_cast<char*>(m.c.data);
    CUDA_CHECK(cudaMemcpyAsync(c, m.bias.data, width, cudaMemcpyDeviceToDevice, gpu::stream()));
    for (int64_t rows = 1; rows < m.c.rows; rows *= 2)
        CUDA_CHECK(cudaMemcpy2DAsync(c + size_t(rows) * pitch, pitch, c, pitch, width,
                                     size_t(std::min(rows, m.c.rows - rows)), cudaMemcpyDeviceToDevice, gpu::stream()));
}

// cuBLASLt's kernels may read the bias 16 bytes at a time, whatever its alignment (pytorch/pytorch#194497).
constexpr uint32_t kBiasAlignment = 16;
bool has_aligned_bias(const Matmul& m) { return m.bias.empty() || alignment(m.bias.data) >= kBiasAlignment; }

// ---- GELU epilogues ----------------------------------------------------------------------------------------------

// Whether a GELU belongs into the product: from compute capability 9.0 on, as in llm.c, where the fused products of
// older GPUs lost more than the GELU's own pass over memory costs.
bool gelu_pays_in_product() {
    static const bool pays = [] {
        int major = 0;
        CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, gpu::current_device()));
        return major >= 9;
    }();
    return pays;
}

// cuBLASLt's GELU is the tanh form. It demands that aux's leading dimension be a multiple of 8, and moves 16 bytes at a
// time.
constexpr int64_t kAuxColumns = 8;
constexpr uint32_t kAuxAlignment = 16;

bool fuses(const Matmul& m) {
    return m.c.dtype == DType::bf16 && leading_dimension(m.aux) % kAuxColumns == 0 &&
           alignment(m.aux.data) >= kAuxAlignment && has_aligned_bias(m) && gelu_pays_in_product();
}

// Takes the column sums from where the epilogue left them.
void take_column_sums(const Matmul& m) {
    if (m.column_sums.empty()) return;
    float* to = m.column_sums.get<float>();
    const bf16* from = static_cast<const bf16*>(bias_pointer(m));
    if (m.accumulate_sums)
        add(to, to, from, m.c.cols);
    else
        convert(to, from, m.c.cols);
}

}  // namespace

void set_autotune(bool on, AlgorithmMemory of_caller) {
    // Choices that other ranks have not made are made anew.
    if (on && of_caller.agree) library().products.clear();
    autotune = on;
    memory = std::move(of_caller);
}

std::string matmul_problem() {
    try {
        library();
        return "";
    } catch (const Error& error) {
        return error.what();
    }
}

void matmul(const Matmul& m) {
    CHECK(m.bias.empty() || m.bias.dtype == m.c.dtype, "cuBLASLt adds a bias of the result's type only: ", describe(m));
    if (m.epilogue != Epilogue::none) {
        if (fuses(m)) {
            if (multiply(m) == CUBLAS_STATUS_SUCCESS) return take_column_sums(m);
            Matmul product = m;
            product.column_sums = {};
            if (!m.column_sums.empty() && multiply(product) == CUBLAS_STATUS_SUCCESS)
                return bias_backward(m.column_sums.get<float>(), m.c.get<bf16>(), m.c.rows, m.c.cols,
                                     m.accumulate_sums);
        }
        return gelu_after_product(
            m, cuda::matmul, [](auto... a) { cuda::gelu_forward(a...); }, [](auto... a) { cuda::gelu_backward(a...); },
            [](auto... a) { cuda::bias_backward(a...); });
    }
    Matmul product = m;
    if (!m.residual.empty()) {
        if (has_aligned_bias(m) && multiply(m) == CUBLAS_STATUS_SUCCESS) return;
        product.residual = {};
        cuda::matmul(product);
        return by_type(m.c.dtype,
                       [&]<class T>(T*) { add(m.c.get<T>(), m.c.get<T>(), m.residual.get<T>(), m.c.size()); });
    }
    if (!m.bias.empty()) {
        if (has_aligned_bias(m) && multiply(m) == CUBLAS_STATUS_SUCCESS) return;
        // No algorithm adds this bias, as PyTorch saw with operands of one row or column. So c starts from it.
        copy_bias_to_rows(m);
        product.bias = {};
        product.accumulate = true;
    }
    if (const cublasStatus_t status = multiply(product); status != CUBLAS_STATUS_SUCCESS)
        throw NoAlgorithm(
            str("cuBLASLt has no algorithm (", cublasLtGetStatusName(status), ") for ", describe(product)), __FILE__,
            __LINE__);
}

}  // namespace kernels::cuda
