// Column sums, sums of squares and counts against fp64.
#include "test/kernels/op_test.h"

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

namespace {

// kGradientNorm, kGradientScale and kFinite for these gradients.
Buffer<float> norm_of(const std::vector<Tensor>& gradients, float max_norm, double loss = 1) {
    Buffer<float> scalars(1, kernels::kStepScalars, 7);
    scalars.set(kernels::kLoss, loss);
    kernels::TrainedTensors trained;
    for (const Tensor& g : gradients) trained.tensors.push_back({.master = g, .gradient = g, .m = g, .v = g});
    kernels::gradient_norm(scalars.tensor(), trained, max_norm);
    return scalars;
}

}  // namespace

TEST(GradientNorm, IsOverAllTensorsAndDoesNotOverflow) {
    Buffer<float> a(67, 1000), b(1, 3, 1e30);
    a.randomize(1);
    double want = 0;
    for (int64_t i = 0; i < a.size(); i++) want += a[i] * a[i];
    Buffer<float> c(1, 3, 2.0);
    EXPECT_NEAR(norm_of({a.tensor(), c.tensor()}, 0)[kernels::kGradientNorm] / std::sqrt(want + 12), 1, 1e-7);
    EXPECT_NEAR(norm_of({a.tensor(), b.tensor()}, 0)[kernels::kGradientNorm] / std::sqrt(3e60), 1, 1e-7);
    EXPECT_EQ(norm_of({}, 0)[kernels::kGradientNorm], 0);
}

TEST(GradientNorm, ClipsOnlyWhatIsLonger) {
    Buffer<float> g(1, 4, 1.5);  // norm 3
    EXPECT_EQ(norm_of({g.tensor()}, 0)[kernels::kGradientScale], 1);
    EXPECT_EQ(norm_of({g.tensor()}, 4)[kernels::kGradientScale], 1);
    EXPECT_NEAR(norm_of({g.tensor()}, 1)[kernels::kGradientScale], 1.0 / 3, 1e-7);
}

TEST(GradientNorm, ShowsNaNAndInfinityInGradientsAndLoss) {
    for (const int64_t place : {0, 33000, 66999}) {
        Buffer<float> t(67, 1000, 1.0);
        EXPECT_EQ(norm_of({t.tensor()}, 1)[kernels::kFinite], 1);
        t.set(place, INFINITY);
        EXPECT_EQ(norm_of({t.tensor()}, 1)[kernels::kFinite], 0) << place;
        t.set(place, NAN);
        EXPECT_EQ(norm_of({t.tensor()}, 1)[kernels::kFinite], 0) << place;
    }
    Buffer<float> g(1, 4, 1.0);
    EXPECT_EQ(norm_of({g.tensor()}, 1, NAN)[kernels::kFinite], 0);
}
