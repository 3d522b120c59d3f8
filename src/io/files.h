// Files without surprises: every error names the file and the reason, and nothing half-written stays behind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "io/sha256.h"

// Throws "cannot <action> <path>: <reason>" for an errno value: DiskFull where the file system is full.
[[noreturn]] void fail_errno(const std::string& action, const std::string& path, int error);

// Opens a file by open()'s flags, not to be inherited by other programs. Returns the descriptor; throws where it can't.
int open_file(const std::string& path, int flags);

// Writes all bytes to an open file, however many calls that takes; `path` is for the error.
void write_all(int fd, const void* data, size_t bytes, const std::string& path);

// Returns the whole file as a string; throws where it is not a regular file, or has more bytes than `most`.
std::string read_file(const std::string& path, int64_t most = INT64_MAX);

// Replaces `path` by `text` so that a crash leaves either the old file or the new one.
void write_file_atomic(const std::string& path, const std::string& text);

// Brings what was written to an open file, or folder, to the disk.
void sync_file(int fd, const std::string& path);

// Makes the names in a folder (new files, renames) survive a power cut.
void sync_directory(const std::string& path);

// How many bytes a new file at `path` could take. Where `path` doesn't exist yet, the nearest folder above it counts.
int64_t free_bytes(const std::string& path);

// A new file and its SHA-256; one of that name must not be there. Unless close() succeeded, the destructor removes it.
class FileWriter {
  public:
    explicit FileWriter(const std::string& path);
    ~FileWriter();
    FileWriter(const FileWriter&) = delete;
    FileWriter& operator=(const FileWriter&) = delete;

    void write(const void* data, size_t bytes);
    // Brings everything to the disk and returns the SHA-256 of the file in hex.
    std::string close();
    const std::string& path() const { return path_; }

  private:
    void flush();

    std::string path_;
    int fd_ = -1;
    bool closed_ = false;
    std::vector<char> buffer_;
    Sha256 hash_;
};

// An open file that is read piece by piece. A file that becomes shorter meanwhile, or a disk that fails, is an error,
// where a mapping would end the program.
class InputFile {
  public:
    // Throws where the path is not a regular file: a FIFO would be waited for.
    explicit InputFile(const std::string& path);
    ~InputFile();
    InputFile(InputFile&& other) noexcept;
    InputFile& operator=(InputFile&&) = delete;

    // Reads the bytes from `offset` on; throws where the file has not so many. Any number of threads may read at once.
    void read(int64_t offset, void* to, size_t bytes) const;
    int64_t size() const { return size_; }  // when it was opened
    const std::string& path() const { return path_; }

  private:
    std::string path_;
    int fd_ = -1;
    int64_t size_ = 0;
};
