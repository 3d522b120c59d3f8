// Ops on whole tensors: those that treat every element alike, and sums.
#include "kernels/dispatch.h"

namespace kernels {

// ---- element-wise ------------------------------------------------------------------------------------------------

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

void fill(const Tensor& out, float value) {
    const DType type = check("fill", {{"out", out, out.rows, out.cols}});
    const OpTimer timer("fill", {out});
    by_type(type, [&]<class E>(E*) { ON_DEVICE_OF(out, fill(out.get<E>(), out.size(), value)); });
}

// ---- sums --------------------------------------------------------------------------------------------------------

void bias_backward(const Tensor& dbias, const Tensor& dout, bool accumulate) {
    const DType type =
        check("bias_backward", {{"dout", dout, dout.rows, dout.cols}, {"dbias", dbias, 1, dout.cols, DType::f32}});
    const OpTimer timer("bias_backward", {dout, dbias});
    by_type(type, [&]<class E>(E*) {
        ON_DEVICE_OF(dout, bias_backward(dbias.get<float>(), dout.get<E>(), dout.rows, dout.cols, accumulate));
    });
}

void sum(const Tensor& out, const Tensor& t, float scale, bool accumulate) {
    check("sum", {{"t", t, t.rows, t.cols, DType::f32}, {"out", out, 1, 1, DType::f32}});
    const OpTimer timer("sum", {t});
    ON_DEVICE_OF(t, sum(out.get<float>(), t.get<float>(), t.size(), scale, accumulate));
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

}  // namespace kernels
