// Matrix products, and the memory that the ops of a device use for themselves.
#include <utility>

#include "kernels/dispatch.h"

namespace kernels {

void matmul(const Matmul& m) {
    const int64_t K = m.transpose_a ? m.a.rows : m.a.cols;
    CHECK(m.a.data && m.b.data && m.c.data, "matmul: an operand has no memory");
    CHECK((m.transpose_a ? m.a.cols : m.a.rows) == m.c.rows && (m.transpose_b ? m.b.rows : m.b.cols) == m.c.cols &&
              (m.transpose_b ? m.b.cols : m.b.rows) == K,
          "matmul: (", m.a.rows, ", ", m.a.cols, ")", m.transpose_a ? "^T" : "", " x (", m.b.rows, ", ", m.b.cols, ")",
          m.transpose_b ? "^T" : "", " can't be (", m.c.rows, ", ", m.c.cols, ")");
    CHECK(m.a.dtype == m.b.dtype && m.a.dtype != DType::i32, "matmul: a is ", dtype_name(m.a.dtype), ", b is ",
          dtype_name(m.b.dtype));
    CHECK(m.c.dtype == m.a.dtype || m.c.dtype == DType::f32, "matmul: c is ", dtype_name(m.c.dtype),
          " and should be fp32 or as a and b");
    CHECK(m.bias.empty() || (m.bias.size() == m.c.cols && m.bias.dtype == m.a.dtype && m.bias.dtype == m.c.dtype &&
                             m.alpha == 1.0f && !m.accumulate),
          "matmul: a bias has the columns of c and the type of a and c, and goes with neither alpha nor accumulate");
    // oneDNN has but a reference implementation of a scaled product that is added: hundreds of times slower.
    CHECK(m.alpha == 1.0f || !m.accumulate, "matmul: alpha ", m.alpha, " doesn't go with accumulate");
    CHECK(m.batch.count == 1 ||
              (m.batch.count > 1 && m.bias.empty() && m.residual.empty() && m.epilogue == Epilogue::none),
          "matmul: a batch of ", m.batch.count, " products goes with neither bias nor residual nor epilogue");
    if (!m.residual.empty()) {
        check("matmul", {{"c", m.c, m.c.rows, m.c.cols}, {"residual", m.residual, m.c.rows, m.c.cols}});
        CHECK(m.residual.data != m.c.data && m.alpha == 1.0f && !m.accumulate && m.epilogue == Epilogue::none,
              "matmul: a residual lies apart from c, and goes with neither alpha nor accumulate nor epilogue");
    }
    CHECK((m.epilogue == Epilogue::none) == m.aux.empty(),
          "matmul: an epilogue and its aux go together, one is missing");
    if (m.epilogue != Epilogue::none) {
        const DType type = check("matmul", {{"c", m.c, m.c.rows, m.c.cols}, {"aux", m.aux, m.c.rows, m.c.cols}});
        CHECK(type == m.a.dtype && m.aux.data != m.c.data && m.alpha == 1.0f && !m.accumulate,
              "matmul: an epilogue wants c and aux apart and of the type of a, and goes with neither alpha nor "
              "accumulate");
        CHECK(m.epilogue == Epilogue::gelu || m.bias.empty(), "matmul: the gradient of GELU goes without bias");
    }
    if (!m.column_sums.empty()) {
        CHECK(m.epilogue == Epilogue::gelu_backward, "matmul: column sums go with the gradient of GELU only");
        check("matmul", {{"column_sums", m.column_sums, 1, m.c.cols, DType::f32}});
    }
    // A product is timed by the transposes of its operands: nt is a linear's forward, nn its input gradient, tn its
    // weight gradient.
    constexpr const char* kNames[2][2] = {{"matmul nn", "matmul nt"}, {"matmul tn", "matmul tt"}};
    OpTimer timer(kNames[m.transpose_a][m.transpose_b], {m.a, m.b, m.c, m.accumulate ? m.c : m.residual, m.aux},
                  2.0 * double(m.batch.count * m.c.size()) * double(K));
    timer.also_moves(double(m.batch.count - 1) *
                     double(m.a.bytes() + m.b.bytes() + (m.accumulate ? 2 : 1) * m.c.bytes()));
    ON_DEVICE_OF(m.c, matmul(m));
}

void add_low_rank(const LowRankSum& s) {
    const int64_t m = s.w.rows / s.sections, k = s.w.cols, r = s.A.rows / s.sections;
    CHECK(s.sections > 0 && s.w.rows == m * s.sections && s.A.rows == r * s.sections, "add_low_rank: ", s.w.rows,
          " rows of w and ", s.A.rows, " of A are not those of ", s.sections, " sections");
    check("add_low_rank", {{"out", s.out, s.w.rows, k, DType::bf16},
                           {"w", s.w, s.w.rows, k, DType::bf16},
                           {"B", s.B, s.w.rows, r, DType::bf16},
                           {"A", s.A, s.A.rows, k, DType::bf16}});
    check("add_low_rank", {{"out", s.out, s.w.rows, k, DType::bf16}, {"scratch", s.scratch, s.w.rows, k, DType::f32}});
    if constexpr (kBuiltWithCuda)
        if (s.out.device == Device::cuda) {
            const OpTimer timer("add_low_rank", {s.B, s.A, s.out, s.w}, 2.0 * double(s.w.size()) * double(r));
            if (on_gpu("add_low_rank", [&] {
                    return cuda::add_low_rank(s.out.get<bf16>(), s.w.get<bf16>(), s.B.get<bf16>(), s.A.get<bf16>(),
                                              s.sections, m, k, r, s.scale, s.stream);
                }))
                return;
        }
    matmul({.a = s.B.row_range(0, m),
            .b = s.A.row_range(0, r),
            .c = s.scratch.row_range(0, m),
            .alpha = s.scale,
            .batch = {.count = s.sections, .a = m * r, .b = r * k, .c = m * k}});
    add_dithered(s.out, s.w, s.scratch, s.stream);
}

int64_t workspace_floats(Device device, DType type, int64_t largest_result) {
    if (device == Device::cuda) return cuda::kTotalWorkspaceFloats;
    return cpu::matmul_workspace_floats(type, largest_result);
}

Tensor set_workspace(Device device, const Tensor& workspace) {
    static Tensor current[2];
    CHECK(workspace.empty() || workspace.device == device, "the workspace of a device's ops is on another device");
    if (device == Device::cpu)
        cpu::set_matmul_workspace(workspace);
    else if constexpr (kBuiltWithCuda)
        cuda::set_workspace(workspace);
    return std::exchange(current[size_t(device)], workspace);
}

}  // namespace kernels
