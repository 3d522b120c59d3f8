// Training steps of GPT-2 on random tokens, as a worker of compare.py: "step", "gemm", "profile", "restart", "switch"
// and "quit" on stdin, one JSON line each on stdout. A step is what an update of the training loop is: for each
// micro-batch the loader's next batch, forward and backward, then clipping, AdamW, and the numbers of the update
// before, which a GPU has ready by then.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "io/data_loader.h"
#include "io/shard_writer.h"
#include "kernels/op_timer.h"
#include "model/flops.h"
#include "model/gpt2.h"
#include "optimizer/masters.h"
#include "optimizer/optimizer.h"
#include "optimizer/whole.h"
#include "train/profile.h"
#include "train/routes.h"

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
    writer.finish();
    return TokenDataset(find_shards(folder, "train"), int(vocab_size));
}

constexpr int64_t kBatchesOfData = 64;

// The parts of a step that an op can belong to. What is left of the step's time is "rest": bias gradients,
// embeddings, the loader, and on a GPU whatever lies between the ops.
constexpr const char *kWeights = "weights", *kLowRank = "low-rank", *kEffective = "effective",
                     *kAttention = "attention", *kPointwise = "norm+gelu", *kHead = "head+loss", *kOptimizer = "adamw",
                     *kRest = "rest";
constexpr const char* kParts[] = {kWeights, kLowRank, kEffective, kAttention, kPointwise, kHead, kOptimizer};

// Tells an op's part by its name and, for products, by whose memory it reads and writes: the head's have the embedding,
// low-rank ones A or B, and where both operands are A and B, or where anything else touches a frozen weight or an
// adapter, an effective weight is formed.
class PartOf {
  public:
    explicit PartOf(GPT2& model) {
        for (const Parameter* p : model.parameters()) {
            const bool adapter = p->is_adapter(), head = p->role == Role::token_embedding;
            if (!adapter && !head && p->trains) continue;
            for (const Tensor& t : {p->weight, p->master, p->gradient})
                if (!t.empty())
                    owned_[begin_of(t)] = {begin_of(t) + t.bytes(), adapter ? kA_or_B : head ? kEmbedding : kFrozen};
        }
    }
    const char* operator()(std::string_view op, std::initializer_list<Tensor> moved) const {
        if (op.starts_with("attention")) return kAttention;
        if (op.starts_with("layernorm") || op.starts_with("gelu")) return kPointwise;
        if (op == "cross_entropy") return kHead;
        if (op == "adamw" || op == "gradient_squares" || op == "gradient_norm") return kOptimizer;
        int counts[4] = {}, operands = 0, factors = 0;
        for (const Tensor& t : moved) {
            const Owner owner = owner_of(t);
            counts[owner]++;
            if (operands++ < 2) factors += owner == kA_or_B;
        }
        if (op.starts_with("matmul"))
            return factors == 2 ? kEffective : counts[kA_or_B] ? kLowRank : counts[kEmbedding] ? kHead : kWeights;
        return counts[kA_or_B] || counts[kFrozen] ? kEffective : kRest;
    }

  private:
    enum Owner { kNobody, kA_or_B, kEmbedding, kFrozen };
    static const char* begin_of(const Tensor& t) { return static_cast<const char*>(t.data); }
    Owner owner_of(const Tensor& t) const {
        const auto after = owned_.upper_bound(begin_of(t));
        if (t.empty() || after == owned_.begin()) return kNobody;
        const auto& [end, owner] = std::prev(after)->second;
        return begin_of(t) < end ? owner : kNobody;
    }
    std::map<const char*, std::pair<const char*, Owner>> owned_;
};

}  // namespace

