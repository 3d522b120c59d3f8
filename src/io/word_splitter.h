// Splits text into the words within which GPT-2 merges bytes.
#pragma once

#include <cstddef>

// Length in bytes of the word that starts at `text` (text < end, well-formed UTF-8), as this pattern finds it:
// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
size_t next_word(const char* text, const char* end);
