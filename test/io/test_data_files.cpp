// The data of a run are known by what they hold: which change of a file is seen, and whose tokenizer is read.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "io/data_files.h"
#include "io/files.h"
#include "io/paths.h"
#include "io/sha256.h"
#include "test/error_of.h"

namespace {

namespace fs = std::filesystem;

class DataFilesTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "relora_data_XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder = pattern;
    }
    void TearDown() override { fs::remove_all(folder); }

    std::string put(const std::string& name, const std::string& bytes) const {
        const fs::path path = folder / name;
        fs::create_directories(path.parent_path());
        std::ofstream(path, std::ios::binary) << bytes;
        return path.string();
    }
    DataFiles found(const std::string& pattern) const { return data_files((folder / pattern).string()); }

    fs::path folder;
};

TEST_F(DataFilesTest, SmallFilesAreHashedWhole) {
    const std::string path = put("small", std::string(100000, 'a') + "b");
    EXPECT_EQ(fingerprint(path).bytes, 100001);
    EXPECT_EQ(fingerprint(path).sha256, sha256_file(path));
    EXPECT_EQ(fingerprint(put("empty", "")).sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST_F(DataFilesTest, AnotherHeaderEndOrSizeOfALargeFileIsSeen) {
    const std::string bytes(5 << 20, 'a');
    const FileFingerprint before = fingerprint(put("large", bytes));
    EXPECT_TRUE(before.same_contents(fingerprint(put("copy", bytes))));
    for (const size_t place : {size_t(0), size_t(1000), bytes.size() / 3, bytes.size() - 1}) {
        std::string changed = bytes;
        // A run of other bytes, as other tokens are: one byte alone may lie between the blocks.
        for (size_t i = place; i < std::min(place + (1 << 19), bytes.size()); i++) changed[i] = 'b';
        EXPECT_FALSE(before.same_contents(fingerprint(put("large", changed)))) << place;
    }
    EXPECT_FALSE(before.same_contents(fingerprint(put("large", bytes + "a"))));
}

TEST_F(DataFilesTest, DifferencesNameTheShard) {
    for (const char* name : {"a/train_0", "a/train_1", "b/other_0", "b/other_1"})
        put(name, std::string("contents of ") + name[std::string(name).size() - 1]);
    const DataFiles before = found("a/train_*");
    EXPECT_EQ(shard_difference(before, found("b/other_*")), "");
    const std::string first = (folder / "a/train_0").string(), second = (folder / "a/train_1").string();
    put("a/train_2", "more");
    EXPECT_EQ(shard_difference(before, found("a/train_*")),
              "there are 3 shards, not 2: " + second.substr(0, second.size() - 1) + "2 has been added");
    fs::remove(folder / "a/train_2");
    fs::rename(folder / "a/train_0", folder / "a/kept");
    fs::rename(folder / "a/train_1", folder / "a/train_0");
    EXPECT_EQ(shard_difference(before, found("a/train_*")), "shard 1, " + first + ", has other contents");
    put("a/train_0", "contents of 0");
    EXPECT_EQ(shard_difference(before, found("a/train_*")), "there are 1 shards, not 2: " + second + " is missing");
    put("c/x", "contents of 0 and more");
    EXPECT_EQ(shard_difference(before, found("c/x")),
              "shard 1, " + (folder / "c/x").string() + ", has 22 bytes, not 13 (it was " + first + ")");
}

TEST_F(DataFilesTest, TheTokenizerOfEachShardsOwnFolderIsRead) {
    put("p/one/train_0", "x"), put("p/two/train_0", "y"), put("p/three/train_0", "z");
    EXPECT_FALSE(found("p/*/train_*").tokenizer);
    const std::string tokenizer = put("p/two/tokenizer.bin", "t");
    ASSERT_TRUE(found("p/*/train_*").tokenizer);
    EXPECT_EQ(found("p/*/train_*").tokenizer->path, tokenizer);
    put("p/one/tokenizer.bin", "t");
    EXPECT_TRUE(found("p/*/train_*").tokenizer);
    put("p/three/tokenizer.bin", "other");
    const std::string problem = error_of([&] { found("p/*/train_*"); });
    EXPECT_NE(problem.find("shards of two tokenizers match"), std::string::npos) << problem;
    EXPECT_NE(problem.find((folder / "p/three/tokenizer.bin").string()), std::string::npos) << problem;
}

TEST_F(DataFilesTest, APathThatExistsIsNoPattern) {
    const std::string odd = put("set [v1]/train_{a}*.bin", "x");
    put("set v/train_b", "y");
    EXPECT_EQ(glob_files(odd), std::vector<std::string>{odd});
    EXPECT_EQ(glob_files((folder / "set \\[v1\\]/train_*").string()), std::vector<std::string>{odd});
}

TEST_F(DataFilesTest, AnAbsolutePatternMatchesTheSameFiles) {
    put("here [1]{a,b}/data/train_0", "x");
    const fs::path before = fs::current_path();
    fs::current_path(folder / "here [1]{a,b}");
    const std::vector<std::string> patterns{absolute_pattern("data/train_*"), absolute_pattern("data/train_0")};
    fs::current_path(before);
    for (const std::string& pattern : patterns)
        EXPECT_EQ(matching_files(pattern), std::vector<std::string>{(folder / "here [1]{a,b}/data/train_0").string()})
            << pattern;
    EXPECT_EQ(absolute_pattern("/data/*"), "/data/*");
    EXPECT_EQ(absolute_pattern(""), "");
}

}  // namespace
