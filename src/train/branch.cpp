#include "train/branch.h"

#include <algorithm>
#include <filesystem>

#include "checkpoint/checkpoint.h"
#include "checkpoint/run_folder.h"
#include "io/paths.h"
#include "io/sha256.h"

namespace fs = std::filesystem;

namespace {

// RUN/STEP is the checkpoint of that step. A run stands for its newest whole checkpoint, and comes back as it is.
fs::path named_folder(const std::string& branch_from) {
    const fs::path path = fs::path(branch_from + "/").parent_path();  // without a slash at its end
    const auto step = step_number(path.filename().string());
    return step && !path_exists(path.string()) ? path.parent_path() / step_name(*step) : path;
}

std::string stored(const RunState& state, const std::string& name) { return state.option(name).value_or(""); }

int64_t stored_whole(const RunState& state, const std::string& name) {
    const auto value = state.option(name);
    CHECK(value && step_number(*value), "the checkpoint has no ", name, " among its options");
    return *step_number(*value);
}

void check_shape(const Options& o, const RunState& state, const std::string& folder) {
    const GPT2Config &is = o.config, &was = state.config;
    const auto same = [&](const char* what, int64_t now, int64_t before) {
        USAGE_CHECK(now == before, "--branch-from ", folder, ": its model has ", before, " ", what,
                    ", the options say ", now, "; a branch has the model that it begins with");
    };
    same("layers", is.layers, was.layers);
    same("heads", is.heads, was.heads);
    same("channels", is.channels, was.channels);
    same("tokens in its vocabulary", is.vocab_size, was.vocab_size);
    same("positions", is.max_positions, was.max_positions);
}

void check_phase(const Options& o, const RunState& state, const std::string& folder) {
    USAGE_CHECK(o.max_steps > state.step, "--max-steps ", o.max_steps, ": ", folder, " has ", state.step,
                " updates already; a branch needs more");
    if (!state.low_rank) {
        USAGE_CHECK(!o.low_rank() || o.warm_start_steps >= state.step, "--warm-start-steps ", o.warm_start_steps, ": ",
                    folder, " is after ", state.step, " full-rank updates; give ", state.step, " or more");
        return;
    }
    USAGE_CHECK(o.low_rank(), "--mode ", o.mode, ": ", folder, " has adapters, which only lora and relora train");
    for (const auto& [name, value] : o.trajectory())
        for (const char* fixed : {"rank", "alpha", "targets", "qkv-adapters", "warm-start-steps"})
            USAGE_CHECK(name != fixed || same_value(value, stored(state, name)), "--", name, " ", value, ": ", folder,
                        " has adapters already, made with ", stored(state, name), ", which can't change any more");
}

}  // namespace

std::string branch_config(const std::string& branch_from) {
    const fs::path folder = named_folder(branch_from),
                   config = (is_checkpoint(folder.string()) ? folder.parent_path() : folder) / "config.toml";
    USAGE_CHECK(path_exists(config.string()), "--branch-from ", branch_from, ": there is no ", config.string(),
                " to take options from; give --config");
    return config.string();
}

void Options::choose_branch_point() {
    if (branch_from.empty()) return;
    const std::string named = named_folder(branch_from).string();
    const auto from = is_checkpoint(named) ? whole_checkpoint(named) : newest_whole(named, passed_over);
    USAGE_CHECK(from, "--branch-from ", branch_from, " is neither a checkpoint nor a run that has a whole one");
    resumed_from = from->folder;
    branches = true;
    const RunState& state = from->state;
    // What the other run had, and a run of this mode doesn't, is no wish of anybody.
    for (auto [name, value, has] :
         {std::tuple("warm-start-steps", &warm_start_steps, low_rank()),
          std::tuple("merge-every", &merge_every, restarts()), std::tuple("reset-every", &reset_every, restarts()),
          std::tuple("restart-warmup-steps", &restart_warmup_steps, restarts())})
        if (!has && std::to_string(*value) == stored(state, name)) *value = -1;
    if (seq_len != stored_whole(state, "seq-len") && positions < 0) positions = state.config.max_positions;
    if (max_tokens < 0) return;
    // A length in tokens counts those that the run which is left has trained on; from here on it is one in updates.
    const int64_t before = stored_whole(state, "total-batch-tokens");
    if (total_batch_tokens < 0) total_batch_tokens = before;
    const int64_t left = max_tokens - tokens_after(state.branches, state.step, before);
    if (max_steps < 0 || max_steps == stored_whole(state, "max-steps"))
        max_steps = state.step + std::max<int64_t>(0, left / total_batch_tokens);
    max_tokens = -1;
}

std::vector<std::string> begin_branch(const Options& o, RunState& state) {
    const std::string folder = o.resumed_from;
    check_shape(o, state, folder);
    check_phase(o, state, folder);
    std::vector<std::string> lines{str("branches from ", folder, " after ", state.step, " updates")};
    for (const auto& [name, value] : o.trajectory())
        if (const std::string before = stored(state, name); !same_value(value, before))
            lines.push_back(str("  ", name, ": ", before, " -> ", value));
    const std::string other = shard_difference(state.train_data, o.train_files);
    const bool known = state.format > 1;
    if (known && !other.empty()) lines.push_back("  train-data: " + other);
    const bool other_order =
        (known && !other.empty()) || o.seed != state.seed || o.seq_len != stored_whole(state, "seq-len");
    if (other_order) {
        lines.push_back(str("  the data begin anew: windows have another order than those of epoch ", state.data.epoch,
                            ", of which ", state.data.position, " had been taken"));
        state.data = {};
    }
    state.branches.push_back(
        {.folder = absolute_path(folder),
         .step = state.step,
         .tokens = tokens_after(state.branches, state.step, stored_whole(state, "total-batch-tokens")),
         .sha256 = sha256_file(folder + "/state.json")});
    return lines;
}
