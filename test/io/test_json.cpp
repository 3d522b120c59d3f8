// JSON texts that are valid, broken, too deep, or no texts at all.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "io/json.h"
#include "test/error_of.h"

namespace {

namespace fs = std::filesystem;

std::string nested(size_t levels) { return std::string(levels, '[') + std::string(levels, ']'); }

class JsonFile : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "relora_json_XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder = pattern;
        path = folder + "/state.json";
    }
    void TearDown() override { fs::remove_all(folder); }
    std::string error_with(const std::string& text) const {
        std::ofstream(path, std::ios::binary) << text;
        return error_of([&] { read_json(path); });
    }

    std::string folder, path;
};

TEST(Json, DepthIsLimited) {
    EXPECT_FALSE(parse_json(nested(64)).is_discarded());
    EXPECT_TRUE(parse_json(nested(65)).is_discarded());
    EXPECT_TRUE(parse_json(nested(10000000)).is_discarded());
    EXPECT_TRUE(parse_json(std::string(10000000, '[')).is_discarded());
    std::string objects;
    for (int i = 0; i < 1000000; i++) objects += R"({"a":)";
    EXPECT_TRUE(parse_json(objects + "1" + std::string(1000000, '}')).is_discarded());
}

// Brackets within strings, and quotes that are escaped there, nest nothing.
TEST(Json, BracketsInStringsDoNotCount) {
    const std::string brackets(1000, '[');
    EXPECT_EQ(parse_json(R"({"a":")" + brackets + R"(\"[\\"})").at("a"), brackets + "\"[\\");
    EXPECT_EQ(parse_json("[[" + nested(62) + "," + nested(62) + "]]").size(), 1u);
    std::string wide = "[0";
    for (int i = 0; i < 1000; i++) wide += ",[]";
    EXPECT_EQ(parse_json(wide + "]").size(), 1001u);
}

TEST(Json, WhatIsNoJsonIsDiscarded) {
    for (const char* text : {"", "{", "nul", "1 2", "\"\xFF\"", "{\"a\":1e999}", "[1,]"})
        EXPECT_TRUE(parse_json(text).is_discarded()) << text;
}

TEST(Json, OrderedTextsShowEveryKeyOfTheOutermostObject) {
    std::vector<std::string> keys;
    const auto object =
        parse_ordered_json(R"({"z":{"inner":1},"a":2,"z":3})", [&](const std::string& key) { keys.push_back(key); });
    EXPECT_EQ(keys, (std::vector<std::string>{"z", "a", "z"}));
    EXPECT_EQ(object.begin().key(), "z");
    EXPECT_TRUE(parse_ordered_json(nested(65), [](const std::string&) {}).is_discarded());
}

TEST_F(JsonFile, ErrorsNameTheFileAndThePlaceInIt) {
    const std::string error = error_with("{\"step\": 3,\n\"files\" 4}");
    EXPECT_TRUE(error.starts_with(path + " is not valid JSON: parse error at line 2, column 9")) << error;
    EXPECT_EQ(error.find("json.exception"), std::string::npos) << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    EXPECT_EQ(error_with(nested(100000)), path + " is not usable: its JSON is nested deeper than 64 levels");
    EXPECT_TRUE(error_with("").starts_with(path + " is not valid JSON: "));
}

TEST_F(JsonFile, AHugeFileIsRefusedBeforeItIsRead) {
    std::ofstream(path) << "{}";
    fs::resize_file(path, int64_t(1) << 40);
    EXPECT_EQ(error_of([&] { read_json(path); }),
              path + " has more than 67108864 bytes, which is more than such a file can have");
}

// The library would take it for the end of the text.
TEST_F(JsonFile, AZeroByteEndsNothing) {
    const std::string text("{}\0{}", 5);
    EXPECT_TRUE(parse_json(text).is_discarded());
    EXPECT_TRUE(parse_ordered_json(text, [](const std::string&) {}).is_discarded());
    std::ofstream(path, std::ios::binary) << text;
    EXPECT_EQ(error_of([&] { read_json(path); }), path + " is not valid JSON: it has a zero byte");
}

// To open a FIFO would wait for its other end.
TEST_F(JsonFile, AFifoIsRefusedAtOnce) {
    ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
    EXPECT_EQ(error_of([&] { read_json(path); }), "cannot read " + path + ": it is not a regular file");
    EXPECT_EQ(error_of([&] { read_json("/dev/zero"); }), "cannot read /dev/zero: it is not a regular file");
}

}  // namespace
