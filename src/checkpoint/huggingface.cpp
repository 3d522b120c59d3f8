#include "checkpoint/huggingface.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <initializer_list>

#include "checkpoint/arrays.h"
#include "checkpoint/checksums.h"
#include "checkpoint/state_fields.h"
#include "io/json.h"
#include "io/paths.h"
#include "io/sha256.h"
#include "io/temporary.h"

using nlohmann::json;

GPT2Config read_huggingface_config(const std::string& folder) {
    const std::string path = folder + "/config.json";
    CHECK(path_exists(path), folder, " is neither a checkpoint (state.json) nor a Hugging Face folder (config.json)");
    const json j = read_json(path);
    StateFields fields(j, path);
    const std::string type = fields.text("model_type");
    CHECK(type == "gpt2", path, ": model_type is ", json_text(type), ", only \"gpt2\" can be read");
    const GPT2Config config{.vocab_size = fields.whole("vocab_size", 1, 65536),
                            .max_positions = fields.whole("n_positions", 1, 1 << 24),
                            .layers = fields.whole("n_layer", 1, 1 << 16),
                            .heads = fields.whole("n_head", 1, 1 << 20),
                            .channels = fields.whole("n_embd", 1, 1 << 20)};
    // These keys can make another network of it. Each may be left out.
    const std::initializer_list<std::pair<const char*, std::vector<json>>> computed = {
        {"activation_function", {"gelu_pytorch_tanh", "gelu_new"}},
        {"layer_norm_epsilon", {1e-5}},
        {"n_inner", {nullptr, 4 * config.channels}},
        {"tie_word_embeddings", {true}},
        {"scale_attn_weights", {true}},
        {"scale_attn_by_inverse_layer_idx", {false}}};
    for (const auto& [key, known] : computed)
        CHECK(!j.contains(key) || std::find(known.begin(), known.end(), j[key]) != known.end(), path, ": ", key, " is ",
              json_text(j[key]), ", only ", json_text(known.back()), " can be read");
    return config;
}

void check_export_folder(const std::string& folder) {
    struct stat info;
    if (lstat(folder.c_str(), &info) == 0) {
        CHECK(S_ISDIR(info.st_mode), folder, " is there and is no folder; give a new folder to export to");
        CHECK(names_in(folder).empty(), folder, " is not empty; give a new folder to export to");
    } else if (errno != ENOENT) {
        fail_errno("export to", folder, errno);
    }
    CHECK(path_exists(parent_of(folder)), "cannot export to ", folder, ": there is no folder ", parent_of(folder));
}

void write_huggingface(const std::string& folder, const GPT2Config& config, const std::vector<Parameter*>& parameters,
                       const Whole& whole) {
    const std::vector<Parameter*> base = without_adapters(parameters);
    if (!whole.ranks().first()) {
        write_values("", base, whole);
        return;
    }
    check_export_folder(folder);
    Temporary made(parent_of(folder), Temporary::Kind::folder);
    std::map<std::string, std::string> hashes;
    hashes["model.safetensors"] = write_values(made.path() + "/model.safetensors", base, whole);
    const json description = {{"architectures", {"GPT2LMHeadModel"}},
                              {"model_type", "gpt2"},
                              {"activation_function", "gelu_new"},
                              {"vocab_size", config.vocab_size},
                              {"n_positions", config.max_positions},
                              {"n_ctx", config.max_positions},
                              {"n_embd", config.channels},
                              {"n_layer", config.layers},
                              {"n_head", config.heads},
                              {"layer_norm_epsilon", 1e-5},
                              {"tie_word_embeddings", true},
                              {"attn_pdrop", 0.0},
                              {"embd_pdrop", 0.0},
                              {"resid_pdrop", 0.0},
                              {"bos_token_id", config.vocab_size - 1},
                              {"eos_token_id", config.vocab_size - 1},
                              {"torch_dtype", "float32"}};
    const std::string text = json_text(description, 2) + "\n";
    write_file_atomic(made.path() + "/config.json", text);
    hashes["config.json"] = sha256_text(text);
    write_file_atomic(made.path() + "/SHA256SUMS", checksums_text(hashes));
    made.rename_to(folder);
}
