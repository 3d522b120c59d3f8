// What the ops say to tensors that don't fit: one line that names the op, the operand and what would be right.
#include "test/error_of.h"
#include "test/kernels/op_test.h"

TEST(Dispatch, RefusesWhatDoesNotFit) {
    Buffer<float> a(4, 6, 1.0), b(4, 6, 1.0), wide(4, 8, 1.0);
    Buffer<bf16> narrow(4, 6, 1.0);
    const auto add = [&](const Tensor& x, const Tensor& y) {
        return error_of([&] { kernels::add(a.tensor(), x, y); });
    };
    EXPECT_EQ(add(a.tensor(), b.tensor()), "no error");
    EXPECT_EQ(add(a.tensor(), wide.tensor()), "add: b is (4, 8) and should be (4, 6)");
    EXPECT_EQ(add(a.tensor(), narrow.tensor()), "add: fp32 + bf16 into fp32 is not offered");
    EXPECT_EQ(add(a.tensor(), wide.tensor().col_range(0, 6)),
              "add: the rows of b are 8 apart and should be contiguous (6)");
    EXPECT_EQ(add(a.tensor(), Tensor{}), "add: b has no memory");
    Tensor integers = b.tensor();
    integers.dtype = DType::i32;
    EXPECT_EQ(add(integers, b.tensor()), "add: int32 + fp32 into fp32 is not offered");
    EXPECT_EQ(error_of([&] { kernels::gelu_forward(a.tensor(), integers); }),
              "gelu_forward: x is int32 and should be fp32 or bf16");
    EXPECT_EQ(error_of([&] { kernels::gelu_forward(narrow.tensor(), a.tensor()); }),
              "gelu_forward: out is bf16 and should be fp32 like the rest");
    EXPECT_EQ(error_of([&] { kernels::bias_backward(narrow.tensor().row_range(0, 1), a.tensor(), false); }),
              "bias_backward: dbias is bf16 and should be fp32");
}

TEST(Dispatch, SendsCudaTensorsAway) {
    if (RELORA_CUDA) GTEST_SKIP() << "a binary with CUDA takes them";
    Buffer<float> a(4, 6), b(4, 6);
    Tensor on_gpu = a.tensor();
    on_gpu.device = Device::cuda;
    EXPECT_EQ(error_of([&] { kernels::zero(on_gpu); }),
              "zero: a tensor is on a CUDA device, but this binary was built without CUDA");
    EXPECT_EQ(error_of([&] { kernels::add(on_gpu, b.tensor(), b.tensor()); }), "add: out is on another device than a");
}

TEST(Dispatch, RefusesIdsOutsideTheirTable) {
    Buffer<float> wte(5, 3), wpe(4, 3), out(4, 3), logits(4, 8), losses(1, 4);
    const std::vector<int32_t> high = {0, 1, 5, 2}, negative = {0, -1, 2, 3}, good = {0, 1, 2, 4};
    const auto embed = [&](const std::vector<int32_t>& tokens, int64_t T) {
        return error_of(
            [&] { kernels::embedding_forward(out.tensor(), tokens.data(), wte.tensor(), wpe.tensor(), T); });
    };
    EXPECT_EQ(embed(good, 4), "no error");
    EXPECT_EQ(embed(high, 4), "embedding_forward: token 2 is 5 and should be in [0, 5)");
    EXPECT_EQ(embed(negative, 4), "embedding_forward: token 1 is -1 and should be in [0, 5)");
    EXPECT_EQ(embed(good, 3), "embedding_forward: 4 rows aren't whole sequences of 3");
    EXPECT_EQ(error_of([&] {
                  kernels::cross_entropy({.losses = losses.tensor(),
                                          .logits = logits.tensor(),
                                          .dlogits = {},
                                          .targets = high.data(),
                                          .V = 5,
                                          .scale = 1.0f});
              }),
              "cross_entropy: target 2 is 5 and should be in [0, 5)");
}

TEST(Dispatch, RefusesProbabilitiesThatAreNone) {
    Buffer<float> t(2, 3), scratch(1, 6);
    EXPECT_EQ(error_of([&] { kernels::prune_magnitude(t.tensor(), 1.5, scratch.tensor()); }),
              "prune_magnitude: p is 1.5 and should be in [0, 1]");
    EXPECT_EQ(error_of([&] { kernels::prune_magnitude(t.tensor(), NAN, scratch.tensor()); }),
              "prune_magnitude: p is nan and should be in [0, 1]");
    EXPECT_EQ(error_of([&] { kernels::dropout(t.tensor(), t.tensor(), 1.0f, {}, false); }),
              "dropout: p is 1 and should be in [0, 1)");
}
