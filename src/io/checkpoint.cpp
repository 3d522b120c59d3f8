#include "io/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <iomanip>
#include <nlohmann/json.hpp>

#include "io/files.h"
#include "io/safetensors.h"
#include "io/sha256.h"
#include "runtime/device.h"

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr int kFormatVersion = 1;

bool is_adapter(const Parameter& p) { return p.name.ends_with(".lora_A") || p.name.ends_with(".lora_B"); }

std::vector<Parameter*> select(const std::vector<Parameter*>& all, bool adapters) {
    std::vector<Parameter*> chosen;
    std::copy_if(all.begin(), all.end(), std::back_inserter(chosen),
                 [&](Parameter* p) { return is_adapter(*p) == adapters; });
    return chosen;
}

std::vector<int64_t> file_shape(const Parameter& p) {
    if (!p.is_matrix) return {p.cols};
    return p.conv1d ? std::vector<int64_t>{p.cols, p.rows} : std::vector<int64_t>{p.file_rows, p.cols};
}

// to (cols, rows) = from (rows, cols) transposed, in tiles that stay in cache.
void transpose(float* to, const float* from, int64_t rows, int64_t cols) {
    constexpr int64_t TILE = 32;
#pragma omp parallel for schedule(static)
    for (int64_t r0 = 0; r0 < rows; r0 += TILE)
        for (int64_t c0 = 0; c0 < cols; c0 += TILE)
            for (int64_t c = c0; c < std::min(cols, c0 + TILE); c++)
                for (int64_t r = r0; r < std::min(rows, r0 + TILE); r++) to[c * rows + r] = from[r * cols + c];
}

// The elements of a tensor on the host in fp32: its own memory, or a copy that `copy` holds.
const float* on_host(const Tensor& t, std::vector<float>& copy) {
    if (t.device == Device::cpu && t.dtype == DType::f32) return t.get<float>();
    copy.resize(size_t(t.size()));
    if (t.dtype == DType::f32) {
        device::download(copy.data(), t);
    } else {
        std::vector<bf16> values(copy.size());
        device::download(values.data(), t);
        std::transform(values.begin(), values.end(), copy.begin(), [](bf16 x) { return float(x); });
    }
    return copy.data();
}

// The values of `parameters` as one safetensors file, in the layout of Hugging Face. Returns its SHA-256.
std::string write_values(const std::string& path, const std::vector<Parameter*>& parameters) {
    SafetensorsWriter file(path, {{"format", "pt"}});
    for (const Parameter* p : parameters) file.add(p->name, "F32", file_shape(*p));
    std::vector<float> copy, transposed;
    for (const Parameter* p : parameters) {
        const float* data = on_host(p->value(), copy);
        if (p->conv1d) {
            transposed.resize(size_t(p->size()));
            transpose(transposed.data(), data, p->rows, p->cols);
            data = transposed.data();
        }
        file.write(p->name, data, size_t(p->file_size()) * 4);
    }
    return file.close();
}

void read_numbers(const SafetensorsReader& file, const SafetensorsEntry& entry, float* to, int64_t n) {
    const uint8_t* from = file.data(entry);
    if (entry.dtype == "F32") {
        CHECK(entry.bytes() == 4 * n, file.path(), ": ", entry.name, " holds ", entry.bytes() / 4,
              " numbers, expected ", n);
        std::memcpy(to, from, size_t(n) * 4);
        return;
    }
    CHECK(entry.dtype == "BF16", file.path(), ": ", entry.name, " is of type ", entry.dtype,
          "; F32 or BF16 can be read");
    CHECK(entry.bytes() == 2 * n, file.path(), ": ", entry.name, " holds ", entry.bytes() / 2, " numbers, expected ",
          n);
    for (int64_t i = 0; i < n; i++) {
        bf16 value;
        std::memcpy(&value, from + 2 * i, 2);
        to[i] = float(value);
    }
}

// An array into the first rows of a tensor; a conv1d's array is the transpose.
void read_array(const SafetensorsReader& file, const SafetensorsEntry& entry, const Tensor& to, bool transposed) {
    std::vector<float> values(size_t(to.size()));
    read_numbers(file, entry, values.data(), to.size());
    if (transposed) {
        std::vector<float> array = std::move(values);
        values.resize(array.size());
        transpose(values.data(), array.data(), to.cols, to.rows);
    }
    if (to.dtype == DType::f32) return device::upload(to, values.data());
    std::vector<bf16> rounded(values.size());
    std::transform(values.begin(), values.end(), rounded.begin(), [](float x) { return bf16(x); });
    device::upload(to, rounded.data());
}

