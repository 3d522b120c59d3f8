#include "checkpoint/huggingface.h"

#include <algorithm>
#include <filesystem>
#include <initializer_list>

#include "checkpoint/arrays.h"
#include "checkpoint/checksums.h"
#include "io/json.h"
#include "io/sha256.h"
#include "io/temporary.h"

namespace fs = std::filesystem;
using nlohmann::json;

GPT2Config read_huggingface_config(const std::string& folder) {
    const std::string path = folder + "/config.json";
    CHECK(fs::exists(path), folder, " is neither a checkpoint (state.json) nor a Hugging Face folder (config.json)");
    const json j = read_json(path);
    try {
        CHECK(j.at("model_type") == "gpt2", path, ": model_type is ", json_text(j.at("model_type")),
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
                  " is ", json_text(j[key]), ", only ", json_text(known.back()), " can be read");
        return {j.at("vocab_size"), j.at("n_positions"), j.at("n_layer"), j.at("n_head"), j.at("n_embd")};
    } catch (const json::exception& error) {
        FAIL(path, " is not a GPT-2 configuration: ", error.what());
    }
}

void write_huggingface(const std::string& folder, const GPT2Config& config, const std::vector<Parameter*>& parameters,
                       const Whole& whole) {
    const std::vector<Parameter*> base = without_adapters(parameters);
    if (!whole.ranks().first()) {
        write_values("", base, whole);
        return;
    }
    CHECK(!fs::exists(folder) || fs::is_empty(folder), folder, " is not empty; give a new folder to export to");
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
