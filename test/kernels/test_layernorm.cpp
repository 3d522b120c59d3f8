// Layer norm against the formula in fp64, its gradient against finite differences of that formula. The bounds hold for
// sums over a thousand columns in plain order too, without the vector lanes that make them more exact.
#include <algorithm>

#include "test/kernels/op_test.h"

template <class T>
class LayerNorm : public PerType<T> {};
TYPED_TEST_SUITE(LayerNorm, StorageTypes);

namespace {

struct Row {
    std::vector<double> norm;
    double mean = 0, rstd = 0;
};
Row normalise(const std::vector<double>& x) {
    Row row;
    double var = 0;
    for (const double v : x) row.mean += v / double(x.size());
    for (const double v : x) var += (v - row.mean) * (v - row.mean) / double(x.size());
    row.rstd = 1 / std::sqrt(var + 1e-5);
    for (const double v : x) row.norm.push_back((v - row.mean) * row.rstd);
    return row;
}
template <class T>
std::vector<double> row_of(const Buffer<T>& x, int64_t n) {
    std::vector<double> row;
    for (int64_t c = 0; c < x.cols; c++) row.push_back(x[n * x.cols + c]);
    return row;
}

}  // namespace

TYPED_TEST(LayerNorm, ForwardIsTheFormula) {
    for (const Shape& shape : kShapes) {
        const auto [N, C] = shape;
        Buffer<TypeParam> x(N, C), weight(1, C), bias(1, C), out(N, C);
        Buffer<float> mean(1, N), rstd(1, N);
        x.randomize(1, 2.0, 0.5);
        weight.randomize(2);
        bias.randomize(3);
        kernels::layernorm_forward({.out = out.tensor(),
                                    .mean = mean.tensor(),
                                    .rstd = rstd.tensor(),
                                    .x = x.tensor(),
                                    .weight = weight.tensor(),
                                    .bias = bias.tensor()});
        for (int64_t n = 0; n < N; n++) {
            const Row row = normalise(row_of(x, n));
            EXPECT_NEAR(mean[n], row.mean, 1e-6) << at(shape, n);
            EXPECT_NEAR(rstd[n] / row.rstd, 1, 3e-6) << at(shape, n);
            for (int64_t c = 0; c < C; c++)
                expect_close<TypeParam>(out[n * C + c], row.norm[size_t(c)] * weight[c] + bias[c], 1e-5,
                                        at(shape, n * C + c));
        }
    }
}

TYPED_TEST(LayerNorm, BackwardIsTheFiniteDifference) {
    for (const Shape& shape : kShapes)
        for (const bool accumulate : {false, true}) {
            const auto [N, C] = shape;
            if (C == 1) continue;  // the norm of one number is flat: the next test has it
            Buffer<TypeParam> x(N, C), weight(1, C), dout(N, C), dx(N, C);
            Buffer<float> mean(1, N), rstd(1, N), dweight(1, C), dbias(1, C), dx_sums(1, C);
            x.randomize(1, 2.0, 0.5);
            weight.randomize(2);
            dout.randomize(3);
            dx.randomize(4);
            dweight.randomize(5);
            dbias.randomize(6);
            dx_sums.randomize(7);
            const Buffer<TypeParam> dx_before = dx;
            const Buffer<float> dweight_before = dweight, dbias_before = dbias, dx_sums_before = dx_sums;
            std::vector<Row> rows;
            for (int64_t n = 0; n < N; n++) {
                rows.push_back(normalise(row_of(x, n)));
                mean.set(n, rows.back().mean);
                rstd.set(n, rows.back().rstd);
            }
            kernels::layernorm_backward({.dx = dx.tensor(),
                                         .dweight = dweight.tensor(),
                                         .dbias = dbias.tensor(),
                                         .dx_sums = dx_sums.tensor(),
                                         .dout = dout.tensor(),
                                         .x = x.tensor(),
                                         .weight = weight.tensor(),
                                         .mean = mean.tensor(),
                                         .rstd = rstd.tensor(),
                                         .accumulate_dx = accumulate,
                                         .accumulate = accumulate});
            // One row's share of the loss sum(dout * out), as a function of the row.
            const auto loss = [&, C = C](int64_t n, const std::vector<double>& row) {
                const Row r = normalise(row);
                double total = 0;
                for (int64_t c = 0; c < C; c++) total += dout[n * C + c] * r.norm[size_t(c)] * weight[c];
                return total;
            };
            // A difference costs a whole row, so wide rows are checked at a sample of their columns.
            const int64_t stride = std::max<int64_t>(1, C / 29);
            for (int64_t n = 0; n < N; n++)
                for (int64_t c = n % stride; c < C; c += stride) {
                    const double h = 1e-5;
                    std::vector<double> row = row_of(x, n);
                    row[size_t(c)] += h;
                    const double above = loss(n, row);
                    row[size_t(c)] -= 2 * h;
                    const double slope = (above - loss(n, row)) / (2 * h);
                    const double want = slope + (accumulate ? dx_before[n * C + c] : 0.0);
                    expect_close<TypeParam>(dx[n * C + c], want, 1e-5, at(shape, n * C + c));
                }
            for (int64_t c = 0; c < C; c++) {
                double dw = accumulate ? dweight_before[c] : 0.0, db = accumulate ? dbias_before[c] : 0.0;
                double sum = accumulate ? dx_sums_before[c] : 0.0, rounded = 0;
                for (int64_t n = 0; n < N; n++) {
                    dw += dout[n * C + c] * rows[size_t(n)].norm[size_t(c)];
                    db += dout[n * C + c];
                    sum += dx[n * C + c];
                    rounded += std::abs(dx[n * C + c]) * kRounding<TypeParam>;
                }
                EXPECT_NEAR(dweight[c], dw, 2e-5) << at(shape, c);
                EXPECT_NEAR(dbias[c], db, 2e-5) << at(shape, c);
                EXPECT_NEAR(dx_sums[c], sum, 2e-5 + rounded) << at(shape, c);
            }
        }
}

TYPED_TEST(LayerNorm, OneColumnHasNoGradient) {
    Buffer<TypeParam> x(67, 1), weight(1, 1, 2.0), dout(67, 1), dx(67, 1, 9.0);
    Buffer<float> mean(1, 67), rstd(1, 67, 316.2278), dweight(1, 1), dbias(1, 1);
    dout.randomize(3);
    kernels::layernorm_backward({.dx = dx.tensor(),
                                 .dweight = dweight.tensor(),
                                 .dbias = dbias.tensor(),
                                 .dx_sums = {},
                                 .dout = dout.tensor(),
                                 .x = x.tensor(),
                                 .weight = weight.tensor(),
                                 .mean = mean.tensor(),
                                 .rstd = rstd.tensor()});
    double sum = 0;
    for (int64_t n = 0; n < 67; n++) {
        EXPECT_NEAR(dx[n], 0, 1e-4);
        sum += dout[n];
    }
    EXPECT_EQ(dweight[0], 0);
    EXPECT_NEAR(dbias[0], sum, 1e-5);
}
