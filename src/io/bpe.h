// Byte-pair encoding of one word: the table of merges, and two ways of applying it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// The merges that a vocabulary implies. A token's id is its rank: of all neighbours that can merge, the pair whose
// merged token has the lowest id goes first, and the leftmost of equals.
class BpeMerges {
  public:
    // tokens[id] holds a token's bytes; every byte must be a token. The token `skip` (end of text) takes part in no
    // merge.
    BpeMerges(const std::vector<std::string>& tokens, int skip);

    // Appends the ids of one word.
    void encode_word(std::string_view word, std::vector<uint16_t>& out) const;

    // Both merge `parts` in place, to the same result. The scan looks for the best pair again after every merge, which
    // is the fastest way for words, and quadratic in their length. The heap takes n log n.
    void merge_by_scan(std::vector<uint16_t>& parts) const;
    void merge_by_heap(std::vector<uint16_t>& parts) const;

  private:
    struct Entry {
        uint32_t pair, merged;
    };
    static constexpr uint32_t kNone = ~0u;

    size_t slot(uint32_t pair) const { return size_t(pair * 0x9E3779B97F4A7C15ull >> shift); }
    uint32_t merged(uint16_t left, uint16_t right) const;
    void add(uint16_t left, uint16_t right, uint32_t id);

    uint16_t byte_ids[256];
    std::vector<Entry> table;  // open addressing, at most half full
    int shift;
};
