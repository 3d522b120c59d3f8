// Splits text into the words within which GPT-2 merges bytes.
#pragma once

#include <cstddef>
#include <string_view>

// Length in bytes of the word that starts at `text` (text < end, well-formed UTF-8), as this pattern finds it:
// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
size_t next_word(const char* text, const char* end);

// Whether a word ends at `at`, and all words before and behind stay the same where the text is cut there: ASCII white
// space follows another character. The text need not be well-formed; 0 < at < text.size().
bool word_ends(std::string_view text, size_t at);
