// One training step of GPT-2 on random tokens, as a worker of compare.py: "step", "gemm" and "quit" on stdin, one JSON
// line each on stdout.
#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>

#include "src/model/gpt2.h"
#include "src/train/profile.h"

namespace {

// The most memory this process has held, from /proc (VmHWM), in bytes.
size_t peak_bytes() {
    std::ifstream status("/proc/self/status");
    for (std::string key; status >> key;)
        if (key == "VmHWM:") {
            size_t kib = 0;
            status >> kib;
            return kib * 1024;
        }
    return 0;
}

// Matrix-product FLOPs of a step: 2 x (forward + input gradient + weight gradient) of every linear and the head, and
// causal attention's four products at half size, forward once and backward twice.
double matmul_flops(const GPT2Config& c, int64_t N, int64_t T) {
    const double linears = 12.0 * double(c.layers * c.channels * c.channels) + double(c.padded_vocab() * c.channels);
    const double attention = double(c.layers * c.channels * T);
    return double(N) * (6.0 * linears + 6.0 * attention);
}

}  // namespace

int main(int argc, char** argv) {
    std::string model_name = "gpt2", dtype = "fp32", mode = "full";
    int64_t B = 4, T = 256, rank = 128;
    int threads = 0;
    CLI::App app{"benchmark worker: one training step"};
    app.add_option("--model", model_name);
    app.add_option("--batch-size", B);
    app.add_option("--seq-len", T);
    app.add_option("--dtype", dtype);
    app.add_option("--mode", mode);
    app.add_option("--rank", rank);
    app.add_option("--threads", threads);
    CLI11_PARSE(app, argc, argv);
    try {
        kernels::set_threads(threads);
        const DType type = dtype == "bf16" ? DType::bf16 : DType::f32;
        GPT2 model(named_config(model_name), type);
        if (mode == "relora") model.wrap({.rank = rank});
        MemoryPlan weights, phase;
        model.plan_weights(weights);
        model.plan_phase(phase, {.B = B, .T = T});
        const size_t planned = weights.total_bytes() + phase.total_bytes();
        weights.release();
        phase.release();
        model.allocate_weights();
        model.allocate_phase({.B = B, .T = T});
        model.initialise(1);
        if (model.wrapped()) model.initialise_adapters(1, 0);
        std::vector<int32_t> tokens(size_t(B * T + 1));
        for (size_t i = 0; i < tokens.size(); i++)
            tokens[i] = int32_t(rng::Stream{1, rng::Purpose::shuffle, 0, 0}.bits(i) % uint32_t(model.config().vocab_size));
        const auto step = [&] {
            const double start = seconds_now();
            const kernels::AdamW hyper{.weight_decay = 0.1};
            model.begin_update(1e-4, hyper);
            model.forward_backward(tokens.data(), tokens.data() + 1, B, T, 1.0f, false, {.seed = 1, .index = 0, .training = true});
            model.update(hyper, 1.0);
            return seconds_now() - start;
        };
        step();
        std::cout << "ready {\"flops_per_step\": " << matmul_flops(model.config(), B * T, T) << ", \"planned_bytes\": " << planned
                  << "}" << std::endl;
        for (std::string line; std::getline(std::cin, line);) {
            if (line == "step") std::cout << "{\"seconds\": " << step() << "}" << std::endl;
            if (line == "gemm") std::cout << "{\"gflops\": " << measure_ceilings(Device::cpu, type).flops_per_s * 1e-9 << "}" << std::endl;
            if (line == "quit") break;
        }
        std::cout << "{\"peak_bytes\": " << peak_bytes() << "}" << std::endl;
    } catch (const Error& error) {
        std::cerr << "step: " << error.what() << std::endl;
        return 1;
    }
}
