// Column sums, sums of squares and counts against fp64.
#include "op_test.h"

template <class T>
class Reduce : public PerType<T> {};
TYPED_TEST_SUITE(Reduce, StorageTypes);

TYPED_TEST(Reduce, BiasGradientIsTheColumnSum) {
    std::vector<Shape> shapes = kShapes;
    shapes.push_back({30, 2500});  // more columns than a thread holds at a time
    for (const Shape& shape : shapes)
        for (const bool accumulate : {false, true}) {
            const auto [N, C] = shape;
            Buffer<TypeParam> dout(N, C);
            Buffer<float> dbias(1, C);
            dout.randomize(1);
            dbias.randomize(2);
            const Buffer<float> before = dbias;
            kernels::bias_backward(dbias.tensor(), dout.tensor(), accumulate);
            for (int64_t c = 0; c < C; c++) {
                double want = accumulate ? before[c] : 0.0;
                for (int64_t n = 0; n < N; n++) want += dout[n * C + c];
                EXPECT_NEAR(dbias[c], want, 1e-5) << at(shape, c);
            }
        }
}

TYPED_TEST(Reduce, NormSquaredIsExactToFp64AndTheSameOnAnyNumberOfThreads) {
    for (const Shape& shape : {Shape{1, 1}, Shape{67, 1000}, Shape{1, 16384}, Shape{3, 100003}}) {
        Buffer<TypeParam> t(shape.rows, shape.cols);
        t.randomize(1, 1e-3);
        double want = 0;
        for (int64_t i = 0; i < t.size(); i++) want += t[i] * t[i];
        std::vector<double> got;
        for (const int count : {1, 2, 3, 5}) {
            Threads threads(count);
            got.push_back(kernels::norm_squared(t.tensor()));
        }
        EXPECT_NEAR(got[0] / want, 1, 1e-12);
        for (const double value : got) EXPECT_EQ(value, got[0]);
    }
}

TYPED_TEST(Reduce, CountsZerosOfBothSigns) {
    for (const Shape& shape : kShapes) {
        Buffer<TypeParam> t(shape.rows, shape.cols, 1e-30);
        int64_t zeros = 0;
        for (int64_t i = 0; i < t.size(); i += 3, zeros++) t.set(i, i % 2 ? 0.0 : -0.0);
        if (t.size() > 1) t.set(1, NAN);
        EXPECT_EQ(kernels::count_zeros(t.tensor()), zeros);
    }
}

TEST(SumOfSquares, AddsTensorsAndDoesNotOverflow) {
    Buffer<float> a(67, 1000), b(1, 3, 1e30);
    a.randomize(1);
    double want = 3e60;
    for (int64_t i = 0; i < a.size(); i++) want += a[i] * a[i];
    EXPECT_NEAR(kernels::sum_of_squares({a.tensor(), b.tensor()}) / want, 1, 1e-7);  // 1e30 rounds to fp32
    EXPECT_EQ(kernels::sum_of_squares({}), 0);
}

TEST(SumOfSquares, ShowsNaNAndInfinity) {
    for (const int64_t place : {0, 33000, 66999}) {
        Buffer<float> t(67, 1000, 1.0);
        t.set(place, INFINITY);
        EXPECT_TRUE(std::isinf(kernels::sum_of_squares({t.tensor()}))) << place;
        t.set(place, NAN);
        EXPECT_TRUE(std::isnan(kernels::sum_of_squares({t.tensor()}))) << place;
    }
}
