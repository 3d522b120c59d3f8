// GPT-2's word pattern as a hand-written scanner, because a regular expression would take most of the encoder's time.
#include "io/word_splitter.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace {

enum CharClass : uint8_t { kOther, kLetter, kNumber, kSpace, kMultibyte };

constexpr std::array<CharClass, 256> kByteClass = [] {
    std::array<CharClass, 256> table{};
    for (int c = 0; c < 256; c++) {
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        const bool space = c == ' ' || (c >= 9 && c <= 13);
        table[c] = c >= 0x80 ? kMultibyte : letter ? kLetter : c >= '0' && c <= '9' ? kNumber : space ? kSpace : kOther;
    }
    return table;
}();

constexpr uint32_t kCodePoints = 0x110000;

struct CodePoints {
    uint32_t first, last;
};
#include "io/unicode_classes.inc"

uint32_t code_point(const uint8_t* p, int bytes) {
    uint32_t c = p[0] & (0xFF >> (bytes + 1));
    for (int i = 1; i < bytes; i++) c = c << 6 | (p[i] & 63);
    return c;
}

int char_bytes(uint8_t first) { return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4; }

std::vector<CharClass> classify_code_points() {
    std::vector<CharClass> classes(kCodePoints, kOther);
    const auto mark = [&](std::span<const CodePoints> ranges, CharClass type) {
        for (const CodePoints& range : ranges)
            std::fill(classes.begin() + range.first, classes.begin() + range.last + 1, type);
    };
    mark(kLetters, kLetter);
    mark(kNumbers, kNumber);
    mark(kSpaces, kSpace);
    return classes;
}

CharClass multibyte_class(const uint8_t* p, int bytes) {
    static const std::vector<CharClass> classes = classify_code_points();
    return classes[code_point(p, bytes)];
}

struct Char {
    CharClass type;
    int bytes;
};

Char char_at(const uint8_t* p) {
    const CharClass type = kByteClass[*p];
    if (type != kMultibyte) [[likely]]
        return {type, 1};
    const int bytes = char_bytes(*p);
    return {multibyte_class(p, bytes), bytes};
}

// The end of the run of characters of one class that starts at p.
const uint8_t* skip_class(const uint8_t* p, const uint8_t* end, CharClass type) {
    for (;;) {
        while (p < end && kByteClass[*p] == type) p++;
        if (p == end || kByteClass[*p] != kMultibyte) return p;
        const int bytes = char_bytes(*p);
        if (multibyte_class(p, bytes) != type) return p;
        p += bytes;
    }
}

// Length of the English contraction that starts at an apostrophe, or 0.
size_t contraction(const uint8_t* p, const uint8_t* end) {
    if (end - p < 2) return 0;
    const uint8_t a = p[1];
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if (end - p < 3) return 0;
    const uint8_t b = p[2];
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

}  // namespace

size_t next_word(const char* text, const char* text_end) {
    const auto* start = reinterpret_cast<const uint8_t*>(text);
    const auto* end = reinterpret_cast<const uint8_t*>(text_end);
    if (*start == '\'') {
        if (const size_t length = contraction(start, end)) return length;
    }
    // One space (U+0020 only) joins the run that follows it.
    const uint8_t* run = start + (*start == ' ' && end - start > 1);
    const Char first = char_at(run);
    if (first.type != kSpace) return skip_class(run + first.bytes, end, first.type) - start;

    // White space: all of it at the end of the text, else all but its last character, which goes with the next word.
    const uint8_t* last = start;
    const uint8_t* p = start;
    while (p < end) {
        const Char c = char_at(p);
        if (c.type != kSpace) break;
        last = p;
        p += c.bytes;
    }
    return (p == end || last == start ? p : last) - start;
}

bool word_ends(std::string_view text, size_t at) {
    const auto* start = reinterpret_cast<const uint8_t*>(text.data());
    const uint8_t* here = start + at;
    if (kByteClass[*here] != kSpace) return false;
    const uint8_t* before = here - 1;
    while (before > start && here - before < 4 && (*before & 0xC0) == 0x80) before--;
    const int bytes = int(here - before);
    if (bytes != char_bytes(*before)) return false;
    if (bytes == 1) return kByteClass[*before] != kSpace;
    return code_point(before, bytes) < kCodePoints && multibyte_class(before, bytes) != kSpace;
}