int main(int argc, char** argv) {
    std::string model_name = "gpt2", dtype = "fp32", mode = "full", device_name = "cpu", route = "auto",
                attention = "auto";
    int64_t B = 4, T = 256, rank = 128;
    int threads = 0, steps_per_turn = 1, grad_accum = 1;
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
    app.add_option("--attention", attention)->check(CLI::IsMember({"auto", "mma", "wgmma"}));
    app.add_option("--graphs", graphs, "on a GPU: capture a step once and replay it")->capture_default_str();
    app.add_option("--grad-accum", grad_accum, "micro-batches in a step, each of --batch-size sequences")
        ->check(CLI::Range(1, 1 << 20));
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
        Masters masters(type, device);
        Optimizer optimizer(type, device, {.adamw = {.weight_decay = 0.1}, .max_norm = 1.0});
        const auto set_graphs = [&](bool on) {
            model.set_graphs(on);
            optimizer.set_graphs(on);
        };
        set_graphs(graphs);
        const kernels::AttentionKernel kernel = kernels::attention_kernel(attention);
        const std::string lacks =
            kernels::attention_kernel_problem(kernel, device, type, named_config(model_name).head_size());
        CHECK(lacks.empty(), "--attention ", attention, " ", lacks);
        model.set_attention_kernel(kernel);
        LoraConfig lora{.rank = rank};
        std::string routes;
        const auto wrap = [&] {
            if (route == "auto")
                lora.routes = fastest_routes(measured_times({model.config(), lora, type, device, B * T}), grad_accum);
            else
                lora.routes.fill(route_from(route));
            routes = to_string(lora.routes);
            model.wrap(lora);
            masters.settle(model.parameters());
        };
        const auto allocate_phase = [&] {
            model.allocate_phase({.B = B, .T = T});
            optimizer.allocate(model.trained_parameters(), model.weights());
        };
        if (mode != "full") wrap();
        MemoryPlan plan(device);
        model.plan_weights(plan);
        masters.plan(plan, model.parameters());
        model.plan_phase(plan, {.B = B, .T = T});
        optimizer.plan(plan, model.trained_parameters());
        const size_t planned = plan.total_bytes();
        nlohmann::ordered_json by_category;
        for (int i = 0; i < kMemoryCategories; i++) {
            const auto category = MemoryCategory(i);
            by_category[memory_category_name(category)] = plan.bytes(category);
        }
        model.allocate_weights();
        masters.allocate(model.parameters());
        allocate_phase();
        model.initialise(1);
        if (model.wrapped()) model.initialise_adapters(1, 0);

        const TokenDataset data = random_tokens(B * T * kBatchesOfData + 1, model.config().vocab_size);
        DataLoader loader(data, int(B), int(T), 1, true);
        uint64_t steps = 0;
        const auto step = [&] {
            optimizer.begin_update({1e-4, 1e-4, 1e-4}, {}, {});
            for (int i = 0; i < grad_accum; i++)
                model.forward_backward(loader.next(), optimizer.loss(), 1.0f / float(grad_accum), i > 0,
                                       {.seed = 1, .index = steps++, .training = true});
            return optimizer.update([&] { model.form_effective_weights(); });
        };
        double loss = 0;
        size_t peak = 0;
        const auto in_use = [&] { return device::bytes_in_use(device) - (device == Device::cuda ? used_before : 0); };
        // Seconds of that many steps, with all of a GPU's work done.
        const auto timed_steps = [&](int count) {
            const double start = seconds_now();
            int64_t update = step();
            for (int i = 1; i < count; i++) {
                const int64_t next = step();
                loss = optimizer.result(update).loss;
                update = next;
            }
            loss = optimizer.result(update).loss;
            device::wait(device);
            const double seconds = seconds_now() - start;
            // On a GPU what is in use after a step is its peak: all memory is planned, and held until the phase ends.
            peak = device == Device::cpu ? peak_of_process() : std::max(peak, in_use());
            return seconds;
        };

        timed_steps(device == Device::cuda ? 3 : 1);  // on a GPU: direct, captured, replayed
        const LoraConfig* const adapters = model.wrapped() ? &lora : nullptr;
        std::cout << "ready "
                  << nlohmann::ordered_json{{"flops_per_step",
                                             double(B * T * grad_accum) *
                                                 product_flops_per_token(model.config(), adapters, T)},
                                            {"flops_per_token", flops_per_token(model.config(), adapters, T)},
                                            {"trained", model.num_trained()},
                                            {"planned_bytes", planned},
                                            {"memory", by_category},
                                            {"routes", routes},
                                            {"attention", attention},
                                            {"device", device::description(device)}}
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
            // A step without graphs, whose launches can be timed one by one.
            if (line == "profile") {
                set_graphs(false);
                kernels::set_op_namer(PartOf(model));
                kernels::set_op_timing(true);
                double rest = timed_steps(1);
                const std::map<std::string, kernels::OpTotals> totals = kernels::op_totals();
                kernels::set_op_timing(false);
                kernels::set_op_namer({});
                set_graphs(graphs);
                nlohmann::ordered_json parts;
                for (const char* part : kParts) {
                    const auto found = totals.find(part);
                    parts[part] = found == totals.end() ? 0.0 : found->second.seconds;
                    rest -= double(parts[part]);
                }
                parts[kRest] = rest;
                std::cout << nlohmann::ordered_json{{"profile", parts}} << std::endl;
            }
            // The switch to low rank, as after a warm start: reports what is in use before it, and after a low-rank
            // step. The worker is of mode lora from then on.
            if (line == "switch") {
                const size_t before = in_use();
                if (!model.wrapped()) {
                    optimizer.release();
                    model.release_phase();
                    wrap();
                    allocate_phase();
                    model.initialise_adapters(1, 0);
                    optimizer.result(step());
                }
                std::cout << nlohmann::json{{"before_bytes", before}, {"after_bytes", in_use()}} << std::endl;
            }
            // The end of a cycle: a merge, new adapters, and a reset.
            if (line == "restart") {
                const double start = seconds_now();
                if (model.wrapped()) {
                    model.merge();
                    model.initialise_adapters(1, 1);
                    model.reset_moments({}, 1, steps, [](Parameter& p, Tensor Parameter::*moment, const auto& change) {
                        Whole().change(p, moment, change);
                    });
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
