// A stand-in for the part of cuBLASLt that the program uses: the documented semantics in plain C++, for the executor on
// the CPU. It is stricter than the library, so that what passes here isn't refused, or worse accepted and wrong, on a
// GPU:
//   - an algorithm runs only for the descriptors and the alignments it was obtained for, and never by default;
//   - its workspace is filled with NaN before and after use;
//   - an object that was destroyed is refused for good, and one that never is gets reported at exit;
//   - operands must lie in device memory; the result may share it with C (entirely) but not with anything else;
//   - a bias over one-row or one-column operands finds no algorithm, and bias and aux must be aligned to 16 bytes;
//   - a sum cut into parts that are reduced in place is added in another order each time.
// It is compiled without sanitizers: it works on device memory from threads of its own.
#include <cublasLt.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>
#include <string>

#include "dev/cuda_on_cpu/cublaslt/product.h"
#include "dev/cuda_on_cpu/executor/options.h"
#include "dev/cuda_on_cpu/executor/report.h"
#include "dev/cuda_on_cpu/runtime/stream_work.h"

struct cublasLtContext {};

namespace {

using namespace cublaslt;

// ---- the library's objects ---------------------------------------------------------------------------------------

struct Preference {
    uint32_t search = CUBLASLT_SEARCH_BEST_FIT, reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
    uint32_t alignment[4] = {256, 256, 256, 256};  // of A, B, C, D
    uint64_t workspace_bytes = 0;
};

// The objects of a type that were created and not destroyed. The set outlives static objects, which destroy what they
// own.
template <class T>
std::set<const void*>& live() {
    static auto& objects = *new std::set<const void*>;
    return objects;
}
template <class T, class Opaque>
cublasStatus_t create(Opaque** opaque, const T& value) {
    if (!opaque) return CUBLAS_STATUS_INVALID_VALUE;
    *opaque = reinterpret_cast<Opaque*>(new T(value));
    live<T>().insert(*opaque);
    return CUBLAS_STATUS_SUCCESS;
}
// Takes an object off the list, but keeps its memory, so that no later object has its address.
template <class T>
bool destroy(const void* opaque) {
    return live<T>().erase(opaque) > 0;
}
template <class T>
bool is_live(const void* opaque) {
    return live<T>().count(opaque) > 0;
}
template <class T, class Opaque>
T* open(Opaque* opaque) {
    return is_live<T>(opaque) ? reinterpret_cast<T*>(opaque) : nullptr;
}

__attribute__((destructor)) void report_live_objects() {
    const size_t count =
        live<cublasLtContext>().size() + live<Operation>().size() + live<Layout>().size() + live<Preference>().size();
    if (count > 0) executor::leaked(std::to_string(count) + " objects of cuBLASLt were never destroyed");
}

// An algorithm is passed about by value.
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));
cublasLtMatmulAlgo_t opaque(const Algorithm& algorithm) {
    cublasLtMatmulAlgo_t opaque{};
    std::memcpy(&opaque, &algorithm, sizeof(algorithm));
    return opaque;
}
const Algorithm* open(const cublasLtMatmulAlgo_t* opaque) {
    const auto* const algorithm = reinterpret_cast<const Algorithm*>(opaque);
    return algorithm && algorithm->magic == Algorithm::kMagic ? algorithm : nullptr;
}

