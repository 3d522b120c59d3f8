// Disturbs one call of a program: preloaded (LD_PRELOAD), it makes the call fail, come back short, or bring a signal.
// The environment says which; without FAULT it only counts.
//
//   FAULT_UNDER=FOLDER   only calls on files below this folder count
//   FAULT_LOG=FILE       a line for every call that counts: "CALL NUMBER PATH", numbered from 1 for each CALL
//   FAULT="CALL NUMBER ACTION", where ACTION is
//       an errno's name  that call fails with it, and has done nothing (close has closed)
//       the same and +   so do all after it, as on a disk that stays full
//       short            a read or write comes back with half of its bytes
//       torn             half of the bytes are written, then the process is killed
//       power            every file is cut to what an fsync has brought to the disk, then the process is killed
//       a signal's name  the process gets it just before the call
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

// In the order of kNames.
enum Call { kOpen, kRead, kWrite, kSync, kRename, kClose, kMap, kMakeFolder, kRemove, kFreeSpace, kLock, kCalls };
constexpr const char* kNames[kCalls] = {"open", "read",  "write",  "fsync",   "rename", "close",
                                        "mmap", "mkdir", "unlink", "statvfs", "flock"};
constexpr struct {
    const char* name;
    int number;
} kErrors[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO},       {"EINTR", EINTR},   {"EACCES", EACCES}, {"EDQUOT", EDQUOT},
               {"EMFILE", EMFILE}, {"ENOMEM", ENOMEM}, {"ENOLCK", ENOLCK}, {"ENOENT", ENOENT}, {"ESTALE", ESTALE}},
  kSignals[] = {{"KILL", SIGKILL}, {"TERM", SIGTERM}, {"INT", SIGINT},   {"HUP", SIGHUP},
                {"QUIT", SIGQUIT}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"PIPE", SIGPIPE}};

constexpr size_t kLongest = 4096;

struct Fault {
    Fault() {
        if (const char* folder = std::getenv("FAULT_UNDER")) std::snprintf(under, sizeof under, "%s", folder);
        if (const char* path = std::getenv("FAULT_LOG"))
            log = int(syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
        const char* text = std::getenv("FAULT");
        char name[16], action[16];
        if (!text || std::sscanf(text, "%15s %ld %15s", name, &number, action) != 3) return;
        for (int i = 0; i < kCalls; i++)
            if (std::strcmp(name, kNames[i]) == 0) call = i;
        const size_t length = std::strlen(action);
        if (action[length - 1] == '+') stays = true, action[length - 1] = 0;
        for (const auto& e : kErrors)
            if (std::strcmp(action, e.name) == 0) error = e.number;
        for (const auto& s : kSignals)
            if (std::strcmp(action, s.name) == 0) signal = s.number;
        halves = std::strcmp(action, "short") == 0 || std::strcmp(action, "torn") == 0;
        dies = std::strcmp(action, "torn") == 0;
        cuts = std::strcmp(action, "power") == 0;
    }
    char under[kLongest] = "/";
    int log = -1, call = -1, error = 0, signal = 0;
    long number = 0;
    bool stays = false, halves = false, dies = false, cuts = false;
    std::atomic<long> counts[kCalls] = {};
};

// A program's first call may come before this library's own variables are set up.
Fault& fault() {
    static Fault the_one;
    return the_one;
}

bool counts(const char* path) {
    const size_t length = std::strlen(fault().under);
    return std::strncmp(path, fault().under, length) == 0;
}
void path_of(int fd, char* path) {
    char link[32];
    std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, kLongest - 1);
    path[length > 0 ? length : 0] = 0;
}
void path_below(int folder, const char* name, char* path) {
    if (name[0] == '/' || folder == AT_FDCWD) {
        std::snprintf(path, kLongest, "%s", name);
        return;
    }
    path_of(folder, path);
    const size_t length = std::strlen(path);
    std::snprintf(path + length, kLongest - length, "/%s", name);
}

