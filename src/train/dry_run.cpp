#include "train/dry_run.h"

#include <iomanip>
#include <sstream>

#include "checkpoint/checkpoint.h"
#include "model/flops.h"
#include "model/gpt2.h"
#include "optimizer/masters.h"
#include "optimizer/optimizer.h"

PhaseEstimate estimate_phase(const Options& o, bool low_rank, const Routes& routes) {
    LoraConfig lora = o.lora;
    lora.routes = routes;
    const DType type = o.compute_type();
    GPT2 model(o.config, type, o.run_device);
    if (low_rank) model.wrap(lora);
    // The first rank has the largest share of everything.
    o.sharing(0).divide(model.parameters());
    MemoryPlan memory(o.run_device);
    model.plan_weights(memory);
    if (o.has_masters()) Masters(type, o.run_device).plan(memory, model.parameters());
    model.plan_phase(memory, o.batch_limits());
    Optimizer optimizer(type, o.run_device, {.sharing = o.sharing(0), .reduced_as = o.reduced_as()});
    optimizer.plan(memory, model.trained_parameters());
    PhaseEstimate phase{.name = low_rank ? "low-rank" : "full-rank",
                        .trained = model.num_trained(),
                        .flops_per_token = flops_per_token(o.config, low_rank ? &lora : nullptr, o.seq_len),
                        .total_bytes = memory.total_bytes(),
                        .checkpoint_bytes = checkpoint_bytes(model.parameters()),
                        .traffic = optimizer.traffic(model.trained_parameters())};
    for (int c = 0; c < kMemoryCategories; c++) phase.bytes[size_t(c)] = memory.bytes(MemoryCategory(c));
    return phase;
}

std::vector<PhaseEstimate> estimate_phases(const Options& o, const Routes& routes) {
    std::vector<PhaseEstimate> phases;
    if (!o.low_rank() || o.warm_start_steps > 0) phases.push_back(estimate_phase(o, false, {}));
    if (o.low_rank()) phases.push_back(estimate_phase(o, true, routes));
    return phases;
}

std::string dry_run_report(const Options& o) {
    const std::vector<PhaseEstimate> phases = estimate_phases(o, o.lora.routes);
    std::ostringstream out;
    const GPT2Config& c = o.config;
    out << "model        " << c.layers << " layers, " << c.heads << " heads, " << c.channels << " channels, vocabulary "
        << c.vocab_size << " (" << c.padded_vocab() << " in memory), " << c.max_positions << " positions\n"
        << "parameters   " << c.num_parameters() << "\n";
    for (const PhaseEstimate& p : phases) out << "trained      " << p.trained << " in the " << p.name << " phase\n";
    out << "batch        " << o.total_batch_tokens
        << " tokens per update = " << (o.ranks > 1 ? str(o.ranks, " ranks x ") : "") << o.accumulation << " x "
        << o.batch_size << " x " << o.seq_len << "\n"
        << "run          " << o.max_steps << " updates, " << o.max_steps * o.total_batch_tokens << " tokens";
    if (o.low_rank()) out << "; full-rank until update " << o.warm_start_steps;
    if (o.restarts()) out << ", then a merge every " << o.merge_every;
    out << "\n";
    if (o.attention != "auto") out << "attention    by " << o.attention << "\n";
    Routes taken;
    for (int i = 0; i < kLinears; i++) taken[size_t(i)] = o.lora.adapter(i).taken_route();
    if (o.low_rank()) out << "adapters     " << to_string(taken) << "\n";
    if (o.low_rank() && o.lr > 0) out << "steps of W   at " << o.adapter_step() << ", by the adapters\n";
    for (const PhaseEstimate& p : phases)
        out << "FLOPs/token  " << std::setprecision(4) << p.flops_per_token / 1e6 << " M in the " << p.name
            << " phase\n";
    if (o.ranks > 1)
        for (const PhaseEstimate& p : phases)
            out << "sent         " << std::setprecision(4) << double(p.traffic.gradients) / 1e6
                << " MB of gradients and " << double(p.traffic.weights) / 1e6
                << " MB of weights per update and rank in the " << p.name << " phase\n";
    out << (o.ranks > 1 ? "\nmemory of a rank (MiB)\n             " : "\nmemory (MiB) ");
    for (const PhaseEstimate& p : phases) out << std::setw(12) << p.name;
    out << "\n" << std::fixed << std::setprecision(1);
    const auto mib = [](size_t bytes) { return double(bytes) / (1 << 20); };
    const auto row = [&](const char* name, const auto& bytes_of) {
        out << "  " << std::left << std::setw(11) << name << std::right;
        for (const PhaseEstimate& p : phases) out << std::setw(12) << mib(bytes_of(p));
        out << "\n";
    };
    for (int k = 0; k < kMemoryCategories; k++)
        if (MemoryCategory(k) != MemoryCategory::host)
            row(memory_category_name(MemoryCategory(k)), [&](const PhaseEstimate& p) { return p.bytes[size_t(k)]; });
    row("total", [](const PhaseEstimate& p) { return p.total_bytes; });
    // A checkpoint on the disk, and its copy in host memory while it is written beside the training.
    row("checkpoint", [](const PhaseEstimate& p) { return size_t(p.checkpoint_bytes); });
    if (o.run_device == Device::cuda)
        row(memory_category_name(MemoryCategory::host),
            [](const PhaseEstimate& p) { return p.bytes[size_t(MemoryCategory::host)]; });
    return out.str();
}
