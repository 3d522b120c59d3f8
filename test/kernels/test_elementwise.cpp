// Add, convert, zero: exact, since each result is one rounding of a number that fp64 holds.
#include "test/kernels/op_test.h"

template <class T>
class Elementwise : public PerType<T> {};
TYPED_TEST_SUITE(Elementwise, StorageTypes);

TYPED_TEST(Elementwise, AddRoundsOnceAlsoInPlace) {
    for (const Shape& shape : kShapes) {
        Buffer<TypeParam> a(shape.rows, shape.cols), b(shape.rows, shape.cols), out(shape.rows, shape.cols);
        a.randomize(1);
        b.randomize(2);
        kernels::add(out.tensor(), a.tensor(), b.tensor());
        for (int64_t i = 0; i < a.size(); i++) expect_close<TypeParam>(out[i], a[i] + b[i], 0, at(shape, i));
        kernels::add(a.tensor(), a.tensor(), b.tensor());
        for (int64_t i = 0; i < a.size(); i++) EXPECT_EQ(a[i], out[i]) << at(shape, i);
    }
}

TEST(Add, RoundsSumsWithFp32OnceToBf16) {
    const auto check = [](auto& a, Buffer<float>& b) {
        Buffer<bf16> out(a.rows, a.cols);
        kernels::add(out.tensor(), a.tensor(), b.tensor());
        for (int64_t i = 0; i < a.size(); i++) expect_close<bf16>(out[i], a[i] + b[i], 0, at({a.rows, a.cols}, i));
    };
    for (const Shape& shape : kShapes) {
        Buffer<float> a(shape.rows, shape.cols), b(shape.rows, shape.cols);
        Buffer<bf16> narrow(shape.rows, shape.cols);
        a.randomize(1);
        b.randomize(2);
        narrow.randomize(3);
        check(a, b);
        check(narrow, b);
    }
}

TYPED_TEST(Elementwise, ZeroClearsItsTensorOnly) {
    for (const Shape& shape : kShapes) {
        Buffer<TypeParam> t(shape.rows, shape.cols, 3.0);
        kernels::zero(t.tensor());
        for (int64_t i = 0; i < t.size(); i++) EXPECT_EQ(t[i], 0) << at(shape, i);
    }
}

TEST(Convert, RoundsToTheNearestEvenBfloat16) {
    const auto bits_of = [](uint32_t bits) {
        float value;
        std::memcpy(&value, &bits, 4);
        return value;
    };
    // Patterns of fp32 and the bf16 that is nearest, worked out by hand.
    const std::vector<std::pair<uint32_t, uint16_t>> cases = {
        {0x3F800000, 0x3F80}, {0x3F807FFF, 0x3F80}, {0x3F808000, 0x3F80}, {0x3F808001, 0x3F81}, {0x3F818000, 0x3F82},
        {0xBF818000, 0xBF82}, {0x3FFFFFFF, 0x4000}, {0x7F7FFFFF, 0x7F80}, {0x7F800000, 0x7F80}, {0xFF800000, 0xFF80},
        {0x00000001, 0x0000}, {0x80000000, 0x8000}, {0x00018000, 0x0002}};
    std::vector<float> in;
    for (int repeat = 0; repeat < 5; repeat++)
        for (const auto& c : cases) in.push_back(bits_of(c.first));
    Buffer<bf16> out(1, int64_t(in.size()));
    kernels::convert(out.tensor(), make_tensor(in.data(), DType::f32, 1, int64_t(in.size())));
    for (size_t i = 0; i < in.size(); i++)
        EXPECT_EQ(out.data()[i].bits, cases[i % cases.size()].second) << std::hex << cases[i % cases.size()].first;
}

TEST(Convert, KeepsNaNAndComesBackUnchanged) {
    Buffer<float> in(67, 1000), back(67, 1000);
    in.randomize(5);
    in.set(17, NAN);
    Buffer<bf16> narrow(67, 1000), copy(67, 1000);
    kernels::convert(narrow.tensor(), in.tensor());
    kernels::convert(copy.tensor(), narrow.tensor());
    kernels::convert(back.tensor(), copy.tensor());
    for (int64_t i = 0; i < in.size(); i++) {
        if (i == 17) continue;
        expect_close<bf16>(narrow[i], in[i], 0, str("element ", i));
        EXPECT_EQ(back[i], narrow[i]);
    }
    EXPECT_TRUE(std::isnan(narrow[17]));
    EXPECT_TRUE(std::isnan(back[17]));
}