void read_values(const std::string& path, const std::vector<Parameter*>& parameters) {
    const SafetensorsReader file(path);
    for (Parameter* p : parameters) {
        // The hub's GPT-2 files leave out the prefix.
        const std::string bare = p->name.substr(p->name.find('.') + 1);
        const SafetensorsEntry& entry =
            file.at(file.find(p->name) || !file.find(bare) ? p->name : bare, file_shape(*p));
        read_array(file, entry, p->value().row_range(0, p->file_rows), p->conv1d);
    }
}

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

// Removes the folder unless release() was called: nothing half-written stays.
class TemporaryFolder {
  public:
    explicit TemporaryFolder(const std::string& path) : path_(path) {
        std::error_code error;
        fs::remove_all(path, error);
        fs::create_directories(path, error);
        if (error) fail_errno("create", path, error.value());
    }
    ~TemporaryFolder() {
        std::error_code ignored;
        if (!path_.empty()) fs::remove_all(path_, ignored);
    }
    // Synced and renamed to its final name.
    void rename_to(const std::string& target) {
        sync_directory(path_);
        std::error_code error;
        fs::rename(path_, target, error);
        if (error) fail_errno("rename to", target, error.value());
        path_.clear();
        const fs::path parent = fs::path(target).parent_path();
        sync_directory(parent.empty() ? "." : parent.string());
    }

  private:
    std::string path_;
};

