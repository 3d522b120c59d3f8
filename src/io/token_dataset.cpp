// Checks every shard before the run starts, and every token again when it is read.
#include "io/token_dataset.h"

#include <algorithm>
#include <array>
#include <bit>

#include "io/paths.h"
#include "runtime/error.h"
#include "runtime/signals.h"

static_assert(std::endian::native == std::endian::little, "shards are little-endian and read as they are");

namespace {

constexpr int64_t kHeaderBytes = 256 * 4;
constexpr int32_t kMagic = 20240520;
constexpr int32_t kVersion = 1;
// How many tokens are checked at the start: a wrong tokenizer shows at once. A stray token in terabytes of data is left
// to read_window().
constexpr int64_t kScannedTokens = 64 << 20;

// Tokens are read in blocks of at most this size, which lie on the stack.
using Block = std::array<uint16_t, 8192>;

}  // namespace

TokenDataset::TokenDataset(const std::string& pattern, int vocab_size) : TokenDataset(glob_files(pattern), vocab_size) {
    name_ = pattern;
}

TokenDataset::TokenDataset(const std::vector<std::string>& paths, int vocab_size) : vocab_size_(vocab_size) {
    CHECK(!paths.empty(), "a data set needs at least one shard");
    name_ = paths.front();
    for (const std::string& path : paths) add_shard(path);
}

void TokenDataset::add_shard(const std::string& path) {
    Shard shard{.file = InputFile(path)};
    const int64_t size = shard.file.size();
    CHECK(size >= kHeaderBytes, "shard ", path, " is too short: ", size, " bytes, the header alone needs ",
          kHeaderBytes);
    int32_t header[3];
    shard.file.read(0, header, sizeof header);
    const auto [magic, version, count] = header;
    CHECK(magic == kMagic, "shard ", path, " has the magic number ", magic, ", a token shard has ", kMagic);
    CHECK(version == kVersion, "shard ", path, " has version ", version, ", only version ", kVersion,
          " (uint16 tokens) can be read");
    CHECK(count >= 0, "shard ", path, " has a header with ", count, " tokens, which cannot be");
    const int64_t expected = kHeaderBytes + 2 * int64_t(count);
    CHECK(size == expected, "shard ", path, " is too ", size < expected ? "short" : "long", ": ", size,
          " bytes, the header's ", count, " tokens need ", expected);
    shard.begin = num_tokens_;
    shard.end = num_tokens_ + count;
    signals::throw_if_stopped();
    read(shard, 0, std::min<int64_t>(count, kScannedTokens), [](const uint16_t*, int64_t) {});
    num_tokens_ = shard.end;
    shards_.push_back(std::move(shard));
}

template <class Take>
void TokenDataset::read(const Shard& shard, int64_t begin, int64_t end, const Take& take) const {
    for (Block block; begin < end;) {
        const int64_t count = std::min(int64_t(block.size()), end - begin);
        shard.file.read(kHeaderBytes + 2 * begin, block.data(), 2 * size_t(count));
        check_tokens(shard, begin, block.data(), count);
        take(block.data(), count);
        begin += count;
    }
}

void TokenDataset::check_tokens(const Shard& shard, int64_t begin, const uint16_t* tokens, int64_t count) const {
    uint16_t largest = 0;
    for (int64_t i = 0; i < count; i++) largest = std::max(largest, tokens[i]);
    if (largest < vocab_size_) return;
    const int64_t i = std::find_if(tokens, tokens + count, [&](int token) { return token >= vocab_size_; }) - tokens;
    FAIL("shard ", shard.file.path(), " holds token ", tokens[i], " at position ", begin + i,
         ", beyond the vocabulary of ", vocab_size_, " tokens");
}

template <class Take>
void TokenDataset::read(int64_t begin, int64_t count, const Take& take) const {
    // The last shard that begins at or before the first token; empty shards before it end where they begin.
    auto shard = std::upper_bound(shards_.begin(), shards_.end(), begin,
                                  [](int64_t place, const Shard& other) { return place < other.begin; });
    for (--shard; count > 0; ++shard) {
        const int64_t first = begin - shard->begin;
        const int64_t here = std::min(count, shard->size() - first);
        read(*shard, first, first + here, take);
        begin += here;
        count -= here;
    }
}

void TokenDataset::read_window(int64_t window, int T, int32_t* inputs, int32_t* targets) const {
    CHECK(window >= 0 && window < num_windows(T), name_, " has ", num_windows(T), " windows of ", T, " tokens, number ",
          window, " was asked for");
    // T + 1 tokens: all but the last are inputs, all but the first are targets.
    int64_t place = 0;
    read(window * T, T + 1, [&](const uint16_t* tokens, int64_t count) {
        for (int64_t i = 0; i < count; i++, place++) {
            if (place < T) inputs[place] = tokens[i];
            if (place > 0) targets[place - 1] = tokens[i];
        }
    });
}
