// Checks every shard before the run starts, and every token again when it is read.
#include "io/token_dataset.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "runtime/error.h"
#include "runtime/signals.h"

static_assert(std::endian::native == std::endian::little, "shards are little-endian and mapped as they are");

namespace {

constexpr int64_t kHeaderBytes = 256 * 4;
constexpr int32_t kMagic = 20240520;
constexpr int32_t kVersion = 1;
// How many tokens are checked at the start: a wrong tokenizer shows at once. A stray token in terabytes of data is left
// to read_window().
constexpr int64_t kScannedTokens = 64 << 20;
constexpr int64_t kScanBlock = 1 << 20;

int max_token(const uint16_t* tokens, int64_t count) {
    uint16_t largest = 0;
    for (int64_t i = 0; i < count; i++) largest = std::max(largest, tokens[i]);
    return largest;
}

}  // namespace

const uint16_t* TokenDataset::Shard::tokens() const {
    return reinterpret_cast<const uint16_t*>(file.data() + kHeaderBytes);
}

TokenDataset::TokenDataset(const std::string& pattern, int vocab_size) : TokenDataset(glob_files(pattern), vocab_size) {
    name_ = pattern;
}

TokenDataset::TokenDataset(const std::vector<std::string>& paths, int vocab_size) : vocab_size_(vocab_size) {
    CHECK(!paths.empty(), "a data set needs at least one shard");
    name_ = paths.front();
    for (const std::string& path : paths) add_shard(path);
}

void TokenDataset::add_shard(const std::string& path) {
    Shard shard{.file = MappedFile(path)};
    const int64_t size = shard.file.size();
    CHECK(size >= kHeaderBytes, "shard ", path, " is too short: ", size, " bytes, the header alone needs ",
          kHeaderBytes);
    int32_t header[3];
    std::memcpy(header, shard.file.data(), sizeof header);
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
    check_tokens(shard, 0, std::min<int64_t>(count, kScannedTokens));
    num_tokens_ = shard.end;
    shards_.push_back(std::move(shard));
}

void TokenDataset::check_tokens(const Shard& shard, int64_t begin, int64_t end) const {
    if (vocab_size_ > UINT16_MAX) return;
    for (int64_t block = begin; block < end; block += kScanBlock) {
        const uint16_t* tokens = shard.tokens() + block;
        const int64_t count = std::min(kScanBlock, end - block);
        if (max_token(tokens, count) < vocab_size_) continue;
        const int64_t i =
            std::find_if(tokens, tokens + count, [&](int token) { return token >= vocab_size_; }) - tokens;
        FAIL("shard ", shard.file.path(), " holds token ", tokens[i], " at position ", block + i,
             ", beyond the vocabulary of ", vocab_size_, " tokens");
    }
}

void TokenDataset::read(int64_t begin, int64_t count, int32_t* tokens) const {
    // The last shard that begins at or before the first token; empty shards before it end where they begin.
    auto shard = std::upper_bound(shards_.begin(), shards_.end(), begin,
                                  [](int64_t place, const Shard& other) { return place < other.begin; });
    for (--shard; count > 0; ++shard) {
        const int64_t first = begin - shard->begin;
        const int64_t here = std::min(count, shard->size() - first);
        check_tokens(*shard, first, first + here);
        std::copy_n(shard->tokens() + first, here, tokens);
        begin += here;
        tokens += here;
        count -= here;
    }
}

void TokenDataset::read_window(int64_t window, int T, int32_t* inputs, int32_t* targets) const {
    CHECK(window >= 0 && window < num_windows(T), name_, " has ", num_windows(T), " windows of ", T, " tokens, number ",
          window, " was asked for");
    read(window * T, T, inputs);
    std::copy_n(inputs + 1, T - 1, targets);
    read((window + 1) * T, 1, targets + T - 1);
}