// Files that were written since their last fsync, which a power cut takes back to the length they had then.
class Unsynced {
  public:
    void written(int fd) {
        const Locked lock(busy_);
        struct stat info;
        if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || find(info)) return;
        for (File& file : files_)
            if (file.fd < 0) {
                file = {int(syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0)), info.st_dev, info.st_ino, info.st_size};
                return;
            }
    }
    void synced(int fd) {
        const Locked lock(busy_);
        struct stat info;
        if (fstat(fd, &info) != 0) return;
        if (File* file = find(info)) {
            syscall(SYS_close, file->fd);
            file->fd = -1;
        }
    }
    void cut() {
        const Locked lock(busy_);
        for (const File& file : files_)
            if (file.fd >= 0) syscall(SYS_ftruncate, file.fd, file.length);
        syscall(SYS_kill, getpid(), SIGKILL);
    }

  private:
    struct File {
        int fd = -1;
        dev_t device = 0;
        ino_t number = 0;
        off_t length = 0;
    };
    struct Locked {
        explicit Locked(std::atomic_flag& busy) : busy(busy) {
            while (busy.test_and_set()) {
            }
        }
        ~Locked() { busy.clear(); }
        std::atomic_flag& busy;
    };
    File* find(const struct stat& info) {
        for (File& file : files_)
            if (file.fd >= 0 && file.device == info.st_dev && file.number == info.st_ino) return &file;
        return nullptr;
    }
    File files_[64];
    std::atomic_flag busy_;
};
Unsynced unsynced;

struct Now {
    int error = 0;      // the call fails with it
    bool half = false;  // it moves half of its bytes
    bool dies = false;  // and the process ends behind it
};

// Counts a call, and says what is to become of it.
Now happens(Call call, const char* path) {
    Fault& f = fault();
    if (!counts(path)) return {};
    const long number = ++f.counts[call];
    if (f.log >= 0) {
        char line[kLongest + 64];
        const int length = std::snprintf(line, sizeof line, "%s %ld %s\n", kNames[call], number, path);
        syscall(SYS_write, f.log, line, size_t(length));
    }
    if (call != f.call || !(number == f.number || (f.stays && number > f.number))) return {};
    if (f.signal) syscall(SYS_kill, getpid(), f.signal);
    if (f.cuts) unsynced.cut();
    return {f.error, f.halves, f.dies};
}
Now happens(Call call, int fd) {
    char path[kLongest];
    path_of(fd, path);
    const Now now = happens(call, path);
    if (fault().cuts && call == kWrite && counts(path)) unsynced.written(fd);
    if (fault().cuts && call == kSync) unsynced.synced(fd);
    return now;
}

// Runs `real`, a system call that answers as such do, where nothing else is to happen.
template <class Real>
long unless(const Now& now, const Real& real) {
    if (now.error == 0) return real();
    errno = now.error;
    return -1;
}
// The same for a call that moves `bytes`.
template <class Real>
ssize_t moved(const Now& now, size_t bytes, const Real& real) {
    const long done = unless(now, [&] { return real(now.half ? (bytes + 1) / 2 : bytes); });
    if (now.dies) syscall(SYS_kill, getpid(), SIGKILL);
    return done;
}

int opened(int folder, const char* name, int flags, mode_t mode) {
    char path[kLongest];
    path_below(folder, name, path);
    return int(unless(happens(kOpen, path), [&] { return syscall(SYS_openat, folder, name, flags, mode); }));
}
mode_t mode_of(int flags, va_list arguments) { return flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0; }
int renamed(int folder, const char* from, int to_folder, const char* to, unsigned flags) {
    char path[kLongest];
    path_below(to_folder, to, path);
    return int(
        unless(happens(kRename, path), [&] { return syscall(SYS_renameat2, folder, from, to_folder, to, flags); }));
}
int removed(int folder, const char* name, int flags) {
    char path[kLongest];
    path_below(folder, name, path);
    return int(unless(happens(kRemove, path), [&] { return syscall(SYS_unlinkat, folder, name, flags); }));
}
void* mapped(void* place, size_t bytes, int protection, int flags, int fd, off64_t offset) {
    const Now now = fd >= 0 ? happens(kMap, fd) : Now{};
    return reinterpret_cast<void*>(
        unless(now, [&] { return syscall(SYS_mmap, place, bytes, protection, flags, fd, offset); }));
}

}  // namespace