json parse_json(const std::string& path) {
    try {
        return json::parse(read_file(path));
    } catch (const json::exception& error) {
        FAIL(path, " is not valid JSON: ", error.what());
    }
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

std::string write_checkpoint(const std::string& out, const RunState& state, const std::vector<Parameter*>& parameters,
                             int64_t keep) {
    const std::string folder = out + "/" + step_name(state.step),
                      temporary = out + "/." + step_name(state.step) + ".tmp";
    TemporaryFolder guard(temporary);
    json files, adam_steps;
    files["model.safetensors"] = write_values(temporary + "/model.safetensors", select(parameters, false));
    const std::vector<Parameter*> adapters = select(parameters, true);
    if (!adapters.empty()) files["adapters.safetensors"] = write_values(temporary + "/adapters.safetensors", adapters);
    {
        SafetensorsWriter file(temporary + "/optimizer.safetensors");
        std::vector<float> copy;
        const auto moments = [&](auto&& each) {
            for (const Parameter* p : parameters)
                if (p->trains) {
                    each(p, p->name + ".m", p->m);
                    each(p, p->name + ".v", p->v);
                    adam_steps[p->name] = p->adam_step;
                }
        };
        moments([&](const Parameter* p, const std::string& name, const Tensor&) {
            file.add(name, "F32", {p->file_rows, p->cols});
        });
        moments([&](const Parameter* p, const std::string& name, const Tensor& t) {
            file.write(name, on_host(t, copy), size_t(p->file_size()) * 4);
        });
        files["optimizer.safetensors"] = file.close();
    }
    json options;
    for (const auto& [name, value] : state.options) options[name] = value;
    const json j = {{"format", kFormatVersion},
                    {"step", state.step},
                    {"restarts", state.restarts},
                    {"phase", state.low_rank ? "lowrank" : "full"},
                    {"data", {{"epoch", state.data.epoch}, {"position", state.data.position}}},
                    {"seed", state.seed},
                    {"model",
                     {{"vocab_size", state.shape.vocab_size},
                      {"positions", state.shape.positions},
                      {"layers", state.shape.layers},
                      {"heads", state.shape.heads},
                      {"channels", state.shape.channels}}},
                    {"adapters", {{"rank", state.rank}, {"alpha", state.alpha}}},
                    {"adam_steps", adam_steps},
                    {"options", options},
                    {"files", files}};
    write_file_atomic(temporary + "/state.json", j.dump(1) + "\n");
    std::error_code ignored;
    fs::remove_all(folder, ignored);
    guard.rename_to(folder);
    std::vector<std::string> all = checkpoints(out);
    for (size_t i = 0; keep > 0 && i + size_t(keep) < all.size(); i++) fs::remove_all(all[i], ignored);
    return folder;
}

RunState read_state(const std::string& folder) {
    const std::string path = folder + "/state.json";
    CHECK(is_checkpoint(folder), folder, " is not a checkpoint: it has no state.json");
    const json j = parse_json(path);
    RunState state;
    try {
        CHECK(j.at("format") == kFormatVersion, path, " has format ", j.at("format").dump(), ", this program reads ",
              kFormatVersion);
        state.step = j.at("step");
        state.restarts = j.at("restarts");
        state.low_rank = j.at("phase") == "lowrank";
        state.data = {j.at("data").at("epoch"), j.at("data").at("position")};
        state.seed = j.at("seed");
        const json& m = j.at("model");
        state.shape = {m.at("vocab_size"), m.at("positions"), m.at("layers"), m.at("heads"), m.at("channels")};
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

void read_parameters(const std::string& folder, const std::vector<Parameter*>& parameters, bool moments) {
    read_values(folder + "/model.safetensors", select(parameters, false));
    const std::vector<Parameter*> adapters = select(parameters, true);
    if (!adapters.empty()) read_adapters(folder, adapters);
    if (!moments) return;
    const json adam_steps = parse_json(folder + "/state.json").at("adam_steps");
    const SafetensorsReader file(folder + "/optimizer.safetensors");
    for (Parameter* p : parameters) {
        if (!p->trains) continue;
        const std::vector<int64_t> shape{p->file_rows, p->cols};
        read_array(file, file.at(p->name + ".m", shape), p->m.row_range(0, p->file_rows), false);
        read_array(file, file.at(p->name + ".v", shape), p->v.row_range(0, p->file_rows), false);
        CHECK(adam_steps.contains(p->name), folder, "/state.json has no Adam step for ", p->name);
        p->adam_step = adam_steps.at(p->name);
    }
}

ModelShape read_huggingface_shape(const std::string& folder) {
    const std::string path = folder + "/config.json";
    CHECK(fs::exists(path), folder, " is neither a checkpoint (state.json) nor a Hugging Face folder (config.json)");
    const json j = parse_json(path);
    try {
        CHECK(j.at("model_type") == "gpt2", path, ": model_type is ", j.at("model_type").dump(),
              ", only \"gpt2\" can be read");
        // These keys can make another network of it. Each may be left out.
        const std::initializer_list<std::pair<const char*, std::vector<json>>> computed = {
            {"activation_function", {"gelu_pytorch_tanh", "gelu_new"}},
            {"layer_norm_epsilon", {1e-5}},
            {"n_inner", {nullptr, 4 * int64_t(j.at("n_embd"))}},
            {"tie_word_embeddings", {true}},
            {"scale_attn_weights", {true}},
            {"scale_attn_by_inverse_layer_idx", {false}}};
        for (const auto& [key, known] : computed)
            CHECK(!j.contains(key) || std::find(known.begin(), known.end(), j[key]) != known.end(), path, ": ", key,
                  " is ", j[key].dump(), ", only ", known.back().dump(), " can be read");
        return {j.at("vocab_size"), j.at("n_positions"), j.at("n_layer"), j.at("n_head"), j.at("n_embd")};
    } catch (const json::exception& error) {
        FAIL(path, " is not a GPT-2 configuration: ", error.what());
    }
}

void read_weights(const std::string& folder, const std::vector<Parameter*>& parameters) {
    read_values(folder + "/model.safetensors", select(parameters, false));
}

void write_huggingface(const std::string& folder, const ModelShape& shape, const std::vector<Parameter*>& parameters,
                       int end_of_text) {
    CHECK(!fs::exists(folder) || fs::is_empty(folder), folder, " is not empty; give a new folder to export to");
    TemporaryFolder guard(folder + ".tmp");
    write_values(folder + ".tmp/model.safetensors", select(parameters, false));
    const json config = {{"architectures", {"GPT2LMHeadModel"}},
                         {"model_type", "gpt2"},
                         {"activation_function", "gelu_new"},
                         {"vocab_size", shape.vocab_size},
                         {"n_positions", shape.positions},
                         {"n_ctx", shape.positions},
                         {"n_embd", shape.channels},
                         {"n_layer", shape.layers},
                         {"n_head", shape.heads},
                         {"layer_norm_epsilon", 1e-5},
                         {"tie_word_embeddings", true},
                         {"attn_pdrop", 0.0},
                         {"embd_pdrop", 0.0},
                         {"resid_pdrop", 0.0},
                         {"bos_token_id", end_of_text},
                         {"eos_token_id", end_of_text},
                         {"torch_dtype", "float32"}};
    write_file_atomic(folder + ".tmp/config.json", config.dump(2) + "\n");
    std::error_code ignored;
    fs::remove(folder, ignored);  // an empty folder gives way
    guard.rename_to(folder);
}
