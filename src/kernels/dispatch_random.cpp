// Ops that draw from a random stream, and pruning.
#include "kernels/dispatch.h"

namespace kernels {

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

void dropout(const Tensor& out, const Tensor& x, float p, const rng::Stream& stream, bool accumulate) {
    const DType type = check("dropout", {{"x", x, x.rows, x.cols}, {"out", out, x.rows, x.cols}});
    check_probability("dropout", p, false);
    const OpTimer timer("dropout", {out, x, accumulate ? out : Tensor{}});
    by_type(type,
            [&]<class E>(E*) { ON_DEVICE_OF(x, dropout(out.get<E>(), x.get<E>(), x.size(), p, stream, accumulate)); });
}

void add_dithered(const Tensor& out, const Tensor& a, const Tensor& b, const rng::Stream& stream) {
    check("add_dithered", {{"a", a, a.rows, a.cols, DType::bf16},
                           {"b", b, a.rows, a.cols, DType::f32},
                           {"out", out, a.rows, a.cols, DType::bf16}});
    const OpTimer timer("add_dithered", {out, a, b});
    ON_DEVICE_OF(a, add_dithered(out.get<bf16>(), a.get<bf16>(), b.get<float>(), a.size(), stream));
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
    const OpTimer timer("prune_magnitude", {t, t});
    return by_type(
        type, [&]<class E>(E*) { return ON_DEVICE_OF(t, prune_magnitude(t.get<E>(), n, p, scratch.get<float>())); });
}

}  // namespace kernels
