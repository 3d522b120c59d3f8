// Cases of ops that treat every element alike, of sums, and of what is drawn from a random stream.
#include "dev/kernels/cases.h"

namespace registry {

void add_elementwise(Cases& all) {
    for (const DType type : kTypes)
        for (const auto [R, C] : kShapes) {
            const auto shape = label(type, R, C);
            all.push_back({"gelu_forward", shape, tolerance(type), [=](Memory& m) -> Run {
                               const Tensor out = m.output(R, C, type), x = m.random(R, C, type, 2);
                               return [=] { kernels::gelu_forward(out, x); };
                           }});
            all.push_back({"gelu_backward", shape, tolerance(type), [=](Memory& m) -> Run {
                               const Tensor dx = m.output(R, C, type), dout = m.random(R, C, type),
                                            x = m.random(R, C, type, 2);
                               return [=] { kernels::gelu_backward(dx, dout, x); };
                           }});
            all.push_back({"add", shape, 0, [=](Memory& m) -> Run {
                               const Tensor out = m.output(R, C, type), a = m.random(R, C, type),
                                            b = m.random(R, C, type);
                               return [=] { kernels::add(out, a, b); };
                           }});
            if (type == DType::bf16)
                for (const DType a_type : kTypes)
                    all.push_back({"add", shape + "_" + dtype_name(a_type) + "_and_fp32", 0, [=](Memory& m) -> Run {
                                       const Tensor out = m.output(R, C, type), a = m.random(R, C, a_type),
                                                    b = m.random(R, C, DType::f32);
                                       return [=] { kernels::add(out, a, b); };
                                   }});
            if (type == DType::bf16)
                all.push_back({"add_dithered", shape, 0, [=](Memory& m) -> Run {
                                   const Tensor out = m.output(R, C, type), a = m.random(R, C, type),
                                                b = m.random(R, C, DType::f32, 1e-3);
                                   return [=] { kernels::add_dithered(out, a, b, {7, rng::Purpose::dither, 3, 0}); };
                               }});
            for (const DType to : kTypes)
                all.push_back({"convert", shape + "_to_" + dtype_name(to), 0, [=](Memory& m) -> Run {
                                   const Tensor out = m.output(R, C, to), in = m.random(R, C, type);
                                   return [=] { kernels::convert(out, in); };
                               }});
            all.push_back({"zero", shape, 0, [=](Memory& m) -> Run {
                               const Tensor out = m.random(R, C, type);
                               return [=] { kernels::zero(out); };
                           }});
            for (const bool accumulate : {false, true}) {
                const std::string suffix = accumulate ? "_accumulate" : "";
                all.push_back({"bias_backward", shape + suffix, 3e-6, [=](Memory& m) -> Run {
                                   const Tensor dbias =
                                       accumulate ? m.random(1, C, DType::f32) : m.output(1, C, DType::f32);
                                   const Tensor dout = m.random(R, C, type);
                                   return [=] { kernels::bias_backward(dbias, dout, accumulate); };
                               }});
                all.push_back({"dropout", shape + suffix, 2e-7, [=](Memory& m) -> Run {
                                   const Tensor out = accumulate ? m.random(R, C, type) : m.output(R, C, type),
                                                x = m.random(R, C, type);
                                   return [=] {
                                       kernels::dropout(out, x, 0.3f, {7, rng::Purpose::dropout, 3, 11}, accumulate);
                                   };
                               }});
            }
            all.push_back({"fill_uniform", shape, 0, [=](Memory& m) -> Run {
                               const Tensor out = m.output(R, C, type);
                               return [=] { kernels::fill_uniform(out, 0.25f, {7, rng::Purpose::lora_init, 1, 2}); };
                           }});
            all.push_back({"fill_normal", shape, type == DType::f32 ? 2e-6 : tolerance(type), [=](Memory& m) -> Run {
                               const Tensor out = m.output(R, C, type);
                               return [=] { kernels::fill_normal(out, 0.02f, {7, rng::Purpose::init, 1, 0}); };
                           }});
        }
    for (const auto [R, C] : kShapes) {
        for (const DType type : kTypes)
            all.push_back({"fill", label(type, R, C), 0, [=](Memory& m) -> Run {
                               const Tensor out = m.output(R, C, type);
                               return [=] { kernels::fill(out, 1.5f); };
                           }});
        for (const bool accumulate : {false, true})
            all.push_back(
                {"sum", label(DType::f32, R, C) + (accumulate ? "_accumulate" : ""), 1e-5, [=](Memory& m) -> Run {
                     const Tensor out = m.random(1, 1, DType::f32), t = m.random(R, C, DType::f32, 1, 3);
                     return [=] { kernels::sum(out, t, 0.5f, accumulate); };
                 }});
    }
    all.push_back({"sum", "fp32_300x8192", 1e-5, [=](Memory& m) -> Run {  // more chunks than a block has threads
                       const Tensor out = m.output(1, 1, DType::f32), t = m.random(300, 8192, DType::f32, 1, 3);
                       return [=] { kernels::sum(out, t, 0.5f, false); };
                   }});
}

}  // namespace registry
