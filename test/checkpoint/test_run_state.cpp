// state.json: one bit of it makes it damaged, and values that no run has are refused even where the hash is right.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "checkpoint/run_state.h"
#include "io/json.h"
#include "io/sha256.h"
#include "test/error_of.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class RunStateFile : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "relora_state_XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder = pattern;
        path = folder + "/state.json";
    }
    void TearDown() override { fs::remove_all(folder); }

    static RunState state() {
        RunState s;
        s.step = 6;
        s.restarts = 2;
        s.low_rank = true;
        s.data = {.epoch = 1, .position = 12};
        s.seed = 0xFFFFFFFFFFFFFFFFull;  // more than a double or a signed integer holds
        s.config = {.vocab_size = 257, .max_positions = 32, .layers = 2, .heads = 2, .channels = 32};
        s.train_data.shards = {{.path = "train.bin", .bytes = 2048, .sha256 = std::string(64, 'b')}};
        s.rank = 4;
        s.alpha = 0.1;
        s.options = {{"lr", "0.1"}, {"rank", "4"}};
        s.adam_steps = {{"transformer.ln_f.bias", 6}, {"transformer.ln_f.weight", 0}};
        for (const char* name : {"model", "optimizer", "adapters"})
            s.files[std::string(name) + ".safetensors"] = std::string(64, 'a');
        return s;
    }
    std::string problem(const std::string& text) {
        std::ofstream(path, std::ios::binary) << text;
        return error_of([&] { read_state_file(path); });
    }
    // The same of a changed object, with the hash that belongs to it.
    std::string problem_of(json object) {
        object.erase("sha256");
        const std::string text = json_text(object, 1);
        Sha256 hash;
        hash.update(text.data(), text.size());
        object["sha256"] = hash.hex();
        return problem(json_text(object, 1) + "\n");
    }

    std::string folder, path;
};

TEST_F(RunStateFile, ReadsBackTheSameText) {
    const std::string text = state_text(state());
    ASSERT_EQ(problem(text), "no error");
    EXPECT_EQ(state_text(read_state_file(path)), text);
}

TEST_F(RunStateFile, AFlippedBitIsSeen) {
    const std::string text = state_text(state());
    for (size_t i = 0; i < text.size(); i++) {
        std::string flipped = text;
        flipped[i] = char(flipped[i] ^ (1 << i % 8));
        ASSERT_NE(problem(flipped), "no error") << "byte " << i << ", bit " << i % 8;
    }
    for (size_t length = 0; length < text.size(); length += 7) ASSERT_NE(problem(text.substr(0, length)), "no error");
    EXPECT_NE(problem(text + "\n"), "no error");
    EXPECT_NE(problem("{ \"step\": 5," + text.substr(1)), "no error");  // a field twice, of which the last counts
}

// Whatever is put in the place of a value: the message names the file, and nothing crashes.
TEST_F(RunStateFile, StructureIsChecked) {
    const json whole = parse_json(state_text(state()));
    ASSERT_EQ(problem_of(whole), "no error");
    const std::vector<json> others = {nullptr,
                                      true,
                                      -1,
                                      -0.5,
                                      1e300,
                                      uint64_t(1) << 62,
                                      std::numeric_limits<uint64_t>::max(),
                                      json::array(),
                                      json::object(),
                                      json::array({1}),
                                      {{"a", 1}}};
    int edits = 0;
    const auto refused = [&](const json& changed, const std::string& what) {
        edits++;
        const std::string message = problem_of(changed);
        EXPECT_TRUE(message != "no error" && message.find(path) == 0) << what << ": " << message;
    };
    for (const json flat = whole.flatten(); const auto& [pointer_text, value] : flat.items()) {
        // Each value, and each object around it.
        for (json::json_pointer at(pointer_text); !at.empty(); at = at.parent_pointer()) {
            const std::string name = at.to_string(), around = at.parent_pointer().to_string();
            if (name == "/sha256") continue;  // is set anew
            // The names of these are for those who know the options and the parameters.
            const bool names_are_free = name == "/options" || name == "/adam_steps",
                       name_is_free = around == "/options" || around == "/adam_steps";
            json changed = whole;
            json& parent = changed[at.parent_pointer()];
            if (parent.is_array())
                parent.clear();
            else
                parent.erase(at.back());
            if (!name_is_free) refused(changed, "without " + name);
            for (const json& other : others) {
                if (other == whole[at]) continue;  // no edit
                // The files themselves show it.
                if ((name == "/seed" || at.back() == "bytes") && other.is_number_unsigned()) continue;
                if (names_are_free && other.is_object() && (name == "/adam_steps" || other.empty())) continue;
                changed = whole;
                changed[at] = other;
                refused(changed, name + " = " + json_text(other));
            }
            if (!whole[at].is_object() || names_are_free) continue;
            changed = whole;
            changed[at]["unknown"] = 1;
            refused(changed, "more in " + name);
        }
    }
    json more = whole;
    more["unknown"] = 1;
    refused(more, "an unknown field");
    EXPECT_GT(edits, 200);
}

TEST_F(RunStateFile, ValuesThatNoRunHasAreRefused) {
    const json whole = parse_json(state_text(state()));
    const auto with = [&](const std::string& at, const json& value) {
        json changed = whole;
        changed[json::json_pointer(at)] = value;
        return problem_of(changed);
    };
    EXPECT_NE(with("/restarts", 7).find("\"restarts\" is 7, it should be a whole number from 0 to 6"),
              std::string::npos);
    EXPECT_NE(with("/phase", "full").find("\"restarts\" is 2, it should be a whole number from 0 to 0"),
              std::string::npos);
    EXPECT_NE(with("/phase", "lower").find("it should be \"lowrank\" or \"full\""), std::string::npos);
    EXPECT_NE(with("/model/heads", 3).find("which the heads don't divide"), std::string::npos);
    EXPECT_NE(with("/adam_steps/transformer.ln_f.bias", 7).find("from 0 to 6"), std::string::npos);
    EXPECT_NE(with("/adapters/rank", 5).find("has rank 5, and 4 among its options"), std::string::npos);
    EXPECT_NE(with("/files/model.safetensors", "aa").find("is not the SHA-256 of"), std::string::npos);
    EXPECT_NE(with("/files", json::object()).find("has no model.safetensors"), std::string::npos);
    EXPECT_NE(with("/files/..~1elsewhere", std::string(64, 'a')).find("doesn't have"), std::string::npos);
}

}  // namespace
