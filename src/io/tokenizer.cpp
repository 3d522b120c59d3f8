// Text to token ids and back. Most words repeat, so encoding is mostly splitting and one look-up per word.
#include "io/tokenizer.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <sstream>
#include <unordered_map>

#include "io/files.h"
#include "io/sha256.h"
#include "io/utf8.h"
#include "io/word_splitter.h"
#include "runtime/error.h"

namespace {

constexpr char kEndOfText[] = "<|endoftext|>";
constexpr char kVocabBpeSha256[] = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5";
constexpr char kTiktokenSha256[] = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930";

constexpr int32_t kTableMagic = 20240328;
constexpr int32_t kTableVersion = 2;
constexpr size_t kHeaderInts = 256;
constexpr int kMostTokens = 65536;
constexpr int kLongestToken = 255;
constexpr int64_t kMostBytes = kHeaderInts * 4 + int64_t(kMostTokens) * (1 + kLongestToken);

// A file with a table of tokens in one of the formats; none is larger than the largest that save() writes.
std::string read_table(const std::string& path) {
    const InputFile file(path);
    CHECK(file.size() <= kMostBytes, path, " is no table of tokens: ", file.size(), " bytes, more than the ",
          kMostBytes, " of the largest");
    std::string text(size_t(file.size()), '\0');
    file.read(0, text.data(), text.size());
    return text;
}

// GPT-2 orders its single-byte tokens by printability: the printable bytes of Latin-1, then the others.
// vocab.bpe writes the former as themselves and the latter as the characters from U+0100 on.
struct ByteAlphabet {
    std::vector<std::string> tokens;           // in the order of ids
    std::map<std::string, char> byte_of_char;  // UTF-8 character of vocab.bpe -> byte
};

ByteAlphabet gpt2_bytes() {
    ByteAlphabet alphabet;
    std::vector<int> others;
    const auto add = [&](int byte, int code_point) {
        alphabet.tokens.push_back(std::string(1, char(byte)));
        const std::string character = code_point < 0x80
                                          ? std::string(1, char(code_point))
                                          : std::string{char(0xC0 | code_point >> 6), char(0x80 | (code_point & 63))};
        alphabet.byte_of_char[character] = char(byte);
    };
    for (int byte = 0; byte < 256; byte++) {
        if ((byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE)
            add(byte, byte);
        else
            others.push_back(byte);
    }
    for (size_t i = 0; i < others.size(); i++) add(others[i], 0x100 + int(i));
    return alphabet;
}

// vocab.bpe: a line "#version", then a line "left right" per merge. The file is known by its hash: no line can be
// wrong.
std::vector<std::string> tokens_of_vocab_bpe(const std::string& text) {
    ByteAlphabet alphabet = gpt2_bytes();
    std::istringstream lines(text);
    std::string line;
    std::getline(lines, line);
    while (std::getline(lines, line)) {
        std::string token;
        for (size_t at = 0; at < line.size();) {
            const size_t bytes = uint8_t(line[at]) < 0x80 ? 1 : 2;
            if (line[at] != ' ') token += alphabet.byte_of_char.at(line.substr(at, bytes));
            at += bytes;
        }
        alphabet.tokens.push_back(token);
    }
    return alphabet.tokens;
}

std::string base64_decode(std::string_view text) {
    static const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string bytes;
    uint32_t bits = 0;
    int held = 0;
    for (const char c : text) {
        if (c == '=') break;
        bits = bits << 6 | uint32_t(digits.find(c));
        held += 6;
        if (held >= 8) bytes += char(bits >> (held -= 8));
    }
    return bytes;
}

// gpt2.tiktoken: a line "base64-of-the-token id" per token, in the order of ids. Known by its hash, too.
std::vector<std::string> tokens_of_tiktoken(const std::string& text) {
    std::vector<std::string> tokens;
    std::istringstream lines(text);
    for (std::string token, id; lines >> token >> id;) tokens.push_back(base64_decode(token));
    return tokens;
}

// The key of a word of up to 15 bytes: two integers that hold the bytes, and the length as the last of them.
struct WordKey {
    uint64_t low = 0, high = 0;
    bool operator==(const WordKey&) const = default;
};
constexpr size_t kShortWord = 15;
constexpr size_t kShortIds = 7;

WordKey word_key(const char* word, size_t length, const char* text_end) {
    WordKey key;
    if (text_end - word >= 16) [[likely]] {
        std::memcpy(&key, word, 16);
        if (length <= 8) {
            key.low &= ~0ull >> (64 - 8 * length);
            key.high = 0;
        } else {
            key.high &= ~0ull >> (128 - 8 * length);
        }
    } else {
        std::memcpy(&key, word, length);
    }
    key.high |= uint64_t(length) << 56;
    return key;
}

struct ShortWord {
    WordKey key;
    uint16_t count = 0;
    uint16_t ids[kShortIds];
};

constexpr size_t kLongestCached = 256;
constexpr size_t kLongWords = 1 << 15;

}  // namespace

// Short words live in a fixed table in which a newcomer evicts; it never grows, so it stays in the L2 cache.
struct WordCache::Tables {
    static constexpr int kBits = 16;
    std::vector<ShortWord> short_words{size_t(1) << kBits};
    std::unordered_map<std::string, std::vector<uint16_t>> long_words;
    std::shared_ptr<const BpeMerges> owner;  // whose words these are

