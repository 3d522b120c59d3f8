// Byte-pair encoding of one word.
#include "io/bpe.h"

#include <algorithm>
#include <bit>
#include <bitset>
#include <functional>
#include <queue>
#include <utility>

#include "runtime/error.h"

namespace {
// Longer words are merged by the heap, which bounds the cost of endless runs.
constexpr size_t kLongestScan = 256;
}  // namespace

BpeMerges::BpeMerges(const std::vector<std::string>& tokens, int skip) {
    const size_t slots = std::bit_ceil(2 * tokens.size());
    table.assign(slots, {0, kNone});
    shift = 64 - std::countr_zero(slots);

    std::bitset<256> have;
    for (size_t id = 0; id < tokens.size(); id++) {
        if (tokens[id].size() != 1 || int(id) == skip) continue;
        const auto byte = uint8_t(tokens[id][0]);
        CHECK(!have[byte], "tokens ", byte_ids[byte], " and ", id, " of the vocabulary are the same byte");
        have.set(byte);
        byte_ids[byte] = uint16_t(id);
    }
    CHECK(have.all(), "the vocabulary has tokens for only ", have.count(), " of the 256 bytes");

    // The last merge that makes a token joins what the merges before it leave of the token's bytes.
    std::vector<uint16_t> parts;
    for (size_t id = 0; id < tokens.size(); id++) {
        if (tokens[id].size() == 1 || int(id) == skip) continue;
        parts.clear();
        encode_word(tokens[id], parts);
        CHECK(parts.size() == 2, "token ", id, " of the vocabulary is not a merge of two tokens before it");
        add(parts[0], parts[1], uint32_t(id));
    }
}

void BpeMerges::encode_word(std::string_view word, std::vector<uint16_t>& out) const {
    std::vector<uint16_t> parts(word.size());
    for (size_t i = 0; i < word.size(); i++) parts[i] = byte_ids[uint8_t(word[i])];
    if (word.size() <= kLongestScan)
        merge_by_scan(parts);
    else
        merge_by_heap(parts);
    out.insert(out.end(), parts.begin(), parts.end());
}

void BpeMerges::merge_by_scan(std::vector<uint16_t>& parts) const {
    if (parts.size() < 2) return;
    std::vector<uint32_t> rank(parts.size() - 1);  // by pair: parts i and i + 1 have rank[i]
    for (size_t i = 0; i < rank.size(); i++) rank[i] = merged(parts[i], parts[i + 1]);
    while (!rank.empty()) {
        const size_t best = std::min_element(rank.begin(), rank.end()) - rank.begin();
        if (rank[best] == kNone) break;
        parts[best] = uint16_t(rank[best]);
        parts.erase(parts.begin() + best + 1);
        rank.erase(rank.begin() + best);
        if (best > 0) rank[best - 1] = merged(parts[best - 1], parts[best]);
        if (best < rank.size()) rank[best] = merged(parts[best], parts[best + 1]);
    }
}

void BpeMerges::merge_by_heap(std::vector<uint16_t>& parts) const {
    const size_t count = parts.size();
    std::vector<size_t> next(count), previous(count);
    std::vector<uint32_t> rank(count, kNone);  // by part: that of it and the next one; kNone once the part is gone
    using Candidate = std::pair<uint32_t, size_t>;
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> heap;
    const auto consider = [&](size_t i) {
        rank[i] = next[i] < count ? merged(parts[i], parts[next[i]]) : kNone;
        if (rank[i] != kNone) heap.emplace(rank[i], i);
    };
    for (size_t i = 0; i < count; i++) {
        next[i] = i + 1;
        previous[i] = i - 1;
    }
    for (size_t i = 0; i < count; i++) consider(i);
    while (!heap.empty()) {
        const auto [id, left] = heap.top();
        heap.pop();
        if (rank[left] != id) continue;  // a neighbour has merged since
        const size_t right = next[left];
        parts[left] = uint16_t(id);
        rank[right] = kNone;
        next[left] = next[right];
        if (next[left] < count) previous[next[left]] = left;
        consider(left);
        if (left > 0) consider(previous[left]);
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i = next[i]) parts[kept++] = parts[i];
    parts.resize(kept);
}

uint32_t BpeMerges::merged(uint16_t left, uint16_t right) const {
    const uint32_t pair = uint32_t(left) << 16 | right;
    for (size_t i = slot(pair); table[i].merged != kNone; i = (i + 1) & (table.size() - 1))
        if (table[i].pair == pair) return table[i].merged;
    return kNone;
}

void BpeMerges::add(uint16_t left, uint16_t right, uint32_t id) {
    const uint32_t pair = uint32_t(left) << 16 | right;
    size_t i = slot(pair);
    while (table[i].merged != kNone) i = (i + 1) & (table.size() - 1);
    table[i] = {pair, id};
}
