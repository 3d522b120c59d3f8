#include "io/held_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "io/files.h"

HeldFolder::HeldFolder(const std::string& path) : path_(path), fd_(open_file(path, O_RDONLY | O_DIRECTORY)) {
    struct stat info;
    if (fstat(fd_, &info) != 0) {
        const int error = errno;
        close(fd_);
        fail_errno("read", path, error);
    }
    device_ = info.st_dev;
    number_ = info.st_ino;
}

HeldFolder::~HeldFolder() { close(fd_); }

bool HeldFolder::leads_here(const std::string& path) const {
    struct stat info;
    return stat(path.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == number_;
}

std::string HeldFolder::place() const {
    if (in_place()) return path_;
    // The kernel keeps the name of what is open. One that was removed has a name that leads nowhere.
    char name[PATH_MAX];
    const ssize_t length = readlink(("/proc/self/fd/" + std::to_string(fd_)).c_str(), name, sizeof name);
    const std::string now = length > 0 ? std::string(name, size_t(length)) : "";
    return leads_here(now) ? now : "";
}
