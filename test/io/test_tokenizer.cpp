// The tokenizer against independent encoders' ids and classes, regular expressions, and a brute-force merger;
// data/tokenize from text to shards.
#define GTEST_DONT_DEFINE_FAIL 1
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <regex>

#include "io/bpe.h"
#include "io/files.h"
#include "io/shard_writer.h"
#include "io/text_pieces.h"
#include "io/tokenizer.h"
#include "io/utf8.h"
#include "io/word_splitter.h"
#include "runtime/error.h"
#include "test/error_of.h"

namespace fs = std::filesystem;

namespace {

// A folder of this test's own, removed at its end.
struct TemporaryFolder {
    TemporaryFolder() {
        char name[] = "/tmp/tokenizer_testXXXXXX";
        path = mkdtemp(name);
    }
    ~TemporaryFolder() { fs::remove_all(path); }
    std::string write(const std::string& name, const std::string& text) const {
        std::ofstream(path / name, std::ios::binary) << text;
        return path / name;
    }
    fs::path path;
};

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> words;
    for (const char *p = text.data(), *end = p + text.size(); p < end;) {
        const size_t length = next_word(p, end);
        words.emplace_back(p, length);
        p += length;
    }
    return words;
}

// GPT-2's own pattern, for ASCII.
std::vector<std::string> split_by_regex(const std::string& text) {
    static const std::regex pattern(R"('s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+)");
    return {std::sregex_token_iterator(text.begin(), text.end(), pattern), std::sregex_token_iterator()};
}

std::string utf8(uint32_t c) {
    if (c < 0x80) return {char(c)};
    if (c < 0x800) return {char(0xC0 | c >> 6), char(0x80 | (c & 63))};
    if (c < 0x10000) return {char(0xE0 | c >> 12), char(0x80 | (c >> 6 & 63)), char(0x80 | (c & 63))};
    return {char(0xF0 | c >> 18), char(0x80 | (c >> 12 & 63)), char(0x80 | (c >> 6 & 63)), char(0x80 | (c & 63))};
}

// 256 byte tokens in a scrambled order, then merges trained by brute force on a line of text, then the end of text.
std::vector<std::string> tiny_vocabulary() {
    std::vector<std::string> tokens;
    for (int i = 0; i < 256; i++) tokens.push_back(std::string(1, char(i * 77 + 5)));
    std::vector<std::string> parts;
    for (const char c : std::string("the cat sat on the mat; that hat the cat chattered at. aaaaaaabaaab ababab"))
        parts.push_back(std::string(1, c));
    for (int merge = 0; merge < 40; merge++) {
        std::map<std::pair<std::string, std::string>, int> counts;
        for (size_t i = 0; i + 1 < parts.size(); i++) counts[{parts[i], parts[i + 1]}]++;
        auto best = counts.begin();
        for (auto pair = counts.begin(); pair != counts.end(); ++pair)
            if (pair->second > best->second) best = pair;
        const auto [left, right] = best->first;
        tokens.push_back(left + right);
        for (size_t i = 0; i + 1 < parts.size(); i++) {
            if (parts[i] != left || parts[i + 1] != right) continue;
            parts[i] += right;
            parts.erase(parts.begin() + i + 1);
        }
    }
    tokens.push_back("<|endoftext|>");
    return tokens;
}

std::string table_file(const std::vector<std::string>& tokens, int version = 2) {
    int32_t header[256] = {20240328, version, int32_t(tokens.size()), int32_t(tokens.size()) - 1};
    std::string file(reinterpret_cast<const char*>(header), sizeof(header));
    for (const std::string& token : tokens) file += char(token.size()) + token;
    return file;
}

// Encodes by the definition, on strings: joins the neighbours whose union is the earliest token, until there are none.
std::vector<int> brute_force(const std::vector<std::string>& tokens, const std::string& text) {
    std::map<std::string, int> id_of;
    for (size_t i = 0; i + 1 < tokens.size(); i++) id_of[tokens[i]] = int(i);
    std::vector<int> ids;
    for (const std::string& word : split_by_regex(text)) {
        std::vector<std::string> parts;
        for (const char c : word) parts.push_back(std::string(1, c));
        for (;;) {
            size_t best = parts.size();
            int best_id = INT32_MAX;
            for (size_t i = 0; i + 1 < parts.size(); i++) {
                const auto found = id_of.find(parts[i] + parts[i + 1]);
                if (found != id_of.end() && found->second < best_id) {
                    best = i;
                    best_id = found->second;
                }
            }
            if (best == parts.size()) break;
            parts[best] += parts[best + 1];
            parts.erase(parts.begin() + best + 1);
        }
        for (const std::string& part : parts) ids.push_back(id_of.at(part));
    }
    return ids;
}

