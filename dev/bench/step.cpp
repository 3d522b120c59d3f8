// Training steps of GPT-2 on random tokens, as a worker of compare.py: "step", "gemm", "restart" and "quit" on stdin,
// one JSON line each on stdout. A step is what an update of the training loop is: the loader's next batch, forward,
// backward, clipping, AdamW, and the numbers of the update before, which a GPU has ready by then.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "src/io/data_loader.h"
#include "src/io/shard_writer.h"
#include "src/model/gpt2.h"
#include "src/train/profile.h"
#include "src/train/routes.h"

namespace {

// The most memory this process has held, from /proc (VmHWM), in bytes.
size_t peak_of_process() {
    std::ifstream status("/proc/self/status");
    for (std::string key; status >> key;)
        if (key == "VmHWM:") {
            size_t kib = 0;
            status >> kib;
            return kib * 1024;
        }
    return 0;
}

// Matrix-product FLOPs of a step: 2 x (forward + input gradient + weight gradient) of the head, the adapters and every
// linear (without its weight gradient where it is frozen), and causal attention's four products at half size, forward
// once and backward twice.
double matmul_flops(const GPT2& model, int64_t N, int64_t T) {
    const GPT2Config& c = model.config();
    double adapters = 0;
    for (const relora::Adapter& a : model.adapters()) adapters += double(a.A.size() + a.B.size());
    const double linears = 12.0 * double(c.layers * c.channels * c.channels),
                 head = double(c.padded_vocab() * c.channels);
    return double(N) * ((model.wrapped() ? 4.0 : 6.0) * linears + 6.0 * (head + adapters) +
                        6.0 * double(c.layers * c.channels * T));
}

// A data set of random tokens, in a shard whose file is gone once it is mapped.
TokenDataset random_tokens(int64_t tokens, int64_t vocab_size) {
    std::string folder = (std::filesystem::temp_directory_path() / "relora_bench_XXXXXX").string();
    CHECK(mkdtemp(folder.data()), "can't create a folder like ", folder);
    const struct Removed {
        const std::string& folder;
        ~Removed() {
            std::error_code ignored;
            std::filesystem::remove_all(folder, ignored);
        }
    } removed{folder};
    std::vector<uint16_t> values(static_cast<size_t>(tokens));
    for (size_t i = 0; i < values.size(); i++)
        values[i] = uint16_t(rng::Stream{1, rng::Purpose::shuffle, 0, 0}.bits(i) % uint32_t(vocab_size));
    ShardWriter writer(folder, "train", kMaxShardTokens);
    writer.write(values);
    writer.commit();
    return TokenDataset(find_shards(folder, "train"), int(vocab_size));
}

constexpr int64_t kBatchesOfData = 64;

}  // namespace

