// Gets the texts out of an R data base (.rdb) without R: rdb_strings FILE.rdb DIR writes one text file per record,
// named after the record's first line. A record is {u32 big-endian length, zlib stream of that length when inflated};
// inside is R's XDR serialization, of which only the strings are read.
#include <zlib.h>

#include <cctype>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "io/files.h"
#include "runtime/descriptors.h"
#include "runtime/error.h"

namespace {

constexpr int64_t kMaxFileBytes = 1 << 30;
// Zlib makes at most about a thousand bytes of one.
constexpr size_t kMaxInflation = 1032;

uint32_t big_endian(const uint8_t* p) { return uint32_t(p[0]) << 24 | p[1] << 16 | p[2] << 8 | p[3]; }

// Inflates the record at `at` of a file and moves `at` behind it.
std::vector<uint8_t> inflate_record(const std::string& path, const std::string& file, size_t& at) {
    CHECK(file.size() - at > 4, path, " ends inside the record at byte ", at);
    const auto* bytes = reinterpret_cast<const uint8_t*>(file.data()) + at;
    const size_t inflated = big_endian(bytes);
    CHECK(inflated <= (file.size() - at) * kMaxInflation, path, " is damaged in the record at byte ", at,
          ": it can't inflate to ", inflated, " bytes");
    std::vector<uint8_t> record(inflated);
    z_stream stream{};
    CHECK(inflateInit(&stream) == Z_OK, "zlib failed to start");
    stream.next_in = const_cast<uint8_t*>(bytes + 4);
    stream.avail_in = uInt(file.size() - at - 4);
    stream.next_out = record.data();
    stream.avail_out = uInt(record.size());
    const int result = inflate(&stream, Z_FINISH);
    const uLong used = stream.total_in, made = stream.total_out;
    inflateEnd(&stream);
    CHECK(result == Z_STREAM_END && made == record.size(), path, " is damaged in the record at byte ", at,
          ": it inflates to ", made, " bytes, not ", record.size());
    at += 4 + size_t(used);
    return record;
}

// The strings of a serialized character vector: flags (ASCII, or UTF-8), i32 length, bytes.
std::vector<std::string> strings_in(const std::vector<uint8_t>& record) {
    std::vector<std::string> strings;
    for (size_t at = 0; at + 8 <= record.size();) {
        const uint32_t flags = big_endian(&record[at]);
        const uint32_t bytes = big_endian(&record[at + 4]);
        if ((flags == 0x00040009 || flags == 0x00008009) && bytes <= record.size() - at - 8) {
            strings.emplace_back(reinterpret_cast<const char*>(&record[at + 8]), bytes);
            at += 8 + bytes;
        } else {
            at++;
        }
    }
    return strings;
}

// "PRIDE AND PREJUDICE" becomes pride_and_prejudice.
std::string file_name(const std::string& title) {
    std::string name;
    for (const unsigned char c : title) {
        if (std::isalnum(c))
            name += char(std::tolower(c));
        else if (!name.empty() && name.back() != '_')
            name += '_';
    }
    return name;
}

void extract(const std::string& path, const std::filesystem::path& folder) {
    const std::string file = read_file(path, kMaxFileBytes);
    CHECK(!file.empty(), path, " is empty");
    for (size_t at = 0; at < file.size();) {
        const size_t start = at;
        const std::vector<std::string> lines = strings_in(inflate_record(path, file, at));
        CHECK(!lines.empty() && !file_name(lines[0]).empty(), path, ": the record at byte ", start,
              " begins with no title");
        std::string text;
        for (const std::string& line : lines) text += line + '\n';
        write_file_atomic(folder / (file_name(lines[0]) + ".txt"), text);
    }
}

}  // namespace

int main(int argc, char** argv) {
    prepare_descriptors();
    if (argc != 3) {
        std::cerr << "usage: rdb_strings FILE.rdb DIR    (writes DIR/<first line>.txt for every record)\n";
        return 2;
    }
    try {
        extract(argv[1], argv[2]);
    } catch (const Error& error) {
        std::cerr << "rdb_strings: " << error.what() << '\n';
        return error.exit_code;
    }
}