// Runs data/tokenize, which is built beside the tests. Returns its exit code, and what it printed.
std::pair<int, std::string> run_tokenize(const std::string& arguments, const TemporaryFolder& folder) {
    const std::string log = folder.path / "log";
    const int status = std::system(("./data/tokenize " + arguments + " >" + log + " 2>&1").c_str());
    return {WEXITSTATUS(status), read_file(log)};
}

// The tokens of a shard, its header and size checked.
std::vector<int> read_shard(const fs::path& path) {
    const std::string file = read_file(path);
    int32_t header[256] = {};
    EXPECT_GE(file.size(), sizeof(header)) << path;
    std::memcpy(header, file.data(), std::min(file.size(), sizeof(header)));
    EXPECT_EQ(header[0], 20240520);
    EXPECT_EQ(header[1], 1);
    EXPECT_EQ(file.size(), 1024 + 2 * size_t(header[2]));
    std::vector<int> ids;
    for (size_t at = 1024; at + 1 < file.size(); at += 2) ids.push_back(uint8_t(file[at]) | uint8_t(file[at + 1]) << 8);
    return ids;
}

std::vector<int> with_end_of_text(std::string_view text) {
    std::vector<int> ids = {256};
    for (const char c : text) ids.push_back(uint8_t(c));
    return ids;
}

}  // namespace

TEST(Tokenizer, Gpt2IdsAreThoseOfAnIndependentEncoder) {
    std::string path = "data/gpt2_vocab/gpt2.tiktoken";
    if (!fs::exists(path)) path = "data/gpt2_vocab/vocab.bpe";
    if (const char* given = std::getenv("GPT2_VOCAB")) path = given;
    if (!fs::exists(path)) GTEST_SKIP() << "no GPT-2 vocabulary here: run data/get_gpt2_vocab.sh or set GPT2_VOCAB";
    TemporaryFolder folder;
    const Tokenizer tokenizer = Tokenizer::gpt2(path);
    EXPECT_EQ(tokenizer.vocab_size(), 50257);
    EXPECT_EQ(tokenizer.end_of_text(), 50256);
    EXPECT_FALSE(tokenizer.is_byte_level());
    tokenizer.save(folder.path / "tokenizer.bin");
    const Tokenizer loaded = Tokenizer::load(folder.path / "tokenizer.bin");
    const auto samples = nlohmann::json::parse(read_file("test/fixtures/bpe_samples.json"));
    ASSERT_GT(samples.size(), 80u);
    WordCache cache;  // shared by all samples: a hit must equal a miss
    for (int round = 0; round < 2; round++) {
        for (const auto& sample : samples) {
            const std::string text = sample["text"];
            const std::vector<int> expected = sample["ids"];
            std::vector<uint16_t> ids;
            tokenizer.encode(text, cache, ids);
            EXPECT_EQ(std::vector<int>(ids.begin(), ids.end()), expected) << text;
            EXPECT_EQ(loaded.encode(text), expected) << text;
            EXPECT_EQ(tokenizer.decode(expected), text);
        }
    }
}

TEST(Tokenizer, MergesAreThoseOfBruteForce) {
    TemporaryFolder folder;
    const std::vector<std::string> tokens = tiny_vocabulary();
    const Tokenizer tokenizer = Tokenizer::load(folder.write("tokenizer.bin", table_file(tokens)));
    EXPECT_EQ(tokenizer.end_of_text(), 296);
    std::mt19937 random(7);
    const std::string letters = "aaabbthec .;'s\n2";
    WordCache cache;
    for (int trial = 0; trial < 400; trial++) {
        std::string text;
        for (int i = random() % 60 + (trial % 50 == 0 ? 900 : 0); i > 0; i--)
            text += letters[random() % (trial % 50 ? 16 : 5)];
        const std::vector<int> expected = brute_force(tokens, text);
        std::vector<uint16_t> ids;
        tokenizer.encode(text, cache, ids);
        EXPECT_EQ(std::vector<int>(ids.begin(), ids.end()), expected) << text;
        EXPECT_EQ(tokenizer.decode(expected), text);
    }
    tokenizer.save(folder.path / "again.bin");
    EXPECT_EQ(read_file(folder.path / "again.bin"), table_file(tokens));
}

