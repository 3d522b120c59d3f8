// The seeds of test/fuzz/corpus and a few thousand mutations of each, the same ones every time. `make fuzz` looks
// further.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <vector>

#include "io/files.h"
#include "test/fuzz/targets.h"

namespace {

namespace fs = std::filesystem;

constexpr int kMutations = 2000;

std::vector<std::string> seeds_of(const fuzz::Target& target) {
    std::vector<std::string> seeds;
    for (const auto& entry : fs::directory_iterator(fs::path("test/fuzz/corpus") / target.name))
        seeds.push_back(read_file(entry.path()));
    std::sort(seeds.begin(), seeds.end());
    return seeds;
}

// One to four changes: of a bit, a byte, a word; something left out, doubled or put in.
std::string mutated(std::string text, std::mt19937_64& random) {
    constexpr std::string_view kPieces[] = {
        "null", "-1", "1e999", "18446744073709551616", "{}", "[]", "\"\"", "\n", "\xff", "\"", "[[[[", "0.1", "#",
        "'",    "=",  ","};
    const auto below = [&](size_t most) { return size_t(random() % std::max<size_t>(most, 1)); };
    for (size_t changes = 1 + below(4); changes > 0; changes--) {
        const size_t at = below(text.size() + 1), length = below(std::min<size_t>(text.size() - at, 16) + 1);
        switch (below(7)) {
            case 0:
                if (at < text.size()) text[at] = char(text[at] ^ 1 << below(8));
                break;
            case 1:
                if (at < text.size()) text[at] = char(random());
                break;
            case 2: text.erase(at, length); break;
            case 3: text.insert(at, text.substr(at, length)); break;
            case 4: text.insert(at, kPieces[below(std::size(kPieces))]); break;
            case 5: text.replace(at, length, kPieces[below(std::size(kPieces))]); break;
            default:
                for (size_t i = 0; i < length; i++) text[at + i] = below(2) ? '\xff' : '\0';
        }
    }
    return text;
}

class Fuzz : public testing::TestWithParam<fuzz::Target> {};

TEST_P(Fuzz, TakesOrRefusesWhateverComes) {
    const std::vector<std::string> seeds = seeds_of(GetParam());
    ASSERT_FALSE(seeds.empty());
    std::mt19937_64 random(1);
    const auto run = [&](const std::string& input, const std::string& what) {
        SCOPED_TRACE(what);
        EXPECT_NO_THROW(GetParam().run(input)) << testing::PrintToString(input);
    };
    run("", "nothing");
    for (size_t i = 0; i < seeds.size(); i++) {
        run(seeds[i], str("seed ", i));
        for (int m = 0; m < kMutations && !HasFailure(); m++)
            run(mutated(seeds[i], random), str("seed ", i, ", mutation ", m));
    }
}

INSTANTIATE_TEST_SUITE_P(Parsers, Fuzz, testing::ValuesIn(fuzz::all().begin(), fuzz::all().end()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
