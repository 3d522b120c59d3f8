// Which text files the names of files and folders stand for, and what each of them holds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

enum class TextKind {
    kDocument,   // the file is one document
    kJsonLines,  // every line is a JSON object with a document in it
};

struct TextFile {
    std::string path;  // as it was named: a link has the kind of its own name, not of its target's
    TextKind kind;
    int64_t bytes;
};

struct TextFiles {
    std::vector<TextFile> files;
    std::vector<std::string> left_out;  // what folders hold besides: "PATH (why)"
};

// Appends the file of that name, or the text files below the folder of that name, sorted. .txt and .text are documents,
// .jsonl and .ndjson are JSON lines, in any case of letters; .json must hold JSON lines. A file of any other name is
// left out where a folder holds it; where it is named itself, its first line decides. Links to files are followed, and
// in folders not those to folders.
void find_text_files(const std::string& name, TextFiles& found);
