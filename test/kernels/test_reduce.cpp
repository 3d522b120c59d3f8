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

// kGradientNorm, kGradientScale and kTaken for these gradients, of which each of some ranks keeps a share.
// `limits`: of the loss, and of the norm.
Buffer<float> norm_of(const std::vector<Tensor>& gradients, float max_norm, double loss = 1, int ranks = 1,
                      std::pair<float, float> limits = {}) {
    int64_t units = 0;
    for (const Tensor& g : gradients) units += kernels::norm_units(g.size());
    const int64_t ints = kernels::norm_sums_ints(units, ranks);
    std::vector<int64_t> memory(size_t(ints / 2)), total(size_t(ints / 2));
    const auto as_tensor = [&](std::vector<int64_t>& m) { return make_tensor(m.data(), DType::i32, 1, ints); };
    Buffer<float> scalars(1, kernels::kStepScalars, 7);
    for (int rank = 0; rank < ranks; rank++) {
        kernels::GradientRanges ranges;
        int64_t first = 0;
        for (const Tensor& g : gradients) {
            const int64_t n = g.size(), share = kernels::norm_units(n) / ranks * kernels::kNormUnit;
            const int64_t begin = rank * share, end = rank + 1 == ranks ? n : begin + share;
            if (end > begin)
                ranges.ranges.push_back(
                    {g.reuse(DType::f32, 1, n).col_range(begin, end - begin), first + begin / kernels::kNormUnit});
            first += kernels::norm_units(n);
        }
        scalars.set(kernels::kLoss, loss * (rank + 1));
        scalars.set(kernels::kLossLimit, limits.first);
        scalars.set(kernels::kNormLimit, limits.second);
        scalars.set(kernels::kWishes, rank == 1 ? 1 : 0);
        kernels::gradient_squares({as_tensor(memory), units, rank, ranks}, ranges, scalars.tensor());
        const auto* own = reinterpret_cast<const int32_t*>(memory.data());
        for (int64_t i = 0; i < ints; i++) reinterpret_cast<int32_t*>(total.data())[i] += own[i];
    }
    kernels::gradient_norm(scalars.tensor(), {as_tensor(total), units, 0, ranks}, max_norm);
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
        EXPECT_EQ(norm_of({t.tensor()}, 1)[kernels::kTaken], 1);
        t.set(place, INFINITY);
        EXPECT_EQ(norm_of({t.tensor()}, 1)[kernels::kTaken], 0) << place;
        t.set(place, NAN);
        EXPECT_EQ(norm_of({t.tensor()}, 1)[kernels::kTaken], 0) << place;
    }
    Buffer<float> g(1, 4, 1.0);
    EXPECT_EQ(norm_of({g.tensor()}, 1, NAN)[kernels::kTaken], 0);
}

TEST(GradientNorm, SkipsWhatIsAboveALimit) {
    Buffer<float> g(1, 4);
    for (int i = 0; i < 4; i++) g.set(i, 3);  // of norm 6
    const auto taken = [&](double loss, float most_loss, float most_norm) {
        return norm_of({g.tensor()}, 1, loss, 1, {most_loss, most_norm})[kernels::kTaken];
    };
    EXPECT_EQ(taken(2, 2, 6), 1);
    EXPECT_EQ(taken(2, 1.99f, 0), 0);
    EXPECT_EQ(taken(2, 0, 5.99f), 0);
    EXPECT_EQ(taken(2, 0, 0), 1);
}

// The bits are those of one rank; losses and wishes to stop are added.
TEST(GradientNorm, IsTheSameForAnyNumberOfRanks) {
    Buffer<float> a(67, 1000), b(1, 5000);
    a.randomize(1);
    b.randomize(2);
    const Buffer<float> one = norm_of({a.tensor(), b.tensor()}, 1);
    EXPECT_EQ(one[kernels::kWishes], 0);
    for (const int ranks : {2, 3, 5}) {
        const Buffer<float> many = norm_of({a.tensor(), b.tensor()}, 1, 0.25, ranks);
        EXPECT_EQ(many[kernels::kGradientNorm], one[kernels::kGradientNorm]) << ranks;
        EXPECT_EQ(many[kernels::kLoss], 0.25 * ranks * (ranks + 1) / 2);
        EXPECT_EQ(many[kernels::kWishes], 1);
    }
}

// Float sums depend on their order, so the order shows.
TEST(SumInOrder, AddsRowsFromTheFirst) {
    const int64_t R = 4, n = 5000;
    for (const int own : {-1, 0, 2}) {
        Buffer<float> rows(R, n), out(1, n);
        rows.randomize(3);
        std::vector<float> want(static_cast<size_t>(n));
        for (int64_t i = 0; i < n; i++) {
            if (own >= 0) out.set(i, rows[own * n + i]);
            float sum = float(rows[i]);
            for (int64_t r = 1; r < R; r++) sum += float(rows[r * n + i]);
            want[size_t(i)] = sum;
        }
        if (own >= 0)
            for (int64_t i = 0; i < n; i++) rows.set(own * n + i, NAN);
        kernels::sum_in_order(out.tensor(), rows.tensor(), own);
        for (int64_t i = 0; i < n; i++) ASSERT_EQ(float(out[i]), want[size_t(i)]) << own << ": " << i;
    }
}

TYPED_TEST(Reduce, FingerprintTellsOneBitAndTwoPlaces) {
    Buffer<TypeParam> t(67, 1000);
    t.randomize(1);
    const auto fingerprint = [&] {
        int64_t value = 0;
        kernels::fingerprint(make_tensor(&value, DType::i32, 1, 2), t.tensor());
        return value;
    };
    const int64_t before = fingerprint();
    EXPECT_EQ(fingerprint(), before);
    const double a = t[17], b = t[66000];
    t.set(17, b);
    t.set(66000, a);
    EXPECT_NE(fingerprint(), before);
    t.set(17, a);
    t.set(66000, b);
    EXPECT_EQ(fingerprint(), before);
    t.set(66999, -t[66999]);
    EXPECT_NE(fingerprint(), before);
}
