// A name decides what a file holds where it is one of a few; where it isn't, and to see whether it can be right, the
// first line is read.
#include "io/text_files.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <optional>

#include "io/files.h"
#include "io/json.h"
#include "io/text_pieces.h"
#include "runtime/error.h"

namespace fs = std::filesystem;

namespace {

// What the name of a file says about it.
enum class NameSays { kDocument, kJsonLines, kJson, kNothing };

NameSays name_says(const fs::path& path) {
    std::string extension = path.extension();
    std::transform(extension.begin(), extension.end(), extension.begin(), [](uint8_t c) { return std::tolower(c); });
    if (extension == ".txt" || extension == ".text") return NameSays::kDocument;
    if (extension == ".jsonl" || extension == ".ndjson") return NameSays::kJsonLines;
    return extension == ".json" ? NameSays::kJson : NameSays::kNothing;
}

// Whether the first line that isn't empty is a JSON object.
bool begins_with_object(const InputFile& file) {
    std::string head(size_t(std::min(file.size(), int64_t(4096))), '\0');
    const int64_t begin = text_begin(file);
    file.read(0, head.data(), head.size());
    const size_t first = head.find_first_not_of(" \t\r\n", size_t(begin));
    if (first == std::string::npos || head[first] != '{') return false;
    PieceReader reader(file, TextKind::kJsonLines, int64_t(first), file.size());
    TextPiece piece;
    reader.next(piece);
    return parse_json(std::string_view(piece.text).substr(0, piece.text.find('\n'))).is_object();
}

// Reads as much of a file as it takes to know its kind. None: the name says JSON, and the content is something else.
std::optional<TextFile> classify(const std::string& path) {
    const InputFile file(path);
    const auto of_kind = [&](TextKind kind) { return TextFile{path, kind, file.size()}; };
    const NameSays name = name_says(path);
    if (name == NameSays::kJsonLines) return of_kind(TextKind::kJsonLines);
    const bool object = begins_with_object(file);
    CHECK(name != NameSays::kDocument || !object, path,
          " begins with a JSON object, which would be taken for text: a file with a JSON object a line must be called "
          ".jsonl");
    if (name == NameSays::kJson && !object) return std::nullopt;
    return of_kind(object ? TextKind::kJsonLines : TextKind::kDocument);
}

// Why a folder's entry is no text file to read, or nothing.
std::string left_out_because(const fs::directory_entry& entry) {
    std::error_code error;
    const bool link = entry.is_symlink(error);
    const fs::file_status status = entry.status(error);
    if (link && fs::is_directory(status)) return "a link to a folder";
    if (link && !fs::exists(status)) return "a link to nothing";
    if (!fs::is_regular_file(status)) return "not a regular file";
    return name_says(entry.path()) == NameSays::kNothing ? "not .txt, .jsonl or .json" : "";
}

void search_folder(const fs::path& folder, TextFiles& found) {
    std::error_code error, ignored;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
        if (fs::is_directory(entry->symlink_status(ignored))) {
            search_folder(entry->path(), found);
            continue;
        }
        std::string why = left_out_because(*entry);
        const auto file = why.empty() ? classify(entry->path()) : std::nullopt;
        if (file)
            found.files.push_back(*file);
        else
            found.left_out.push_back(
                str(entry->path().native(), " (", why.empty() ? "no JSON object a line" : why, ")"));
    }
    if (error) fail_errno("read the folder", folder, error.value());
}

}  // namespace

void find_text_files(const std::string& name, TextFiles& found) {
    std::error_code error;
    const fs::file_status status = fs::status(name, error);
    USAGE_CHECK(fs::exists(status), "there is no file or folder ", name);
    if (fs::is_directory(status)) {
        const auto before = std::ptrdiff_t(found.files.size());
        search_folder(name, found);
        USAGE_CHECK(std::ptrdiff_t(found.files.size()) > before, "the folder ", name,
                    " holds no .txt, .jsonl or .json file to read");
        std::sort(found.files.begin() + before, found.files.end(),
                  [](const TextFile& a, const TextFile& b) { return a.path < b.path; });
        return;
    }
    const auto file = classify(name);
    USAGE_CHECK(file, name, " is not JSON lines, an object a line: convert it, for example an array with jq -c '.[]'");
    found.files.push_back(*file);
}
