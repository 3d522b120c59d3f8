// An OFD lock belongs to the open file, so that closing another descriptor of the file doesn't give it up.
#include "io/folder_lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <ctime>
#include <random>

#include "io/files.h"
#include "io/json.h"
#include "io/temporary.h"
#include "runtime/error.h"
#include "runtime/signals.h"

namespace {

constexpr size_t kMostBytes = 4096;  // of a record

std::string host_name() {
    char name[HOST_NAME_MAX + 1] = {};
    return gethostname(name, sizeof name - 1) == 0 ? name : "an unknown host";
}

// A machine that was started again is another owner, whatever its name. Empty where the kernel doesn't say.
std::string boot() {
    try {
        return read_file("/proc/sys/kernel/random/boot_id").substr(0, 36);
    } catch (const Error&) {
        return "";
    }
}

std::string time_text() {
    const std::time_t now = std::time(nullptr);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", std::gmtime(&now));
    return text;
}

// "process 12 on host a since 2026-01-02 03:04:05 UTC"
std::string owner_of(const std::string& record) {
    const nlohmann::json j = parse_json(record);
    const auto field = [&](const char* key) -> std::string {
        if (!j.is_object() || !j.contains(key)) return "?";
        return j[key].is_string() ? j[key].get<std::string>() : json_text(j[key]);
    };
    return str("process ", field("process"), " on host ", field("host"), " since ", field("since"));
}

bool of_this_machine(const std::string& record) {
    const nlohmann::json j = parse_json(record);
    return j.is_object() && j.contains("boot") && j["boot"] == boot() && j["host"] == host_name();
}

// The file system's own time, which may be that of another machine.
timespec now_there(const std::string& folder) {
    const Temporary probe(folder, Temporary::Kind::file);
    struct stat info {};
    if (fstat(probe.fd(), &info) != 0) fail_errno("read", probe.path(), errno);
    return info.st_mtim;
}

}  // namespace

FolderLock::FolderLock(const std::string& folder, const std::function<void(const std::string&)>& say)
    : path_(folder + "/lock") {
    fd_ = open_file(path_, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK);
    try {
        struct stat info {};
        CHECK(fstat(fd_, &info) == 0 && S_ISREG(info.st_mode), path_, " is not a regular file");
        struct flock lock {};
        lock.l_type = F_WRLCK;
        const bool locked = fcntl(fd_, F_OFD_SETLK, &lock) == 0;
        const bool refused = !locked && (errno == EAGAIN || errno == EACCES);
        // An owner that has just come writes its record in a moment.
        for (int i = 0; i < 100 && refused && record() == ""; i++)
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        USAGE_CHECK(!refused, folder, " is in use by ", owner_of(record().value_or("")));
        const std::string there = record().value_or("");
        if (!(locked && of_this_machine(there)) && !there.empty()) wait_until_stale(say);
        std::random_device random;
        record_ = json_text({{"host", host_name()},
                             {"process", getpid()},
                             {"since", time_text()},
                             {"boot", boot()},
                             {"key", str(random(), "-", random())}}) +
                  "\n";
        if (TEMP_FAILURE_RETRY(ftruncate(fd_, 0)) != 0) fail_errno("write", path_, errno);
        write_all(fd_, record_.data(), record_.size(), path_);
        fsync(fd_);  // so that other machines see it; where that fails the lock has to do
        if (!locked) {
            // When several come at the same time, the last one to write is the owner.
            std::this_thread::sleep_for(std::chrono::seconds(1));
            USAGE_CHECK(held(), folder, " is in use by ", owner_of(record().value_or("")));
        }
    } catch (...) {
        close(fd_);
        throw;
    }
    toucher_ = std::thread([this] { touch(); });
}

FolderLock::~FolderLock() {
    {
        const std::lock_guard lock(mutex_);
        ended_ = true;
    }
    ends_.notify_all();
    toucher_.join();
    if (held() && ftruncate(fd_, 0) != 0) {
        // The record stays, and is stale soon.
    }
    close(fd_);
}

void FolderLock::check() const {
    const std::optional<std::string> there = record();
    if (!there) fail_errno("read", path_, errno);
    CHECK(there == record_, "another process has taken the folder of ", path_, " over: ", owner_of(*there));
}

std::optional<std::string> FolderLock::record() const {
    std::string text(kMostBytes, '\0');
    size_t done = 0;
    for (ssize_t bytes = 1; bytes > 0 && done < text.size(); done += size_t(bytes)) {
        bytes = TEMP_FAILURE_RETRY(pread(fd_, text.data() + done, text.size() - done, off_t(done)));
        if (bytes < 0) return {};
    }
    text.resize(done);
    return text;
}

void FolderLock::wait_until_stale(const std::function<void(const std::string&)>& say) const {
    const std::string folder = path_.substr(0, path_.rfind('/')), before = record().value_or("");
    bool said = false;
    for (struct stat info{};;) {
        if (fstat(fd_, &info) != 0) fail_errno("read", path_, errno);
        if (now_there(folder).tv_sec - info.st_mtim.tv_sec >= kStaleAfter.count()) return;
        if (!said) say(str(folder, " was in use a moment ago by ", owner_of(before), "; waiting whether it still is"));
        said = true;
        std::this_thread::sleep_for(std::chrono::seconds(1));
        signals::throw_if_stopped();
        const timespec touched = info.st_mtim;
        if (fstat(fd_, &info) != 0) fail_errno("read", path_, errno);
        const bool same = info.st_mtim.tv_sec == touched.tv_sec && info.st_mtim.tv_nsec == touched.tv_nsec;
        USAGE_CHECK(same && record() == before, folder, " is in use by ", owner_of(record().value_or("")));
    }
}

void FolderLock::touch() {
    std::unique_lock lock(mutex_);
    while (!ends_.wait_for(lock, kTouchedEvery, [&] { return ended_; }))
        if (held()) futimens(fd_, nullptr);
}
