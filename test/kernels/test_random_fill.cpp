// Random numbers: Philox against the vectors that its authors distribute, moments, and each op against the stream.
#include "test/kernels/op_test.h"

namespace {
const rng::Stream kStream{1234, rng::Purpose::init, 7, 3};
// These sizes have tails, and are below and above what runs on several threads.
const std::vector<Shape> kSizes = {{1, 1}, {3, 5}, {1, 255}, {1, 257}, {67, 1000}};
}  // namespace

TEST(Philox, KnownAnswers) {
    const auto expect_block = [](const rng::Block& block, std::array<uint32_t, 4> want) {
        for (size_t i = 0; i < 4; i++) EXPECT_EQ(block.x[i], want[i]) << i;
    };
    expect_block(rng::philox(0, 0, 0), {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    expect_block(rng::philox(~0ull, ~0ull, ~0ull), {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    // Counter and key are digits of pi.
    expect_block(rng::philox(0x85a308d3243f6a88, 0x0370734413198a2e, 0x299f31d0a4093822),
                 {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST(Stream, DiffersInEveryPartOfItsName) {
    const uint32_t base = kStream.bits(5);
    rng::Stream seed = kStream, purpose = kStream, id = kStream, epoch = kStream;
    seed.seed++;
    purpose.purpose = rng::Purpose::prune;
    id.id++;
    epoch.epoch++;
    for (const rng::Stream& other : {seed, purpose, id, epoch}) EXPECT_NE(other.bits(5), base);
    EXPECT_NE(kStream.bits(6), base);
}

template <class T>
class RandomFill : public PerType<T> {};
TYPED_TEST_SUITE(RandomFill, StorageTypes);

TYPED_TEST(RandomFill, UniformIsTheStreamScaled) {
    for (const Shape& shape : kSizes) {
        Buffer<TypeParam> out(shape.rows, shape.cols);
        kernels::fill_uniform(out.tensor(), 0.3f, kStream);
        for (int64_t i = 0; i < out.size(); i++) {
            const double u = double(kStream.bits(uint64_t(i)) >> 8) / 16777216.0;
            expect_close<TypeParam>(out[i], double(0.3f) * (2 * u - 1), 3e-8, at(shape, i));
        }
    }
}

TYPED_TEST(RandomFill, NormalIsBoxMullerOfTheStream) {
    for (const Shape& shape : kSizes) {
        Buffer<TypeParam> out(shape.rows, shape.cols);
        kernels::fill_normal(out.tensor(), 0.02f, kStream);
        for (int64_t i = 0; i < out.size(); i++) {
            const uint64_t pair = uint64_t(i) / 2 * 2;
            const double u = 1 - double(kStream.bits(pair) >> 8) / 16777216.0;
            const double angle = 2 * M_PI * double(kStream.bits(pair + 1) >> 8) / 16777216.0;
            const double radius = 0.02f * std::sqrt(-2 * std::log(u));
            expect_close<TypeParam>(out[i], radius * (i % 2 ? std::sin(angle) : std::cos(angle)), 3e-8, at(shape, i));
        }
    }
}

TEST(RandomFillMoments, OfAMillionNumbers) {
    const int64_t n = 1 << 20;
    Buffer<float> uniform(1, n), normal(1, n);
    kernels::fill_uniform(uniform.tensor(), 1.0f, kStream);
    kernels::fill_normal(normal.tensor(), 1.0f, kStream);
    double u1 = 0, u2 = 0, z1 = 0, z2 = 0, z3 = 0, z4 = 0, lag = 0;
    for (int64_t i = 0; i < n; i++) {
        u1 += uniform[i] / n;
        u2 += uniform[i] * uniform[i] / n;
        z1 += normal[i] / n;
        z2 += std::pow(normal[i], 2) / n;
        z3 += std::pow(normal[i], 3) / n;
        z4 += std::pow(normal[i], 4) / n;
        if (i) lag += normal[i] * normal[i - 1] / n;
        ASSERT_TRUE(uniform[i] >= -1 && uniform[i] < 1);
    }
    // Bounds of five standard errors: sqrt(variance of the summand / n).
    const double unit = 5 / std::sqrt(double(n));
    EXPECT_NEAR(u1, 0, unit * std::sqrt(1.0 / 3));
    EXPECT_NEAR(u2, 1.0 / 3, unit * std::sqrt(4.0 / 45));
    EXPECT_NEAR(z1, 0, unit);
    EXPECT_NEAR(z2, 1, unit * std::sqrt(2.0));
    EXPECT_NEAR(z3, 0, unit * std::sqrt(15.0));
    EXPECT_NEAR(z4, 3, unit * std::sqrt(96.0));
    EXPECT_NEAR(lag, 0, unit);
}

TYPED_TEST(RandomFill, DropoutKeepsByTheStreamAndAccumulates) {
    for (const Shape& shape : kSizes)
        for (const bool accumulate : {false, true}) {
            Buffer<TypeParam> x(shape.rows, shape.cols), out(shape.rows, shape.cols);
            x.randomize(1);
            out.randomize(2);
            const Buffer<TypeParam> before = out;
            kernels::dropout(out.tensor(), x.tensor(), 0.25f, kStream, accumulate);
            for (int64_t i = 0; i < x.size(); i++) {
                const bool keep = double(kStream.bits(uint64_t(i)) >> 8) / 16777216.0 >= 0.25;
                const double want = (accumulate ? before[i] : 0.0) + (keep ? x[i] / 0.75 : 0.0);
                expect_close<TypeParam>(out[i], want, 5e-7, at(shape, i));
            }
        }
}

// W ~ N(0, 0.02) in bf16, and an update that is small beside its units in the last place.
TEST(AddDithered, PassesTheWholeOfAnUpdateThatRoundingToNearestLoses) {
    const int64_t n = 1 << 20;
    Buffer<bf16> w(1, n), dithered(1, n), nearest(1, n);
    Buffer<float> update(1, n);
    w.randomize(1, 0.02);
    const auto share = [&](const Buffer<bf16>& sum) {
        double passed = 0, all = 0;
        for (int64_t i = 0; i < n; i++) {
            passed += (sum[i] - w[i]) * update[i];
            all += update[i] * update[i];
        }
        return passed / all;
    };
    for (const auto& [deviation, share_of_nearest] : {std::pair(1e-5, 0.28), {3e-5, 0.69}, {1e-4, 0.99}}) {
        update.randomize(2, deviation);
        kernels::add_dithered(dithered.tensor(), w.tensor(), update.tensor(), kStream);
        kernels::add(nearest.tensor(), w.tensor(), update.tensor());
        // The variance of an element's rounding is at most unit |update|, and a unit is at most 2^-7 |w|: the standard
        // error of the share is below sqrt(2^-7 E|w| E|update|^3 / n) / E update^2 = sqrt(2^-7 0.016 1.6 / d / n).
        EXPECT_NEAR(share(dithered), 1, 5 * std::sqrt(2e-4 / deviation / double(n))) << deviation;
        EXPECT_NEAR(share(nearest), share_of_nearest, 0.01) << deviation;
    }
}

TEST(AddDithered, RoundsByTheStreamAndLeavesWhatNothingIsAddedTo) {
    for (const Shape& shape : kSizes) {
        Buffer<bf16> a(shape.rows, shape.cols), out(shape.rows, shape.cols);
        Buffer<float> b(shape.rows, shape.cols);
        a.randomize(1);
        kernels::add_dithered(out.tensor(), a.tensor(), b.tensor(), kStream);
        for (int64_t i = 0; i < a.size(); i++) EXPECT_EQ(out[i], a[i]) << at(shape, i);
        b.randomize(2, 1e-2);
        kernels::add_dithered(out.tensor(), a.tensor(), b.tensor(), kStream);
        for (int64_t i = 0; i < a.size(); i++) {
            // The two bf16 next to the sum, and how far it is from the one nearer to zero, in units of their distance.
            const float sum = float(a[i]) + float(b[i]);
            int exponent;
            std::frexp(sum, &exponent);
            const double unit = std::ldexp(1.0, exponent - 8), low = std::trunc(double(sum) / unit) * unit;
            const double beyond = std::abs(double(sum) - low) / unit;
            const double word = double(kStream.bits(uint64_t(i)) >> 16) / 65536;
            EXPECT_EQ(out[i], word + beyond >= 1 ? low + std::copysign(unit, sum) : low) << at(shape, i);
        }
    }
}

// Every section adds its own B A, as the sums in fp64 say: B and A are small integers, so that fp32 holds those too.
TEST(AddLowRank, IsTheDitheredSumOfEachSection) {
    const int64_t sections = 3, m = 5, k = 7, r = 4;
    Buffer<bf16> w(sections * m, k), b(sections * m, r), a(sections * r, k), out(sections * m, k),
        expected(sections * m, k);
    Buffer<float> scratch(sections * m, k), update(sections * m, k);
    w.randomize(1, 0.02);
    for (int64_t i = 0; i < b.size(); i++) b.set(i, double(i * 5 % 11 - 5));
    for (int64_t i = 0; i < a.size(); i++) a.set(i, double(i * 7 % 13 - 6));
    for (int64_t i = 0; i < sections * m; i++)
        for (int64_t j = 0; j < k; j++) {
            double sum = 0;
            for (int64_t n = 0; n < r; n++) sum += double(b[i * r + n]) * a[(i / m * r + n) * k + j];
            update.set(i * k + j, std::ldexp(sum, -16));
        }
    Buffer<float> workspace(1, kernels::workspace_floats(Device::cpu, DType::bf16, 1));
    kernels::set_workspace(Device::cpu, workspace.tensor());
    kernels::add_low_rank({.out = out.tensor(),
                           .w = w.tensor(),
                           .B = b.tensor(),
                           .A = a.tensor(),
                           .scratch = scratch.tensor(),
                           .sections = int(sections),
                           .scale = 1.0f / 65536,
                           .stream = kStream});
    kernels::set_workspace(Device::cpu, {});
    kernels::add_dithered(expected.tensor(), w.tensor(), update.tensor(), kStream);
    for (int64_t i = 0; i < out.size(); i++) EXPECT_EQ(out[i], expected[i]) << i;
}

TYPED_TEST(RandomFill, DropoutOfNothingIsACopyAndNaNIsDroppedWhole) {
    Buffer<TypeParam> x(1, 1000), out(1, 1000, 4.0);
    x.randomize(1);
    kernels::dropout(out.tensor(), x.tensor(), 0.0f, kStream, false);
    for (int64_t i = 0; i < x.size(); i++) EXPECT_EQ(out[i], x[i]);
    for (int64_t i = 0; i < x.size(); i++) x.set(i, NAN);
    kernels::dropout(out.tensor(), x.tensor(), 0.5f, kStream, false);
    for (int64_t i = 0; i < x.size(); i++) EXPECT_EQ(std::isnan(out[i]), kStream.bits(uint64_t(i)) >= 0x80000000u) << i;
}