TEST(Tokenizer, HeapAndScanMergeAlike) {
    const std::vector<std::string> tokens = tiny_vocabulary();
    const BpeMerges merges(tokens, int(tokens.size()) - 1);
    std::mt19937 random(3);
    std::vector<uint16_t> bytes;
    for (const char c : std::string("abthec ")) {
        for (size_t id = 0; id < 256; id++)
            if (tokens[id][0] == c) bytes.push_back(uint16_t(id));
    }
    for (int trial = 0; trial < 300; trial++) {
        std::vector<uint16_t> scanned(random() % 400);
        for (uint16_t& part : scanned) part = bytes[random() % (trial % 3 ? bytes.size() : 2)];
        std::vector<uint16_t> heaped = scanned;
        const size_t before = scanned.size();
        merges.merge_by_scan(scanned);
        merges.merge_by_heap(heaped);
        EXPECT_EQ(scanned, heaped);
        EXPECT_TRUE(before < 100 || scanned.size() < before) << before << " parts, none merged";
    }
}

TEST(Tokenizer, SplitterFindsTheWordsOfThePattern) {
    // Characters, and what has the same class among ASCII, where they have more than a byte.
    const std::vector<std::pair<std::string, std::string>> pieces = {
        {"a", "a"},       {"Z", "Z"},       {"1", "1"},       {" ", " "},       {"  ", "  "},    {"\n", "\n"},
        {"\t", "\t"},     {"\r", "\r"},     {"'", "'"},       {"s", "s"},       {"t", "t"},      {"re", "re"},
        {"ll", "ll"},     {"ve", "ve"},     {"d", "d"},       {"m", "m"},       {"!", "!"},      {"_", "_"},
        {"\x1c", "\x1c"}, {"é", "Z"},       {"中", "Z"},      {"ʰ", "Z"},       {"½", "1"},      {"٣", "1"},
        {"\u00a0", "\t"}, {"\u3000", "\t"}, {"\u2028", "\t"}, {"\u0085", "\t"}, {"\u180e", "!"}, {"\u200b", "!"},
        {"🙂", "!"},    {"\u0301", "!"},
    };
    std::mt19937 random(5);
    for (int trial = 0; trial < 3000; trial++) {
        std::string text, ascii;
        std::vector<size_t> starts;  // by character of `ascii`: where it starts in `text`
        for (int i = random() % 16; i >= 0; i--) {
            const auto& [piece, same] = pieces[random() % pieces.size()];
            for (size_t c = 0; c < same.size(); c++) starts.push_back(text.size() + c);
            text += piece;
            ascii += same;
        }
        starts.push_back(text.size());
        std::vector<std::string> expected;
        size_t at = 0;
        for (const std::string& word : split_by_regex(ascii)) {
            expected.push_back(text.substr(starts[at], starts[at + word.size()] - starts[at]));
            at += word.size();
        }
        EXPECT_EQ(split(text), expected) << text;
    }
}

TEST(Tokenizer, TextCutWhereAWordEndsKeepsItsWords) {
    std::mt19937 random(6);
    int cuts = 0;
    for (int trial = 0; trial < 500; trial++) {
        std::string text;
        for (int i = 0; i < 20; i++)
            text += std::vector<std::string>{"a", "1",  "'",      "s",      "!",      " ",    "\n",    "\t",
                                             "é", "。", "\u3000", "\u00a0", "\u0085", "🙂", "\u2028"}[random() % 15];
        for (size_t at = 1; at < text.size(); at++) {
            if (!word_ends(text, at)) continue;
            std::vector<std::string> parts = split(text.substr(0, at)), behind = split(text.substr(at));
            parts.insert(parts.end(), behind.begin(), behind.end());
            EXPECT_EQ(parts, split(text)) << text << " cut at " << at;
            cuts++;
        }
    }
    EXPECT_GT(cuts, 500);
    EXPECT_TRUE(word_ends("。\n", 3));
    EXPECT_FALSE(word_ends("\u3000\n", 3));
    for (const char* broken : {"\x80 ", "\xff ", "\xe3\x80 ", "\xf7\xbf\xbf\xbf ", "\x80\x80\x80\x80\x80 "})
        EXPECT_FALSE(word_ends(broken, std::strlen(broken) - 1) && std::strlen(broken) > 5) << broken;
}

