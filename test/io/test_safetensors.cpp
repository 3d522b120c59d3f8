// The safetensors format against bytes written down by hand, and every way in which a file can be malformed.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "io/safetensors.h"
#include "runtime/error.h"
#include "test/error_of.h"

namespace {

namespace fs = std::filesystem;

class Safetensors : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "relora_safetensors_XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder = pattern;
        path = (folder / "model.safetensors").string();
    }
    void TearDown() override { fs::remove_all(folder); }
    void put(const std::string& bytes) const { std::ofstream(path, std::ios::binary) << bytes; }

    fs::path folder;
    std::string path;
};

// A file with this header, not padded, and so many bytes of data.
std::string with_header(const std::string& header, size_t data_bytes) {
    std::string file(8, '\0');
    for (int i = 0; i < 8; i++) file[i] = char(uint64_t(header.size()) >> (8 * i));
    return file + header + std::string(data_bytes, '\1');
}

// [1, -2] as F32 and [1, 2, 3] as BF16. The header has 149 characters and is padded to 152 = 0x98.
std::string golden_file() {
    const std::string header = R"({"__metadata__":{"format":"pt"},)"
                               R"("a.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                               R"("b":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]}})";
    EXPECT_EQ(header.size(), 149u);
    return std::string("\x98\0\0\0\0\0\0\0", 8) + header + "   " +
           std::string("\x00\x00\x80\x3F\x00\x00\x00\xC0\x80\x3F\x00\x40\x40\x40", 14);
}

TEST_F(Safetensors, WritesTheBytesOfTheFormat) {
    const float a[] = {1, -2};
    const uint16_t b[] = {0x3F80, 0x4000, 0x4040};
    SafetensorsWriter writer(path, {{"format", "pt"}});
    writer.add("a.weight", "F32", {2, 1});
    writer.add("b", "BF16", {3});
    writer.write("a.weight", a, 4);
    writer.write("a.weight", a + 1, 4);
    writer.write("b", b, 6);
    const std::string hash = writer.close();
    EXPECT_EQ(read_file(path), golden_file());
    EXPECT_EQ(hash, sha256_file(path));
}

TEST_F(Safetensors, ReadsTheBytesOfTheFormat) {
    put(golden_file());
    const SafetensorsReader reader(path);
    ASSERT_EQ(reader.entries().size(), 2u);
    EXPECT_EQ(reader.entries()[0].name, "a.weight");
    EXPECT_EQ(reader.entries()[1].name, "b");
    EXPECT_EQ(reader.metadata(), (Metadata{{"format", "pt"}}));
    const SafetensorsEntry& a = reader.at("a.weight", {2, 1});
    EXPECT_EQ(a.dtype, "F32");
    ASSERT_EQ(a.bytes(), 8);
    float values[2];
    reader.read(a, values);
    EXPECT_EQ(values[0], 1.0f);
    EXPECT_EQ(values[1], -2.0f);
    const SafetensorsEntry& b = reader.at("b");
    EXPECT_EQ(b.dtype, "BF16");
    EXPECT_EQ(b.shape, (std::vector<int64_t>{3}));
    uint16_t halves[3];
    reader.read(b, halves);
    EXPECT_EQ(std::vector(halves, halves + 3), (std::vector<uint16_t>{0x3F80, 0x4000, 0x4040}));
    EXPECT_EQ(reader.find("c"), nullptr);
    EXPECT_EQ(error_of([&] { reader.at("c"); }), path + " has no tensor c");
    EXPECT_EQ(error_of([&] { reader.at("b", {1, 3}); }), path + ": tensor b has the shape [3], [1, 3] is needed");
}

// The header may name the arrays in any order, and a scalar has the shape [].
TEST_F(Safetensors, SortsByOffsetAndKnowsScalarsAndEmptyArrays) {
    put(with_header(R"({"late":{"dtype":"I64","shape":[],"data_offsets":[1,9]},)"
                    R"("early":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                    R"("none":{"dtype":"F32","shape":[0,5],"data_offsets":[1,1]}})",
                    9));
    const SafetensorsReader reader(path);
    ASSERT_EQ(reader.entries().size(), 3u);
    EXPECT_EQ(reader.entries()[0].name, "early");
    EXPECT_EQ(reader.entries()[1].name, "none");
    EXPECT_EQ(reader.entries()[2].name, "late");
    EXPECT_EQ(reader.at("late").begin - reader.at("early").begin, 1);
    EXPECT_TRUE(reader.metadata().empty());
}

