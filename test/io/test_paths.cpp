// Names and folders: what is there, and what can't be told.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "io/paths.h"
#include "test/error_of.h"

namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

class Paths : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "relora_paths_XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder = pattern;
    }
    void TearDown() override { fs::remove_all(folder); }
    std::string path(const std::string& name) const { return folder + "/" + name; }
    void put(const std::string& name) const { std::ofstream(path(name)) << ""; }

    std::string folder;
};

TEST_F(Paths, WhatIsThereAndWhatIsNot) {
    put("file");
    fs::create_symlink(path("nothing"), path("dangling"));
    fs::create_symlink(path("loop"), path("loop"));
    EXPECT_TRUE(path_exists(folder));
    EXPECT_TRUE(path_exists(path("file")));
    EXPECT_FALSE(path_exists(path("nothing")));
    EXPECT_FALSE(path_exists(path("dangling")));
    EXPECT_FALSE(path_exists(path("file/below")));
    EXPECT_EQ(error_of([&] { path_exists(path("loop")); }),
              "cannot look for " + path("loop") + ": Too many levels of symbolic links");
    const std::string long_name(300, 'x');
    EXPECT_EQ(error_of([&] { path_exists(path(long_name)); }),
              "cannot look for " + path(long_name) + ": File name too long");
}

TEST_F(Paths, NamesAreSorted) {
    for (const char* name : {"b", "a", ".hidden"}) put(name);
    fs::create_directory(path("c"));
    EXPECT_EQ(names_in(folder), (Names{".hidden", "a", "b", "c"}));
    EXPECT_EQ(names_in(path("nothing")), Names{});
    EXPECT_EQ(names_in(path("a")), Names{});
}

TEST_F(Paths, ParentsAreFoldersAsACommandTakesThem) {
    EXPECT_EQ(parent_of("a/b"), "a");
    EXPECT_EQ(parent_of("/a"), "/");
    EXPECT_EQ(parent_of("a"), ".");
}

// A shell may stand in a folder that has been removed.
TEST_F(Paths, AWorkingDirectoryThatIsGoneIsNamed) {
    const fs::path before = fs::current_path();
    fs::create_directory(path("gone"));
    fs::current_path(path("gone"));
    fs::remove(path("gone"));
    const std::string error = error_of([] { absolute_path("run"); });
    const std::string absolute = absolute_path("/run");
    fs::current_path(before);
    EXPECT_EQ(error, "cannot find the working directory for run: No such file or directory");
    EXPECT_EQ(absolute, "/run");
    EXPECT_EQ(absolute_path("run"), (before / "run").string());
}

}  // namespace