template <class T>
cublasStatus_t assign(T& field, const void* value, size_t bytes) {
    if (!value || bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&field, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

// ---- what may be asked for ---------------------------------------------------------------------------------------

constexpr uint64_t kMostRows = uint64_t(std::numeric_limits<int32_t>::max());

// The descriptors' contents, once they fit each other and the stand-in knows how to compute what they say.
cublasStatus_t read(Problem& p, cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                    cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d) {
    if (!open<Operation>(operation) || !open<Layout>(a) || !open<Layout>(b) || !open<Layout>(c) || !open<Layout>(d))
        return CUBLAS_STATUS_INVALID_VALUE;
    p = {*open<Operation>(operation), *open<Layout>(a), *open<Layout>(b), *open<Layout>(c), *open<Layout>(d)};
    const Operation& op = p.op;
    if (op.compute != CUBLAS_COMPUTE_32F || op.scale != CUDA_R_32F || op.pointer_mode != CUBLASLT_POINTER_MODE_HOST)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    for (const int32_t transpose : {op.transpose_a, op.transpose_b})
        if (transpose != CUBLAS_OP_N && transpose != CUBLAS_OP_T) return CUBLAS_STATUS_NOT_SUPPORTED;
    for (const Layout& l : {p.a, p.b, p.c, p.d}) {
        if (l.type != CUDA_R_32F && l.type != CUDA_R_16BF) return CUBLAS_STATUS_NOT_SUPPORTED;
        if (l.order != CUBLASLT_ORDER_COL) return CUBLAS_STATUS_NOT_SUPPORTED;
        if (l.rows == 0 || l.cols == 0 || l.ld < int64_t(l.rows)) return CUBLAS_STATUS_INVALID_VALUE;
        if (l.rows > kMostRows || l.cols > kMostRows) return CUBLAS_STATUS_NOT_SUPPORTED;
        if (l.batch_count < 1 || l.batch_count != p.d.batch_count) return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (p.a.type != p.b.type || p.c.type != p.d.type) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (p.d.type != p.a.type && p.d.type != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
    const bool ta = op.transpose_a == CUBLAS_OP_T, tb = op.transpose_b == CUBLAS_OP_T;
    if ((ta ? p.a.cols : p.a.rows) != p.d.rows || (tb ? p.b.rows : p.b.cols) != p.d.cols ||
        (ta ? p.a.rows : p.a.cols) != (tb ? p.b.cols : p.b.rows) || p.c.rows != p.d.rows || p.c.cols != p.d.cols)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (op.epilogue == CUBLASLT_EPILOGUE_DEFAULT) return CUBLAS_STATUS_SUCCESS;
    if ((!has_bias(op) && !has_aux(op)) || p.d.batch_count > 1) return CUBLAS_STATUS_NOT_SUPPORTED;
    if ((has_bias(op) || gives_sums(op)) && op.bias_type != -1 && op.bias_type != int32_t(p.d.type))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (has_aux(op) && op.aux_type != -1 && op.aux_type != int32_t(p.d.type)) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (has_aux(op) && (op.aux_ld % 8 != 0 || op.aux_ld < p.m())) return CUBLAS_STATUS_INVALID_VALUE;
    return CUBLAS_STATUS_SUCCESS;
}

bool aligned(const void* p, size_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }
uint32_t alignment(const void* p) {
    uint32_t bytes = 256;
    while (!aligned(p, bytes)) bytes /= 2;
    return bytes;
}

// The memory between a matrix's first and last element, over the whole batch: runs of `width` bytes every `pitch`.
struct Span {
    const char* begin;
    size_t bytes, width, pitch;
    bool on_device() const { return begin && executor::is_device_pointer(begin, bytes); }
    bool overlaps(const Span& other) const {
        if (begin >= other.begin + other.bytes || other.begin >= begin + bytes) return false;
        if (pitch != other.pitch) return true;
        // Side by side in the rows of one buffer they share no byte.
        const size_t to_other = begin <= other.begin ? size_t(other.begin - begin) % pitch
                                                     : (pitch - size_t(begin - other.begin) % pitch) % pitch;
        return to_other < width || to_other + other.width > pitch;
    }
};
Span span(const void* data, const Layout& l) {
    const int64_t elements = (l.batch_count - 1) * l.batch_stride + int64_t(l.cols - 1) * l.ld + int64_t(l.rows);
    const size_t bytes = type_bytes(l.type);
    return {static_cast<const char*>(data), size_t(elements) * bytes, l.rows * bytes, size_t(l.ld) * bytes};
}
Span span(const void* data, size_t bytes) { return {static_cast<const char*>(data), bytes, bytes, bytes}; }

}  // namespace

// ---- the library's functions -------------------------------------------------------------------------------------

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) { return create(handle, cublasLtContext{}); }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    return destroy<cublasLtContext>(handle) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_INITIALIZED;
}

size_t cublasLtGetVersion() { return CUBLAS_VERSION; }

const char* cublasLtGetStatusName(cublasStatus_t status) {
    switch (status) {
        case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
        case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
        case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
        case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
        case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
        case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
        default: return "a status that the stand-in never returns";
    }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t cols, int64_t ld) {
    return create(layout, Layout{.type = uint32_t(type), .rows = rows, .cols = cols, .ld = ld});
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    return destroy<Layout>(layout) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
    Layout* l = open<Layout>(layout);
    if (!l) return CUBLAS_STATUS_INVALID_VALUE;
    switch (attribute) {
        case CUBLASLT_MATRIX_LAYOUT_TYPE: return assign(l->type, value, bytes);
        case CUBLASLT_MATRIX_LAYOUT_ORDER: return assign(l->order, value, bytes);
        case CUBLASLT_MATRIX_LAYOUT_ROWS: return assign(l->rows, value, bytes);
        case CUBLASLT_MATRIX_LAYOUT_COLS: return assign(l->cols, value, bytes);
        case CUBLASLT_MATRIX_LAYOUT_LD: return assign(l->ld, value, bytes);
        case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return assign(l->batch_count, value, bytes);
        case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return assign(l->batch_stride, value, bytes);
        default: return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* operation, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    return create(operation, Operation{.compute = compute, .scale = scale});
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
    return destroy<Operation>(operation) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
    Operation* op = open<Operation>(operation);
    if (!op) return CUBLAS_STATUS_INVALID_VALUE;
    switch (attribute) {
        case CUBLASLT_MATMUL_DESC_POINTER_MODE: return assign(op->pointer_mode, value, bytes);
        case CUBLASLT_MATMUL_DESC_TRANSA: return assign(op->transpose_a, value, bytes);
        case CUBLASLT_MATMUL_DESC_TRANSB: return assign(op->transpose_b, value, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE: return assign(op->epilogue, value, bytes);
        case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return assign(op->bias, value, bytes);
        case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: return assign(op->bias_type, value, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER: return assign(op->aux, value, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD: return assign(op->aux_ld, value, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE: return assign(op->aux_type, value, bytes);
        default: return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
    return create(preference, Preference{});
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    return destroy<Preference>(preference) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
    Preference* p = open<Preference>(preference);
    if (!p) return CUBLAS_STATUS_INVALID_VALUE;
    switch (attribute) {
        case CUBLASLT_MATMUL_PREF_SEARCH_MODE: return assign(p->search, value, bytes);
        case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return assign(p->workspace_bytes, value, bytes);
        case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return assign(p->reductions, value, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: return assign(p->alignment[0], value, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: return assign(p->alignment[1], value, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: return assign(p->alignment[2], value, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return assign(p->alignment[3], value, bytes);
        default: return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

// Long sums are cut into parts wherever the preference allows it, the most dangerous way first.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
    if (!is_live<cublasLtContext>(handle)) return CUBLAS_STATUS_NOT_INITIALIZED;
    if (wanted <= 0 || !results || !found) return CUBLAS_STATUS_INVALID_VALUE;
    *found = 0;
    Problem p;
    const cublasStatus_t status = read(p, operation, a, b, c, d);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    const Preference* wish = open<Preference>(preference);
    if (!wish || wish->reductions & ~uint32_t(CUBLASLT_REDUCTION_SCHEME_MASK)) return CUBLAS_STATUS_INVALID_VALUE;
    if (wish->search != CUBLASLT_SEARCH_BEST_FIT) return CUBLAS_STATUS_NOT_SUPPORTED;
    const Layout* const matrices[4] = {&p.a, &p.b, &p.c, &p.d};
    for (int i = 0; i < 4; i++)
        if (wish->alignment[i] == 0 || wish->alignment[i] % type_bytes(matrices[i]->type) != 0)
            return CUBLAS_STATUS_NOT_SUPPORTED;
    if (has_bias(p.op) && (p.m() == 1 || p.k() == 1)) return CUBLAS_STATUS_NOT_SUPPORTED;
    // cuBLASLt is asked for the transpose of the program's product, so rows are columns here.
    const executor::Options::Product& refused = executor::options().without_algorithm;
    if (p.n() == refused.rows && p.m() == refused.cols && p.k() == refused.inner) return CUBLAS_STATUS_NOT_SUPPORTED;

    constexpr uint64_t kLeastWorkspace = 4096;
    constexpr int64_t kLongSum = 64;
    const uint64_t parts_bytes = uint64_t(kParts * p.m() * p.n()) * sizeof(float);
    for (const uint32_t reduction : {CUBLASLT_REDUCTION_SCHEME_INPLACE, CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE,
                                     CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, CUBLASLT_REDUCTION_SCHEME_NONE}) {
        const bool whole = reduction == CUBLASLT_REDUCTION_SCHEME_NONE;
        const uint64_t bytes = whole ? kLeastWorkspace : std::max(kLeastWorkspace, parts_bytes);
        if (*found == wanted || bytes > wish->workspace_bytes) continue;
        if (!whole && (!(wish->reductions & reduction) || p.k() < kLongSum)) continue;
        Algorithm algorithm{.reduction = reduction, .problem = p.hash(), .workspace_bytes = bytes};
        std::copy_n(wish->alignment, 4, algorithm.alignment);
        algorithm.alignment[4] = alignment(p.op.bias);
        algorithm.alignment[5] = alignment(p.op.aux);
        cublasLtMatmulHeuristicResult_t& result = results[(*found)++];
        result = {};
        result.algo = opaque(algorithm);
        result.workspaceSize = bytes;
        result.state = CUBLAS_STATUS_SUCCESS;
        result.wavesCount = 1;
    }
    return *found > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void* alpha, const void* A,
                              cublasLtMatrixLayout_t a, const void* B, cublasLtMatrixLayout_t b, const void* beta,
                              const void* C, cublasLtMatrixLayout_t c, void* D, cublasLtMatrixLayout_t d,
                              const cublasLtMatmulAlgo_t* algo, void* workspace, size_t workspace_bytes,
                              cudaStream_t stream) {
    if (!is_live<cublasLtContext>(handle)) return CUBLAS_STATUS_NOT_INITIALIZED;
    Problem p;
    const cublasStatus_t status = read(p, operation, a, b, c, d);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    const Algorithm* algorithm = open(algo);
    const auto host_scalar = [](const void* s) { return s && !executor::is_device_pointer(s, sizeof(float)); };
    const Span all[] = {span(A, p.a), span(B, p.b), span(C, p.c), span(D, p.d)};
    const Span scratch = span(workspace, workspace_bytes);
    bool valid = algorithm && algorithm->problem == p.hash() && host_scalar(alpha) && host_scalar(beta) &&
                 workspace_bytes >= algorithm->workspace_bytes && aligned(workspace, 16) && scratch.on_device();
    for (const Span& s : all) valid = valid && s.on_device() && !scratch.overlaps(s);
    if (!valid) return CUBLAS_STATUS_INVALID_VALUE;
    for (int i = 0; i < 4; i++)
        if (!aligned(all[i].begin, algorithm->alignment[i])) return CUBLAS_STATUS_INVALID_VALUE;
    const bool in_place = C == D && p.c.ld == p.d.ld && p.c.batch_stride == p.d.batch_stride;
    if (all[3].overlaps(all[0]) || all[3].overlaps(all[1]) || (all[3].overlaps(all[2]) && !in_place))
        return CUBLAS_STATUS_INVALID_VALUE;
    const auto usable = [&](const void* data, int64_t cols, int64_t ld, uint32_t alignment) {
        const Span s = span(data, Layout{.type = p.d.type, .rows = p.d.rows, .cols = uint64_t(cols), .ld = ld});
        return s.on_device() && aligned(data, std::max(alignment, 16u)) && !s.overlaps(all[3]) && !s.overlaps(scratch);
    };
    if ((has_bias(p.op) || gives_sums(p.op)) && !usable(p.op.bias, 1, p.m(), algorithm->alignment[4]))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (has_aux(p.op) && !usable(p.op.aux, p.n(), p.op.aux_ld, algorithm->alignment[5]))
        return CUBLAS_STATUS_INVALID_VALUE;
    const Product product{.p = p,
                          .a = all[0].begin,
                          .b = all[1].begin,
                          .c = all[2].begin,
                          .d = static_cast<char*>(D),
                          .alpha = *static_cast<const float*>(alpha),
                          .beta = *static_cast<const float*>(beta),
                          .algorithm = *algorithm,
                          .workspace = static_cast<float*>(workspace)};
    const cudaError_t error = executor::enqueue(stream, [product] { product.run(); });
    return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // extern "C"
