// GPT-2's word pattern as a hand-written scanner, because a regular expression would take most of the encoder's time.
// PCRE2 supplies the classes of the code points beyond ASCII, once, when the first one is met.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "io/word_splitter.h"

#include <pcre2.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/error.h"

const char* const kWordPattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+)"
                                 R"(|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+)";

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

void append_utf8(std::string& text, uint32_t c) {
    if (c < 0x800) {
        text += char(0xC0 | c >> 6);
    } else {
        if (c < 0x10000) {
            text += char(0xE0 | c >> 12);
        } else {
            text += char(0xF0 | c >> 18);
            text += char(0x80 | (c >> 12 & 63));
        }
        text += char(0x80 | (c >> 6 & 63));
    }
    text += char(0x80 | (c & 63));
}

uint32_t code_point(const uint8_t* p, int bytes) {
    uint32_t c = p[0] & (0xFF >> (bytes + 1));
    for (int i = 1; i < bytes; i++) c = c << 6 | (p[i] & 63);
    return c;
}

int char_bytes(uint8_t first) { return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4; }

// The class of every code point, from the Unicode tables in PCRE2.
std::vector<CharClass> classify_code_points() {
    std::string all;
    for (uint32_t c = 0x80; c < kCodePoints; c++)
        if (c < 0xD800 || c > 0xDFFF) append_utf8(all, c);

    int error = 0;
    size_t error_at = 0;
    pcre2_code* pattern = pcre2_compile(PCRE2_SPTR(R"((\p{L}+)|(\p{N}+)|(\p{White_Space}+))"), PCRE2_ZERO_TERMINATED,
                                        PCRE2_UTF, &error, &error_at, nullptr);
    CHECK(pattern, "PCRE2 knows no Unicode classes (error ", error, "): it needs version 10.40 or newer");
    pcre2_jit_compile(pattern, PCRE2_JIT_COMPLETE);
    pcre2_match_data* match = pcre2_match_data_create_from_pattern(pattern, nullptr);
    const size_t* range = pcre2_get_ovector_pointer(match);

    std::vector<CharClass> classes(kCodePoints, kOther);
    const auto* bytes = reinterpret_cast<const uint8_t*>(all.data());
    size_t at = 0;
    // pcre2_match returns one more than the number of the group that matched; the groups are in CharClass's order.
    for (int groups; (groups = pcre2_match(pattern, bytes, all.size(), at, PCRE2_NO_UTF_CHECK, match, nullptr)) > 0;) {
        for (at = range[0]; at < range[1]; at += char_bytes(bytes[at]))
            classes[code_point(bytes + at, char_bytes(bytes[at]))] = CharClass(groups - 1);
    }
    pcre2_match_data_free(match);
    pcre2_code_free(pattern);
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
    while (p < end) {
        const Char c = char_at(p);
        if (c.type != type) break;
        p += c.bytes;
    }
    return p;
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