TEST(Tokenizer, CodePointsHaveTheClassesOfAnIndependentEngine) {
    const auto fixture = nlohmann::json::parse(read_file("test/fixtures/unicode_classes.json"));
    std::string expected(0x110000, '!');
    for (const auto& [name, example] : {std::pair("letters", 'a'), {"numbers", '1'}, {"spaces", ' '}})
        for (const auto& range : fixture[name])
            for (size_t c = range[0]; c <= range[1]; c++) expected[c] = example;
    // A character forms a word with others of its class; white space with nothing, as the letter behind takes the
    // space.
    int different = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        if (c >= 0xD800 && c < 0xE000) continue;
        char found = ' ';
        for (const char example : {'a', '1', '!'})
            if (split(example + utf8(c)).size() == 1) found = example;
        if (found == expected[c] || ++different > 10) continue;
        ADD_FAILURE() << "U+" << std::hex << c << " has the class of '" << found << "', not of '" << expected[c] << "'";
    }
    EXPECT_EQ(different, 0);
    // A letter since Unicode 15.
    EXPECT_EQ(split("\U0003191a\u906d").size(), 1u);
}

TEST(Tokenizer, BytesAreTheirOwnIds) {
    TemporaryFolder folder;
    const Tokenizer tokenizer = Tokenizer::byte_level();
    EXPECT_EQ(tokenizer.vocab_size(), 257);
    EXPECT_EQ(tokenizer.end_of_text(), 256);
    std::string text;
    for (int i = 0; i < 256; i++) text += char(i);
    std::vector<int> ids = tokenizer.encode(text);
    for (int i = 0; i < 256; i++) EXPECT_EQ(ids[i], i);
    EXPECT_EQ(tokenizer.decode(ids), text);
    tokenizer.save(folder.path / "tokenizer.bin");
    EXPECT_EQ(fs::file_size(folder.path / "tokenizer.bin"), 1024u + 256 * 2 + 1 + 13);
    EXPECT_TRUE(Tokenizer::load(folder.path / "tokenizer.bin").is_byte_level());
    EXPECT_EQ(error_of([&] { tokenizer.decode({257}); }), "token 257 is outside the vocabulary of 257");
}

TEST(Tokenizer, Utf8ErrorsAreFoundAndMended) {
    struct Case {
        std::string text;
        size_t invalid_at;
        std::string mended;
    };
    const std::string mark = "\xEF\xBF\xBD";
    const size_t none = std::string::npos;
    const std::vector<Case> cases = {
        {"plain", none, "plain"},
        {"é中🙂\xF4\x8F\xBF\xBF", none, "é中🙂\xF4\x8F\xBF\xBF"},
        {"a\xFFz", 1, "a" + mark + "z"},
        {"\xC0\xAF", 0, mark + mark},                        // overlong
        {"\xED\xA0\x80", 0, mark + mark + mark},             // surrogate
        {"\xF4\x90\x80\x80", 0, mark + mark + mark + mark},  // above U+10FFFF
        {"ab\xE4\xB8", 2, "ab" + mark},                      // cut short: one piece
        {"\xF0\x9F\x99x", 0, mark + "x"},
        {std::string(70, 'x') + "\x80", 70, std::string(70, 'x') + mark},
    };
    for (const Case& c : cases) {
        EXPECT_EQ(find_invalid_utf8(c.text), c.invalid_at) << c.text;
        EXPECT_EQ(replace_invalid_utf8(c.text), c.mended);
    }
}