TEST_F(Safetensors, WriterRoundTripsEmptyArraysAndEmptyFiles) {
    SafetensorsWriter writer(path);
    writer.add("none", "F32", {0, 5});
    writer.add("x", "U8", {1});
    writer.add("last", "F32", {0});
    writer.write("x", "\7", 1);
    writer.close();
    const SafetensorsReader reader(path);
    EXPECT_EQ(reader.entries().size(), 3u);
    char x = 0;
    reader.read(reader.at("x"), &x);
    EXPECT_EQ(x, 7);

    fs::remove(path);
    SafetensorsWriter(path).close();
    EXPECT_EQ(read_file(path), std::string("\x08\0\0\0\0\0\0\0{}      ", 16));
    EXPECT_TRUE(SafetensorsReader(path).entries().empty());
}

TEST_F(Safetensors, WriterRefusesWhatWouldBeAWrongFile) {
    const auto error_with = [&](auto steps) {
        const std::string error = error_of([&] {
            SafetensorsWriter writer(path);
            writer.add("a", "F32", {2});
            writer.add("b", "F32", {1});
            steps(writer);
        });
        EXPECT_FALSE(fs::exists(path)) << "a partial file is left after: " << error;
        return error;
    };
    const float x[3] = {};
    EXPECT_EQ(error_with([&](auto& w) { w.write("b", x, 4); }),
              path + ": bytes of tensor b came where those of a were due");
    EXPECT_EQ(error_with([&](auto& w) { w.write("a", x, 12); }), path + ": tensor a got more than its 8 bytes");
    EXPECT_EQ(error_with([&](auto& w) {
                  w.write("a", x, 4);
                  w.close();
              }),
              path + ": tensor a was not written in full");
    EXPECT_EQ(error_with([&](auto& w) {
                  w.add("a", "F32", {1});
                  w.write("a", x, 8);
              }),
              path + ": tensor a was added twice");
    EXPECT_EQ(error_with([&](auto& w) {
                  w.write("a", x, 8);
                  w.add("c", "F32", {1});
              }),
              path + ": tensor c was added after the first bytes were written");
    EXPECT_EQ(error_with([&](auto& w) { w.add("c", "float", {1}); }), path + ": tensor c has the unknown dtype float");
    EXPECT_EQ(error_with([&](auto& w) {
                  w.add("c", "F32", {1, -1});
              }),
              path + ": tensor c has the impossible shape [1, -1]");
}

