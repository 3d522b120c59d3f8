#include "runtime/cpu/spinning.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace {

// A fraction of a millisecond: longer than from one op to the next, much shorter than a turn of the scheduler.
constexpr const char* kSpins = "10000";

}  // namespace

void bound_spinning(char** argv) {
    if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;
    setenv("GOMP_SPINCOUNT", kSpins, 1);
    // By its own name, which a process is found by, and not as /proc/self/exe.
    std::error_code error;
    const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
    if (!error) execv(program.c_str(), argv);
}
