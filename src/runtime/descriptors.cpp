#include "runtime/descriptors.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

namespace {

constexpr rlim_t kOpenFiles = 65536;

}  // namespace

void prepare_descriptors() {
    for (int fd; (fd = open("/dev/null", O_RDWR)) >= 0;) {
        if (fd <= STDERR_FILENO) continue;  // open() takes the lowest that is free
        close(fd);
        break;
    }
    rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
    files.rlim_cur = std::max(files.rlim_cur, std::min(files.rlim_max, kOpenFiles));
    setrlimit(RLIMIT_NOFILE, &files);
}
