// The file that keeps measured times of routes between runs.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "io/files.h"
#include "io/json.h"
#include "io/paths.h"
#include "runtime/clock.h"
#include "runtime/device.h"
#include "runtime/version.h"
#include "train/routes.h"

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr double kPatience = 5;  // seconds to wait for the lock

std::string cache_path() {
    const char *cache = std::getenv("XDG_CACHE_HOME"), *home = std::getenv("HOME");
    if (cache && *cache) return str(cache, "/train_relora/adapter_times.json");
    return home && *home ? str(home, "/.cache/train_relora/adapter_times.json") : "";
}

// The key of a measurement in the file: everything that times depend on.
std::string key_of(const RouteSetting& s, int threads) {
    std::string targets;
    for (const bool target : s.lora.targets) targets += target ? '1' : '0';
    return str(kVersion, "; ", device::description(s.device), "; ",
               s.device == Device::cpu ? str(threads, " threads; ") : "", dtype_name(s.type), "; ", s.rows, " rows; ",
               s.config.channels, " channels; rank ", s.lora.rank, "; ", s.lora.separate_qkv ? "separate" : "fused",
               "; targets ", targets);
}

json read_cache() {
    const std::string path = cache_path();
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
class CacheLock {
  public:
    explicit CacheLock(const std::string& path)
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
    ~CacheLock() { close(fd_); }
    CacheLock(const CacheLock&) = delete;
    CacheLock& operator=(const CacheLock&) = delete;

  private:
    int fd_;
};

}  // namespace

std::optional<RouteTimes> stored_times(const RouteSetting& s, int threads) {
    const json all = read_cache();
    const auto found = all.find(key_of(s, threads));
    if (found == all.end()) return {};
    RouteTimes times{};
    try {
        for (size_t i = 0; i < kLinears; i++)
            for (size_t r = 0; r < relora::kRoutes; r++) {
                const RouteTime time{found->at(i).at(r).at(0).get<double>(), found->at(i).at(r).at(1).get<double>()};
                if (s.lora.targets[i] && !(time.micro_batch > 0 && time.update >= 0)) return {};  // no clock gave that
                times[i][r] = time;
            }
    } catch (const json::exception&) {
        return {};
    }
    return times;
}

void store_times(const RouteTimes& times, const RouteSetting& s, int threads) {
    const std::string path = cache_path();
    if (path.empty()) return;
    json entry = json::array();
    for (const auto& linear : times) {
        json routes = json::array();
        for (const RouteTime& time : linear) routes.push_back({time.micro_batch, time.update});
        entry.push_back(routes);
    }
    std::error_code error;
    fs::create_directories(parent_of(path), error);
    if (error) fail_errno("create", parent_of(path), error.value());
    const CacheLock lock(path + ".lock");
    json all = read_cache();
    all[key_of(s, threads)] = entry;
    write_file_atomic(path, json_text(all, 1) + "\n");
}