// The functions of the C library under whose names programs make these calls.
extern "C" {

int open(const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return opened(AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return opened(AT_FDCWD, path, flags, mode);
}
int openat(int folder, const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return opened(folder, path, flags, mode);
}
int openat64(int folder, const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return opened(folder, path, flags, mode);
}

ssize_t read(int fd, void* to, size_t bytes) {
    return moved(happens(kRead, fd), bytes, [&](size_t n) { return syscall(SYS_read, fd, to, n); });
}
ssize_t pread(int fd, void* to, size_t bytes, off_t offset) {
    return moved(happens(kRead, fd), bytes, [&](size_t n) { return syscall(SYS_pread64, fd, to, n, offset); });
}
ssize_t pread64(int fd, void* to, size_t bytes, off64_t offset) { return pread(fd, to, bytes, offset); }
ssize_t write(int fd, const void* from, size_t bytes) {
    return moved(happens(kWrite, fd), bytes, [&](size_t n) { return syscall(SYS_write, fd, from, n); });
}
ssize_t pwrite(int fd, const void* from, size_t bytes, off_t offset) {
    return moved(happens(kWrite, fd), bytes, [&](size_t n) { return syscall(SYS_pwrite64, fd, from, n, offset); });
}
ssize_t pwrite64(int fd, const void* from, size_t bytes, off64_t offset) { return pwrite(fd, from, bytes, offset); }

int fsync(int fd) {
    return int(unless(happens(kSync, fd), [&] { return syscall(SYS_fsync, fd); }));
}
int fdatasync(int fd) {
    return int(unless(happens(kSync, fd), [&] { return syscall(SYS_fdatasync, fd); }));
}
int close(int fd) {
    const Now now = happens(kClose, fd);
    const long result = syscall(SYS_close, fd);  // Linux has given the descriptor back whatever it reports
    return int(unless(now, [&] { return result; }));
}

int rename(const char* from, const char* to) noexcept { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int folder, const char* from, int to_folder, const char* to) noexcept {
    return renamed(folder, from, to_folder, to, 0);
}
int renameat2(int folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
    return renamed(folder, from, to_folder, to, flags);
}
int unlink(const char* path) noexcept { return removed(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char* path, int flags) noexcept { return removed(folder, path, flags); }
int rmdir(const char* path) noexcept { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int mkdir(const char* path, mode_t mode) noexcept {
    return int(unless(happens(kMakeFolder, path), [&] { return syscall(SYS_mkdirat, AT_FDCWD, path, mode); }));
}
int flock(int fd, int operation) noexcept {
    return int(unless(happens(kLock, fd), [&] { return syscall(SYS_flock, fd, operation); }));
}

void* mmap(void* place, size_t bytes, int protection, int flags, int fd, off_t offset) noexcept {
    return mapped(place, bytes, protection, flags, fd, offset);
}
void* mmap64(void* place, size_t bytes, int protection, int flags, int fd, off64_t offset) noexcept {
    return mapped(place, bytes, protection, flags, fd, offset);
}

int statvfs(const char* path, struct statvfs* info) noexcept {
    static const auto real = reinterpret_cast<int (*)(const char*, struct statvfs*)>(dlsym(RTLD_NEXT, "statvfs"));
    return int(unless(happens(kFreeSpace, path), [&] { return real(path, info); }));
}
}
