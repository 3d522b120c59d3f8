// Pruning: counts exact, the right entries, ties in order of index, and everything else untouched.
#include <algorithm>
#include <numeric>

#include "test/kernels/op_test.h"

namespace {

const rng::Stream kStream{99, rng::Purpose::prune, 2, 5};

// Which entries a prune of k must take, by sorting (|t|, index).
template <class T>
std::vector<bool> smallest(const Buffer<T>& t, int64_t k) {
    std::vector<int64_t> order(static_cast<size_t>(t.size()));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return std::abs(t[a]) < std::abs(t[b]); });
    std::vector<bool> taken(order.size(), false);
    for (int64_t i = 0; i < k; i++) taken[size_t(order[size_t(i)])] = true;
    return taken;
}

template <class T>
void expect_pruned(Buffer<T>& t, double p, int64_t k, const std::string& where) {
    const Buffer<T> before = t;
    const std::vector<bool> taken = smallest(before, k);
    Buffer<float> scratch(1, t.size());
    EXPECT_EQ(kernels::prune_magnitude(t.tensor(), p, scratch.tensor()), k) << where;
    for (int64_t i = 0; i < t.size(); i++)
        ASSERT_EQ(t[i], taken[size_t(i)] ? 0.0 : before[i]) << where << ", element " << i;
}

}  // namespace

template <class T>
class Prune : public PerType<T> {};
TYPED_TEST_SUITE(Prune, StorageTypes);

TYPED_TEST(Prune, MagnitudeTakesExactlyTheSmallest) {
    // ceil(p n) worked out by hand, among them products that double gets slightly wrong (0.07 * 100, 0.99 * 100).
    struct Case {
        int64_t rows, cols;
        double p;
        int64_t k;
    };
    for (const Case& c : std::vector<Case>{{1, 1, 0.5, 1},
                                           {10, 10, 0.99, 99},
                                           {10, 10, 0.07, 7},
                                           {10, 10, 0.071, 8},
                                           {3, 5, 0.9, 14},
                                           {67, 1000, 0.99, 66330},
                                           {67, 1000, 0.9, 60300},
                                           {67, 1000, 0.3, 20100},
                                           {67, 1000, 1e-5, 1},
                                           {67, 1000, 0.0, 0},
                                           {67, 1000, 1.0, 67000},
                                           {7, 11, 1.0, 77},
                                           {7, 11, 0.0, 0}}) {
        Buffer<TypeParam> t(c.rows, c.cols);
        t.randomize(1, 1e-4);
        expect_pruned(t, c.p, c.k, str("p = ", c.p, " of ", c.rows, " x ", c.cols));
    }
}

TYPED_TEST(Prune, TiesGoInOrderOfIndex) {
    Buffer<TypeParam> constant(10, 100, -0.5);
    expect_pruned(constant, 0.25, 250, "a constant");
    Buffer<TypeParam> steps(200, 500);
    for (int64_t i = 0; i < steps.size(); i++) steps.set(i, (i * 37 % 5 + 1) * (i % 2 ? 0.125 : -0.125));
    expect_pruned(steps, 0.55, 55000, "five magnitudes of either sign");
}

TYPED_TEST(Prune, ZerosCountAsTheSmallest) {
    Buffer<TypeParam> t(100, 200);
    t.randomize(2);
    for (int64_t i = 0; i < t.size(); i += 2) t.set(i, i % 4 ? 0.0 : -0.0);
    Buffer<TypeParam> again = t;
    expect_pruned(t, 0.3, 6000, "fewer than are zero");
    expect_pruned(again, 0.75, 15000, "more than are zero");
    EXPECT_EQ(kernels::count_zeros(again.tensor()), 15000);
}

TYPED_TEST(Prune, SubnormalsAndInfinitiesKeepTheirOrder) {
    Buffer<TypeParam> t(1, 6);
    const double values[] = {INFINITY, -1e-39, 3e38, -INFINITY, 1e-37, 2e-39};
    for (int64_t i = 0; i < 6; i++) t.set(i, values[i]);
    expect_pruned(t, 4.0 / 6.0, 4, "extremes");
}

TYPED_TEST(Prune, RandomZeroesByTheStream) {
    for (const Shape& shape : kShapes)
        for (const float p : {0.0f, 0.25f, 0.9f, 1.0f}) {
            Buffer<TypeParam> t(shape.rows, shape.cols);
            t.randomize(3);
            const Buffer<TypeParam> before = t;
            int64_t want = 0;
            const int64_t got = kernels::prune_random(t.tensor(), p, kStream);
            for (int64_t i = 0; i < t.size(); i++) {
                const bool keep = double(kStream.bits(uint64_t(i)) >> 8) / 16777216.0 > double(p);
                want += keep ? 0 : 1;
                ASSERT_EQ(t[i], keep ? before[i] : 0.0) << at(shape, i) << " p " << p;
            }
            EXPECT_EQ(got, want) << at(shape, 0) << " p " << p;
        }
}

// Signalling NaNs are as large as their bits say, stay as they are when kept, and end the search for ties.
TEST(PruneMagnitude, KeepsTheBitsOfSignallingNaNs) {
    uint16_t bits[5] = {0x3F80, 0x7F81, 0x7FC1, 0x7F90, 0x1234};
    float scratch[4];
    kernels::prune_magnitude(make_tensor(bits, DType::bf16, 1, 4), 0.5, make_tensor(scratch, DType::f32, 1, 4));
    const uint16_t want[5] = {0, 0, 0x7FC1, 0x7F90, 0x1234};
    for (int i = 0; i < 5; i++) EXPECT_EQ(bits[i], want[i]) << i;
}
