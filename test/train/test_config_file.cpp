// Config files: what is written reads back the same, and what can't be read is refused with its line.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "io/files.h"
#include "test/error_of.h"
#include "train/config_file.h"

namespace {

std::vector<ConfigLine> lines_of(const std::string& text) {
    const std::string path = testing::TempDir() + "lines.toml";
    write_file_atomic(path, text);
    return read_config(path);
}
std::string refusal_of(const std::string& text) {
    return error_of([&] { lines_of(text); });
}

TEST(ConfigFile, EveryTextReadsBackTheSame) {
    std::vector<std::string> texts{"",           "# no comment", "'single'",       "\"double\"",
                                   "'''",        "back\\slash",  "C:\\new\\table", "two\nlines\r\n",
                                   "[v1]/{a}/*", "\t",           "a = b",          "\u00c4\u4e2d\U0001f600",
                                   " ends "};
    for (int byte = 1; byte < 128; byte++) texts.push_back(std::string("x") + char(byte) + "y");
    for (const std::string& text : texts) {
        const auto lines = lines_of("name = " + toml_text(text) + "\n");
        ASSERT_EQ(lines.size(), 1u) << text;
        EXPECT_EQ(lines[0].value, text);
        EXPECT_EQ(lines[0].kind, ValueKind::text);
    }
}

TEST(ConfigFile, EveryNumberReadsBackTheSame) {
    std::mt19937_64 random(1);
    std::vector<double> numbers{0, -0.0, 0.004, 6e-4, 1e-8, 1e300, 5e-324, 32, 1e9, -1.5};
    for (int i = 0; i < 1000; i++) {
        const uint64_t bits = random();
        double number;
        std::memcpy(&number, &bits, sizeof number);
        if (std::isfinite(number)) numbers.push_back(number);
    }
    std::string text;
    for (size_t i = 0; i < numbers.size(); i++) text += "n" + std::to_string(i) + " = " + toml_text(numbers[i]) + "\n";
    const auto lines = lines_of(text);
    ASSERT_EQ(lines.size(), numbers.size());
    for (size_t i = 0; i < numbers.size(); i++) EXPECT_EQ(std::strtod(lines[i].value.c_str(), nullptr), numbers[i]);
    EXPECT_EQ(toml_text(0.004), "0.004");
    EXPECT_EQ(toml_text(32.0), "32");
    EXPECT_EQ(lines_of("n = " + toml_text(std::numeric_limits<int64_t>::max()))[0].value, "9223372036854775807");
}

TEST(ConfigFile, ReadsWhatTomlHas) {
    const auto lines = lines_of(
        "\xef\xbb\xbf# a comment\r\nmax-steps = 1_000\r\nlr = 1e-3 # and one more\r\nseed = 0x10\r\nresume = true\r\n"
        "\"out\" = 'C:\\runs'\r\nprompt = \"\"\"\r\none\r\ntwo\"\"\"\r\n");
    const std::pair<const char*, const char*> expected[] = {{"max-steps", "1000"}, {"lr", "0.001"},
                                                            {"seed", "16"},        {"resume", "true"},
                                                            {"out", "C:\\runs"},   {"prompt", "one\ntwo"}};
    ASSERT_EQ(lines.size(), std::size(expected));
    for (size_t i = 0; i < lines.size(); i++) {
        EXPECT_EQ(lines[i].name, expected[i].first);
        EXPECT_EQ(lines[i].value, expected[i].second);
        EXPECT_EQ(lines[i].line, int64_t(i) + 2);
    }
    EXPECT_TRUE(lines_of("").empty());
}

TEST(ConfigFile, RefusesTheRestWithItsLine) {
    const std::pair<std::string, const char*> rows[] = {
        {"a = 1\nlr = [1, 2]\n", "line 2: lr is an array"},
        {"a = 1\n\n[optimizer]\nlr = 1\n", "line 3: optimizer is a table"},
        {"optimizer.lr = 1\n", "line 1: optimizer is a table"},
        {"lr = { a = 1 }\n", "line 1: lr is a table"},
        {"a = 1\nseed = 1979-05-27\n", "line 2: seed is a date"},
        {"seed = 07:32:00\n", "line 1: seed is a time"},
        {"seed = 1979-05-27T07:32:00Z\n", "line 1: seed is a date with a time"},
        {"lr = 1\nlr = 2\n", "line 2: "},
        {"lr = \n", "line 1: "},
        {"a = 1\nout = \"open\n", "line 2: "},
        {"a = 1\nout = \"\xff\"\n", "line 2: "},
        {"lr = " + std::string(100000, '[') + "\n", "line 1: "},
    };
    for (const auto& [text, message] : rows) {
        const std::string error = refusal_of(text);
        EXPECT_NE(error.find(message), std::string::npos) << error;
        EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    }
    EXPECT_NE(error_of([] { read_config("/dev/null"); }).find("/dev/null: it is not a regular file"),
              std::string::npos);
    EXPECT_NE(refusal_of(std::string((1 << 20) + 1, '#')).find("1048577 bytes"), std::string::npos);
}

TEST(ConfigFile, ComparesValuesNotSpellings) {
    EXPECT_TRUE(same_value("0.004", "0.0040000000000000001"));
    EXPECT_TRUE(same_value("1e+09", "1000000000"));
    EXPECT_TRUE(same_value("\"a\\\\b\"", "'a\\b'"));
    EXPECT_FALSE(same_value("0.004", "0.0040000000000000010e1"));
    EXPECT_FALSE(same_value("9007199254740993", "9007199254740992"));  // as doubles they are one
    EXPECT_FALSE(same_value("\"1\"", "1"));
    EXPECT_FALSE(same_value("true", "1"));
    EXPECT_FALSE(same_value("\"a\"", "\"b\""));
    EXPECT_FALSE(same_value("no TOML", "1"));
}

}  // namespace
