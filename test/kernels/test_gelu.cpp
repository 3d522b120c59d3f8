// GELU against the tanh formula in fp64 and its finite differences.
#include "test/kernels/op_test.h"

namespace {
double gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }
}  // namespace

template <class T>
class Gelu : public PerType<T> {};
TYPED_TEST_SUITE(Gelu, StorageTypes);

TYPED_TEST(Gelu, ForwardIsTheFormula) {
    for (const Shape& shape : kShapes) {
        Buffer<TypeParam> x(shape.rows, shape.cols), out(shape.rows, shape.cols);
        x.randomize(1, 3.0);
        kernels::gelu_forward(out.tensor(), x.tensor());
        for (int64_t i = 0; i < x.size(); i++) expect_close<TypeParam>(out[i], gelu(x[i]), 1e-6, at(shape, i));
    }
}

TYPED_TEST(Gelu, BackwardIsTheSlopeAlsoInPlace) {
    for (const Shape& shape : kShapes) {
        Buffer<TypeParam> x(shape.rows, shape.cols), dout(shape.rows, shape.cols), dx(shape.rows, shape.cols);
        x.randomize(2, 2.0);
        dout.randomize(3);
        kernels::gelu_backward(dx.tensor(), dout.tensor(), x.tensor());
        for (int64_t i = 0; i < x.size(); i++) {
            const double h = 1e-5, slope = (gelu(x[i] + h) - gelu(x[i] - h)) / (2 * h);
            expect_close<TypeParam>(dx[i], dout[i] * slope, 2e-6, at(shape, i));
        }
        kernels::gelu_backward(dout.tensor(), dout.tensor(), x.tensor());
        for (int64_t i = 0; i < x.size(); i++) EXPECT_EQ(dout[i], dx[i]) << at(shape, i);
    }
}

TYPED_TEST(Gelu, FarTailsAndNaN) {
    Buffer<TypeParam> x(1, 4), out(1, 4);
    x.set(0, -100);
    x.set(1, 100);
    x.set(2, NAN);
    x.set(3, -3e30);
    kernels::gelu_forward(out.tensor(), x.tensor());
    EXPECT_EQ(out[0], 0);
    EXPECT_EQ(out[1], 100);
    EXPECT_TRUE(std::isnan(out[2]));
    EXPECT_EQ(out[3], 0);
}
