// The safetensors file format: named arrays behind a JSON header. Knows nothing of models.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "io/files.h"

using Metadata = std::map<std::string, std::string>;

// A shape as messages show it: "[2, 3]".
std::string shape_text(const std::vector<int64_t>& shape);

// One array: its name, its type as the format spells it ("F32", "BF16", …), its shape and where its bytes are.
struct SafetensorsEntry {
    std::string name;
    std::string dtype;
    std::vector<int64_t> shape;
    int64_t begin = 0, end = 0;  // bytes from the start of the data
    int64_t bytes() const { return end - begin; }
};

// Writes a file front to back: first add() every array, then write() their bytes in the same order, then close().
class SafetensorsWriter {
  public:
    explicit SafetensorsWriter(const std::string& path, const Metadata& metadata = {});

    void add(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape);
    // Writes the next bytes of array `name`; several calls may share one array.
    void write(const std::string& name, const void* data, size_t bytes);
    // Returns the SHA-256 of the file in hex.
    std::string close();

  private:
    void write_header();
    void skip_complete();

    FileWriter file_;
    Metadata metadata_;
    std::vector<SafetensorsEntry> entries_;
    bool header_written_ = false;
    size_t current_ = 0;   // the array that is being written
    int64_t written_ = 0;  // bytes of all arrays so far
};

// An open file, all of its header checked.
class SafetensorsReader {
  public:
    explicit SafetensorsReader(const std::string& path);

    // The arrays in the order of their bytes.
    const std::vector<SafetensorsEntry>& entries() const { return entries_; }
    const Metadata& metadata() const { return metadata_; }
    const std::string& path() const { return file_.path(); }
    // The array of that name, or nullptr if there is none.
    const SafetensorsEntry* find(const std::string& name) const;
    // The array of that name; throws if there is none, or if it has another shape than the one given.
    const SafetensorsEntry& at(const std::string& name) const;
    const SafetensorsEntry& at(const std::string& name, const std::vector<int64_t>& shape) const;
    // Reads an array's bytes.
    void read(const SafetensorsEntry& entry, void* to) const;

  private:
    void parse_header(const std::string& header);
    void check_layout(int64_t data_bytes);

    InputFile file_;
    int64_t data_at_ = 0;  // where the arrays begin in the file
    Metadata metadata_;
    std::vector<SafetensorsEntry> entries_;
    std::unordered_map<std::string, size_t> index_;
};
