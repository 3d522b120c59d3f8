#include "runtime/error.h"

#include <charconv>
#include <cstdio>

Piece::Piece(double value) { length_ = size_t(std::snprintf(digits_, sizeof digits_, "%g", value)); }
void Piece::set(long long value) {
    length_ = size_t(std::to_chars(digits_, digits_ + sizeof digits_, value).ptr - digits_);
}
void Piece::set(unsigned long long value) {
    length_ = size_t(std::to_chars(digits_, digits_ + sizeof digits_, value).ptr - digits_);
}

std::string join(std::initializer_list<Piece> pieces) {
    size_t length = 0;
    for (const Piece& piece : pieces) length += piece.text().size();
    std::string text;
    text.reserve(length);
    for (const Piece& piece : pieces) text.append(piece.text());
    return text;
}
