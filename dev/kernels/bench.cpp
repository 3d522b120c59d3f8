// How fast every op runs: microseconds, the bytes and FLOPs that its OpTimer counts, and how near that comes to
// what the device was just seen to do in a large copy and a large matrix product. Prints a table and, with --json, a
// line a row.
//
// Each run finds the operands outside the L2 cache: a larger buffer is read first, which leaves nothing to be written
// back, and gives the host time to get ahead, so that launches don't count. A run is timed by events around the op on
// its stream. Only the ops that a case is named after count: what prepares their operands does not. An op that returns
// a number to the host includes the wait.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <regex>

#include "dev/kernels/registry.h"
#include "kernels/op_timer.h"
#include "runtime/device.h"
#include "train/console.h"
#include "train/profile.h"

namespace {

// Operands as the ops themselves fill them on the device: at these sizes the host would take minutes.
class DeviceMemory : public registry::Memory {
  public:
    using Memory::Memory;
    ~DeviceMemory() override {
        device::wait(device());
        for (const Tensor& t : tensors_) device::release(device(), t.data, t.bytes());
    }
    // Where a mean is asked for, every element is just that mean.
    Tensor random(int64_t rows, int64_t cols, DType type, double deviation, double mean) override {
        const Tensor t = zeros(rows, cols, type);
        if (mean != 0 && type == DType::f32)
            kernels::fill(t, float(mean));
        else
            kernels::fill_normal(t, float(deviation), {1, rng::Purpose::init, uint32_t(tensors_.size()), 0});
        return t;
    }
    Tensor output(int64_t rows, int64_t cols, DType type) override { return zeros(rows, cols, type); }
    Tensor zeros(int64_t rows, int64_t cols, DType type) override {
        const size_t bytes = size_t(rows * cols) * dtype_size(type);
        void* block = device::allocate(device(), bytes);
        CHECK(block, "no memory for an operand of ", bytes, " bytes");
        tensors_.push_back(make_tensor(block, type, rows, cols, device()));
        return tensors_.back();
    }
    Tensor ids(int64_t count, int64_t limit) override {
        std::mt19937 generator(1);
        std::vector<float> ids(static_cast<size_t>(count));
        for (float& id : ids) id = float(generator() % uint64_t(limit));
        return values(1, count, DType::i32, ids);
    }
    Tensor values(int64_t rows, int64_t cols, DType type, const std::vector<float>& values) override {
        const Tensor t = zeros(rows, cols, type);
        std::vector<char> bytes(t.bytes());
        for (size_t i = 0; i < values.size(); i++) {
            const bf16 half(values[i]);
            const int32_t id = type == DType::i32 ? int32_t(values[i]) : 0;
            const void* from = type == DType::f32    ? static_cast<const void*>(&values[i])
                               : type == DType::bf16 ? static_cast<const void*>(&half)
                                                     : &id;
            std::memcpy(bytes.data() + i * dtype_size(type), from, dtype_size(type));
        }
        device::upload(t, bytes.data());
        return t;
    }
    Tensor scratch(int64_t rows, int64_t cols, DType type) override { return zeros(rows, cols, type); }

  private:
    std::vector<Tensor> tensors_;
};

struct Timing {
    std::vector<double> seconds;  // sorted
    double bytes = 0, flops = 0;  // what one run moves and computes
    double percentile(double p) const { return seconds[size_t(p * double(seconds.size() - 1))]; }
};

// What the ops of this name took since timing was switched on; products have names of their own ("matmul nt").
kernels::OpTotals totals_of(const std::string& op) {
    kernels::OpTotals sum;
    for (const auto& [name, totals] : kernels::op_totals()) {
        if (name != op && name.rfind(op + " ", 0) != 0) continue;
        sum.calls += totals.calls;
        sum.seconds += totals.seconds;
        sum.bytes += totals.bytes;
        sum.flops += totals.flops;
    }
    return sum;
}

struct Flush {
    Tensor data, sum;
};

Timing time(const registry::Case& test, Device device, const Flush& flush, int repeats, double most_seconds) {
    DeviceMemory memory(device);
    const registry::Run run = test.setup(memory);
    for (int i = 0; i < 2; i++) run();  // loads kernels, chooses algorithms
    device::wait(device);
    Timing timing;
    const double start = seconds_now();
    for (int i = 0; i < repeats && (i < 3 || seconds_now() - start < most_seconds); i++) {
        kernels::sum(flush.sum, flush.data, 1.0f, false);
        kernels::set_op_timing(true);
        run();
        const kernels::OpTotals totals = totals_of(test.op);
        kernels::set_op_timing(false);
        CHECK(totals.calls > 0, "case ", test.op, " ", test.shape, " runs no op of that name");
        timing.seconds.push_back(totals.seconds);
        timing.bytes = totals.bytes;
        timing.flops = totals.flops;
    }
    std::sort(timing.seconds.begin(), timing.seconds.end());
    return timing;
}

}  // namespace

