// Cases of causal self-attention.
#include "dev/kernels/cases.h"

namespace registry {
namespace {

struct Size {
    int64_t B, T, NH, HS;
    // At 12 the scores of a row span many hundreds: exponentials over- and underflow without care.
    double deviation = 1;
};

void add(Cases& all, DType type, kernels::AttentionKernel kernel, const Size& size) {
    const auto [B, T, NH, HS, deviation] = size;
    const int64_t N = B * T, C = NH * HS;
    const std::string shape =
        str(dtype_name(type), "_", B, "x", T, "x", NH, "x", HS, deviation > 1 ? "_large" : "", suffix(kernel));
    const auto operands = [=](Memory& m) {
        return kernels::Attention{
            .B = B,
            .T = T,
            .NH = NH,
            .kernel = kernel,
            .qkv = m.random(N, 3 * C, type, deviation),
            .out = m.output(N, C, type),
            .lse = m.output(1, N * NH, DType::f32),
            .scratch = m.scratch(1, kernels::attention_scratch_floats(m.device(), B, T, NH, HS), DType::f32)};
    };
    // Large scores have large errors, and an error of a score becomes one of its exponential.
    const double loose = deviation > 1 ? type == DType::bf16 ? 4 : 400 : 1;
    all.push_back({"attention_forward", shape, loose * 2 * tolerance(type), [=](Memory& m) -> Run {
                       const kernels::Attention a = operands(m);
                       return [=] { kernels::attention_forward(a); };
                   }});
    // P and dS are rounded to bf16 as operands of the tensor cores.
    all.push_back(
        {"attention_backward", shape, loose * (type == DType::bf16 ? 4.0 / 128 : 2e-5), [=](Memory& m) -> Run {
             const kernels::Attention a = operands(m);
             const Tensor dqkv = m.output(N, 3 * C, type), dout = m.random(N, C, type);
             return [=] {
                 kernels::attention_forward(a);
                 kernels::attention_backward(a, dqkv, dout);
             };
         }});
}

}  // namespace

void add_attention(Cases& all) {
    for (const DType type : kTypes)
        for (const Size& size :
             {Size{1, 1, 1, 64}, Size{2, 7, 3, 5}, Size{1, 65, 2, 64}, Size{2, 200, 1, 64}, Size{1, 257, 2, 64},
              Size{1, 130, 1, 128}, Size{1, 100, 2, 80}, Size{2, 33, 2, 16}, Size{1, 70, 1, 256},
              Size{1, 200, 2, 64, 12}, Size{5, 129, 13, 64}, Size{1, 300, 2, 128}})
            add(all, type, kernels::AttentionKernel::automatic, size);
    if (!has_wgmma()) return;
    // 140 works: some of the 132 blocks come to a second one, of two tiles of keys as their first.
    for (const Size& size : {Size{1, 1, 1, 64}, Size{1, 65, 2, 64}, Size{2, 200, 1, 64}, Size{1, 257, 2, 64},
                             Size{1, 130, 1, 128}, Size{1, 200, 2, 64, 12}, Size{2, 129, 35, 64}, Size{1, 300, 2, 128}})
        add(all, DType::bf16, kernels::AttentionKernel::wgmma, size);
}

}  // namespace registry
