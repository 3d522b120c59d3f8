// Files, their hashes and failures, and the metrics log.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "io/files.h"
#include "io/metrics.h"
#include "io/paths.h"
#include "runtime/error.h"
#include "test/error_of.h"

namespace {

namespace fs = std::filesystem;

// A folder of its own for each test.
class Files : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "relora_files_XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder = pattern;
    }
    void TearDown() override { fs::remove_all(folder); }
    std::string path(const std::string& name) const { return (folder / name).string(); }
    void put(const std::string& name, const std::string& text) const { std::ofstream(path(name)) << text; }
    // The folder's names, sorted.
    std::vector<std::string> names() const {
        std::vector<std::string> found;
        for (const auto& entry : fs::directory_iterator(folder)) found.push_back(entry.path().filename());
        std::sort(found.begin(), found.end());
        return found;
    }

    fs::path folder;
};
using Metrics = Files;

// No file may grow beyond `bytes` while this is alive: a disk that fills up in the middle of a file.
struct FileSizeLimit {
    explicit FileSizeLimit(rlim_t bytes) : old_handler(std::signal(SIGXFSZ, SIG_IGN)) {
        getrlimit(RLIMIT_FSIZE, &old);
        const rlimit limit{bytes, old.rlim_max};
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~FileSizeLimit() {
        setrlimit(RLIMIT_FSIZE, &old);
        std::signal(SIGXFSZ, old_handler);
    }
    rlimit old;
    void (*old_handler)(int);
};

// The test vectors of FIPS 180-2: "abc", and a million times "a" in pieces.
TEST_F(Files, WriterReturnsTheHashOfWhatIsInTheFile) {
    FileWriter small(path("small"));
    small.write("ab", 2);
    small.write("c", 1);
    EXPECT_EQ(small.close(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(read_file(path("small")), "abc");

    const std::string million(1000000, 'a');
    FileWriter large(path("large"));
    for (size_t done = 0; done < million.size(); done += 12500) large.write(million.data() + done, 12500);
    EXPECT_EQ(large.close(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    EXPECT_EQ(read_file(path("large")), million);
}

TEST_F(Files, WriterKeepsTheOrderOfSmallAndLargePieces) {
    std::string expected;
    FileWriter writer(path("mixed"));
    for (const size_t bytes : {3u, 3000000u, 1u, 0u, 1048576u, 5u, 1048575u}) {
        const std::string piece(bytes, char('a' + expected.size() % 26));
        writer.write(piece.data(), piece.size());
        expected += piece;
    }
    writer.close();
    EXPECT_TRUE(read_file(path("mixed")) == expected);
}

TEST_F(Files, WriterLeavesAFileThatIsThereAlone) {
    put("file", "something of someone's");
    EXPECT_EQ(error_of([&] { FileWriter writer(path("file")); }), "cannot create " + path("file") + ": File exists");
    EXPECT_EQ(read_file(path("file")), "something of someone's");
}

TEST_F(Files, UnclosedWriterLeavesNothing) {
    {
        FileWriter writer(path("partial"));
        writer.write("x", 1);
        EXPECT_TRUE(fs::exists(path("partial")));
    }
    EXPECT_FALSE(fs::exists(path("partial")));
}

TEST_F(Files, FullDiskIsAnErrorOfItsOwnKind) {
    const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    ASSERT_GE(full, 0);
    const auto write = [&] { write_all(full, "x", 1, "some file"); };
    EXPECT_EQ(error_of(write), "cannot write some file: No space left on device");
    EXPECT_THROW(write(), DiskFull);
    close(full);
}

TEST_F(Files, FailedWriteRemovesThePartialFile) {
    const std::string data(3 << 20, 'x');
    const FileSizeLimit limit(2 << 20);
    const std::string error = error_of([&] {
        FileWriter writer(path("big"));
        writer.write(data.data(), data.size());
        writer.close();
    });
    EXPECT_EQ(error, "cannot write " + path("big") + ": File too large");
    EXPECT_FALSE(fs::exists(path("big")));
}

TEST_F(Files, FailedAtomicWriteKeepsTheOldFile) {
    write_file_atomic(path("file"), "old");
    {
        const FileSizeLimit limit(1000);
        EXPECT_THROW(write_file_atomic(path("file"), std::string(2000, 'n')), Error);
    }
    EXPECT_EQ(read_file(path("file")), "old");
    write_file_atomic(path("file"), "new");
    EXPECT_EQ(read_file(path("file")), "new");
    EXPECT_EQ(names(), (std::vector<std::string>{"file"})) << "a temporary file is left";
}

// The name that temporary files once had may be a user's.
TEST_F(Files, AtomicWriteTouchesNoOtherName) {
    put("file.tmp", "mine");
    write_file_atomic(path("file"), "new");
    EXPECT_EQ(read_file(path("file.tmp")), "mine");
    EXPECT_EQ(names(), (std::vector<std::string>{"file", "file.tmp"}));
}

TEST_F(Files, ErrorsNameTheFileAndTheReason) {
    const std::string missing = path("missing");
    EXPECT_EQ(error_of([&] { read_file(missing); }), "cannot open " + missing + ": No such file or directory");
    EXPECT_EQ(error_of([&] { InputFile file(missing); }), "cannot open " + missing + ": No such file or directory");
    EXPECT_EQ(error_of([&] { FileWriter writer(missing + "/x"); }),
              "cannot create " + missing + "/x: No such file or directory");
    EXPECT_EQ(error_of([&] { read_file(folder); }), "cannot read " + folder.string() + ": it is not a regular file");
    EXPECT_EQ(error_of([&] { InputFile file(folder); }),
              "cannot read " + folder.string() + ": it is not a regular file");
    EXPECT_EQ(error_of([&] { sync_directory(missing); }), "cannot open " + missing + ": No such file or directory");
}

TEST_F(Files, GlobIsSortedAndLeavesFoldersOut) {
    for (const char* name : {"train_02.bin", "train_00.bin", "train_01.bin", "val.bin"}) put(name, "");
    fs::create_directory(folder / "train_03.bin");
    EXPECT_EQ(glob_files(path("train_*.bin")),
              (std::vector<std::string>{path("train_00.bin"), path("train_01.bin"), path("train_02.bin")}));
    EXPECT_EQ(error_of([&] { glob_files(path("test_*.bin")); }), "no file matches " + path("test_*.bin"));
}

TEST_F(Files, FreeSpaceIsThatOfTheFileSystem) {
    // free_bytes agrees with the standard library, but for what others may write meanwhile.
    const double expected = double(fs::space(folder).available);
    EXPECT_NEAR(double(free_bytes(folder)), expected, 0.05 * expected);
    EXPECT_NEAR(double(free_bytes(path("not/yet/there"))), expected, 0.05 * expected);
}

TEST_F(Metrics, LinesAreJsonAndNumbersRoundTrip) {
    const double values[] = {0.1, 1.0 / 3, 5e-324, std::numeric_limits<double>::max(), -2.5e-5, 3, -0.0};
    for (const double value : values) {
        const std::string text = MetricsLine().add("x", value).text();
        EXPECT_EQ(nlohmann::json::parse(text).at("x").get<double>(), value) << text;
    }
    EXPECT_EQ(MetricsLine().add("a", 0.1).add("b", 0.1f).add("c", int64_t(1) << 62).add("d", -7).text(),
              R"({"a":0.1,"b":0.1,"c":4611686018427387904,"d":-7})");
    EXPECT_EQ(MetricsLine().add("nan", std::nan("")).add("inf", HUGE_VALF).text(), R"({"nan":null,"inf":null})");
    EXPECT_EQ(MetricsLine().add("s", "a\"b\\c\n\xC3\xA9").text(), "{\"s\":\"a\\\"b\\\\c\\n\xC3\xA9\"}");
    EXPECT_EQ(MetricsLine().text(), "{}");
}

TEST_F(Metrics, EveryLineIsInTheFileAtOnce) {
    MetricsLog log(path("metrics.jsonl"), -1);
    log.write(MetricsLine().add("step", 1));
    EXPECT_EQ(read_file(path("metrics.jsonl")), "{\"step\":1}\n");
    log.write(MetricsLine().add("step", 2));
    EXPECT_EQ(read_file(path("metrics.jsonl")), "{\"step\":1}\n{\"step\":2}\n");
}

// A disk that is full takes the first half of a line.
TEST_F(Metrics, AFailedLineLeavesWholeLines) {
    MetricsLog log(path("metrics.jsonl"), -1);
    log.write(MetricsLine().add("step", 1));
    {
        const FileSizeLimit limit(20);
        EXPECT_EQ(error_of([&] { log.write(MetricsLine().add("step", 2).add("loss", 0.5)); }),
                  "cannot write " + path("metrics.jsonl") + ": File too large");
    }
    EXPECT_EQ(read_file(path("metrics.jsonl")), "{\"step\":1}\n");
    log.write(MetricsLine().add("step", 2));
    EXPECT_EQ(read_file(path("metrics.jsonl")), "{\"step\":1}\n{\"step\":2}\n");
}

// What a resume at update 3 finds wrong with the log.
TEST_F(Metrics, ResumeSaysWhatIsMissingOrDamaged) {
    const auto damage = [&](const std::string& text) {
        put("metrics.jsonl", text);
        return MetricsLog(path("metrics.jsonl"), 3).damage();
    };
    const std::string one = "{\"step\":1,\"loss\":4}\n", two = "{\"step\":2,\"loss\":3}\n",
                      three = "{\"step\":3,\"loss\":2}\n", later = "{\"step\":4,\"loss\":1}\n",
                      saved = "{\"step\":2,\"event\":\"save\"}\n";
    EXPECT_EQ(damage(one + two + three), "");
    EXPECT_EQ(damage(one + two + three + later + saved + "{\"step\":5,"), "");
    EXPECT_EQ(damage(two + three), "") << "a run that goes on from another's checkpoint";
    EXPECT_EQ(damage(one + three), "it has no lines of 1 updates");
    EXPECT_EQ(damage(""), "it has no lines of 3 updates");
    EXPECT_EQ(damage(one + two + "{\"val_loss\":2\n" + three), "it had 1 damaged lines, which are left out");
    EXPECT_EQ(damage(one + later + three), "it had 1 damaged lines, which are left out; it has no lines of 1 updates");
    EXPECT_EQ(read_file(path("metrics.jsonl")), one + three);
}

TEST_F(Metrics, ResumeDropsLaterLinesAndACutOffLine) {
    const std::string file = path("metrics.jsonl");
    put("metrics.jsonl",
        "{\"note\":\"no "
        "step\"}\n{\"step\":1}\n{\"step\":2}\n{\"loss\":1,\"step\":3}\n{\"step\":2,\"val_loss\":2}\n{\"step\":2");
    {
        MetricsLog log(file, 2);
        log.write(MetricsLine().add("step", 3));
    }
    EXPECT_EQ(read_file(file),
              "{\"note\":\"no step\"}\n{\"step\":1}\n{\"step\":2}\n{\"step\":2,\"val_loss\":2}\n{\"step\":3}\n");
    { MetricsLog log(file, 0); }
    EXPECT_EQ(read_file(file), "{\"note\":\"no step\"}\n");
    { MetricsLog log(file, -1); }
    EXPECT_EQ(read_file(file), "");
}

}  // namespace