TEST(Tokenizer, BadTablesGetOneClearLine) {
    TemporaryFolder folder;
    const std::vector<std::string> good = tiny_vocabulary();
    const std::string file = table_file(good);
    std::vector<std::string> hole = good, orphan = good, empty = good;
    hole[3] = hole[4];
    orphan[260] = "xyzzy";
    empty[280] = "";
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"short", "less than the header of 1024"},
        {std::string(2000, 'x'), "magic 2021161080, not 20240328"},
        {table_file(good, 1), "has version 1"},
        {file.substr(0, file.size() - 1), "ends inside token 296 of 297"},
        {file + "x", "has 1 bytes after its last token"},
        {table_file(empty), "holds an empty token, id 280"},
        {table_file({}), "says that the shards beside it are incomplete"},
        {std::string(20'000'000, 'x'), "20000000 bytes, more than the 16778240 of the largest"},
        {table_file(hole), "tokens 3 and 4 of the vocabulary are the same byte"},
        {table_file(orphan), "token 260 of the vocabulary is not a merge"},
    };
    for (const auto& [content, expected] : cases) {
        const std::string path = folder.write("bad.bin", content);
        const std::string error = error_of([&] { Tokenizer::load(path); });
        EXPECT_NE(error.find(expected), std::string::npos) << error;
        EXPECT_NE(error.find(path), std::string::npos) << error;
    }
    const std::string error = error_of([&] { Tokenizer::gpt2(folder.write("vocab.bpe", "#version: 0.2\n")); });
    EXPECT_NE(error.find("is not GPT-2's vocabulary: its SHA-256 is "), std::string::npos) << error;
}

TEST(Tokenize, TextBecomesShards) {
    TemporaryFolder folder;
    fs::create_directories(folder.path / "in/deep");
    folder.write("in/b.txt", "bee");
    folder.write("in/deep/a.txt", "á\n");
    folder.write("in/skip.md", "no");
    folder.write("in/v.txt", "val");
    folder.write("docs.jsonl", "{\"text\": \"x\\u00e9\", \"n\": 1}\n\n{\"text\": \"\"}\n{\"text\": \"last\"}");
    const std::string in = folder.path / "in", out = folder.path / "out";
    const auto [code, log] = run_tokenize(in + " " + (folder.path / "docs.jsonl").string() + " --val " + in +
                                              "/v.txt --out " + out + " --shard-tokens 8 --threads 3",
                                          folder);
    ASSERT_EQ(code, 0) << log;
    std::vector<int> expected;
    for (const char* document : {"bee", "á\n", "xé", "", "last"}) {
        const std::vector<int> ids = with_end_of_text(document);
        expected.insert(expected.end(), ids.begin(), ids.end());
    }
    ASSERT_EQ(expected.size(), 18u);
    std::vector<int> ids;
    for (const char* name : {"train_000000.bin", "train_000001.bin", "train_000002.bin"}) {
        const std::vector<int> shard = read_shard(fs::path(out) / name);
        EXPECT_LE(shard.size(), 8u);
        ids.insert(ids.end(), shard.begin(), shard.end());
    }
    EXPECT_EQ(ids, expected);
    EXPECT_EQ(read_shard(fs::path(out) / "val_000000.bin"), with_end_of_text("val"));
    EXPECT_TRUE(Tokenizer::load(out + "/tokenizer.bin").is_byte_level());

    // No shard is replaced unasked, and with --overwrite none of the old ones stay.
    EXPECT_EQ(run_tokenize(in + " --out " + out, folder).first, 2);
    ASSERT_EQ(run_tokenize(in + "/b.txt --overwrite --out " + out, folder).first, 0);
    EXPECT_EQ(read_shard(fs::path(out) / "train_000000.bin"), with_end_of_text("bee"));
    EXPECT_EQ(std::distance(fs::directory_iterator(out), fs::directory_iterator()), 2);
}

TEST(Tokenize, PiecesAndThreadsChangeNothing) {
    TemporaryFolder folder;
    std::string text;
    std::mt19937 random(11);
    while (text.size() < 3'500'000) text += random() % 9 ? "word" + std::to_string(random() % 999) + " " : "é\n\n  ";
    folder.write("long.txt", text);
    const std::string out = folder.path / "out";
    const auto [code, log] =
        run_tokenize((folder.path / "long.txt").string() + " --threads 2 --val-fraction 0.1 --out " + out, folder);
    ASSERT_EQ(code, 0) << log;
    const std::vector<int> train = read_shard(fs::path(out) / "train_000000.bin");
    const std::vector<int> val = read_shard(fs::path(out) / "val_000000.bin");
    ASSERT_EQ(train.size() + val.size(), text.size() + 2);
    EXPECT_EQ(train, with_end_of_text(std::string_view(text).substr(0, train.size() - 1)));
    EXPECT_EQ(val, with_end_of_text(std::string_view(text).substr(train.size() - 1)));
    EXPECT_NEAR(double(val.size()), 0.1 * double(text.size()), 2000);
    EXPECT_EQ(text[train.size() - 2], '\n');
}

