#include "train/plan.h"

#include <iomanip>

RunPlan::RunPlan(const Options& o)
    : low_rank_(o.low_rank()),
      switch_step_(o.warm_start_steps),
      merge_every_(o.restarts() ? o.merge_every : 0),
      reset_every_(o.restarts() ? o.reset_every : 0),
      full_lr_(o.lr),
      low_lr_(o.lora_lr) {
    using relora::ScheduleKind;
    relora::Schedule base;
    base.kind = o.schedule == "linear"     ? ScheduleKind::linear
                : o.schedule == "constant" ? ScheduleKind::constant
                : o.schedule == "wsd"      ? ScheduleKind::wsd
                                           : ScheduleKind::cosine;
    base.num_steps = o.max_steps;
    base.warmup = o.warmup_steps;
    base.floor = o.min_lr_ratio;
    base.decay_fraction = o.wsd_decay_fraction;
    base.skip_zero_rate = o.skip_zero_rate;
    full_schedule_ = low_schedule_ = base;
    low_schedule_.num_steps = o.max_steps - switch_step_;
    if (o.restarts()) {
        low_schedule_.cycle = reset_every_;
        low_schedule_.restart_warmup = o.restart_warmup_steps;
    }
}

std::string RunPlan::table() const {
    std::ostringstream out;
    out << "step\tphase\tmultiplier\tlr\tevents\n" << std::setprecision(9) << std::fixed;
    for (int64_t s = 0; s < num_steps(); s++) {
        std::string events;
        const auto add = [&](bool happens, const char* name) {
            if (!happens) return;
            if (!events.empty()) events.push_back(',');
            events.append(name);
        };
        add(switches_before(s), "switch");
        add(merges_after(s), "merge");
        add(resets_after(s), "reset");
        out << s << '\t' << phase(s) << '\t' << multiplier(s) << '\t' << std::scientific << rate(s) << std::fixed
            << '\t' << events << '\n';
    }
    return out.str();
}

namespace {

struct PhasePlan {
    const char* name;
    int64_t trained;
    double flops_per_token;
    size_t bytes[kMemoryCategories], total = 0;
};

PhasePlan plan_phase(const Options& o, bool low_rank) {
    GPT2 model(o.config, o.compute_type(), o.run_device, o.masters == "fp32");
    MemoryPlan weights, phase;
    if (low_rank) model.wrap(o.lora);
    model.plan_weights(weights);
    model.plan_phase(phase, {.B = o.batch_size, .T = o.seq_len, .recompute = recompute_from(o.recompute)});
    PhasePlan plan{low_rank ? "low-rank" : "full-rank", model.num_trained(), model.flops_per_token(o.seq_len), {}, 0};
    for (int c = 0; c < kMemoryCategories; c++) {
        plan.bytes[c] = weights.bytes(MemoryCategory(c)) + phase.bytes(MemoryCategory(c));
    }
    plan.total = weights.total_bytes() + phase.total_bytes();
    return plan;
}

std::vector<PhasePlan> plan_phases(const Options& o) {
    std::vector<PhasePlan> phases;
    if (!o.low_rank() || o.warm_start_steps > 0) phases.push_back(plan_phase(o, false));
    if (o.low_rank()) phases.push_back(plan_phase(o, true));
    return phases;
}

}  // namespace

size_t low_rank_bytes(const Options& options, const Routes& routes) {
    Options o = options;
    o.lora.routes = routes;
    return plan_phase(o, true).total;
}

Routes affordable_routes(const Options& o, const Routes& fastest, size_t available) {
    Routes factored;
    factored.fill(relora::Route::factored);
    const size_t needed = low_rank_bytes(o, fastest);
    return needed > available && low_rank_bytes(o, factored) < needed ? factored : fastest;
}

std::string dry_run_report(const Options& o) {
    const std::vector<PhasePlan> phases = plan_phases(o);
    std::ostringstream out;
    const GPT2Config& c = o.config;
    out << "model        " << c.layers << " layers, " << c.heads << " heads, " << c.channels << " channels, vocabulary "
        << c.vocab_size << " (" << c.padded_vocab() << " in memory), " << c.max_positions << " positions\n"
        << "parameters   " << c.num_parameters() << "\n";
    for (const PhasePlan& p : phases) out << "trained      " << p.trained << " in the " << p.name << " phase\n";
    out << "batch        " << o.total_batch_tokens << " tokens per update = " << o.accumulation << " x " << o.batch_size
        << " x " << o.seq_len << "\n"
        << "run          " << o.max_steps << " updates, " << o.max_steps * o.total_batch_tokens << " tokens";
    if (o.low_rank()) out << "; full-rank until update " << o.warm_start_steps;
    if (o.restarts()) out << ", then a merge every " << o.merge_every;
    out << "\n";
    if (o.low_rank()) out << "adapters     " << to_string(o.lora.taken_routes()) << "\n";
    for (const PhasePlan& p : phases)
        out << "FLOPs/token  " << std::setprecision(4) << p.flops_per_token / 1e6 << " M in the " << p.name
            << " phase\n";
    out << "\nmemory (MiB) ";
    for (const PhasePlan& p : phases) out << std::setw(12) << p.name;
    out << "\n" << std::fixed << std::setprecision(1);
    const auto mib = [](size_t bytes) { return double(bytes) / (1 << 20); };
    const auto row = [&](const char* name, const auto& bytes_of) {
        out << "  " << std::left << std::setw(11) << name << std::right;
        for (const PhasePlan& p : phases) out << std::setw(12) << mib(bytes_of(p));
        out << "\n";
    };
    for (int k = 0; k < kMemoryCategories; k++)
        if (MemoryCategory(k) != MemoryCategory::host)
            row(memory_category_name(MemoryCategory(k)), [&](const PhasePlan& p) { return p.bytes[k]; });
    row("total", [](const PhasePlan& p) { return p.total; });
    if (o.run_device == Device::cuda)
        row(memory_category_name(MemoryCategory::host),
            [](const PhasePlan& p) { return p.bytes[int(MemoryCategory::host)]; });
    return out.str();
}
