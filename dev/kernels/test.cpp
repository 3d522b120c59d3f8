// Every case of the registry on the CUDA device against the CPU op, in all placements, twice with the same bits.
#include <gtest/gtest.h>

#include <cmath>

#include "dev/kernels/registry.h"
#include "dev/kernels/tally.h"
#include "runtime/cuda/gpu.h"

namespace {

using Contents = std::vector<std::vector<double>>;

struct Param {
    const registry::Case* test;
    registry::Placement placement;
};

Contents run(const registry::Case& test, Device device, registry::Placement placement) {
    registry::CheckedMemory memory(device, placement);
    const registry::Run op = test.setup(memory);
    op();
    return memory.contents();
}

class Kernel : public testing::TestWithParam<Param> {
  protected:
    // Gives the ops their workspace, on both devices.
    static void SetUpTestSuite() {
        const int64_t floats = kernels::workspace_floats(Device::cuda, DType::bf16, 0);
        CUDA_CHECK(cudaMalloc(&device_workspace, size_t(floats) * 4));
        kernels::set_workspace(Device::cuda, make_tensor(device_workspace, DType::f32, 1, floats, Device::cuda));
        host_workspace.resize(size_t(kernels::workspace_floats(Device::cpu, DType::bf16, 1 << 20)));
        kernels::set_workspace(Device::cpu,
                               make_tensor(host_workspace.data(), DType::f32, 1, int64_t(host_workspace.size())));
    }
    static void TearDownTestSuite() { cudaFree(device_workspace); }
    inline static void* device_workspace = nullptr;
    inline static std::vector<float> host_workspace;
};

// The distance between a result and what it should be, as a fraction of what is tolerated: at most 1 is good enough.
double distance(double got, double want, double tolerated) {
    if (got == want || (std::isnan(got) && std::isnan(want))) return 0;
    const double fraction = std::abs(got - want) / tolerated;
    return std::isfinite(fraction) ? fraction : INFINITY;
}

bool same_bits(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

void compare(const registry::Case& test, const Contents& want, const Contents& got, const Contents& again) {
    ASSERT_EQ(got.size(), want.size());
    double largest = 0;
    for (size_t k = 0; k < want.size(); k++) {
        double squares = 0;
        for (const double x : want[k]) squares += std::isfinite(x) ? x * x : 0;
        const double rms = std::sqrt(squares / double(want[k].size()));
        int shown = 0;
        for (size_t i = 0; i < want[k].size(); i++) {
            const double w = want[k][i], g = got[k][i], apart = distance(g, w, test.tolerance * (std::abs(w) + rms));
            largest = std::max(largest, apart);
            const bool stable = same_bits(g, again[k][i]);
            if ((apart <= 1 && stable) || shown++ >= 5) continue;
            ADD_FAILURE() << "operand " << k << " element " << i << ": " << g << " and should be " << w
                          << (stable ? "" : "; a second run gave other bits");
        }
    }
    tally::compared(test.op, largest);
}

TEST_P(Kernel, DoesWhatTheCpuOpDoes) {
    const auto& [test, placement] = GetParam();
    try {
        const Contents want = run(*test, Device::cpu, placement);
        const Contents got = run(*test, Device::cuda, placement);
        const Contents again = run(*test, Device::cuda, placement);
        compare(*test, want, got, again);
    } catch (const kernels::NoAlgorithm& error) {
        tally::without_algorithm(error.what());
    }
}

std::vector<Param> params() {
    using registry::Placement;
    std::vector<Param> all;
    for (const registry::Case& test : registry::cases())
        for (const auto placement : {Placement::aligned, Placement::misaligned, Placement::mixed})
            all.push_back({&test, placement});
    return all;
}

const char* const kSuffixes[] = {"", "_misaligned", "_mixed"};

std::string name(const testing::TestParamInfo<Param>& info) {
    std::string text = info.param.test->op + "_" + info.param.test->shape + kSuffixes[int(info.param.placement)];
    for (char& c : text)
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
    return text;
}

INSTANTIATE_TEST_SUITE_P(Registry, Kernel, testing::ValuesIn(params()), name);

}  // namespace
