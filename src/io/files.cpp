// POSIX calls, each checked.
#include "io/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <system_error>
#include <utility>

#include "io/paths.h"
#include "io/temporary.h"
#include "runtime/error.h"

namespace {

constexpr size_t kBufferBytes = 1 << 20;

// An open file that is closed however the function ends.
struct OpenFile {
    OpenFile(const std::string& path, int flags) : fd(open_file(path, flags)) {}
    ~OpenFile() { close(fd); }
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;
    int fd;
};

// The bytes of an open file; throws where it is not a regular one. Whoever opens what may be a FIFO does so by
// O_NONBLOCK, as it would be waited for.
int64_t regular_size(int fd, const std::string& path) {
    struct stat info;
    if (fstat(fd, &info) != 0) fail_errno("read", path, errno);
    CHECK(S_ISREG(info.st_mode), "cannot read ", path, ": it is not a regular file");
    return info.st_size;
}

}  // namespace

void fail_errno(const std::string& action, const std::string& path, int error) {
    const std::string message = str("cannot ", action, " ", path, ": ", std::generic_category().message(error));
    if (error == ENOSPC || error == EDQUOT) throw DiskFull(message, __FILE__, __LINE__);
    FAIL(message);
}

int open_file(const std::string& path, int flags) {
    const int fd = int(TEMP_FAILURE_RETRY(open(path.c_str(), flags | O_CLOEXEC, 0666)));
    if (fd < 0) fail_errno(flags & O_EXCL ? "create" : "open", path, errno);
    return fd;
}

void write_all(int fd, const void* data, size_t bytes, const std::string& path) {
    const char* at = static_cast<const char*>(data);
    while (bytes > 0) {
        const ssize_t written = TEMP_FAILURE_RETRY(write(fd, at, bytes));
        if (written < 0) fail_errno("write", path, errno);
        at += written;
        bytes -= size_t(written);
    }
}

std::string read_file(const std::string& path, int64_t most) {
    const OpenFile file(path, O_RDONLY | O_NONBLOCK);
    const int64_t size = regular_size(file.fd, path);
    const auto check = [&](int64_t bytes) {
        CHECK(bytes <= most, path, " has more than ", most, " bytes, which is more than such a file can have");
    };
    check(size);
    // The size is only where the reading begins: files of the kernel say that they have none.
    std::string text;
    for (size_t done = 0;;) {
        text.resize(std::max(size_t(size) + 1, done + kBufferBytes));
        const ssize_t count = TEMP_FAILURE_RETRY(read(file.fd, text.data() + done, text.size() - done));
        if (count < 0) fail_errno("read", path, errno);
        done += size_t(count);
        check(int64_t(done));
        if (count > 0) continue;
        text.resize(done);
        return text;
    }
}

void write_file_atomic(const std::string& path, const std::string& text) {
    Temporary file(parent_of(path), Temporary::Kind::file);
    write_all(file.fd(), text.data(), text.size(), path);
    file.rename_to(path);
}

void sync_file(int fd, const std::string& path) {
    // Some file systems can't sync a folder, and say so with EINVAL.
    if (TEMP_FAILURE_RETRY(fsync(fd)) != 0 && errno != EINVAL) fail_errno("write", path, errno);
}

void sync_directory(const std::string& path) {
    const OpenFile directory(path, O_RDONLY | O_DIRECTORY);
    sync_file(directory.fd, path);
}

int64_t free_bytes(const std::string& path) {
    std::string place = path;
    while (!path_exists(place) && place != parent_of(place)) place = parent_of(place);
    struct statvfs info;
    if (TEMP_FAILURE_RETRY(statvfs(place.c_str(), &info)) != 0) fail_errno("read the free space of", place, errno);
    return int64_t(info.f_bavail) * int64_t(info.f_frsize);
}

FileWriter::FileWriter(const std::string& path) : path_(path), fd_(open_file(path, O_WRONLY | O_CREAT | O_EXCL)) {
    buffer_.reserve(kBufferBytes);
}

FileWriter::~FileWriter() {
    if (fd_ >= 0) ::close(fd_);
    if (!closed_) unlink(path_.c_str());
}

void FileWriter::write(const void* data, size_t bytes) {
    CHECK(fd_ >= 0, "a write to ", path_, " after it was closed");
    hash_.update(data, bytes);
    if (buffer_.size() + bytes > kBufferBytes) flush();
    if (bytes > kBufferBytes) {
        write_all(fd_, data, bytes, path_);
    } else {
        const char* begin = static_cast<const char*>(data);
        buffer_.insert(buffer_.end(), begin, begin + bytes);
    }
}

void FileWriter::flush() {
    write_all(fd_, buffer_.data(), buffer_.size(), path_);
    buffer_.clear();
}

std::string FileWriter::close() {
    CHECK(fd_ >= 0, path_, " is closed already");
    flush();
    sync_file(fd_, path_);
    // Some file systems report a full disk or a quota only here; the descriptor is gone either way.
    if (::close(std::exchange(fd_, -1)) != 0 && errno != EINTR) fail_errno("write", path_, errno);
    closed_ = true;
    return hash_.hex();
}

InputFile::InputFile(const std::string& path) : path_(path), fd_(open_file(path, O_RDONLY | O_NONBLOCK)) {
    try {
        size_ = regular_size(fd_, path);
    } catch (const Error&) {
        ::close(fd_);
        throw;
    }
}

InputFile::~InputFile() {
    if (fd_ >= 0) ::close(fd_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}

void InputFile::read(int64_t offset, void* to, size_t bytes) const {
    char* at = static_cast<char*>(to);
    for (size_t done = 0; done < bytes;) {
        const ssize_t count = TEMP_FAILURE_RETRY(pread(fd_, at + done, bytes - done, offset + int64_t(done)));
        if (count < 0) fail_errno("read", path_, errno);
        CHECK(count > 0, "cannot read ", path_, ": it ends at byte ", offset + int64_t(done), ", and had ", size_,
              " bytes when it was opened");
        done += size_t(count);
    }
}
