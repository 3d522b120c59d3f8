// What GPT-2 is made of besides products: embedding, layer norm, GELU, attention, the loss, and a token drawn from
// logits.
#include "kernels/dispatch.h"
#include "runtime/device.h"

namespace kernels {
namespace {

// Looks at ids in host memory: those in device memory can't be looked at without waiting. The data set checks its
// tokens itself.
void check_ids(const char* op, const char* name, const int32_t* ids, int64_t N, int64_t limit) {
    for (int64_t n = 0; n < N; n++)
        CHECK(ids[n] >= 0 && ids[n] < limit, op, ": ", name, " ", n, " is ", ids[n], " and should be in [0, ", limit,
              ")");
}

void check_positions(const char* op, int64_t N, int64_t T, const char* name, int64_t rows) {
    CHECK(T > 0 && N % T == 0, op, ": ", N, " rows aren't whole sequences of ", T);
    CHECK(T <= rows, op, ": sequences of ", T, " exceed the ", rows, " positions of ", name);
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
    const OpTimer timer("layernorm_forward", {a.x, a.out, a.mean, a.rstd});
    by_type(type, [&]<class E>(E*) {
        ON_DEVICE_OF(a.x, layernorm_forward(a.out.get<E>(), a.mean.get<float>(), a.rstd.get<float>(), a.x.get<E>(),
                                            a.weight.get<E>(), a.bias.get<E>(), N, C));
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
    if (!a.dx_sums.empty()) check("layernorm_backward", {{"dx_sums", a.dx_sums, 1, C, DType::f32}});
    const OpTimer timer("layernorm_backward", {a.x, a.dout, a.dx, a.accumulate_dx ? a.dx : Tensor{}, a.mean, a.rstd});
    by_type(type, [&]<class E>(E*) {
        ON_DEVICE_OF(a.x,
                     layernorm_backward(a.dx.get<E>(), a.dweight.get<float>(), a.dbias.get<float>(),
                                        optional<float>(a.dx_sums), a.dout.get<E>(), a.x.get<E>(), a.weight.get<E>(),
                                        a.mean.get<float>(), a.rstd.get<float>(), N, C, a.accumulate_dx, a.accumulate));
    });
}

// ---- GELU --------------------------------------------------------------------------------------------------------

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

// ---- causal self-attention ---------------------------------------------------------------------------------------

int64_t attention_scratch_floats(Device device, int64_t B, int64_t T, int64_t NH, int64_t head_size) {
    if (device == Device::cuda) return cuda::attention_scratch_floats(B, T, NH, head_size);
    return cpu::attention_scratch_floats(T, head_size);
}

AttentionKernel attention_kernel(const std::string& name) {
    CHECK(name == "auto" || name == "mma" || name == "wgmma", "attention: there are no kernels called ", name);
    return name == "auto" ? AttentionKernel::automatic : name == "mma" ? AttentionKernel::mma : AttentionKernel::wgmma;
}

std::string attention_kernel_problem(AttentionKernel kernel, Device on, DType type, int64_t head_size) {
    if (kernel == AttentionKernel::automatic) return "";
    if (on != Device::cuda) return "needs a GPU";
    if (type != DType::bf16) return str("needs bf16, not ", dtype_name(type));
    if (head_size != 64 && head_size != 128) return str("needs heads of 64 or 128 channels, not ", head_size);
    if constexpr (kBuiltWithCuda)
        if (kernel == AttentionKernel::wgmma && device::cuda_problem().empty()) return cuda::wgmma_problem();
    return "";
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
// The FLOPs of one of attention's products, of which the causal mask leaves half.
double causal_product_flops(const Attention& a) { return double(a.out.size()) * double(a.T); }
}  // namespace

void attention_forward(const Attention& a) {
    const OpTimer timer("attention_forward", {a.qkv, a.out, a.lse}, causal_product_flops(a) * 2);
    by_type(check_attention(a), [&]<class E>(E*) {
        ON_DEVICE_OF(a.out, attention_forward(a.out.get<E>(), a.lse.get<float>(), a.qkv.get<E>(),
                                              a.scratch.get<float>(), a.B, a.T, a.NH, a.out.cols / a.NH, a.kernel));
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
                                      a.scratch.get<float>(), a.B, a.T, a.NH, a.out.cols / a.NH, a.kernel));
    });
}

// ---- loss --------------------------------------------------------------------------------------------------------

void cross_entropy(const CrossEntropy& a) {
    const int64_t N = a.logits.rows, Vp = a.logits.cols;
    const DType type = check("cross_entropy", {{"logits", a.logits, N, Vp}, {"losses", a.losses, 1, N, DType::f32}});
    CHECK(a.V > 0 && a.V <= Vp, "cross_entropy: V is ", a.V, " and should be in [1, ", Vp, "]");
    if (!a.dlogits.empty()) check("cross_entropy", {{"logits", a.logits, N, Vp}, {"dlogits", a.dlogits, N, Vp}});
    if (on_cpu(a.logits)) check_ids("cross_entropy", "target", a.targets, N, a.V);
    const OpTimer timer("cross_entropy", {a.logits, a.dlogits, a.losses});
    by_type(type, [&]<class E>(E*) {
        ON_DEVICE_OF(a.logits, cross_entropy(a.losses.get<float>(), a.logits.get<E>(), optional<E>(a.dlogits),
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
    const OpTimer timer("sample_token", {s.logits});
    ON_DEVICE_OF(s.logits,
                 sample_token(s.token.get<int32_t>(), s.logits.get<float>(), V, s.top_k, s.temperature, s.uniform));
}

}  // namespace kernels