TEST(Tokenize, PiecesOfAFileAreTheFile) {
    TemporaryFolder folder;
    std::string text, lines;
    while (text.size() < 5'000'000) text += "我能吞下玻璃而不伤身体。\n";
    while (lines.size() < 5'000'000) lines += "{\"text\": \"" + std::string(lines.size() % 1'300'000, 'x') + "\"}\n";
    const std::pair<TextKind, std::string> kinds[] = {{TextKind::kDocument, text}, {TextKind::kJsonLines, lines}};
    for (const auto& [kind, content] : kinds) {
        const InputFile file(folder.write("file", "\xEF\xBB\xBF" + content));
        PieceReader reader(file, kind, text_begin(file), file.size());
        std::string read;
        int pieces = 0;
        for (TextPiece piece; reader.next(piece); pieces++) {
            EXPECT_EQ(piece.offset, 3 + int64_t(read.size()));
            EXPECT_EQ(piece.line, 1 + std::count(read.begin(), read.end(), '\n'));
            EXPECT_LE(piece.text.size(), 3u << 20);
            read += piece.text;
            EXPECT_TRUE(kind != TextKind::kJsonLines || read.ends_with('\n'));
        }
        EXPECT_EQ(read, content);
        EXPECT_GT(pieces, 2);
    }
    // A file that becomes shorter while it is read.
    const std::string path = folder.write("cut", text);
    const InputFile file(path);
    fs::resize_file(path, 2'000'000);
    PieceReader reader(file, TextKind::kDocument, 0, file.size());
    TextPiece piece;
    const std::string error = error_of([&] {
        while (reader.next(piece)) continue;
    });
    EXPECT_EQ(error, "cannot read " + path + ": it ends at byte 2000000, and had " + std::to_string(text.size()) +
                         " bytes when it was opened");
}

TEST(Tokenize, MistakesGetOneLineAndLeaveNothing) {
    TemporaryFolder folder;
    const std::string good = folder.write("good.txt", "good text\n");
    const std::string latin = folder.write("latin.txt", "caf\xE9 au lait\n");
    const std::string json = folder.write("bad.jsonl", "{\"text\": \"fine\"}\n{\"text\": 3}\n");
    const std::string broken = folder.write("broken.jsonl", "{\"text\": \"fine\"}\n\n{\"text\n");
    const std::string empty = folder.write("empty.txt", "");
    fs::create_directory(folder.path / "nothing");
    struct Case {
        std::string arguments;
        int code;
        std::string expected;
    };
    const std::vector<Case> cases = {
        {good + " " + latin, 1, latin + " is not UTF-8 text: byte 3 is wrong"},
        {json, 1, json + " line 2: no string in the field \"text\""},
        {broken, 1, broken + " line 3: not valid JSON"},
        {empty, 1, "the training inputs hold no text"},
        {good + " --vocab " + latin, 1, latin + " is not GPT-2's vocabulary"},
        {good + "x", 2, "there is no file or folder " + good + "x"},
        {(folder.path / "nothing").string(), 2, "holds no .txt, .jsonl or .json file"},
        {good + " " + good, 2, good + " is among the inputs twice"},
        {good + " --val " + good, 2, "no input is left for training"},
        {good + " --shard-tokens 0", 2, "--shard-tokens"},
        {good + " --val-fraction 0.1 --val " + latin, 2, "--val"},
        {good + " --val-fraction 0.1", 1, "--val-fraction 0.1 leaves nothing for validation"},
        {good + " --val-fraction nan", 2, "--val-fraction"},
        {good + " --val " + empty, 1, "the inputs for validation hold no text"},
        {good + " --unknown", 2, "--unknown"},
    };
    for (const Case& c : cases) {
        const std::string out = folder.path / "out";
        const auto [code, log] = run_tokenize(c.arguments + " --out " + out, folder);
        EXPECT_EQ(code, c.code) << c.arguments << ": " << log;
        EXPECT_NE(log.find(c.expected), std::string::npos) << log;
        EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << log;
        EXPECT_FALSE(fs::exists(out)) << c.arguments;
    }
    EXPECT_EQ(run_tokenize("", folder).first, 2);
    EXPECT_EQ(run_tokenize("--help", folder).first, 0);
    EXPECT_EQ(run_tokenize("--version", folder).first, 0);
}
