// Temporary files and folders: their names, what becomes of them, and which are recognised as left behind.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>

#include "io/files.h"
#include "io/temporary.h"
#include "test/error_of.h"

namespace {

namespace fs = std::filesystem;
using Kind = Temporary::Kind;
using Names = std::vector<std::string>;

class Temporaries : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "relora_temporary_XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder = pattern;
    }
    void TearDown() override { fs::remove_all(folder); }
    std::string path(const std::string& name) const { return folder + "/" + name; }
    void put(const std::string& name, const std::string& text) const { std::ofstream(path(name)) << text; }
    Names names() const {
        Names found;
        for (const auto& entry : fs::directory_iterator(folder)) found.push_back(entry.path().filename());
        std::sort(found.begin(), found.end());
        return found;
    }
    // Lets another process make a file and a folder with a file in it, which it leaves behind as it dies.
    Names left_by_a_dead_process() const {
        const pid_t child = fork();
        if (child == 0) {
            const Temporary file(folder, Kind::file), made(folder, Kind::folder);
            std::ofstream(made.path() + "/model") << "half";
            _exit(0);
        }
        int status = 0;
        EXPECT_EQ(waitpid(child, &status, 0), child);
        Names left;
        for (const std::string& name : names()) left.push_back(path(name));
        EXPECT_EQ(left.size(), 2u);
        return left;
    }

    std::string folder;
};

TEST_F(Temporaries, NamesAreHiddenAndUnique) {
    const Temporary a(folder, Kind::file), b(folder, Kind::file), c(folder, Kind::folder);
    const std::regex ours(R"(\.train_relora\.[0-9a-f]{16})");
    for (const std::string& name : names()) EXPECT_TRUE(std::regex_match(name, ours)) << name;
    EXPECT_EQ(names().size(), 3u);
}

TEST_F(Temporaries, GoAwayUnlessTheyGetAName) {
    {
        const Temporary file(folder, Kind::file), made(folder, Kind::folder);
        std::ofstream(made.path() + "/model") << "half";
    }
    EXPECT_EQ(names(), Names{});
    Temporary file(folder, Kind::file), made(folder, Kind::folder);
    write_all(file.fd(), "abc", 3, file.path());
    std::ofstream(made.path() + "/model") << "whole";
    file.rename_to(path("file"));
    made.rename_to(path("folder"));
    EXPECT_EQ(names(), (Names{"file", "folder"}));
    EXPECT_EQ(read_file(path("file")), "abc");
    EXPECT_EQ(read_file(path("folder/model")), "whole");
}

// What others may do with the result is as their umask says, as for any other file.
TEST_F(Temporaries, HaveTheRightsOfTheUmask) {
    const mode_t old = umask(027);
    const Temporary file(folder, Kind::file), made(folder, Kind::folder);
    umask(old);
    const auto rights = [](const Temporary& t) { return fs::status(t.path()).permissions(); };
    EXPECT_EQ(rights(file), fs::perms(0640));
    EXPECT_EQ(rights(made), fs::perms(0750));
}

TEST_F(Temporaries, AFolderTakesNoNameThatIsTaken) {
    fs::create_directory(path("empty"));
    Temporary first(folder, Kind::folder);
    std::ofstream(first.path() + "/model") << "new";
    first.rename_to(path("empty"));
    EXPECT_EQ(read_file(path("empty/model")), "new");

    fs::create_directory(path("full"));
    put("full/mine", "mine");
    put("file", "mine");
    Temporary second(folder, Kind::folder);
    EXPECT_EQ(error_of([&] { second.rename_to(path("full")); }),
              "cannot write " + path("full") + ": Directory not empty");
    EXPECT_EQ(error_of([&] { second.rename_to(path("file")); }), "cannot write " + path("file") + ": Not a directory");
    EXPECT_EQ(read_file(path("full/mine")), "mine");
    EXPECT_EQ(read_file(path("file")), "mine");
}

TEST_F(Temporaries, ErrorsNameTheFolder) {
    for (const Kind kind : {Kind::file, Kind::folder})
        EXPECT_EQ(error_of([&] { const Temporary made(path("missing"), kind); }),
                  std::string("cannot create a ") + (kind == Kind::file ? "file" : "folder") + " in " +
                      path("missing") + ": No such file or directory");
}

TEST_F(Temporaries, OnesOfTheDeadAreRemovedAndNamed) {
    const Names left = left_by_a_dead_process();
    EXPECT_EQ(remove_stale_temporaries(folder), left);
    EXPECT_EQ(names(), Names{});
    EXPECT_EQ(remove_stale_temporaries(path("missing")), Names{});
}

TEST_F(Temporaries, OnesOfTheLivingStay) {
    const Temporary file(folder, Kind::file), made(folder, Kind::folder);
    EXPECT_EQ(remove_stale_temporaries(folder), Names{});
    EXPECT_EQ(names().size(), 2u);
}

TEST_F(Temporaries, NothingOfOthersIsRemoved) {
    const Names others = {".train_relora.",
                          ".train_relora.0123456789abcde",
                          ".train_relora.0123456789abcdeF",
                          "train_relora.0123456789abcdef",
                          ".train_relora.0123456789abcdef.txt",
                          ".step_00000004.tmp",
                          "export.tmp"};
    for (const std::string& name : others) put(name, "mine");
    put("target", "mine");
    fs::create_symlink(path("target"), path(".train_relora.0000000000000001"));
    ASSERT_EQ(mkfifo(path(".train_relora.0000000000000002").c_str(), 0600), 0);
    const Names before = names();
    EXPECT_EQ(remove_stale_temporaries(folder), Names{});
    EXPECT_EQ(names(), before);
}

}  // namespace
