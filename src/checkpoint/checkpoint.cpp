#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iomanip>
#include <optional>
#include <sstream>

#include "checkpoint/arrays.h"
#include "io/sha256.h"

namespace fs = std::filesystem;
namespace {

std::string step_name(int64_t step) {
    std::ostringstream name;
    name << "step_" << std::setw(8) << std::setfill('0') << step;
    return name.str();
}

// The step of a folder's name; nothing where it is not a name that step_name() gives.
std::optional<int64_t> step_of(const std::string& name) {
    const size_t digits = std::string("step_").size();
    int64_t step = 0;
    if (name.size() <= digits) return {};
    const auto [end, error] = std::from_chars(name.data() + digits, name.data() + name.size(), step);
    return error == std::errc() && name == step_name(step) ? std::optional(step) : std::nullopt;
}

}  // namespace

std::vector<std::string> checkpoints(const std::string& out) {
    std::vector<std::pair<int64_t, std::string>> found;
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(out, none)) {
        const auto step = step_of(entry.path().filename().string());
        if (step && is_checkpoint(entry.path().string())) found.push_back({*step, entry.path().string()});
    }
    std::sort(found.begin(), found.end());
    std::vector<std::string> folders;
    for (auto& [step, folder] : found) folders.push_back(std::move(folder));
    return folders;
}

int64_t checkpoint_bytes(const std::vector<Parameter*>& parameters) {
    int64_t bytes = 1 << 20;
    for (const Parameter* p : parameters) bytes += p->file_size() * (p->trains ? 12 : 4);
    return bytes;
}

bool is_checkpoint(const std::string& folder) { return fs::exists(folder + "/state.json"); }

std::string latest_checkpoint(const std::string& out) {
    const std::vector<std::string> all = checkpoints(out);
    return all.empty() ? "" : all.back();
}

namespace {

// Writes both moments of what trains; returns the file's hash. On another rank than the first it only takes part.
std::string write_moments(const std::string& path, const std::vector<Parameter*>& parameters, const Whole& whole) {
    const auto moments = [&](auto&& each) {
        for (const Parameter* p : parameters)
            if (p->trains) {
                each(*p, p->name + ".m", &Parameter::m);
                each(*p, p->name + ".v", &Parameter::v);
            }
    };
    if (!whole.ranks().first()) {
        moments([&](const Parameter& p, const std::string&, Tensor Parameter::*kept) { whole.of(p, kept); });
        return "";
    }
    SafetensorsWriter file(path);
    moments([&](const Parameter& p, const std::string& name, Tensor Parameter::*) {
        file.add(name, "F32", {p.file_rows, p.cols});
    });
    std::vector<float> copy;
    moments([&](const Parameter& p, const std::string& name, Tensor Parameter::*kept) {
        file.write(name, on_host(whole.of(p, kept), copy), size_t(p.file_size()) * 4);
    });
    return file.close();
}

}  // namespace

std::string write_checkpoint(const std::string& out, const RunState& state, const std::vector<Parameter*>& parameters,
                             int64_t keep, const Whole& whole) {
    const std::string folder = out + "/" + step_name(state.step),
                      temporary = out + "/." + step_name(state.step) + ".tmp";
    const std::vector<Parameter*> base = without_adapters(parameters), adapters = adapters_of(parameters);
    if (!whole.ranks().first()) {
        write_values("", base, whole);
        write_values("", adapters, whole);
        write_moments("", parameters, whole);
        whole.ranks().barrier();
        return folder;
    }
    FolderWriter guard(temporary);
    RunState written = state;
    written.files["model.safetensors"] = write_values(temporary + "/model.safetensors", base, whole);
    if (!adapters.empty())
        written.files["adapters.safetensors"] = write_values(temporary + "/adapters.safetensors", adapters, whole);
    written.files["optimizer.safetensors"] = write_moments(temporary + "/optimizer.safetensors", parameters, whole);
    for (const Parameter* p : parameters)
        if (p->trains) written.adam_steps[p->name] = p->adam_step;
    write_file_atomic(temporary + "/state.json", state_text(written));
    std::error_code ignored;
    fs::remove_all(folder, ignored);
    guard.rename_to(folder);
    std::vector<std::string> all = checkpoints(out);
    for (size_t i = 0; keep > 0 && i + size_t(keep) < all.size(); i++) fs::remove_all(all[i], ignored);
    whole.ranks().barrier();
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

void read_parameters(const std::string& folder, const RunState& state, const std::vector<Parameter*>& parameters) {
    read_weights(folder, parameters);
    const std::vector<Parameter*> adapters = adapters_of(parameters);
    if (!adapters.empty()) read_values(SafetensorsReader(folder + "/adapters.safetensors"), adapters);
    const SafetensorsReader file(folder + "/optimizer.safetensors");
    size_t trained = 0;
    for (Parameter* p : parameters) {
        if (!p->trains) continue;
        const std::vector<int64_t> shape{p->file_rows, p->cols};
        read_kept(file, file.at(p->name + ".m", shape), *p, p->m);
        read_kept(file, file.at(p->name + ".v", shape), *p, p->v);
        const auto counted = state.adam_steps.find(p->name);
        CHECK(counted != state.adam_steps.end(), folder, "/state.json has no Adam step for ", p->name);
        p->adam_step = counted->second;
        trained++;
    }
    CHECK(trained == state.adam_steps.size(), folder, "/state.json has Adam steps for ", state.adam_steps.size(),
          " tensors, ", trained, " train");
}

void read_weights(const std::string& folder, const std::vector<Parameter*>& parameters) {
    read_values(SafetensorsReader(folder + "/model.safetensors"), without_adapters(parameters));
}
