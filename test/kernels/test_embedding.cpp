// Embedding against its sums in fp64.
#include "test/kernels/op_test.h"

template <class T>
class Embedding : public PerType<T> {};
TYPED_TEST_SUITE(Embedding, StorageTypes);

namespace {
struct Sizes {
    int64_t B, T, C, V;
};
const std::vector<Sizes> kSizes = {{1, 1, 1, 1}, {3, 1, 5, 4}, {1, 67, 24, 11}, {3, 7, 768, 50}, {5, 13, 1000, 9}};

std::vector<int32_t> some_tokens(int64_t N, int64_t V) {
    std::mt19937 generator(7);
    std::vector<int32_t> tokens(static_cast<size_t>(N));
    for (int32_t& token : tokens) token = int32_t(generator() % uint64_t(V));
    tokens.back() = int32_t(V - 1);
    return tokens;
}
}  // namespace

TYPED_TEST(Embedding, ForwardAddsTokenAndPosition) {
    for (const auto& [B, T, C, V] : kSizes) {
        const int64_t N = B * T;
        const auto tokens = some_tokens(N, V);
        Buffer<TypeParam> out(N, C), wte(V, C), wpe(T + 2, C);
        wte.randomize(1);
        wpe.randomize(2);
        kernels::embedding_forward(out.tensor(), tokens.data(), wte.tensor(), wpe.tensor(), T);
        for (int64_t i = 0; i < out.size(); i++) {
            const int64_t n = i / C, c = i % C;
            expect_close<TypeParam>(out[i], wte[tokens[size_t(n)] * C + c] + wpe[n % T * C + c], 0, at({N, C}, i));
        }
    }
}

TYPED_TEST(Embedding, BackwardAddsUpPerTokenAndPosition) {
    for (const auto& [B, T, C, V] : kSizes)
        for (const bool accumulate : {false, true}) {
            const int64_t N = B * T, positions = T + 2;
            const auto tokens = some_tokens(N, V);
            Buffer<TypeParam> dout(N, C);
            dout.randomize(3);
            Buffer<float> dwte(V, C), dwpe(positions, C);
            dwte.randomize(4);
            dwpe.randomize(5);
            std::vector<double> want_wte, want_wpe;
            for (int64_t i = 0; i < dwte.size(); i++) want_wte.push_back(dwte[i]);
            for (int64_t i = 0; i < dwpe.size(); i++) want_wpe.push_back(accumulate ? dwpe[i] : 0.0);
            for (int64_t n = 0; n < N; n++)
                for (int64_t c = 0; c < C; c++) {
                    want_wte[size_t(tokens[size_t(n)] * C + c)] += dout[n * C + c];
                    want_wpe[size_t(n % T * C + c)] += dout[n * C + c];
                }
            kernels::embedding_backward(dwte.tensor(), dwpe.tensor(), dout.tensor(), tokens.data(), T, accumulate);
            for (int64_t i = 0; i < dwte.size(); i++)
                expect_close<float>(dwte[i], want_wte[size_t(i)], 1e-5, at({V, C}, i));
            for (int64_t i = 0; i < dwpe.size(); i++)
                expect_close<float>(dwpe[i], want_wpe[size_t(i)], 2e-6, at({positions, C}, i));
        }
}

TYPED_TEST(Embedding, BackwardIsTheSameOnAnyNumberOfThreads) {
    const int64_t N = 64, C = 1000, V = 5;
    const auto tokens = some_tokens(N, V);
    Buffer<TypeParam> dout(N, C);
    dout.randomize(3);
    Buffer<float> dwte_1(V, C), dwte_3(V, C), dwpe(16, C);
    {
        Threads one(1);
        kernels::embedding_backward(dwte_1.tensor(), dwpe.tensor(), dout.tensor(), tokens.data(), 16, false);
    }
    Threads three(3);
    kernels::embedding_backward(dwte_3.tensor(), dwpe.tensor(), dout.tensor(), tokens.data(), 16, false);
    for (int64_t i = 0; i < dwte_1.size(); i++) ASSERT_EQ(dwte_1[i], dwte_3[i]) << i;
}
