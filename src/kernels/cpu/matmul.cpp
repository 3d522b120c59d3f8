// Matrix products on oneDNN. A bf16 result is accumulated in fp32 in the workspace and rounded once, after bias and
// accumulation; an fp32 result is written directly. On a CPU that can't multiply bf16, the operands are converted
// first.
#include <omp.h>

#include <dnnl.hpp>
#include <map>
#include <string>
#include <tuple>
#include <unordered_map>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/gelu_after_product.h"

namespace kernels::cpu {
namespace {

using Dims = dnnl::memory::dims;

dnnl::engine& engine() {
    static dnnl::engine cpu_engine(dnnl::engine::kind::cpu, 0);
    return cpu_engine;
}
dnnl::stream& stream() {
    static dnnl::stream cpu_stream(engine());
    return cpu_stream;
}
dnnl::memory::data_type onednn_type(DType type) {
    return type == DType::bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}
Dims strides(const Tensor& t, bool transpose) { return transpose ? Dims{1, t.ld} : Dims{t.ld, 1}; }

// A product compiled for one shape, with the memory objects that each execution points at its operands.
struct Product {
    dnnl::matmul primitive;
    dnnl::memory a, b, c, bias;
    std::unordered_map<int, dnnl::memory> args;
};

Product compile(const Matmul& m, int64_t M, int64_t N, int64_t K) {
    const dnnl::memory::desc a_desc({M, K}, onednn_type(m.a.dtype), strides(m.a, m.transpose_a));
    const dnnl::memory::desc b_desc({K, N}, onednn_type(m.b.dtype), strides(m.b, m.transpose_b));
    const dnnl::memory::desc c_desc({M, N}, onednn_type(m.c.dtype), strides(m.c, false));
    const dnnl::memory::desc bias_desc =
        m.bias.empty() ? dnnl::memory::desc() : dnnl::memory::desc({1, N}, onednn_type(m.bias.dtype), Dims{N, 1});
    dnnl::primitive_attr attr;
    dnnl::post_ops post;
#if DNNL_VERSION_MAJOR >= 3
    if (m.alpha != 1.0f) post.append_eltwise(dnnl::algorithm::eltwise_linear, m.alpha, 0.0f);
#else
    if (m.alpha != 1.0f) post.append_eltwise(1.0f, dnnl::algorithm::eltwise_linear, m.alpha, 0.0f);
#endif
    if (m.accumulate) post.append_sum(1.0f);
    attr.set_post_ops(post);
#if DNNL_VERSION_MAJOR >= 3
    dnnl::matmul::primitive_desc desc =
        m.bias.empty() ? dnnl::matmul::primitive_desc(engine(), a_desc, b_desc, c_desc, attr)
                       : dnnl::matmul::primitive_desc(engine(), a_desc, b_desc, bias_desc, c_desc, attr);
#else
    const dnnl::matmul::desc op = m.bias.empty() ? dnnl::matmul::desc(a_desc, b_desc, c_desc)
                                                 : dnnl::matmul::desc(a_desc, b_desc, bias_desc, c_desc);
    dnnl::matmul::primitive_desc desc(op, attr, engine());
    // Version 2.6's "brg" kernels with AMX die of an illegal instruction (tiles used before they are configured), and
    // without AMX they measured up to twice slower than the "gemm" kernels on wide results (164 against 324 GFLOP/s).
    while (std::string(desc.impl_info_str()).starts_with("brg") && desc.next_impl()) {
    }
#endif
    Product product;
    product.primitive = dnnl::matmul(desc);
    product.a = dnnl::memory(a_desc, engine(), nullptr);
    product.b = dnnl::memory(b_desc, engine(), nullptr);
    product.c = dnnl::memory(c_desc, engine(), nullptr);
    product.args = {{DNNL_ARG_SRC, product.a}, {DNNL_ARG_WEIGHTS, product.b}, {DNNL_ARG_DST, product.c}};
    if (!m.bias.empty()) {
        product.bias = dnnl::memory(bias_desc, engine(), nullptr);
        product.args.insert({DNNL_ARG_BIAS, product.bias});
    }
    return product;
}

int64_t depth_of(const Matmul& m) { return m.transpose_a ? m.a.rows : m.a.cols; }

// Multiplies operands of one type into an fp32 result, straight through oneDNN.
void multiply(const Matmul& m) {
    const int64_t M = m.c.rows, N = m.c.cols, K = depth_of(m);
    using Key =
        std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, DType, DType, bool, bool, bool, bool, float>;
    static std::map<Key, Product> products;
    const Key key{M,
                  N,
                  K,
                  m.a.ld,
                  m.b.ld,
                  m.c.ld,
                  m.a.dtype,
                  m.c.dtype,
                  m.transpose_a,
                  m.transpose_b,
                  !m.bias.empty(),
                  m.accumulate,
                  m.alpha};
    auto found = products.find(key);
    try {
        if (found == products.end()) found = products.emplace(key, compile(m, M, N, K)).first;
        Product& product = found->second;
        product.a.set_data_handle(m.a.data);
        product.b.set_data_handle(m.b.data);
        product.c.set_data_handle(m.c.data);
        if (!m.bias.empty()) product.bias.set_data_handle(m.bias.data);
        product.primitive.execute(stream(), product.args);
        stream().wait();
    } catch (const dnnl::error& error) {
        FAIL("oneDNN refused a product (", M, ", ", K, ") x (", K, ", ", N, ") of ", dtype_name(m.a.dtype), ": ",
             error.what());
    }
}

// Without these instructions oneDNN takes four times as long as in fp32 (AVX-512), or refuses (AVX2).
bool multiplies_bf16() {
    static const int isa = int(dnnl::get_effective_cpu_isa()), needed = int(dnnl::cpu_isa::avx512_core_bf16);
    return (isa & needed) == needed;
}
constexpr int64_t kOperandFloats = 8 << 20;  // room for both operands of one product, converted

Tensor workspace;  // fp32: a result, and then converted operands where those are needed

void convert_rows(float* to, const Tensor& t) {
    const bf16* from = t.get<bf16>();
#pragma omp parallel for schedule(static) if (t.size() >= kParallelMin)
    for (int64_t i = 0; i < t.rows; i++)
#pragma omp simd
        for (int64_t j = 0; j < t.cols; j++) to[i * t.cols + j] = float(from[i * t.ld + j]);
}

// Converts bf16 operands to fp32 and multiplies those, half by half where the workspace doesn't hold both.
void multiply_converted(const Matmul& m) {
    const int64_t M = m.c.rows, N = m.c.cols, K = depth_of(m);
    if ((M + N) * K <= kOperandFloats) {
        CHECK(workspace.size() >= kOperandFloats, "the matmul workspace holds ", workspace.size(),
              " floats, converted operands need ", kOperandFloats);
        float* a = workspace.get<float>() + workspace.size() - kOperandFloats;
        float* b = a + M * K;
        convert_rows(a, m.a);
        convert_rows(b, m.b);
        Matmul converted = m;
        converted.a = make_tensor(a, DType::f32, m.a.rows, m.a.cols);
        converted.b = make_tensor(b, DType::f32, m.b.rows, m.b.cols);
        return multiply(converted);
    }
    const auto range = [](const Tensor& t, bool rows, int64_t first, int64_t count) {
        return rows ? t.row_range(first, count) : t.col_range(first, count);
    };
    const bool along_K = K > std::max(M, N) && m.alpha == 1.0f, along_M = !along_K && M >= N;
    const int64_t whole = along_K ? K : along_M ? M : N;
    for (const auto& [first, count] : {std::pair{int64_t(0), whole / 2}, std::pair{whole / 2, whole - whole / 2}}) {
        Matmul half = m;
        if (along_K || along_M) half.a = range(m.a, along_K == m.transpose_a, first, count);
        if (!along_M) half.b = range(m.b, along_K != m.transpose_b, first, count);
        if (!along_K) half.c = range(m.c, along_M, first, count);
        if (along_K && first > 0) half.accumulate = true;
        multiply_converted(half);
    }
}

void multiply_any(const Matmul& m) {
    m.a.dtype == DType::bf16 && !multiplies_bf16() ? multiply_converted(m) : multiply(m);
}

}  // namespace

int64_t matmul_workspace_floats(DType type, int64_t largest_result) {
    if (type == DType::f32) return 0;
    return largest_result + (multiplies_bf16() ? 0 : kOperandFloats);
}
void set_matmul_workspace(const Tensor& memory) { workspace = memory; }

void matmul(const Matmul& m) {
    if (m.batch.count > 1) {  // each product keeps all threads busy
        Matmul one = m;
        one.batch = {};
        for (int64_t i = 0; i < m.batch.count; i++) {
            cpu::matmul(one);
            for (const auto& [t, distance] : {std::pair{&one.a, m.batch.a}, {&one.b, m.batch.b}, {&one.c, m.batch.c}})
                t->data = static_cast<char*>(t->data) + distance * int64_t(dtype_size(t->dtype));
        }
        return;
    }
    if (m.epilogue != Epilogue::none)
        return gelu_after_product(
            m, cpu::matmul, [](auto... a) { cpu::gelu_forward(a...); }, [](auto... a) { cpu::gelu_backward(a...); },
            [](auto... a) { cpu::bias_backward(a...); });
    if (m.c.dtype == DType::f32) {
        multiply_any(m);
        if (!m.residual.empty()) cpu::add(m.c.get<float>(), m.c.get<float>(), m.residual.get<float>(), m.c.size());
        return;
    }
    const int64_t M = m.c.rows, N = m.c.cols;
    CHECK(workspace.size() >= M * N, "the matmul workspace holds ", workspace.size(), " floats, a (", M, ", ", N,
          ") bf16 result needs ", M * N);
    Matmul product = m;
    product.c = make_tensor(workspace.data, DType::f32, M, N);
    product.bias = {};
    product.accumulate = false;
    product.alpha = 1.0f;
    multiply_any(product);
    const float* acc = workspace.get<float>();
    const bf16* bias = m.bias.empty() ? nullptr : m.bias.get<bf16>();
    const bf16* residual = m.residual.empty() ? nullptr : m.residual.get<bf16>();
    bf16* c = m.c.get<bf16>();
    const float alpha = m.alpha;
    const int64_t ld = m.c.ld;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < M; i++) {
        const float* from = acc + i * N;
        bf16* to = c + i * ld;
        if (m.accumulate) {
#pragma omp simd
            for (int64_t j = 0; j < N; j++) store(to[j], from[j] + float(to[j]));
        } else if (bias && residual) {
            const bf16* other = residual + i * N;
#pragma omp simd
            for (int64_t j = 0; j < N; j++) store(to[j], from[j] + float(bias[j]) + float(other[j]));
        } else if (residual) {
            const bf16* other = residual + i * N;
#pragma omp simd
            for (int64_t j = 0; j < N; j++) store(to[j], from[j] + float(other[j]));
        } else if (bias) {
#pragma omp simd
            for (int64_t j = 0; j < N; j++) store(to[j], from[j] + float(bias[j]));
        } else {
#pragma omp simd
            for (int64_t j = 0; j < N; j++) store(to[j], alpha * from[j]);
        }
    }
}

}  // namespace kernels::cpu
