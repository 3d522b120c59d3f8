#include "io/temporary.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <random>
#include <string_view>

#include "io/files.h"
#include "io/paths.h"
#include "runtime/error.h"

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = ".train_relora.";
constexpr size_t kDigits = 16;
constexpr time_t kStaleSeconds = 24 * 60 * 60;

std::string new_name() {
    std::random_device random;
    char digits[kDigits + 1];
    std::snprintf(digits, sizeof digits, "%08x%08x", random(), random());
    return std::string(kPrefix) + digits;
}

bool is_our_name(std::string_view name) {
    return name.size() == kPrefix.size() + kDigits && name.starts_with(kPrefix) &&
           name.find_first_not_of("0123456789abcdef", kPrefix.size()) == name.npos;
}

// Whether its owner is gone. `fd` gets the lock of one that has none.
bool is_stale(int fd) {
    struct stat info;
    if (fstat(fd, &info) != 0 || !(S_ISREG(info.st_mode) || S_ISDIR(info.st_mode))) return false;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
    return errno != EWOULDBLOCK && std::time(nullptr) - info.st_mtime > kStaleSeconds;
}

}  // namespace

Temporary::Temporary(const std::string& folder, Kind kind) {
    for (;;) {
        path_ = fs::path(folder) / new_name();
        if (kind == Kind::folder && mkdir(path_.c_str(), 0777) != 0) {
            if (errno == EEXIST) continue;
            fail_errno("create a folder in", folder, errno);
        }
        const int flags = kind == Kind::folder ? O_RDONLY | O_DIRECTORY : O_WRONLY | O_CREAT | O_EXCL;
        fd_ = int(TEMP_FAILURE_RETRY(open(path_.c_str(), flags | O_CLOEXEC, 0666)));
        if (fd_ >= 0) break;
        const int error = errno;
        if (kind == Kind::folder) rmdir(path_.c_str());
        if (error != EEXIST) fail_errno("create a file in", folder, error);
    }
    flock(fd_, LOCK_EX | LOCK_NB);  // is_stale() knows what to do where there are no locks
}

Temporary::~Temporary() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
    close(fd_);
}

void Temporary::rename_to(const std::string& target) {
    sync_file(fd_, path_);
    if (rename(path_.c_str(), target.c_str()) != 0) fail_errno("write", target, errno);
    path_.clear();
    sync_directory(parent_of(target));
}

std::vector<std::string> remove_stale_temporaries(const std::string& folder) {
    std::vector<std::string> removed;
    for (const std::string& name : names_in(folder)) {
        if (!is_our_name(name)) continue;
        const std::string path = fs::path(folder) / name;
        const int fd = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0) continue;
        std::error_code error;
        if (is_stale(fd) && fs::remove_all(path, error) > 0 && !error) removed.push_back(path);
        close(fd);
    }
    return removed;
}
