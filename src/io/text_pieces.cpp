// Pieces end where encoding one without the other changes nothing.
#include "io/text_pieces.h"

#include <algorithm>
#include <cstring>

#include "io/word_splitter.h"
#include "runtime/error.h"

namespace {

constexpr size_t kPieceBytes = 1 << 20;  // a thread's work at a time
constexpr size_t kMostBytes = 256 << 20;

// The first place from `from` on where a piece may end; npos where there is none. JSON is cut behind a line, text
// before white space.
size_t find_cut(std::string_view text, TextKind kind, size_t from) {
    if (from >= text.size()) return std::string::npos;
    if (kind == TextKind::kJsonLines) {
        const size_t newline = text.find('\n', from - 1);
        return newline == std::string::npos ? newline : newline + 1;
    }
    size_t at = text.find_first_of(" \n", from);
    while (at != std::string::npos && !word_ends(text, at)) at = text.find_first_of(" \n", at + 1);
    return at;
}

}  // namespace

PieceReader::PieceReader(const InputFile& file, TextKind kind, int64_t begin, int64_t end, int64_t first_line)
    : file_(file), kind_(kind), at_(begin), end_(end), line_(first_line) {}

bool PieceReader::next(TextPiece& piece) {
    size_t searched = kPieceBytes;
    size_t cut = find_cut(buffer_, kind_, searched);
    while (cut == std::string::npos && at_ < end_) {
        CHECK(buffer_.size() < kMostBytes, file_.path(), ": the ", buffer_.size(), " bytes from line ", line_,
              " on have ", kind_ == TextKind::kJsonLines ? "no end of a line" : "no white space",
              ", which no text is expected to do");
        searched = std::max(searched, buffer_.size());
        const size_t bytes = size_t(std::min(int64_t(kPieceBytes), end_ - at_));
        buffer_.resize(buffer_.size() + bytes);
        file_.read(at_, buffer_.data() + buffer_.size() - bytes, bytes);
        at_ += int64_t(bytes);
        cut = find_cut(buffer_, kind_, searched);
    }
    if (cut == std::string::npos) cut = buffer_.size();
    piece.offset = at_ - int64_t(buffer_.size());
    piece.line = line_;
    piece.text.assign(buffer_, 0, cut);  // both strings keep their memory for the next piece
    buffer_.erase(0, cut);
    line_ += std::count(piece.text.begin(), piece.text.end(), '\n');
    return cut > 0;
}

int64_t text_begin(const InputFile& file) {
    char mark[3];
    if (file.size() < int64_t(sizeof(mark))) return 0;
    file.read(0, mark, sizeof(mark));
    return std::memcmp(mark, "\xEF\xBB\xBF", sizeof(mark)) == 0 ? int64_t(sizeof(mark)) : 0;
}

int64_t tail_begin(const InputFile& file, double fraction) {
    const int64_t target = file.size() - int64_t(double(file.size()) * fraction);
    if (target >= file.size()) return file.size();
    std::string block;
    for (int64_t end = target; end > 0;) {
        const int64_t begin = std::max(int64_t(0), end - int64_t(kPieceBytes));
        block.resize(size_t(end - begin));
        file.read(begin, block.data(), block.size());
        const size_t newline = block.rfind('\n');
        if (newline != std::string::npos) return begin + int64_t(newline) + 1;
        end = begin;
    }
    return file.size();
}
