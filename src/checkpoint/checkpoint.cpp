#include "checkpoint/checkpoint.h"

#include <filesystem>

#include "checkpoint/arrays.h"
#include "checkpoint/run_folder.h"
#include "io/paths.h"
#include "io/sha256.h"
#include "io/temporary.h"

namespace fs = std::filesystem;

int64_t checkpoint_bytes(const std::vector<Parameter*>& parameters) {
    int64_t bytes = 1 << 20;
    for (const Parameter* p : parameters) bytes += p->file_size() * (p->trains ? 12 : 4);
    return bytes;
}

bool is_checkpoint(const std::string& folder) { return path_exists(folder + "/state.json"); }

namespace {

// Calls each(parameter, name, moment) for both moments of all that trains.
template <class Each>
void for_moments(const std::vector<Parameter*>& parameters, const Each& each) {
    for (const Parameter* p : parameters)
        if (p->trains) {
            each(*p, p->name + ".m", &Parameter::m);
            each(*p, p->name + ".v", &Parameter::v);
        }
}

// Returns the file's hash.
std::string write_moments(const std::string& path, const std::vector<Parameter*>& parameters, const Whole& whole) {
    SafetensorsWriter file(path);
    for_moments(parameters, [&](const Parameter& p, const std::string& name, Tensor Parameter::*) {
        file.add(name, "F32", {p.file_rows, p.cols});
    });
    std::vector<float> copy;
    for_moments(parameters, [&](const Parameter& p, const std::string& name, Tensor Parameter::*kept) {
        file.write(name, on_host(whole.of(p, kept), copy), size_t(p.file_size()) * 4);
    });
    return file.close();
}

}  // namespace

void gather_for_first(const std::vector<Parameter*>& parameters, const Whole& whole) {
    for (const Parameter* p : parameters) whole.value(*p);
    for_moments(parameters,
                [&](const Parameter& p, const std::string&, Tensor Parameter::*kept) { whole.of(p, kept); });
}

std::string write_checkpoint(const std::string& out, const RunState& state, const std::vector<Parameter*>& parameters,
                             const Whole& whole) {
    const std::string folder = out + "/" + step_name(state.step);
    const std::vector<Parameter*> base = without_adapters(parameters), adapters = adapters_of(parameters);
    if (!whole.ranks().first()) {
        gather_for_first(parameters, whole);
        return folder;
    }
    check_room(out, checkpoint_bytes(parameters));
    Temporary made(out, Temporary::Kind::folder);
    const std::string& temporary = made.path();
    RunState written = state;
    written.files["model.safetensors"] = write_values(temporary + "/model.safetensors", base, whole);
    if (!adapters.empty())
        written.files["adapters.safetensors"] = write_values(temporary + "/adapters.safetensors", adapters, whole);
    written.files["optimizer.safetensors"] = write_moments(temporary + "/optimizer.safetensors", parameters, whole);
    for (const Parameter* p : parameters)
        if (p->trains) written.adam_steps[p->name] = p->adam_step;
    write_file_atomic(temporary + "/state.json", state_text(written));
    if (path_exists(folder)) set_aside(folder);
    made.rename_to(folder);
    return folder;
}

RunState read_state(const std::string& folder) {
    CHECK(is_checkpoint(folder), folder, " is not a checkpoint: it has no state.json");
    const RunState state = read_state_file(folder + "/state.json");
    const std::string name = fs::path(folder + "/").parent_path().filename().string();
    const auto named = step_of(name);
    CHECK(!named || *named == state.step, folder, " holds step ", state.step, ", which its name doesn't say");
    return state;
}

void verify_files(const std::string& folder, const RunState& state) {
    for (const auto& [name, expected] : state.files) {
        const std::string actual = sha256_file(folder + "/" + name);
        CHECK(actual == expected, folder, "/", name, " is damaged: its SHA-256 is ", actual, ", state.json says ",
              expected);
    }
}

void check_adam_steps(const std::string& folder, const RunState& state, const std::vector<Parameter*>& parameters) {
    size_t trained = 0;
    for (const Parameter* p : parameters) {
        if (!p->trains) continue;
        CHECK(state.adam_steps.contains(p->name), folder, "/state.json has no Adam step for ", p->name);
        trained++;
    }
    CHECK(state.adam_steps.size() == trained, folder, "/state.json has Adam steps for ", state.adam_steps.size(),
          " tensors, ", trained, " train");
}

void read_parameters(const std::string& folder, const RunState& state, const std::vector<Parameter*>& parameters) {
    read_weights(folder, parameters);
    const std::vector<Parameter*> adapters = adapters_of(parameters);
    if (!adapters.empty()) read_values(SafetensorsReader(folder + "/adapters.safetensors"), adapters);
    const SafetensorsReader file(folder + "/optimizer.safetensors");
    check_adam_steps(folder, state, parameters);
    for (Parameter* p : parameters) {
        if (!p->trains) continue;
        const std::vector<int64_t> shape{p->file_rows, p->cols};
        read_kept(file, file.at(p->name + ".m", shape), *p, p->m);
        read_kept(file, file.at(p->name + ".v", shape), *p, p->v);
        p->adam_step = state.adam_steps.at(p->name);
    }
}

void read_weights(const std::string& folder, const std::vector<Parameter*>& parameters) {
    read_values(SafetensorsReader(folder + "/model.safetensors"), without_adapters(parameters));
}
