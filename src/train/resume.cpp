#include "train/resume.h"

#include <algorithm>

#include "checkpoint/checkpoint.h"
#include "checkpoint/run_folder.h"
#include "io/paths.h"

void Options::choose_checkpoint() {
    if (!resume) return choose_branch_point();
    found = checkpoints(out);
    if (!resume_from.empty()) {
        const auto step = step_number(resume_from);
        resumed_from = step ? out + "/" + step_name(*step) : resume_from;
        whole_checkpoint(resumed_from);
        return;
    }
    const auto newest = newest_whole(out, passed_over);
    if (newest) {
        resumed_from = newest->folder;
        return;
    }
    std::string reasons;
    for (const std::string& reason : passed_over) reasons += (reasons.empty() ? "" : "; ") + reason;
    CHECK(passed_over.empty(), "--resume: no checkpoint under ", out, " is whole: ", reasons);
    choose_branch_point();
}

namespace {

// Throws unless a run without a checkpoint was begun with the options that decide the numbers.
void check_begun_options(const Options& options) {
    const std::string path = options.out + "/config.toml";
    if (!path_exists(path)) return;
    Options begun;
    std::string config = "--config=" + path, program = "train_relora";
    char* argv[] = {program.data(), config.data()};
    begun.parse(2, argv);
    const auto wanted = options.trajectory(), stored = begun.trajectory();
    for (size_t i = 0; i < wanted.size(); i++)
        USAGE_CHECK(same_value(wanted[i].second, stored[i].second), "--resume: --", wanted[i].first, " is ",
                    wanted[i].second, ", but the run in ", options.out,
                    ", which has no checkpoint yet, was begun with ", stored[i].second,
                    "; give the same, or another --out");
}

}  // namespace

void check_run_folder(const Options& o) {
    if (!o.resume) {
        USAGE_CHECK(!path_exists(o.out + "/metrics.jsonl") && checkpoints(o.out).empty(), "--out ", o.out,
                    " already holds a run; add --resume to continue it, or give another folder");
        return;
    }
    USAGE_CHECK(checkpoints(o.out) == o.found, "the run in ", o.out, " went on until now: start again to continue it");
    if (!o.resumed_from.empty()) return;
    USAGE_CHECK(!path_exists(o.out + "/export"), "--resume: ", o.out,
                " holds a complete run's export, but no checkpoint; give another --out");
    check_begun_options(o);
}

void check_resumed_options(const Options& options, const RunState& state, const std::string& folder) {
    // Format 1 has no data and fewer options, and knows the weights that a run began with by any spelling.
    const bool older = state.format == 1, earlier_method = !state.option("others");
    USAGE_CHECK(
        !earlier_method || !options.low_rank(), "--resume: ", folder,
        " is of an earlier version, whose low-rank phase had other rates and restarts; go on with that version, "
        "or begin a run with its weights: --init-from ",
        folder, " --out NEW");
    const auto wanted = options.trajectory();
    for (const auto& [name, value] : wanted) {
        const auto stored = state.option(name);
        if ((older || earlier_method) && !stored) continue;
        if (older && name == "init-from") continue;
        CHECK(stored, folder, "/state.json has no option ", name);
        USAGE_CHECK(same_value(value, *stored), "--resume: --", name, " is ", value, ", but ", folder,
                    " was made with ", *stored,
                    "; a resumed run must go on with the same, a branch need not: --branch-from ", folder,
                    " --out NEW");
    }
    for (const auto& stored : state.options) {
        const std::string& name = stored.first;
        const bool known = std::any_of(wanted.begin(), wanted.end(), [&](const auto& w) { return w.first == name; });
        CHECK(known || (older && name == "train-data") || (name == kChosenRoutes && options.chooses_routes()), folder,
              "/state.json has an option ", name, ", which this program doesn't know");
    }
    CHECK(state.config == options.config, folder, "/state.json states another model than the options of the run");
    CHECK(state.option(kChosenRoutes).has_value() == options.chooses_routes(), folder, "/state.json ",
          options.chooses_routes() ? "has no " : "has ", kChosenRoutes);
}