int main(int argc, char** argv) {
    std::string model_name = "gpt2", dtype = "fp32", mode = "full", device_name = "cpu", route = "auto";
    int64_t B = 4, T = 256, rank = 128;
    int threads = 0, steps_per_turn = 1;
    bool graphs = true;
    CLI::App app{"benchmark worker: training steps"};
    app.add_option("--model", model_name, config_names());
    app.add_option("--batch-size", B)->check(CLI::Range(1, 1 << 20));
    app.add_option("--seq-len", T)->check(CLI::Range(1, 1024));
    app.add_option("--dtype", dtype)->check(CLI::IsMember({"fp32", "bf16"}));
    app.add_option("--mode", mode, "steps of lora and relora are the same; relora also answers 'restart'")
        ->check(CLI::IsMember({"full", "lora", "relora"}));
    app.add_option("--adapter-route", route)->check(CLI::IsMember({"auto", "merged", "factored", "project"}));
    app.add_option("--rank", rank)->check(CLI::Range(1, 1 << 20));
    app.add_option("--threads", threads, "of the CPU, 0 for all");
    app.add_option("--device", device_name)->check(CLI::IsMember({"cpu", "cuda"}));
    app.add_option("--graphs", graphs, "on a GPU: capture a step once and replay it")->capture_default_str();
    app.add_option("--steps-per-turn", steps_per_turn, "steps that answer one 'step', timed together")
        ->check(CLI::Range(1, 1 << 20));
    CLI11_PARSE(app, argc, argv);
    try {
        const Device device = device_name == "cuda" ? Device::cuda : Device::cpu;
        const std::string problem = kernels::device_problem(device);
        CHECK(problem.empty(), "--device ", device_name, ": ", problem);
        kernels::set_threads(threads);
        device::wait(device);  // from here on the GPU's context is there, and is not counted
        const size_t used_before = device::bytes_in_use(device);

        const DType type = dtype == "bf16" ? DType::bf16 : DType::f32;
        GPT2 model(named_config(model_name), type, device);
        model.set_graphs(graphs);
        if (mode != "full") {
            LoraConfig lora{.rank = rank};
            if (route == "auto")
                lora.routes = fastest_routes(measured_times({model.config(), lora, type, device, B * T}), 1);
            else
                lora.routes.fill(route_from(route));
            model.wrap(lora);
        }
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

        const TokenDataset data = random_tokens(B * T * kBatchesOfData + 1, model.config().vocab_size);
        DataLoader loader(data, int(B), int(T), 1, true);
        std::vector<int32_t> inputs(size_t(B * T)), targets(inputs.size());
        const kernels::AdamW hyper{.weight_decay = 0.1};
        uint64_t steps = 0;
        const auto step = [&] {
            model.begin_update(1e-4, hyper);
            loader.next(inputs.data(), targets.data());
            model.forward_backward(inputs.data(), targets.data(), B, T, 1.0f, false,
                                   {.seed = 1, .index = steps++, .training = true});
            return model.update(hyper, 1.0);
        };
        double loss = 0;
        size_t peak = 0;
        // Seconds of that many steps, with all of a GPU's work done.
        const auto timed_steps = [&](int count) {
            const double start = seconds_now();
            int64_t update = step();
            for (int i = 1; i < count; i++) {
                const int64_t next = step();
                loss = model.update_result(update).loss;
                update = next;
            }
            loss = model.update_result(update).loss;
            device::wait(device);
            const double seconds = seconds_now() - start;
            // On a GPU what is in use after a step is its peak: all memory is planned, and held until the phase ends.
            peak =
                device == Device::cpu ? peak_of_process() : std::max(peak, device::bytes_in_use(device) - used_before);
            return seconds;
        };

        timed_steps(device == Device::cuda ? 3 : 1);  // on a GPU: direct, captured, replayed
        std::cout << "ready {\"flops_per_step\": " << matmul_flops(model, B * T, T)
                  << ", \"flops_per_token\": " << model.flops_per_token(T) << ", \"trained\": " << model.num_trained()
                  << ", \"planned_bytes\": " << planned << ", \"device\": \"" << device::description(device) << "\"}"
                  << std::endl;
        for (std::string line; std::getline(std::cin, line);) {
            if (line == "step") {
                const double waited = loader.wait_seconds(), seconds = timed_steps(steps_per_turn);
                std::cout << "{\"seconds\": " << seconds / steps_per_turn
                          << ", \"loader_share\": " << (loader.wait_seconds() - waited) / seconds
                          << ", \"loss\": " << loss << "}" << std::endl;
            }
            if (line == "gemm")
                std::cout << "{\"gflops\": " << measure_product(device, type) * 1e-9 << "}" << std::endl;
            // The end of a cycle: merge, new adapters, pruned moments.
            if (line == "restart") {
                const double start = seconds_now();
                if (model.wrapped()) {
                    model.merge();
                    model.initialise_adapters(1, 1);
                    model.reset_moments({}, 1, steps);
                }
                device::wait(device);
                std::cout << "{\"restart_seconds\": " << seconds_now() - start << "}" << std::endl;
            }
            if (line == "quit") break;
        }
        std::cout << "{\"peak_bytes\": " << peak << "}" << std::endl;
    } catch (const std::exception& error) {
        std::cerr << "step: " << error.what() << std::endl;
        return 1;
    }
}
