// What options become: derived defaults, and refusal of what can't line up, with the numbers that would.
#include <algorithm>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "checkpoint/checkpoint.h"
#include "checkpoint/merged.h"
#include "runtime/device.h"
#include "runtime/processors.h"
#include "train/line_up.h"
#include "train/options.h"

namespace {

double parse_fraction(const std::string& option, const std::string& text) {
    size_t used = 0;
    double value = -1;
    try {
        value = std::stod(text, &used);
    } catch (const std::exception&) {
    }
    USAGE_CHECK(used == text.size() && used > 0 && value >= 0 && value <= 1, "--reset ", option, ": '", text,
                "' is not a fraction between 0 and 1");
    return value;
}

}  // namespace

void Options::resolve_model() {
    const bool by_shape = layers >= 0 || heads >= 0 || channels >= 0;
    USAGE_CHECK(!by_shape || model.empty(), "--model ", model, " and --layers, --heads, --channels exclude each other");
    USAGE_CHECK(!by_shape || (layers > 0 && heads > 0 && channels > 0),
                "--layers, --heads and --channels must be given together");
    if (by_shape) {
        config.layers = layers;
        config.heads = heads;
        config.channels = channels;
        config.max_positions = seq_len;
    } else if (init_from.empty()) {
        if (model.empty()) model = "gpt2";
        try {
            config = named_config(model);
        } catch (const Error& error) {
            USAGE_FAIL("--model ", error.what());
        }
    } else {
        USAGE_CHECK(model.empty(), "--model ", model,
                    " and --init-from exclude each other: the shape comes from the weights");
    }
    if (positions > 0) config.max_positions = positions;
    if (vocab_size > 0) config.vocab_size = vocab_size;
    USAGE_CHECK(config.channels % config.heads == 0, "--heads ", config.heads, " doesn't divide --channels ",
                config.channels, "; ", nearest_divisors(config.channels, config.heads), " would");
    USAGE_CHECK(seq_len <= config.max_positions, "--seq-len ", seq_len, " is longer than the model's ",
                config.max_positions, " positions");
}

void Options::resolve_restarts_and_rank() {
    if (rank < 0) {  // a whole number of eights where it is not very small
        const int64_t quarter = std::max<int64_t>(1, config.channels / 4);
        rank = quarter < 8 ? quarter : quarter / 8 * 8;
    }
    if (reset.empty()) reset = restart_A == "keep" ? "none" : "zero";
}

void Options::resolve_method() {
    const size_t colon = reset.find(':');
    const std::string kind = reset.substr(0, colon),
                      argument = colon == std::string::npos ? "" : reset.substr(colon + 1);
    using relora::ResetKind;
    const bool takes_fraction = kind == "random" || kind == "magnitude";
    USAGE_CHECK(takes_fraction || ((kind == "zero" || kind == "none") && colon == std::string::npos), "--reset ", reset,
                " is unknown; it is zero, random:P, magnitude:P or none");
    reset_config.kind = kind == "zero"     ? ResetKind::zero
                        : kind == "none"   ? ResetKind::none
                        : kind == "random" ? ResetKind::random
                                           : ResetKind::magnitude;
    if (takes_fraction) reset_config.fraction = parse_fraction(kind, argument);
    USAGE_CHECK(!reset_adam_step || kind != "none", "--reset-adam-step needs a reset: --reset is none");
    reset_config.adam_step = reset_adam_step;

    lora.rank = rank;
    lora.alpha = alpha;
    lora.dropout = lora_dropout;
    USAGE_CHECK(adapter_route == "auto" || adapter_route == "factored" || lora_dropout == 0, "--adapter-route ",
                adapter_route, " has no input to drop from: --lora-dropout ", lora_dropout, " needs factored or auto");
    lora.separate_qkv = qkv_adapters == "separate";
    std::fill(lora.targets, lora.targets + kLinears, false);
    std::istringstream list(targets);
    for (std::string target; std::getline(list, target, ',');) {
        int found = -1;
        for (int i = 0; i < kLinears; i++)
            if (target == linear_name(i)) found = i;
        USAGE_CHECK(found >= 0, "--targets: '", target,
                    "' is not one of attn.c_attn, attn.c_proj, mlp.c_fc, mlp.c_proj");
        lora.targets[found] = true;
    }
    USAGE_CHECK(std::find(lora.targets, lora.targets + kLinears, true) != lora.targets + kLinears,
                "--targets is empty");
    if (adapter_route == "auto")
        lora.routes = fastest_routes(modelled_times(route_setting()), accumulation);
    else
        lora.routes.fill(route_from(adapter_route));
    if (lora_lr < 0) lora_lr = (recipe == "paper" ? 2 : 2.5) * lr;
    if (other_lr < 0) other_lr = others == "restart" ? lora_lr : lr;
    if (low_rank() || mode == "control") {
        int64_t most = 1 << 30;
        const char* tightest = "";
        for (int i = 0; i < kLinears; i++) {
            if (!lora.targets[i]) continue;
            const int64_t limit =
                relora::most_rank(linear_in(config, i), linear_out(config, i), lora.adapter(i).sections);
            if (limit < most) {
                most = limit;
                tightest = linear_name(i);
            }
        }
        USAGE_CHECK(rank <= most, "--rank ", rank, " is above ", most, ", the most that ", tightest,
                    " of this model can have");
    }
}

