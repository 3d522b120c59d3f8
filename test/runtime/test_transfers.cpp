// What the runtime does on the CPU: transfers, intervals, repeated launches, and what it says without enough memory.
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "runtime/device.h"
#include "runtime/memory.h"
#include "runtime/transfers.h"
#include "test/error_of.h"

namespace {

Tensor view(std::vector<float>& values) { return make_tensor(values.data(), DType::f32, 1, int64_t(values.size())); }

}  // namespace

TEST(Upload, BringsWhatWasFilledIn) {
    std::vector<float> to(3);
    device::Upload upload;
    EXPECT_EQ(error_of([&] { upload.host(); }), "an upload was not prepared");
    upload.prepare(Device::cpu, 3 * sizeof(float));
    for (const float start : {1.0f, 10.0f, 100.0f}) {
        float* host = static_cast<float*>(upload.host());
        std::iota(host, host + 3, start);
        upload.send(view(to));
        EXPECT_EQ(to, (std::vector<float>{start, start + 1, start + 2}));
    }
    std::vector<float> longer(4);
    EXPECT_EQ(error_of([&] { upload.send(view(longer)); }),
              "an upload of 16 bytes was prepared for 12 or for another device");
}

TEST(Download, KeepsTheLastTwo) {
    std::vector<float> from(1);
    device::Download download;
    download.prepare(Device::cpu, sizeof(float));
    for (int64_t n = 0; n < 3; n++) {
        from[0] = float(n);
        EXPECT_EQ(download.start(view(from)), n);
    }
    from[0] = -1;
    EXPECT_EQ(*static_cast<const float*>(download.get(1)), 1);
    EXPECT_EQ(*static_cast<const float*>(download.get(2)), 2);
    EXPECT_EQ(error_of([&] { download.get(0); }), "download 0 of 3 was asked for; only the last 2 are kept");
    EXPECT_EQ(error_of([&] { download.get(3); }), "download 3 of 3 was asked for; only the last 2 are kept");
}

TEST(Stopwatch, MeasuresIntervals) {
    device::Stopwatch stopwatch;
    EXPECT_EQ(error_of([&] { stopwatch.begin(); }), "a stopwatch was not prepared");
    stopwatch.prepare(Device::cpu);
    stopwatch.begin();
    stopwatch.end();
    EXPECT_GE(stopwatch.seconds(0), 0);
    EXPECT_EQ(error_of([&] { stopwatch.seconds(1); }), "interval 1 of 1 was asked for; only the last 2 are kept");
}

TEST(Graph, RunsItsLaunchesEveryTime) {
    device::Graph graph;
    int runs = 0;
    for (int i = 0; i < 3; i++) graph.run(Device::cpu, [&] { runs++; });
    graph.forget();
    graph.run(Device::cpu, [&] { runs++; });
    EXPECT_EQ(runs, 4);
}

TEST(Device, HasNoGpuInABinaryWithoutCuda) {
    if (RELORA_CUDA) GTEST_SKIP() << "a binary with CUDA may have one";
    EXPECT_EQ(error_of([] { device::wait(Device::cuda); }), "this binary was built without CUDA");
}

TEST(MemoryPlan, SaysHowMuchMemoryIsMissing) {
    Tensor t;
    MemoryPlan plan;
    plan.add(&t, MemoryCategory::weights, DType::f32, int64_t(1) << 29, int64_t(1) << 29);
    try {
        plan.allocate();
        ADD_FAILURE() << "allocated 2^60 bytes";
    } catch (const OutOfMemory& error) {
        EXPECT_EQ(std::string(error.what()), "can't allocate 1099511627776 MiB on the CPU");
    }
}
