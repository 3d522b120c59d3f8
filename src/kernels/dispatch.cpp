// The public ops: each checks its shapes and types, then hands raw pointers to the implementation for the device and
// the type. Ops other than matmul and attention demand contiguous tensors.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <type_traits>
#include <utility>

#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"
#include "kernels/op_timer.h"
#include "runtime/device.h"

// Calls the implementation of an op for the device that `tensor` is on; both take the same arguments. In a binary
// without CUDA (RELORA_CUDA is 0) the second branch is discarded, so that nothing of the CUDA half needs to be linked.
#define ON_DEVICE_OF(tensor, call)                                  \
    [&] {                                                           \
        if constexpr (kCuda)                                        \
            if ((tensor).device == Device::cuda) return cuda::call; \
        return cpu::call;                                           \
    }()

namespace kernels {
namespace {

constexpr bool kCuda = RELORA_CUDA;

void require_built(const char* op, const Tensor& t) {
    CHECK(kCuda || t.device == Device::cpu, op,
          ": a tensor is on a CUDA device, but this binary was built without CUDA");
}

// Stands for "any" where a check takes a type.
constexpr DType kComputeType = DType(-1);

struct Operand {
    const char* name;
    const Tensor& tensor;
    int64_t rows, cols;
    DType dtype = kComputeType;
};

// Throws unless every operand has memory, the given shape, its type and contiguous rows, all are on one device, and
// those without a type of their own are of one compute type, which is returned (fp32 if there is none).
DType check(const char* op, std::initializer_list<Operand> operands) {
    require_built(op, operands.begin()->tensor);
    DType compute = kComputeType;
    for (const auto& [name, t, rows, cols, dtype] : operands) {
        CHECK(t.data, op, ": ", name, " has no memory");
        CHECK(t.rows == rows && t.cols == cols, op, ": ", name, " is (", t.rows, ", ", t.cols, ") and should be (",
              rows, ", ", cols, ")");
        CHECK(t.contiguous(), op, ": the rows of ", name, " are ", t.ld, " apart and should be contiguous (", cols,
              ")");
        CHECK(t.device == operands.begin()->tensor.device, op, ": ", name, " is on another device than ",
              operands.begin()->name);
        if (dtype != kComputeType) {
            CHECK(t.dtype == dtype, op, ": ", name, " is ", dtype_name(t.dtype), " and should be ", dtype_name(dtype));
        } else {
            CHECK(t.dtype != DType::i32, op, ": ", name, " is int32 and should be fp32 or bf16");
            if (compute == kComputeType) compute = t.dtype;
            CHECK(t.dtype == compute, op, ": ", name, " is ", dtype_name(t.dtype), " and should be ",
                  dtype_name(compute), " like the rest");
        }
    }
    return compute == kComputeType ? DType::f32 : compute;
}

bool on_cpu(const Tensor& t) { return t.device == Device::cpu; }

// Calls body with a null pointer to the element type.
template <class Body>
auto by_type(DType type, const Body& body) {
    return type == DType::bf16 ? body(static_cast<bf16*>(nullptr)) : body(static_cast<float*>(nullptr));
}

template <class T>
T* optional(const Tensor& t) {
    return t.empty() ? nullptr : t.get<T>();
}

// On the host only: ids in device memory can't be looked at without waiting. The data set checks its tokens itself.
void check_ids(const char* op, const char* name, const int32_t* ids, int64_t N, int64_t limit) {
    for (int64_t n = 0; n < N; n++)
        CHECK(ids[n] >= 0 && ids[n] < limit, op, ": ", name, " ", n, " is ", ids[n], " and should be in [0, ", limit,
              ")");
}

void check_positions(const char* op, int64_t N, int64_t T, const char* name, int64_t rows) {
    CHECK(T > 0 && N % T == 0, op, ": ", N, " rows aren't whole sequences of ", T);
    CHECK(T <= rows, op, ": sequences of ", T, " exceed the ", rows, " positions of ", name);
}

void check_probability(const char* op, double p, bool one_allowed) {
    CHECK(p >= 0 && (p < 1 || (one_allowed && p == 1)), op, ": p is ", p, " and should be in [0, 1",
          one_allowed ? "]" : ")");
}

}  // namespace

// ---- embedding ---------------------------------------------------------------------------------------------------

void embedding_forward(const Tensor& out, const int32_t* tokens, const Tensor& wte, const Tensor& wpe, int64_t T) {
    const int64_t N = out.rows, C = out.cols;
    const DType type =
        check("embedding_forward", {{"out", out, N, C}, {"wte", wte, wte.rows, C}, {"wpe", wpe, wpe.rows, C}});
    check_positions("embedding_forward", N, T, "wpe", wpe.rows);
    if (on_cpu(out)) check_ids("embedding_forward", "token", tokens, N, wte.rows);
    const OpTimer timer("embedding_forward", {out, out});
    by_type(type, [&]<class E>(E*) {
        ON_DEVICE_OF(out, embedding_forward(out.get<E>(), tokens, wte.get<E>(), wpe.get<E>(), N, T, C));
    });
}

void embedding_backward(const Tensor& dwte, const Tensor& dwpe, const Tensor& dout, const int32_t* tokens, int64_t T,
                        bool accumulate) {
    const int64_t N = dout.rows, C = dout.cols;
    const DType type = check(
        "embedding_backward",
        {{"dwte", dwte, dwte.rows, C, DType::f32}, {"dwpe", dwpe, dwpe.rows, C, DType::f32}, {"dout", dout, N, C}});
    check_positions("embedding_backward", N, T, "dwpe", dwpe.rows);
    if (on_cpu(dout)) check_ids("embedding_backward", "token", tokens, N, dwte.rows);
    const OpTimer timer("embedding_backward", {dout, dout, dwpe, accumulate ? dwpe : Tensor{}});
    by_type(type, [&]<class E>(E*) {
        ON_DEVICE_OF(dout, embedding_backward(dwte.get<float>(), dwpe.get<float>(), dwpe.rows, dout.get<E>(), tokens, N,
                                              T, C, accumulate));
    });
}

// ---- layer norm --------------------------------------------------------------------------------------------------

void layernorm_forward(const LayerNormForward& a) {
    const int64_t N = a.x.rows, C = a.x.cols;
    const DType type = check("layernorm_forward", {{"x", a.x, N, C},
                                                   {"out", a.out, N, C},
                                                   {"weight", a.weight, 1, C},
                                                   {"bias", a.bias, 1, C},
                                                   {"mean", a.mean, 1, N, DType::f32},
                                                   {"rstd", a.rstd, 1, N, DType::f32}});
    CHECK(a.residual.empty() == a.sum.empty(), "layernorm_forward: residual and sum go together, one is missing");
    if (!a.residual.empty())
        check("layernorm_forward", {{"x", a.x, N, C}, {"residual", a.residual, N, C}, {"sum", a.sum, N, C}});
    const OpTimer timer("layernorm_forward", {a.x, a.out, a.residual, a.sum, a.mean, a.rstd});
    by_type(type, [&]<class E>(E*) {
        ON_DEVICE_OF(a.x, layernorm_forward(a.out.get<E>(), a.mean.get<float>(), a.rstd.get<float>(), a.x.get<E>(),
                                            a.weight.get<E>(), a.bias.get<E>(), optional<E>(a.residual),
                                            optional<E>(a.sum), N, C));
    });
}

void layernorm_backward(const LayerNormBackward& a) {
    const int64_t N = a.x.rows, C = a.x.cols;
    const DType type = check("layernorm_backward", {{"x", a.x, N, C},
                                                    {"dx", a.dx, N, C},
                                                    {"dout", a.dout, N, C},
                                                    {"weight", a.weight, 1, C},
                                                    {"dweight", a.dweight, 1, C, DType::f32},
                                                    {"dbias", a.dbias, 1, C, DType::f32},
                                                    {"mean", a.mean, 1, N, DType::f32},
                                                    {"rstd", a.rstd, 1, N, DType::f32}});
    const OpTimer timer("layernorm_backward", {a.x, a.dout, a.dx, a.accumulate_dx ? a.dx : Tensor{}, a.mean, a.rstd});
    by_type(type, [&]<class E>(E*) {
        ON_DEVICE_OF(a.x, layernorm_backward(a.dx.get<E>(), a.dweight.get<float>(), a.dbias.get<float>(),
                                             a.dout.get<E>(), a.x.get<E>(), a.weight.get<E>(), a.mean.get<float>(),
                                             a.rstd.get<float>(), N, C, a.accumulate_dx, a.accumulate));
    });
}

// ---- element-wise ------------------------------------------------------------------------------------------------

void gelu_forward(const Tensor& out, const Tensor& x) {
    const DType type = check("gelu_forward", {{"x", x, x.rows, x.cols}, {"out", out, x.rows, x.cols}});
    const OpTimer timer("gelu_forward", {out, x});
    by_type(type, [&]<class E>(E*) { ON_DEVICE_OF(x, gelu_forward(out.get<E>(), x.get<E>(), x.size())); });
}

void gelu_backward(const Tensor& dx, const Tensor& dout, const Tensor& x) {
    const DType type =
        check("gelu_backward", {{"x", x, x.rows, x.cols}, {"dout", dout, x.rows, x.cols}, {"dx", dx, x.rows, x.cols}});
    const OpTimer timer("gelu_backward", {dx, dout, x});
    by_type(type,
            [&]<class E>(E*) { ON_DEVICE_OF(x, gelu_backward(dx.get<E>(), dout.get<E>(), x.get<E>(), x.size())); });
}

void add(const Tensor& out, const Tensor& a, const Tensor& b) {
    check("add", {{"a", a, a.rows, a.cols, a.dtype},
                  {"b", b, a.rows, a.cols, b.dtype},
                  {"out", out, a.rows, a.cols, out.dtype}});
    CHECK(out.dtype == DType::bf16 ? a.dtype == DType::bf16 || b.dtype == DType::f32
                                   : a.dtype == b.dtype && b.dtype == DType::f32,
          "add: ", dtype_name(a.dtype), " + ", dtype_name(b.dtype), " into ", dtype_name(out.dtype), " is not offered");
    const OpTimer timer("add", {out, a, b});
    by_type(out.dtype, [&]<class Out>(Out*) {
        by_type(a.dtype, [&]<class A>(A*) {
            by_type(b.dtype, [&]<class B>(B*) {
                if constexpr (std::is_same_v<Out, bf16> ? std::is_same_v<A, bf16> || std::is_same_v<B, float>
                                                        : std::is_same_v<A, float> && std::is_same_v<B, float>)
                    ON_DEVICE_OF(a, add(out.get<Out>(), a.get<A>(), b.get<B>(), a.size()));
            });
        });
    });
}

void convert(const Tensor& out, const Tensor& in) {
    const DType in_type = check("convert", {{"in", in, in.rows, in.cols}});
    const DType out_type = check("convert", {{"out", out, in.rows, in.cols}});
    CHECK(out.device == in.device, "convert: out is on another device than in");
    const OpTimer timer("convert", {out, in});
    by_type(in_type, [&]<class In>(In*) {
        by_type(out_type, [&]<class Out>(Out*) { ON_DEVICE_OF(in, convert(out.get<Out>(), in.get<In>(), in.size())); });
    });
}

void zero(const Tensor& out) {
    check("zero", {{"out", out, out.rows, out.cols, out.dtype}});
    const OpTimer timer("zero", {out});
    ON_DEVICE_OF(out, zero(out.data, int64_t(out.bytes())));
}

void bias_backward(const Tensor& dbias, const Tensor& dout, bool accumulate) {
    const DType type =
        check("bias_backward", {{"dout", dout, dout.rows, dout.cols}, {"dbias", dbias, 1, dout.cols, DType::f32}});
    const OpTimer timer("bias_backward", {dout, dbias});
    by_type(type, [&]<class E>(E*) {
        ON_DEVICE_OF(dout, bias_backward(dbias.get<float>(), dout.get<E>(), dout.rows, dout.cols, accumulate));
    });
}

void dropout(const Tensor& out, const Tensor& x, float p, const rng::Stream& stream, bool accumulate) {
    const DType type = check("dropout", {{"x", x, x.rows, x.cols}, {"out", out, x.rows, x.cols}});
    check_probability("dropout", p, false);
    const OpTimer timer("dropout", {out, x, accumulate ? out : Tensor{}});
    by_type(type,
            [&]<class E>(E*) { ON_DEVICE_OF(x, dropout(out.get<E>(), x.get<E>(), x.size(), p, stream, accumulate)); });
}

// ---- loss --------------------------------------------------------------------------------------------------------

void cross_entropy(const CrossEntropy& a) {
    const int64_t N = a.logits.rows, Vp = a.logits.cols;
    check("cross_entropy", {{"logits", a.logits, N, Vp, DType::f32}, {"losses", a.losses, 1, N, DType::f32}});
    CHECK(a.V > 0 && a.V <= Vp, "cross_entropy: V is ", a.V, " and should be in [1, ", Vp, "]");
    DType type = DType::f32;
    if (!a.dlogits.empty()) {
        type = check("cross_entropy", {{"dlogits", a.dlogits, N, Vp}});
        CHECK(a.dlogits.device == a.logits.device, "cross_entropy: dlogits is on another device than logits");
        CHECK(type == DType::f32 || a.dlogits.data != a.logits.data,
              "cross_entropy: bf16 dlogits can't lie on the fp32 logits");
    }
    if (on_cpu(a.logits)) check_ids("cross_entropy", "target", a.targets, N, a.V);
    const OpTimer timer("cross_entropy", {a.logits, a.dlogits, a.losses});
    by_type(type, [&]<class E>(E*) {
        ON_DEVICE_OF(a.logits, cross_entropy(a.losses.get<float>(), a.logits.get<float>(), optional<E>(a.dlogits),
                                             a.targets, N, a.V, Vp, a.scale));
    });
}

// ---- sampling ----------------------------------------------------------------------------------------------------

void sample_token(const SampleToken& s) {
    const int64_t V = s.logits.cols;
    check("sample_token", {{"logits", s.logits, 1, V, DType::f32}, {"token", s.token, 1, 1, DType::i32}});
    CHECK(V > 0 && V <= INT32_MAX, "sample_token: ", V, " logits");
    CHECK(s.temperature >= 0 && s.top_k >= 0, "sample_token: temperature ", s.temperature, " and top_k ", s.top_k,
          " should not be negative");
    check_probability("sample_token", s.uniform, false);
    const int64_t candidates = s.temperature == 0 ? 1 : s.top_k > 0 ? std::min(s.top_k, V) : V;
    const OpTimer timer("sample_token", {s.logits});
    ON_DEVICE_OF(s.logits,
                 sample_token(s.token.get<int32_t>(), s.logits.get<float>(), V, candidates, s.temperature, s.uniform));
}

// ---- optimizer ---------------------------------------------------------------------------------------------------

namespace {
// A row of the table that the CUDA half keeps of the tensors of an update.
constexpr int64_t kTableInts = 16;

// Checks what gradient_norm and adamw are given; returns the type of the weights that are not masters themselves.
DType check_trained(const char* op, const Tensor& scalars, const TrainedTensors& trained) {
    check(op, {{"scalars", scalars, 1, kStepScalars, DType::f32}});
    DType type = DType::f32;
    for (const TrainedTensor& t : trained.tensors) {
        const int64_t rows = t.parameter().rows, cols = t.parameter().cols;
        check(op, {{"scalars", scalars, 1, kStepScalars, DType::f32},
                   {t.master.empty() ? "weight" : "master", t.parameter(), rows, cols,
                    t.master.empty() ? DType::bf16 : DType::f32},
                   {"gradient", t.gradient, rows, cols, DType::f32},
                   {"m", t.m, rows, cols, DType::f32},
                   {"v", t.v, rows, cols, DType::f32}});
        CHECK(t.counter >= 0 && t.counter < kCounters, op, ": counter ", t.counter, " of ", kCounters);
        if (t.weight.empty()) continue;
        type = check(op, {{"weight", t.weight, rows, cols}});
        CHECK(t.weight.device == t.parameter().device, op, ": weight is on another device than master");
    }
    if (!on_cpu(scalars))
        check(op, {{"table", trained.table, 1, trained_table_ints(int64_t(trained.tensors.size())), DType::i32}});
    return type;
}
}  // namespace

namespace {
int64_t trained_elements(const TrainedTensors& trained) {
    int64_t n = 0;
    for (const TrainedTensor& t : trained.tensors) n += t.gradient.size();
    return n;
}
}  // namespace

int64_t trained_table_ints(int64_t num_tensors) { return kTableInts * num_tensors; }

void TrainedTensors::prepare() const {
    if constexpr (kCuda)
        if (!tensors.empty() && !on_cpu(tensors[0].parameter()))
            cuda::write_trained_table(table.get<int32_t>(), tensors);
}

void gradient_norm(const Tensor& scalars, const TrainedTensors& trained, float max_norm) {
    check_trained("gradient_norm", scalars, trained);
    OpTimer timer("gradient_norm", {scalars});
    timer.also_moves(4.0 * double(trained_elements(trained)));
    if constexpr (kCuda)
        if (!on_cpu(scalars))
            return cuda::gradient_norm(scalars.get<float>(), trained.table.get<int32_t>(), trained.tensors, max_norm);
    double squares = 0;
    for (const TrainedTensor& t : trained.tensors)
        squares += cpu::sum_of_squares(t.gradient.get<float>(), t.gradient.size());
    float* s = scalars.get<float>();
    const float norm = s[kGradientNorm] = float(std::sqrt(squares));
    s[kFinite] = std::isfinite(norm) && std::isfinite(s[kLoss]) ? 1.0f : 0.0f;
    s[kGradientScale] = max_norm > 0 && norm > max_norm ? max_norm / norm : 1.0f;
}

double adamw_moment_bound(double beta1, double beta2) {
    const double ratio = beta1 * beta1 / beta2;
    // 1e-3 on top, so that rounding never makes the bound bind.
    return ratio < 1 ? 1.001 * (1 - beta1) / std::sqrt((1 - beta2) * (1 - ratio)) : 3e38;
}

void adamw(const Tensor& scalars, const TrainedTensors& trained, const AdamW& hyper) {
    const DType type = check_trained("adamw", scalars, trained);
    OpTimer timer("adamw", {scalars});
    // Parameters and moments are read and written, gradients read, weights beside a master written.
    for (const TrainedTensor& t : trained.tensors)
        timer.also_moves(
            double(2 * t.parameter().bytes() + 5 * t.gradient.bytes() + (t.master.empty() ? 0 : t.weight.bytes())));
    if constexpr (kCuda)
        if (!on_cpu(scalars))
            return cuda::adamw(scalars.get<float>(), trained.table.get<int32_t>(), trained.tensors, hyper);
    const float* s = scalars.get<float>();
    if (s[kFinite] == 0) return;
    for (size_t i = 0; i < trained.tensors.size(); i++) {
        const TrainedTensor& t = trained.tensors[i];
        const cpu::AdamWFactors factors = {
            .lr = s[kRate],
            .beta1 = float(hyper.beta1),
            .one_minus_beta1 = float(1.0 - hyper.beta1),
            .beta2 = float(hyper.beta2),
            .one_minus_beta2 = float(1.0 - hyper.beta2),
            .m_correction = s[kCorrections + 2 * t.counter],
            .root_correction = s[kCorrections + 2 * t.counter + 1],
            .m_bound = float(adamw_moment_bound(hyper.beta1, hyper.beta2)),
            .eps = float(hyper.eps),
            .weight_decay = t.decays ? float(hyper.weight_decay) : 0.0f,
            .gradient_scale = s[kGradientScale],
        };
        if (t.master.empty()) {
            cpu::adamw_rounding(t.weight.get<bf16>(), t.gradient.get<float>(), t.m.get<float>(), t.v.get<float>(),
                                t.weight.size(), factors,
                                {hyper.seed, rng::Purpose::rounding, uint32_t(i), uint64_t(s[kUpdate])});
            continue;
        }
        by_type(type, [&]<class E>(E*) {
            cpu::adamw(t.master.get<float>(), optional<E>(t.weight), t.gradient.get<float>(), t.m.get<float>(),
                       t.v.get<float>(), t.master.size(), factors);
        });
    }
}

// ---- the method --------------------------------------------------------------------------------------------------

void fill_uniform(const Tensor& out, float bound, const rng::Stream& stream) {
    const DType type = check("fill_uniform", {{"out", out, out.rows, out.cols}});
    const OpTimer timer("fill_uniform", {out});
    by_type(type, [&]<class E>(E*) { ON_DEVICE_OF(out, fill_uniform(out.get<E>(), out.size(), bound, stream)); });
}

void fill_normal(const Tensor& out, float stddev, const rng::Stream& stream) {
    const DType type = check("fill_normal", {{"out", out, out.rows, out.cols}});
    const OpTimer timer("fill_normal", {out});
    by_type(type, [&]<class E>(E*) { ON_DEVICE_OF(out, fill_normal(out.get<E>(), out.size(), stddev, stream)); });
}

int64_t prune_random(const Tensor& t, float p, const rng::Stream& stream) {
    const DType type = check("prune_random", {{"t", t, t.rows, t.cols}});
    check_probability("prune_random", p, true);
    const OpTimer timer("prune_random", {t, t});
    return by_type(type, [&]<class E>(E*) { return ON_DEVICE_OF(t, prune_random(t.get<E>(), t.size(), p, stream)); });
}

int64_t prune_magnitude(const Tensor& t, double p, const Tensor& scratch) {
    const int64_t n = t.size();
    const DType type = check("prune_magnitude", {{"t", t, t.rows, t.cols}});
    check("prune_magnitude", {{"scratch", scratch, 1, n, DType::f32}});
    check_probability("prune_magnitude", p, true);
    // 0.07 * 100 is 7.000000000000001 in double: a product within its own rounding of an integer counts as that one.
    const double product = p * double(n), nearest = std::nearbyint(product);
    const int64_t k = int64_t(std::abs(product - nearest) <= 4.5e-16 * product ? nearest : std::ceil(product));
    const OpTimer timer("prune_magnitude", {t, t});
    by_type(type, [&]<class E>(E*) { ON_DEVICE_OF(t, prune_magnitude(t.get<E>(), n, k, scratch.get<float>())); });
    return k;
}

int64_t count_zeros(const Tensor& t) {
    const DType type = check("count_zeros", {{"t", t, t.rows, t.cols}});
    const OpTimer timer("count_zeros", {t});
    return by_type(type, [&]<class E>(E*) { return ON_DEVICE_OF(t, count_zeros(t.get<E>(), t.size())); });
}

double norm_squared(const Tensor& t) {
    const DType type = check("norm_squared", {{"t", t, t.rows, t.cols}});
    const OpTimer timer("norm_squared", {t});
    return by_type(type, [&]<class E>(E*) { return ON_DEVICE_OF(t, sum_of_squares(t.get<E>(), t.size())); });
}

// ---- matrix products ---------------------------------------------------------------------------------------------

void matmul(const Matmul& m) {
    const int64_t K = m.transpose_a ? m.a.rows : m.a.cols;
    CHECK(m.a.data && m.b.data && m.c.data, "matmul: an operand has no memory");
    CHECK((m.transpose_a ? m.a.cols : m.a.rows) == m.c.rows && (m.transpose_b ? m.b.rows : m.b.cols) == m.c.cols &&
              (m.transpose_b ? m.b.cols : m.b.rows) == K,
          "matmul: (", m.a.rows, ", ", m.a.cols, ")", m.transpose_a ? "^T" : "", " x (", m.b.rows, ", ", m.b.cols, ")",
          m.transpose_b ? "^T" : "", " can't be (", m.c.rows, ", ", m.c.cols, ")");
    CHECK(m.a.dtype == m.b.dtype && m.a.dtype != DType::i32, "matmul: a is ", dtype_name(m.a.dtype), ", b is ",
          dtype_name(m.b.dtype));
    CHECK(m.c.dtype == m.a.dtype || m.c.dtype == DType::f32, "matmul: c is ", dtype_name(m.c.dtype),
          " and should be fp32 or as a and b");
    CHECK(m.bias.empty() || (m.bias.size() == m.c.cols && m.bias.dtype == m.a.dtype && m.bias.dtype == m.c.dtype &&
                             m.alpha == 1.0f && !m.accumulate),
          "matmul: a bias has the columns of c and the type of a and c, and goes with neither alpha nor accumulate");
    // oneDNN has but a reference implementation of a scaled product that is added: hundreds of times slower.
    CHECK(m.alpha == 1.0f || !m.accumulate, "matmul: alpha ", m.alpha, " doesn't go with accumulate");
    CHECK(m.batch.count == 1 || (m.batch.count > 1 && m.bias.empty() && m.epilogue == Epilogue::none),
          "matmul: a batch of ", m.batch.count, " products goes with neither bias nor epilogue");
    CHECK((m.epilogue == Epilogue::none) == m.aux.empty(),
          "matmul: an epilogue and its aux go together, one is missing");
    if (m.epilogue != Epilogue::none) {
        const DType type = check("matmul", {{"c", m.c, m.c.rows, m.c.cols}, {"aux", m.aux, m.c.rows, m.c.cols}});
        CHECK(type == m.a.dtype && m.aux.data != m.c.data && m.alpha == 1.0f && !m.accumulate,
              "matmul: an epilogue wants c and aux apart and of the type of a, and goes with neither alpha nor "
              "accumulate");
        CHECK(m.epilogue == Epilogue::gelu || m.bias.empty(), "matmul: the gradient of GELU goes without bias");
    }
    // By the transposes of its operands: nt is a linear's forward, nn its input gradient, tn its weight gradient.
    constexpr const char* kNames[2][2] = {{"matmul nn", "matmul nt"}, {"matmul tn", "matmul tt"}};
    OpTimer timer(kNames[m.transpose_a][m.transpose_b], {m.a, m.b, m.c, m.accumulate ? m.c : Tensor{}, m.aux},
                  2.0 * double(m.batch.count * m.c.size()) * double(K));
    timer.also_moves(double(m.batch.count - 1) *
                     double(m.a.bytes() + m.b.bytes() + (m.accumulate ? 2 : 1) * m.c.bytes()));
    ON_DEVICE_OF(m.c, matmul(m));
}

int64_t workspace_floats(Device device, DType type, int64_t largest_result) {
    if (device == Device::cuda) return cuda::kWorkspaceFloats + cuda::kMatmulWorkspaceBytes / 4;
    return type == DType::f32 ? 0 : cpu::matmul_workspace_floats(largest_result);
}

Tensor set_workspace(Device device, const Tensor& workspace) {
    static Tensor current[2];
    CHECK(workspace.empty() || workspace.device == device, "the workspace of a device's ops is on another device");
    if (device == Device::cpu)
        cpu::set_matmul_workspace(workspace);
    else if constexpr (kCuda)
        cuda::set_workspace(workspace);
    return std::exchange(current[size_t(device)], workspace);
}

// ---- attention ---------------------------------------------------------------------------------------------------

int64_t attention_scratch_floats(Device device, int64_t B, int64_t T, int64_t NH, int64_t head_size) {
    if (device == Device::cuda) return cuda::attention_scratch_floats(B, T, NH);
    return cpu::attention_scratch_floats(T, head_size);
}

namespace {
DType check_attention(const Attention& a) {
    const int64_t N = a.B * a.T, C = a.out.cols;
    CHECK(a.NH > 0 && C % a.NH == 0, "attention: ", a.NH, " heads don't divide ", C, " channels");
    CHECK(a.scratch.size() >= attention_scratch_floats(a.out.device, a.B, a.T, a.NH, C / a.NH),
          "attention: the scratch holds ", a.scratch.size(), " floats and should hold ",
          attention_scratch_floats(a.out.device, a.B, a.T, a.NH, C / a.NH));
    check("attention", {{"lse", a.lse, 1, N * a.NH, DType::f32}});
    return check("attention", {{"qkv", a.qkv, N, 3 * C}, {"out", a.out, N, C}});
}
// Of one of attention's products, of which the causal mask leaves half.
double causal_product_flops(const Attention& a) { return double(a.out.size()) * double(a.T); }
}  // namespace

void attention_forward(const Attention& a) {
    const OpTimer timer("attention_forward", {a.qkv, a.out, a.lse}, causal_product_flops(a) * 2);
    by_type(check_attention(a), [&]<class E>(E*) {
        ON_DEVICE_OF(a.out, attention_forward(a.out.get<E>(), a.lse.get<float>(), a.qkv.get<E>(),
                                              a.scratch.get<float>(), a.B, a.T, a.NH, a.out.cols / a.NH));
    });
}

void attention_backward(const Attention& a, const Tensor& dqkv, const Tensor& dout) {
    const DType type = check_attention(a);
    check("attention_backward", {{"out", a.out, a.out.rows, a.out.cols},
                                 {"dout", dout, a.out.rows, a.out.cols},
                                 {"dqkv", dqkv, a.qkv.rows, a.qkv.cols}});
    const OpTimer timer("attention_backward", {a.qkv, a.out, dout, dqkv, a.lse}, causal_product_flops(a) * 5);
    by_type(type, [&]<class E>(E*) {
        ON_DEVICE_OF(
            a.out, attention_backward(dqkv.get<E>(), dout.get<E>(), a.out.get<E>(), a.lse.get<float>(), a.qkv.get<E>(),
                                      a.scratch.get<float>(), a.B, a.T, a.NH, a.out.cols / a.NH));
    });
}

// ---- the rest ----------------------------------------------------------------------------------------------------

void fill(const Tensor& out, float value) {
    const DType type = check("fill", {{"out", out, out.rows, out.cols}});
    const OpTimer timer("fill", {out});
    by_type(type, [&]<class E>(E*) { ON_DEVICE_OF(out, fill(out.get<E>(), out.size(), value)); });
}

void sum(const Tensor& out, const Tensor& t, float scale, bool accumulate) {
    check("sum", {{"t", t, t.rows, t.cols, DType::f32}, {"out", out, 1, 1, DType::f32}});
    const OpTimer timer("sum", {t});
    ON_DEVICE_OF(t, sum(out.get<float>(), t.get<float>(), t.size(), scale, accumulate));
}

std::string device_problem(Device device) {
    if (device == Device::cpu) return "";
    const std::string problem = device::cuda_problem();
    if constexpr (kCuda)
        if (problem.empty())
            return cuda::has_kernels()
                       ? cuda::matmul_problem()
                       : "this binary has no kernels for the GPU's architecture: build it where the GPU is, "
                         "or with `make release`";
    return problem;
}

void set_autotune(bool on) {
    if constexpr (kCuda) cuda::set_autotune(on);
}

int set_threads(int threads) { return cpu::set_threads(threads); }

}  // namespace kernels