TEST_F(Safetensors, MalformedFilesGetOneLineEach) {
    const std::string u8 = R"("dtype":"U8",)";
    const struct {
        std::string file, error;
    } cases[] = {
        {"", " is truncated: 0 bytes, less than the start of a safetensors file"},
        {"1234567", " is truncated: 7 bytes, less than the start of a safetensors file"},
        {golden_file().substr(0, 100), " is truncated: 100 bytes, its header alone needs 160"},
        {golden_file().substr(0, 170), " is truncated: tensor b ends at byte 14 of the data, the file at 10"},
        {golden_file() + "x", " has 1 bytes after its last tensor"},
        {"PK\3\4 a zip file, such as PyTorch makes", " is not a safetensors file: its first 8 bytes give a header of "},
        {with_header("", 0), " is not a safetensors file: its header does not start with {"},
        {with_header("[1, 2]", 0), " is not a safetensors file: its header does not start with {"},
        {with_header("{\"a\":", 0), " is not a safetensors file: its header is not valid JSON of at most 64 levels"},
        {with_header("{} x", 0), " is not a safetensors file: its header is not valid JSON of at most 64 levels"},
        {with_header("{\"\xFF\":1}", 0),
         " is not a safetensors file: its header is not valid JSON of at most 64 levels"},
        {with_header(R"({"a":1})", 0), ": tensor a has no dtype"},
        {with_header(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1), ": tensor a has no shape"},
        {with_header(R"({"a":{"dtype":"U8","shape":[1]}})", 1), ": tensor a has no data_offsets"},
        {with_header(R"({"a":{"dtype":8,"shape":[1],"data_offsets":[0,1]}})", 1),
         ": tensor a has a dtype that is not a string"},
        {with_header(R"({"a":{"dtype":"Q\n4","shape":[1],"data_offsets":[0,1]}})", 1),
         R"(: tensor a has the unknown dtype "Q\n4")"},
        {with_header(R"({"a":{)" + u8 + R"("shape":[-1],"data_offsets":[0,1]}})", 1),
         ": tensor a has a shape that is not a list of sizes"},
        {with_header(R"({"a":{)" + u8 + R"("shape":[1.5],"data_offsets":[0,1]}})", 1),
         ": tensor a has a shape that is not a list of sizes"},
        {with_header(R"({"a":{)" + u8 + R"("shape":1,"data_offsets":[0,1]}})", 1),
         ": tensor a has a shape that is not a list of sizes"},
        {with_header(R"({"a":{)" + u8 + R"("shape":[18446744073709551615],"data_offsets":[0,1]}})", 1),
         ": tensor a has a shape that is not a list of sizes"},
        {with_header(R"({"a":{)" + u8 + R"("shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0),
         ": tensor a has the impossible shape [4294967296, 4294967296]"},
        {with_header(R"({"a":{)" + u8 + R"("shape":[1],"data_offsets":[1,0]}})", 1),
         ": tensor a has data_offsets that are not [begin, end]"},
        {with_header(R"({"a":{)" + u8 + R"("shape":[1],"data_offsets":[0]}})", 1),
         ": tensor a has data_offsets that are not [begin, end]"},
        {with_header(R"({"a":{)" + u8 + R"("shape":[3],"data_offsets":[0,2]}})", 2),
         ": tensor a has 2 bytes, U8 [3] needs 3"},
        {with_header(R"({"a":{)" + u8 + R"("shape":[1],"data_offsets":[1,2]}})", 2),
         ": tensor a starts at byte 1 of the data, the one before it ends at 0"},
        {with_header(R"({"a":{)" + u8 + R"("shape":[2],"data_offsets":[0,2]},"b":{)" + u8 +
                         R"("shape":[2],"data_offsets":[1,3]}})",
                     3),
         ": tensor b starts at byte 1 of the data, the one before it ends at 2"},
        {with_header(R"({"a":{)" + u8 + R"("shape":[1],"data_offsets":[0,1]},"a":{)" + u8 +
                         R"("shape":[1],"data_offsets":[1,2]}})",
                     2),
         ": tensor a is there twice"},
        {with_header(R"({"a\nb":{)" + u8 + R"("shape":[1],"data_offsets":[0,1]}})", 1),
         R"(: the tensor name "a\nb" has control characters)"},
        {with_header(R"({"__metadata__":[]})", 0), ": __metadata__ is not an object"},
        {with_header(R"({"__metadata__":{"step":1}})", 0), ": __metadata__ entry step is not a string"},
    };
    for (const auto& [file, expected] : cases) {
        put(file);
        const std::string error = error_of([&] { SafetensorsReader reader(path); });
        EXPECT_EQ(error.substr(0, path.size() + expected.size()), path + expected);
        EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    }
}

TEST_F(Safetensors, ADeepHeaderIsAnError) {
    const std::string deep = std::string(1000000, '[') + std::string(1000000, ']');
    put(with_header(R"({"a":)" + deep + "}", 0));
    EXPECT_EQ(error_of([&] { SafetensorsReader reader(path); }),
              path + " is not a safetensors file: its header is not valid JSON of at most 64 levels");
}

// A file may be cut, or written anew, while it is open.
TEST_F(Safetensors, AFileThatShrinksWhileItIsOpenIsAnError) {
    put(golden_file());
    const SafetensorsReader reader(path);
    fs::resize_file(path, 170);
    char bytes[8];
    reader.read(reader.at("a.weight"), bytes);
    EXPECT_EQ(error_of([&] { reader.read(reader.at("b"), bytes); }),
              "cannot read " + path + ": it ends at byte 170, and had 174 bytes when it was opened");
}

TEST_F(Safetensors, EveryTruncationIsAnError) {
    const std::string whole = golden_file();
    for (size_t bytes = 0; bytes < whole.size(); bytes++) {
        put(whole.substr(0, bytes));
        EXPECT_NE(error_of([&] { SafetensorsReader reader(path); }).find("is truncated"), std::string::npos) << bytes;
    }
}

// Whatever one byte of length or header becomes, the reader throws its own error or what it reports lies in the file.
TEST_F(Safetensors, ADamagedHeaderNeverLeadsOutsideTheFile) {
    int refused = 0;
    for (size_t place = 0; place < 160; place++) {
        for (const int change : {0x01, 0x02, 0x10, 0x80}) {
            std::string file = golden_file();
            file[place] = char(file[place] ^ change);
            put(file);
            const std::string error = error_of([&] {
                const SafetensorsReader reader(path);
                for (const SafetensorsEntry& entry : reader.entries()) {
                    EXPECT_GE(entry.begin, 0) << place;
                    EXPECT_LE(entry.end, 14) << place;
                    EXPECT_FALSE(reader.find(entry.name) == nullptr) << place;
                }
            });
            refused += error != "no error";
        }
    }
    // Harmless are only changes within names, metadata and padding.
    EXPECT_GT(refused, 400);
}

}  // namespace
