#include "train/run_data.h"

#include <filesystem>

#include "checkpoint/checkpoint.h"
#include "io/paths.h"
#include "io/tokenizer.h"

namespace {

// Models are padded to such multiples, for the speed of their products.
constexpr int64_t kVocabularyMultiple = 128;

void check_same(const char* option, const FileFingerprint& a, const FileFingerprint& b, const std::string& whose) {
    USAGE_CHECK(a.same_contents(b), option, ": the tokenizer ", a.path, " is not that of ", whose, ", ", b.path);
}

}  // namespace

std::string Options::tokenizer_file() const {
    if (!tokenizer.empty()) return tokenizer;
    return train_files.tokenizer ? train_files.tokenizer->path : "";
}

void Options::make_paths_absolute() {
    for (std::string* pattern : {&train_data, &val_data}) *pattern = absolute_pattern(*pattern);
    for (std::string* path : {&tokenizer, &init_from, &branch_from})
        if (!path->empty()) *path = std::filesystem::path(absolute_path(*path)).lexically_normal().string();
}

void Options::find_data() {
    // A plan may be made before there are data.
    const auto find = [&](const std::string& pattern, DataFiles& files) {
        if (pattern.empty() || (only_plans() && matching_files(pattern).empty())) return;
        files = data_files(pattern);
    };
    find(train_data, train_files);
    find(val_data, val_files);
    std::optional<FileFingerprint> one = train_files.tokenizer;
    if (!tokenizer.empty()) {
        const FileFingerprint named = fingerprint(tokenizer);
        if (one) check_same("--tokenizer", named, *one, "the training shards");
        one = named;
    }
    if (one && val_files.tokenizer) check_same("--val-data", *val_files.tokenizer, *one, "the training shards");
    if (!one) one = val_files.tokenizer;
    check_vocabulary(one);
    if (!one || !resumed_from.empty() || init_from.empty() || !is_checkpoint(init_from)) return;
    const auto made_with = read_state(init_from).train_data.tokenizer;
    if (made_with) check_same("--train-data", *one, *made_with, "the model in " + init_from);
}

void Options::check_vocabulary(const std::optional<FileFingerprint>& used) {
    const bool is_given = vocab_size > 0, from_weights = !is_given && !init_from.empty();
    if (!used) {
        if (train_files.shards.empty()) return;
        data_notes.push_back(
            str("there is no tokenizer.bin beside the training shards: they are taken to have the vocabulary of ",
                is_given || from_weights ? "the model" : "GPT-2"));
        return;
    }
    const int64_t tokens = Tokenizer::load(used->path).vocab_size();
    data_notes.push_back(str("tokenizer: ", used->path, ", ", tokens, " tokens"));
    if (!is_given && !from_weights) vocab_size = tokens;
    const int64_t model = from_weights ? config.vocab_size : vocab_size;
    const std::string whose = from_weights ? "the model in " + init_from + " has a vocabulary of " : "--vocab-size ";
    USAGE_CHECK(model >= tokens, whose, model, ": fewer than the ", tokens, " tokens of ", used->path);
    const int64_t padded = (tokens + kVocabularyMultiple - 1) / kVocabularyMultiple * kVocabularyMultiple;
    USAGE_CHECK(!from_weights || model <= padded, whose, model, ", and ", used->path, " has ", tokens,
                " tokens; give --vocab-size ", model, " if that is meant");
    if (model > tokens)
        data_notes.push_back(str("the model's vocabulary of ", model, " has ", model - tokens, " more"));
}

std::vector<std::string> check_resumed_data(const Options& o, const RunState& state, const std::string& folder) {
    if (state.format == 1)
        return {folder + " is of an earlier version and doesn't know its data: those that are given are taken"};
    const std::string difference = shard_difference(state.train_data, o.train_files);
    USAGE_CHECK(difference.empty(), "--resume: --train-data ", o.train_data, " are not the data that ", folder,
                " was made with: ", difference, "; to go on with other data, begin a branch: --branch-from ", folder,
                " --out NEW");
    const auto &before = state.train_data.tokenizer, &now = o.train_files.tokenizer;
    if (before && now) check_same("--resume", *now, *before, folder);
    const std::string other = shard_difference(state.val_data, o.val_files);
    if (other.empty()) return {};
    return {"the validation data are not those of before, so that losses can't be compared: " + other};
}