std::string Options::adapter_step() const {
    double least = INFINITY, most = 0;
    for (int i = 0; i < kLinears; i++) {
        if (!lora.targets[i]) continue;
        const double step = lora.adapter(i).step(linear_in(config, i)) * lora_lr / lr;
        least = std::min(least, step);
        most = std::max(most, step);
    }
    std::ostringstream text;
    text << std::setprecision(2) << least;
    if (most > 1.01 * least) text << " to " << most;
    text << " of the full-rank rate";
    return text.str();
}

int Options::take_place(const Place& place) {
    USAGE_CHECK(gpus < 0 || place.starter.empty() || place.starter == kOwnStarter, "--gpus ", gpus,
                " starts processes by itself, and ", place.starter, " has started this one: leave one of the two out");
    USAGE_CHECK(ranks == 1 || dry_run, "--ranks ", ranks,
                " only says what --dry-run reports; --gpus, mpirun, srun or torchrun start ranks");
    if (place.size > 1) ranks = place.size;
    const int used = start_threads(place);
    if (place.size == 1 || device == "cpu" || !kernels::device_problem(Device::cuda).empty()) return used;
    const int count = device::count(Device::cuda);
    USAGE_CHECK(count == 1 || place.local_rank < count, "rank ", place.rank, " is process ", place.local_rank + 1,
                " of this machine, which has ", count, " GPUs: start one process for each GPU");
    device::use(Device::cuda, count == 1 ? 0 : place.local_rank);
    return used;
}

int Options::start_threads(const Place& place) const {
    const Processors processors = find_processors();
    const ThreadLimit limit = thread_limit(processors, place.local_size);
    if (threads > limit.threads && place.rank == 0)
        std::cerr << "train_relora: --threads " << threads << " is more than " << limit.threads
                  << ", which is slower: " << limit.reason << std::endl;
    const int by_default = processors.wanted > 0 ? std::min(processors.wanted, limit.threads) : limit.threads;
    try {
        return kernels::set_threads(threads > 0 ? int(threads) : by_default);
    } catch (const Error& error) {
        throw advised(error, "; fewer --threads need less");
    }
}

void Options::resolve_device() {
    // Only a run needs the device itself, --dry-run and --print-schedule don't.
    const std::string problem = only_plans() && device == "cuda" ? "" : kernels::device_problem(Device::cuda);
    USAGE_CHECK(device != "cuda" || problem.empty(), "--device cuda: ", problem, "; use --device cpu");
    run_device = device == "cpu" || !problem.empty() ? Device::cpu : Device::cuda;
    if (dtype.empty()) dtype = run_device == Device::cuda ? "bf16" : "fp32";
}

void Options::complete_from_files() {
    choose_checkpoint();
    // A resumed run no longer needs the weights that it began with: its checkpoint has the configuration.
    if (!init_from.empty()) config = resumed_from.empty() ? config_of(init_from) : read_state(resumed_from).config;
    find_data();
}

BatchLimits Options::batch_limits() const {
    const Recompute level = recompute == "none"        ? Recompute::none
                            : recompute == "pointwise" ? Recompute::pointwise
                                                       : Recompute::block;
    return {.B = batch_size, .T = seq_len, .recompute = level};
}

void Options::resolve() {
    resolve_device();
    resolve_model();
    const std::string lacks = kernels::attention_kernel_problem(kernels::attention_kernel(attention), run_device,
                                                                compute_type(), config.head_size());
    USAGE_CHECK(lacks.empty(), "--attention ", attention, " ", lacks, "; use --attention auto");
    resolve_restarts_and_rank();
    resolve_steps();
    resolve_method();
    USAGE_CHECK(eps >= 1e-30, "--eps ", eps,
                " is too small: what has had no gradient yet, as A while B is 0, steps by 0 / eps; at least 1e-30");
    USAGE_CHECK(masters == "fp32" || dtype == "bf16",
                "--masters none is for --dtype bf16: fp32 weights are their own masters");
    USAGE_CHECK(masters == "fp32" || !low_rank(), "--masters none: --mode ", mode,
                " merges into fp32 weights; use --masters fp32, or --mode full or control");
    if (mode == "control") {
        USAGE_CHECK(init_from.empty(), "--mode control trains from scratch: --init-from ", init_from, " can't be used");
        GPT2 like(config, DType::f32);
        like.wrap(lora);
        config = control_config(config, like.num_trained());
    }
    if (out.empty()) out = str("runs/", mode, "-", seed);
}

std::string Options::without_effect() const {
    const std::pair<bool, Names> uses[] = {
        {restarts() && reset_every > 0, {"reset", "reset-adam-step", "restart-warmup-steps", "skip-zero-rate"}},
        {restarts(), {"restart-A", "restart-until"}},
        {low_rank(), {"alpha", "lora-lr", "lora-plus-ratio", "others", "other-lr", "lora-dropout", "adapter-route"}},
        {low_rank() || mode == "control", {"rank", "targets", "qkv-adapters"}},
        {schedule == "wsd", {"wsd-decay-fraction"}}};
    std::string list;
    for (const auto& [used, names] : uses)
        for (const OptionTable::Entry& entry : entries_)
            if (!used && entry.given && std::find(names.begin(), names.end(), entry.name) != names.end())
                list += (list.empty() ? "--" : ", --") + entry.name;
    return list;
}
