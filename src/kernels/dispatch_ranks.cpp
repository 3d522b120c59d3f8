// What ranks need: sums in their order, fingerprints, and a clock.
#include "kernels/dispatch.h"

namespace kernels {

void sum_in_order(const Tensor& out, const Tensor& rows, int own) {
    const int64_t n = out.cols;
    check("sum_in_order", {{"out", out, 1, n, DType::f32}});
    CHECK(rows.rows > 0 && rows.cols == n && rows.ld >= n && own < rows.rows && rows.device == out.device &&
              rows.dtype != DType::i32,
          "sum_in_order: ", rows.rows, " rows of ", rows.cols, ", of which ", own, " is a row of ", n);
    OpTimer timer("sum_in_order", {out});
    timer.also_moves(double(rows.bytes()));
    by_type(rows.dtype, [&]<class E>(E*) {
        ON_DEVICE_OF(out, sum_in_order(out.get<float>(), rows.get<E>(), rows.rows, n, rows.ld, own));
    });
}

void fingerprint(const Tensor& out, const Tensor& t) {
    check("fingerprint", {{"out", out, 1, 2, DType::i32}});
    const DType type = check("fingerprint", {{"t", t, t.rows, t.cols}});
    CHECK(out.device == t.device, "fingerprint: out is on another device than t");
    const OpTimer timer("fingerprint", {t});
    by_type(type, [&]<class E>(E*) {
        ON_DEVICE_OF(t, fingerprint(reinterpret_cast<uint64_t*>(out.get<int32_t>()), t.get<E>(), t.size()));
    });
}

void clock_start(const Tensor& clock) {
    check("clock_start", {{"clock", clock, 1, 2, DType::i32}});
    ON_DEVICE_OF(clock, clock_start(reinterpret_cast<int64_t*>(clock.get<int32_t>())));
}

void clock_stop(const Tensor& clock, const Tensor& seconds) {
    check("clock_stop", {{"clock", clock, 1, 2, DType::i32}, {"seconds", seconds, 1, 1, DType::f32}});
    ON_DEVICE_OF(clock, clock_stop(reinterpret_cast<const int64_t*>(clock.get<int32_t>()), seconds.get<float>()));
}

}  // namespace kernels
