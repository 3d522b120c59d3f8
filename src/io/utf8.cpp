// UTF-8 by the table of well-formed byte sequences in the Unicode standard (chapter 3.9).
#include "io/utf8.h"

#include <cstdint>
#include <cstring>

namespace {

struct Sequence {
    bool valid;
    // The length of the character, or of the ill-formed piece: a valid start that is cut short, or one stray byte.
    size_t bytes;
};

Sequence sequence_at(std::string_view text, size_t at) {
    const auto byte = [&](size_t i) { return uint8_t(text[i]); };
    const uint8_t first = byte(at);
    if (first < 0x80) return {true, 1};
    if (first < 0xC2 || first > 0xF4) return {false, 1};
    const size_t bytes = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    // The second byte excludes overlong forms, surrogates and code points above U+10FFFF.
    const uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    for (size_t i = 1; i < bytes; i++) {
        if (at + i >= text.size()) return {false, i};
        const uint8_t next = byte(at + i);
        if (next < (i == 1 ? low : 0x80) || next > (i == 1 ? high : 0xBF)) return {false, i};
    }
    return {true, bytes};
}

size_t skip_ascii(std::string_view text, size_t at) {
    uint64_t word[4];
    while (at + sizeof(word) <= text.size()) {
        std::memcpy(word, text.data() + at, sizeof(word));
        if ((word[0] | word[1] | word[2] | word[3]) & 0x8080808080808080ull) break;
        at += sizeof(word);
    }
    while (at < text.size() && uint8_t(text[at]) < 0x80) at++;
    return at;
}

}  // namespace

size_t find_invalid_utf8(std::string_view text) {
    for (size_t at = skip_ascii(text, 0); at < text.size(); at = skip_ascii(text, at)) {
        const Sequence sequence = sequence_at(text, at);
        if (!sequence.valid) return at;
        at += sequence.bytes;
    }
    return std::string_view::npos;
}

std::string replace_invalid_utf8(std::string_view text) {
    std::string mended;
    mended.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
        const Sequence sequence = sequence_at(text, at);
        if (sequence.valid)
            mended += text.substr(at, sequence.bytes);
        else
            mended += "\xEF\xBF\xBD";
        at += sequence.bytes;
    }
    return mended;
}
