// SHA256SUMS: what other programs make of it, and what is found damaged by it.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "checkpoint/checksums.h"
#include "test/error_of.h"

namespace {

namespace fs = std::filesystem;

// The digests of "abc" (FIPS 180-2) and of nothing.
const std::map<std::string, std::string> kHashes = {
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"none", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}};

class Checksums : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "relora_checksums_XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder = pattern;
        put("abc", "abc");
        put("none", "");
        put("SHA256SUMS", checksums_text(kHashes));
    }
    void TearDown() override { fs::remove_all(folder); }
    void put(const std::string& name, const std::string& text) const { std::ofstream(folder + "/" + name) << text; }
    std::string error() const {
        return error_of([&] { verify_checksums(folder); });
    }
    std::string folder;
};

TEST_F(Checksums, AreThoseOfSha256sum) {
    EXPECT_EQ(std::system(("cd " + folder + " && sha256sum --quiet --strict -c SHA256SUMS").c_str()), 0);
}

TEST_F(Checksums, FindWhatDiffers) {
    EXPECT_EQ(error(), "no error");
    put("abc", "abd");
    EXPECT_EQ(error().find(folder + "/abc is damaged: its SHA-256 is "), 0u);
    fs::remove(folder + "/abc");
    EXPECT_NE(error().find(folder + "/abc"), std::string::npos);
    fs::remove(folder + "/SHA256SUMS");
    EXPECT_EQ(error(), "no error") << "a folder of another program has none";
}

TEST_F(Checksums, NeverLeadElsewhere) {
    const std::string hash = kHashes.at("abc");
    for (const std::string& line : {hash + "  ../abc",
                                    hash + "  a\x01"
                                           "bc",
                                    hash + " *abc", hash + "  ", hash.substr(1) + "  abc", std::string("x")}) {
        put("SHA256SUMS", line + "\n");
        EXPECT_EQ(error().find(folder + "/SHA256SUMS is damaged"), 0u) << line;
    }
}

}  // namespace
