// Text files in pieces that can be encoded by several threads, however large the file is.
#pragma once

#include <cstdint>
#include <string>

#include "io/files.h"
#include "io/text_files.h"

// A stretch of a file that gives the same ids alone as within the file.
struct TextPiece {
    std::string text;
    int64_t offset = 0;  // in the file, of its first byte
    int64_t line = 1;    // the number of its first line
};

// Reads a range of a file piece by piece. The range begins at the file's start or at the start of a line.
class PieceReader {
  public:
    PieceReader(const InputFile& file, TextKind kind, int64_t begin, int64_t end, int64_t first_line = 1);
    // Gives the next piece; false at the end of the range. Lines of JSON stay whole.
    bool next(TextPiece& piece);
    int64_t line() const { return line_; }  // the number of the line that comes next

  private:
    const InputFile& file_;
    TextKind kind_;
    int64_t at_, end_;    // what is still to be read
    std::string buffer_;  // what was read and not yet given
    int64_t line_;
};

// Where the text of a file begins: behind a byte order mark.
int64_t text_begin(const InputFile& file);

// Where the last `fraction` of a file starts: at the start of the line that holds that byte; at the end of a file of
// one line.
int64_t tail_begin(const InputFile& file, double fraction);
