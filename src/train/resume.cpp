#include "train/resume.h"

#include <algorithm>

#include "checkpoint/checkpoint.h"
#include "checkpoint/run_folder.h"

void Options::choose_checkpoint() {
    if (!resume) return;
    if (!resume_from.empty()) {
        const bool is_step =
            resume_from.size() < 19 && resume_from.find_first_not_of("0123456789") == std::string::npos;
        resumed_from = is_step ? out + "/" + step_name(std::stoll(resume_from)) : resume_from;
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
}

void check_resumed_options(const Options& options, const RunState& state, const std::string& folder) {
    const auto wanted = options.trajectory();
    for (const auto& [name, value] : wanted) {
        const auto stored = state.option(name);
        CHECK(stored, folder, "/state.json has no option ", name);
        USAGE_CHECK(value == *stored, "--resume: --", name, " is ", value, ", but ", folder, " was made with ", *stored,
                    "; a resumed run must go on with the same, a branch need not: --branch-from ", folder, " --out NEW");
    }
    for (const auto& [name, value] : state.options) {
        const bool known = std::any_of(wanted.begin(), wanted.end(), [&](const auto& w) { return w.first == name; });
        CHECK(known || (name == kChosenRoutes && options.chooses_routes()), folder, "/state.json has an option ", name,
              ", which this program doesn't know");
    }
    CHECK(state.option(kChosenRoutes).has_value() == options.chooses_routes(), folder, "/state.json ",
          options.chooses_routes() ? "has no " : "has ", kChosenRoutes);
}
