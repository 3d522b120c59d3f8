// UTF-8: where a text breaks its rules, and how to mend it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

// Offset of the first byte that is not part of well-formed UTF-8, or npos when the whole text is.
size_t find_invalid_utf8(std::string_view text);

// The text with every longest ill-formed piece replaced by U+FFFD, as decoders commonly do.
std::string replace_invalid_utf8(std::string_view text);
