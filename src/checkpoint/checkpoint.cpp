#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <sstream>

#include "checkpoint/arrays.h"
#include "io/json.h"
#include "io/sha256.h"

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr int kFormatVersion = 1;

std::string step_name(int64_t step) {
    std::ostringstream name;
    name << "step_" << std::setw(8) << std::setfill('0') << step;
    return name.str();
}

// Complete checkpoints under OUT, oldest first.
std::vector<std::string> checkpoints(const std::string& out) {
    std::vector<std::string> found;
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(out, none)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with("step_") && is_checkpoint(entry.path().string())) found.push_back(entry.path().string());
    }
    std::sort(found.begin(), found.end());
    return found;
}

}  // namespace

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
    json files, adam_steps;
    files["model.safetensors"] = write_values(temporary + "/model.safetensors", base, whole);
    if (!adapters.empty())
        files["adapters.safetensors"] = write_values(temporary + "/adapters.safetensors", adapters, whole);
    files["optimizer.safetensors"] = write_moments(temporary + "/optimizer.safetensors", parameters, whole);
    for (const Parameter* p : parameters)
        if (p->trains) adam_steps[p->name] = p->adam_step;
    json options;
    for (const auto& [name, value] : state.options) options[name] = value;
    const json j = {{"format", kFormatVersion},
                    {"step", state.step},
                    {"restarts", state.restarts},
                    {"phase", state.low_rank ? "lowrank" : "full"},
                    {"data", {{"epoch", state.data.epoch}, {"position", state.data.position}}},
                    {"seed", state.seed},
                    {"model",
                     {{"vocab_size", state.config.vocab_size},
                      {"positions", state.config.max_positions},
                      {"layers", state.config.layers},
                      {"heads", state.config.heads},
                      {"channels", state.config.channels}}},
                    {"adapters", {{"rank", state.rank}, {"alpha", state.alpha}}},
                    {"adam_steps", adam_steps},
                    {"options", options},
                    {"files", files}};
    write_file_atomic(temporary + "/state.json", json_text(j, 1) + "\n");
    std::error_code ignored;
    fs::remove_all(folder, ignored);
    guard.rename_to(folder);
    std::vector<std::string> all = checkpoints(out);
    for (size_t i = 0; keep > 0 && i + size_t(keep) < all.size(); i++) fs::remove_all(all[i], ignored);
    whole.ranks().barrier();
    return folder;
}

RunState read_state(const std::string& folder) {
    const std::string path = folder + "/state.json";
    CHECK(is_checkpoint(folder), folder, " is not a checkpoint: it has no state.json");
    const json j = read_json(path);
    RunState state;
    try {
        CHECK(j.at("format") == kFormatVersion, path, " has format ", json_text(j.at("format")),
              ", this program reads ", kFormatVersion);
        state.step = j.at("step");
        state.restarts = j.at("restarts");
        state.low_rank = j.at("phase") == "lowrank";
        state.data = {j.at("data").at("epoch"), j.at("data").at("position")};
        state.seed = j.at("seed");
        const json& m = j.at("model");
        state.config = {m.at("vocab_size"), m.at("positions"), m.at("layers"), m.at("heads"), m.at("channels")};
        state.rank = j.at("adapters").at("rank");
        state.alpha = j.at("adapters").at("alpha");
        CHECK(state.rank > 0, path, " has adapters of rank ", state.rank, ", it should be positive");
        for (const auto& [name, value] : j.at("options").items()) state.options.push_back({name, value});
        for (const auto& [name, hash] : j.at("files").items()) {
            const std::string actual = sha256_file(folder + "/" + name), expected = hash;
            CHECK(actual == expected, folder, "/", name, " is damaged: its SHA-256 is ", actual, ", state.json says ",
                  expected, "; use an older checkpoint");
        }
    } catch (const json::exception& error) {
        FAIL(path, " is not a checkpoint's state: ", error.what());
    }
    return state;
}

void read_adapters(const std::string& folder, const std::vector<Parameter*>& adapters) {
    read_values(folder + "/adapters.safetensors", adapters);
}

void read_parameters(const std::string& folder, const std::vector<Parameter*>& parameters) {
    read_values(folder + "/model.safetensors", without_adapters(parameters));
    const std::vector<Parameter*> adapters = adapters_of(parameters);
    if (!adapters.empty()) read_adapters(folder, adapters);
    const json adam_steps = read_json(folder + "/state.json").at("adam_steps");
    const SafetensorsReader file(folder + "/optimizer.safetensors");
    for (Parameter* p : parameters) {
        if (!p->trains) continue;
        const std::vector<int64_t> shape{p->file_rows, p->cols};
        read_kept(file, file.at(p->name + ".m", shape), *p, p->m);
        read_kept(file, file.at(p->name + ".v", shape), *p, p->v);
        CHECK(adam_steps.contains(p->name), folder, "/state.json has no Adam step for ", p->name);
        p->adam_step = adam_steps.at(p->name);
    }
}

void read_weights(const std::string& folder, const std::vector<Parameter*>& parameters) {
    read_values(folder + "/model.safetensors", without_adapters(parameters));
}