    ShortWord& at(const WordKey& key) {
        const uint64_t mixed = (key.low ^ key.high * 0x9E3779B97F4A7C15ull) * 0xD6E8FEB86659FD93ull;
        return short_words[mixed >> (64 - kBits)];
    }
};

WordCache::WordCache() = default;
WordCache::~WordCache() = default;

Tokenizer::Tokenizer(std::vector<std::string> table, int end_id) : end_id(end_id) {
    bool bytes = table.size() == 257 && end_id == 256;
    for (int i = 0; i < 256 && bytes; i++) bytes = table[i].size() == 1 && table[i][0] == char(i);
    if (!bytes) merges = std::make_shared<BpeMerges>(table, end_id);
    tokens = std::make_shared<std::vector<std::string>>(std::move(table));
}

Tokenizer Tokenizer::byte_level() {
    std::vector<std::string> tokens;
    for (int byte = 0; byte < 256; byte++) tokens.push_back(std::string(1, char(byte)));
    tokens.push_back(kEndOfText);
    return Tokenizer(std::move(tokens), 256);
}

Tokenizer Tokenizer::gpt2(const std::string& vocabulary_path) {
    const std::string text = read_table(vocabulary_path);
    Sha256 hash;
    hash.update(text.data(), text.size());
    const std::string hex = hash.hex();
    CHECK(hex == kVocabBpeSha256 || hex == kTiktokenSha256, vocabulary_path,
          " is not GPT-2's vocabulary: its SHA-256 is ", hex, ", that of vocab.bpe is ", kVocabBpeSha256,
          " and that of gpt2.tiktoken ", kTiktokenSha256);
    std::vector<std::string> tokens = hex == kVocabBpeSha256 ? tokens_of_vocab_bpe(text) : tokens_of_tiktoken(text);
    tokens.push_back(kEndOfText);
    const int end_id = int(tokens.size()) - 1;
    return Tokenizer(std::move(tokens), end_id);
}

Tokenizer Tokenizer::load(const std::string& path) {
    const std::string file = read_table(path);
    int32_t header[kHeaderInts];
    CHECK(file.size() >= sizeof(header), path, " is no tokenizer table: ", file.size(),
          " bytes, less than the header of ", sizeof(header));
    std::memcpy(header, file.data(), sizeof(header));
    CHECK(header[0] == kTableMagic, path, " is no tokenizer table: magic ", header[0], ", not ", kTableMagic);
    CHECK(header[1] == kTableVersion, path, " has version ", header[1],
          " of the tokenizer table; this program reads version ", kTableVersion);
    const int32_t count = header[2], end_id = header[3];
    CHECK(count != 0, path, " says that the shards beside it are incomplete: make them again");
    CHECK(count > 256 && count <= kMostTokens, path, " announces ", count, " tokens; a table has 257 to ", kMostTokens);
    CHECK(end_id >= 0 && end_id < count, path, " gives the end of text the id ", end_id, ", outside its ", count,
          " tokens");
    std::vector<std::string> tokens;
    size_t at = sizeof(header);
    for (int32_t id = 0; id < count; id++) {
        const size_t bytes = at < file.size() ? uint8_t(file[at]) : 0;
        CHECK(at + 1 + bytes <= file.size(), path, " ends inside token ", id, " of ", count);
        CHECK(bytes > 0, path, " holds an empty token, id ", id);
        tokens.push_back(file.substr(at + 1, bytes));
        at += 1 + bytes;
    }
    CHECK(at == file.size(), path, " has ", file.size() - at, " bytes after its last token");
    try {
        return Tokenizer(std::move(tokens), end_id);
    } catch (const Error& error) {
        FAIL(path, ": ", error.what());
    }
}

void Tokenizer::save_unfinished(const std::string& path) {
    const int32_t header[kHeaderInts] = {kTableMagic, kTableVersion};
    write_file_atomic(path, {reinterpret_cast<const char*>(header), sizeof(header)});
}

void Tokenizer::save(const std::string& path) const {
    int32_t header[kHeaderInts] = {kTableMagic, kTableVersion, vocab_size(), end_id};
    std::string file(reinterpret_cast<const char*>(header), sizeof(header));
    for (const std::string& token : *tokens) {
        file += char(token.size());
        file += token;
    }
    write_file_atomic(path, file);
}

std::vector<int> Tokenizer::encode(std::string_view text) const {
    WordCache cache;
    std::vector<uint16_t> ids;
    encode(text, cache, ids);
    return {ids.begin(), ids.end()};
}

void Tokenizer::encode(std::string_view text, WordCache& cache, std::vector<uint16_t>& ids) const {
    if (is_byte_level()) {
        const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
        ids.insert(ids.end(), bytes, bytes + text.size());
        return;
    }
    std::string mended;
    if (find_invalid_utf8(text) != std::string_view::npos) text = mended = replace_invalid_utf8(text);

    if (!cache.tables || cache.tables->owner != merges) {
        cache.tables = std::make_unique<WordCache::Tables>();
        cache.tables->owner = merges;
    }
    WordCache::Tables& tables = *cache.tables;

    // A word never has more tokens than bytes; the slack lets a hit copy all its ids without looking at their number.
    const size_t start = ids.size();
    ids.resize(start + text.size() + kShortIds);
    uint16_t* out = ids.data() + start;
    std::vector<uint16_t> merged;
    const char* const end = text.data() + text.size();
    for (const char* word = text.data(); word < end;) {
        const size_t length = next_word(word, end);
        const std::string_view bytes(word, length);
        if (length <= kShortWord) [[likely]] {
            const WordKey key = word_key(word, length, end);
            ShortWord& entry = tables.at(key);
            if (entry.key == key) [[likely]] {
                std::memcpy(out, entry.ids, sizeof(entry.ids));
                out += entry.count;
            } else {
                merged.clear();
                merges->encode_word(bytes, merged);
                out = std::copy(merged.begin(), merged.end(), out);
                if (merged.size() <= kShortIds) {
                    entry.key = key;
                    entry.count = uint16_t(merged.size());
                    std::copy(merged.begin(), merged.end(), entry.ids);
                }
            }
        } else if (length <= kLongestCached) {
            if (tables.long_words.size() >= kLongWords) tables.long_words.clear();
            const auto [entry, missing] = tables.long_words.try_emplace(std::string(bytes));
            if (missing) merges->encode_word(bytes, entry->second);
            out = std::copy(entry->second.begin(), entry->second.end(), out);
        } else {
            merged.clear();
            merges->encode_word(bytes, merged);
            out = std::copy(merged.begin(), merged.end(), out);
        }
        word += length;
    }
    ids.resize(out - ids.data());
}

std::string Tokenizer::decode(const std::vector<int>& ids) const {
    std::string text;
    for (const int id : ids) {
        CHECK(id >= 0 && id < vocab_size(), "token ", id, " is outside the vocabulary of ", vocab_size());
        text += (*tokens)[id];
    }
    return text;
}
