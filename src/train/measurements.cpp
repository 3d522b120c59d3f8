#include "train/measurements.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "io/files.h"
#include "io/paths.h"
#include "runtime/clock.h"
#include "runtime/error.h"

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr double kPatience = 5;  // seconds to wait for the lock

json read_object(const std::string& path) {
    if (path.empty()) return json::object();
    try {
        json all = parse_json(read_file(path));
        return all.is_object() ? all : json::object();
    } catch (const Error&) {
        return json::object();
    }
}

// A lock that is held while the file is read and written anew, so that runs that start together lose nothing that one
// of them has measured. On a file system without locks they may.
class FileLock {
  public:
    explicit FileLock(const std::string& path)
        : fd_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666)) {
        if (fd_ < 0) fail_errno("create", path, errno);
        // The others hold it for milliseconds, unless one is stopped.
        const double start = seconds_now();
        while (flock(fd_, LOCK_EX | LOCK_NB) != 0 && (errno == EWOULDBLOCK || errno == EINTR)) {
            if (seconds_now() - start < kPatience) {
                std::this_thread::sleep_for(std::chrono::milliseconds(20));
                continue;
            }
            close(fd_);
            FAIL("another process has held ", path, " for ", kPatience, " seconds");
        }
    }
    ~FileLock() { close(fd_); }
    FileLock(const FileLock&) = delete;
    FileLock& operator=(const FileLock&) = delete;

  private:
    int fd_;
};

}  // namespace

Measurements::Measurements(const std::string& name) {
    const char *cache = std::getenv("XDG_CACHE_HOME"), *home = std::getenv("HOME");
    if (cache && *cache)
        path_ = str(cache, "/train_relora/", name);
    else if (home && *home)
        path_ = str(home, "/.cache/train_relora/", name);
}

json Measurements::find(const std::string& key) const {
    const json all = read_object(path_);
    const auto found = all.find(key);
    return found == all.end() ? json() : *found;
}

void Measurements::store(const std::string& key, const json& value) const {
    if (path_.empty()) return;
    std::error_code error;
    fs::create_directories(parent_of(path_), error);
    if (error) fail_errno("create", parent_of(path_), error.value());
    const FileLock lock(path_ + ".lock");
    json all = read_object(path_);
    all[key] = value;
    write_file_atomic(path_, json_text(all, 1) + "\n");
}
