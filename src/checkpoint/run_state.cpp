#include "checkpoint/run_state.h"

#include <algorithm>

#include "checkpoint/state_fields.h"
#include "io/files.h"
#include "io/json.h"
#include "io/sha256.h"
#include "runtime/error.h"

using nlohmann::json;

namespace {

// Format 1 had no hash of state.json itself, and didn't know the data.
constexpr int64_t kFormat = 2, kOldestFormat = 1;
constexpr int64_t kMost = int64_t(1) << 40;  // of counters
constexpr const char* kHash = "sha256";

json to_json(const FileFingerprint& file) {
    return {{"path", file.path}, {"bytes", file.bytes}, {"sha256", file.sha256}};
}

json to_json(const DataFiles& files) {
    json shards = json::array(), tokenizer = json::array();
    for (const FileFingerprint& shard : files.shards) shards.push_back(to_json(shard));
    if (files.tokenizer) tokenizer.push_back(to_json(*files.tokenizer));
    return {{"shards", shards}, {"tokenizer", tokenizer}};
}

json to_json(const std::vector<BranchPoint>& branches) {
    json list = json::array();
    for (const BranchPoint& b : branches)
        list.push_back({{"folder", b.folder}, {"step", b.step}, {"tokens", b.tokens}, {"sha256", b.sha256}});
    return list;
}

json to_json(const HealthState& s) {
    json window = json::array();
    for (const WatchedUpdate& update : s.window)
        window.push_back({{"step", update.step}, {"loss", update.loss}, {"norm", update.norm}});
    return {
        {"skipped", s.skipped}, {"skipped_in_a_row", s.skipped_in_a_row}, {"outliers", s.outliers}, {"window", window}};
}

json to_json(const RunState& s) {
    return {{"format", kFormat},
            {"step", s.step},
            {"restarts", s.restarts},
            {"phase", s.low_rank ? "lowrank" : "full"},
            {"data", {{"epoch", s.data.epoch}, {"position", s.data.position}}},
            {"train_data", to_json(s.train_data)},
            {"val_data", to_json(s.val_data)},
            {"branches", to_json(s.branches)},
            {"health", to_json(s.health)},
            {"seed", s.seed},
            {"model",
             {{"vocab_size", s.config.vocab_size},
              {"positions", s.config.max_positions},
              {"layers", s.config.layers},
              {"heads", s.config.heads},
              {"channels", s.config.channels}}},
            {"adapters", {{"rank", s.rank}, {"alpha", s.alpha}}},
            {"adam_steps", s.adam_steps},
            {"options", std::map<std::string, std::string>(s.options.begin(), s.options.end())},
            {"files", s.files}};
}

GPT2Config config_from(StateFields fields) {
    const GPT2Config config{.vocab_size = fields.whole("vocab_size", 1, kLargest.vocab_size),
                            .max_positions = fields.whole("positions", 1, kLargest.max_positions),
                            .layers = fields.whole("layers", 1, kLargest.layers),
                            .heads = fields.whole("heads", 1, kLargest.heads),
                            .channels = fields.whole("channels", 1, kLargest.channels)};
    fields.end();
    return config;
}

FileFingerprint fingerprint_from(StateFields& fields) {
    const FileFingerprint file{
        .path = fields.text("path"), .bytes = fields.whole("bytes", 0, INT64_MAX), .sha256 = fields.sha256("sha256")};
    fields.end();
    return file;
}

DataFiles data_files_from(StateFields fields, const std::string& path) {
    DataFiles files;
    std::vector<StateFields> tokenizers = fields.objects("tokenizer");
    CHECK(tokenizers.size() <= 1, path, " has ", tokenizers.size(), " tokenizers for one data set");
    if (!tokenizers.empty()) files.tokenizer = fingerprint_from(tokenizers[0]);
    for (StateFields& shard : fields.objects("shards")) files.shards.push_back(fingerprint_from(shard));
    fields.end();
    return files;
}

std::vector<BranchPoint> branches_from(StateFields& state, int64_t step) {
    std::vector<BranchPoint> branches;
    for (StateFields& fields : state.objects("branches")) {
        branches.push_back({.folder = fields.text("folder"),
                            .step = fields.whole("step", branches.empty() ? 0 : branches.back().step, step),
                            .tokens = fields.whole("tokens", 0, INT64_MAX),
                            .sha256 = fields.sha256("sha256")});
        fields.end();
    }
    return branches;
}

HealthState health_from(StateFields fields, int64_t step) {
    HealthState s;
    s.skipped = fields.whole("skipped", 0, step);
    s.skipped_in_a_row = fields.whole("skipped_in_a_row", 0, s.skipped);
    s.outliers = fields.whole("outliers", 0, step);
    // Loss and gradient norm are fp32 numbers that were finite.
    for (StateFields& update : fields.objects("window")) {
        const int64_t least = s.window.empty() ? 0 : s.window.back().step + 1;
        s.window.push_back({.step = update.whole("step", least, step - 1),
                            .loss = update.number("loss", 0, 3.5e38),
                            .norm = update.number("norm", 0, 3.5e38)});
        update.end();
    }
    fields.end();
    return s;
}

RunState from_json(const json& object, const std::string& path) {
    StateFields fields(object, path);
    const int64_t format = fields.whole("format", INT64_MIN, INT64_MAX);
    CHECK(format >= kOldestFormat && format <= kFormat, path, " has format ", format, ", this program reads ",
          kOldestFormat, " to ", kFormat);
    RunState s;
    s.format = format;
    s.step = fields.whole("step", 0, kMost);
    s.low_rank = fields.either("phase", "lowrank", "full");
    s.restarts = fields.whole("restarts", 0, s.low_rank ? s.step : 0);
    StateFields data = fields.object("data");
    s.data = {.epoch = data.whole("epoch", 0, kMost), .position = data.whole("position", 0, kMost)};
    data.end();
    if (format > 1) {
        s.health = health_from(fields.object("health"), s.step);
        s.train_data = data_files_from(fields.object("train_data"), path);
        CHECK(!s.train_data.shards.empty(), path, " names no training data");
        s.val_data = data_files_from(fields.object("val_data"), path);
        s.branches = branches_from(fields, s.step);
    }
    s.seed = fields.unsigned_whole("seed");
    s.config = config_from(fields.object("model"));
    StateFields adapters = fields.object("adapters");
    s.rank = adapters.whole("rank", 1, kMost);
    s.alpha = adapters.number("alpha", 0, 1e6);
    adapters.end();
    s.adam_steps = fields.wholes("adam_steps", 0, s.step);
    const std::map<std::string, std::string> options = fields.texts("options");
    s.options.assign(options.begin(), options.end());
    s.files = fields.texts("files");
    if (format > 1) fields.text(kHash);
    fields.end();
    return s;
}

// What no field shows by itself.
void check_agreement(const RunState& s, const std::string& path) {
    const GPT2Config& c = s.config;
    CHECK(c.channels % c.heads == 0, path, " states a model of ", c.heads, " heads and ", c.channels,
          " channels, which the heads don't divide");
    std::vector<std::string> names{"model.safetensors", "optimizer.safetensors"};
    if (s.low_rank) names.push_back("adapters.safetensors");
    for (const std::string& name : names) CHECK(s.files.contains(name), path, ": \"files\" has no ", name);
    for (const auto& [name, hash] : s.files) {
        CHECK(std::find(names.begin(), names.end(), name) != names.end(), path, ": \"files\" has ", name,
              ", which a checkpoint of this phase doesn't have");
        CHECK(is_sha256(hash), path, ": ", hash, " is not the SHA-256 of ", name);
    }
    // A value that is stored twice is the same both times.
    for (const auto& [name, value] :
         {std::pair<const char*, json>("seed", s.seed), {"rank", s.rank}, {"alpha", s.alpha}}) {
        const auto stored = s.option(name);
        CHECK(!stored || parse_json(*stored) == value, path, " has ", name, " ", json_text(value), ", and ",
              stored.value_or(""), " among its options");
    }
}

std::string sha256_of(const json& object) { return sha256_text(json_text(object, 1)); }

std::string text_of(const json& object) { return json_text(object, 1) + "\n"; }

}  // namespace

int64_t tokens_after(const std::vector<BranchPoint>& branches, int64_t step, int64_t per_update) {
    const BranchPoint last = branches.empty() ? BranchPoint() : branches.back();
    return last.tokens + (step - last.step) * per_update;
}

std::string state_text(const RunState& state) {
    json object = to_json(state);
    const std::string hash = sha256_of(object);
    object[kHash] = hash;
    return text_of(object);
}

RunState read_state_file(const std::string& path) {
    const std::string text = read_json_text(path);
    const json object = json_in(path, text);
    if (object.is_object() && object.contains(kHash)) {
        json rest = object;
        rest.erase(kHash);
        const std::string actual = sha256_of(rest);
        CHECK(object.at(kHash) == actual, path, " is damaged: its SHA-256 is ", actual, ", it says ",
              json_text(object.at(kHash)));
        // A parser sees neither what is there twice nor the space between.
        CHECK(text == text_of(object), path, " is damaged: it holds more than its values");
    }
    const RunState state = from_json(object, path);
    check_agreement(state, path);
    return state;
}