int main(int argc, char** argv) {
    std::string device_name = RELORA_CUDA ? "cuda" : "cpu", type_name, filter = ".*", json_file;
    int repeats = 50, threads = 0;
    int64_t flush_mib = 256;
    double seconds = 1;
    bool small = false, autotune = false;
    CLI::App app{"times every op of src/kernels"};
    app.add_option("--device", device_name, "cuda, or cpu")
        ->check(CLI::IsMember({"cpu", "cuda"}))
        ->capture_default_str();
    CLI::Option* const dtype =
        app.add_option("--dtype", type_name, "bf16 or fp32: training with this compute type only")
            ->check(CLI::IsMember({"bf16", "fp32"}));
    app.add_option("--filter", filter, "regular expression that OP/SHAPE has to contain")->capture_default_str();
    app.add_option("--repeats", repeats, "timed runs of a case")->check(CLI::Range(1, 100000))->capture_default_str();
    app.add_option("--seconds", seconds, "fewer runs, but at least three, when a case takes longer than this")
        ->capture_default_str();
    app.add_option("--flush-mib", flush_mib, "size of what is read before each run, to empty the L2 cache")
        ->check(CLI::Range(1, 1 << 16))
        ->capture_default_str();
    app.add_option("--json", json_file, "append a JSON line for each row to this file");
    app.add_option("--threads", threads, "of the CPU, 0 for all")->capture_default_str();
    app.add_flag("--small", small, "the shapes that the tests use, instead of a model's")->excludes(dtype);
    app.add_flag("--autotune", autotune, "let products choose among cuBLASLt's algorithms by time");
    CLI11_PARSE(app, argc, argv);
    try {
        const Device device = device_name == "cuda" ? Device::cuda : Device::cpu;
        const std::string problem = kernels::device_problem(device);
        CHECK(problem.empty(), "--device ", device_name, ": ", problem);
        kernels::set_threads(threads);
        kernels::set_autotune(autotune);
        const std::regex wanted(filter);
        std::vector<DType> types;
        for (const DType type : {DType::bf16, DType::f32})
            if (type_name.empty() || type_name == dtype_name(type)) types.push_back(type);
        std::vector<registry::Case> cases = small ? registry::cases() : registry::bench_cases(device, types);
        std::erase_if(cases, [&](const auto& c) { return !std::regex_search(c.op + "/" + c.shape, wanted); });
        CHECK(!cases.empty(), "--filter ", filter, ": no case has that in its name");

        std::ofstream json;
        if (!json_file.empty()) {
            json.open(json_file, std::ios::app);
            CHECK(json, "--json ", json_file, ": can't be written");
        }
        const std::string on = device::description(device);
        std::map<std::string, double> product_ceiling;  // FLOP/s, by type
        for (const DType type : {DType::bf16, DType::f32})
            product_ceiling[dtype_name(type)] = measure_product(device, type);
        const double copy_ceiling = measure_copy(device);  // bytes/s
        std::printf("%s: products reach %.2f TFLOP/s in bf16 and %.2f in fp32, a copy %.0f GB/s\n", on.c_str(),
                    product_ceiling["bf16"] * 1e-12, product_ceiling["fp32"] * 1e-12, copy_ceiling * 1e-9);
        json << nlohmann::json{{"bench", "ceilings"},
                               {"device", on},
                               {"bf16_tflop_per_s", product_ceiling["bf16"] * 1e-12},
                               {"fp32_tflop_per_s", product_ceiling["fp32"] * 1e-12},
                               {"gb_per_s", copy_ceiling * 1e-9}}
             << std::endl;

        DeviceMemory memory(device);
        kernels::set_workspace(
            device,
            memory.scratch(1, std::max<int64_t>(1, kernels::workspace_floats(device, DType::bf16, int64_t(1) << 27)),
                           DType::f32));
        const Flush flush{.data = memory.scratch(1, flush_mib << 18, DType::f32),
                          .sum = memory.scratch(1, 1, DType::f32)};
        // The bound is what limits an op at the ceilings: its bytes at the copy's rate, or its FLOPs at the product's.
        std::printf("%-20s %-36s %10s %10s %7s %9s %9s  %s\n", "op", "shape", "min us", "p10 us", "runs", "GB/s",
                    "TFLOP/s", "of bound");
        for (const registry::Case& c : cases) {
            const Timing t = time(c, device, flush, repeats, seconds);
            const std::string type = c.shape.substr(0, 4);
            const double bytes_bound = t.bytes / copy_ceiling,
                         flops_bound = t.flops / product_ceiling[type == "bf16" ? type : "fp32"];
            const double best = std::max(t.seconds.front(), 1e-9);
            const double of_bound = std::max(bytes_bound, flops_bound) / best;
            const char* bound = flops_bound > bytes_bound ? "product" : "copy";
            const std::string tflops = t.flops > 0 ? format("%.2f", t.flops / best * 1e-12) : "";
            std::printf("%-20s %-36s %10.2f %10.2f %7zu %9.1f %9s  %5.1f %% %s\n", c.op.c_str(), c.shape.c_str(),
                        best * 1e6, t.percentile(0.1) * 1e6, t.seconds.size(), t.bytes / best * 1e-9, tflops.c_str(),
                        100 * of_bound, bound);
            std::fflush(stdout);
            json << nlohmann::json{{"bench", "kernel"},
                                   {"device", on},
                                   {"op", c.op},
                                   {"shape", c.shape},
                                   {"min_us", best * 1e6},
                                   {"p10_us", t.percentile(0.1) * 1e6},
                                   {"median_us", t.percentile(0.5) * 1e6},
                                   {"runs", t.seconds.size()},
                                   {"bytes", t.bytes},
                                   {"flops", t.flops},
                                   {"gb_per_s", t.bytes / best * 1e-9},
                                   {"tflop_per_s", t.flops / best * 1e-12},
                                   {"bound", bound},
                                   {"of_bound", of_bound}}
                 << std::endl;
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "kernel_bench: %s\n", error.what());
        return 1;
    }
}
