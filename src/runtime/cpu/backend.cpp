// The CPU as a device: its memory is the process's own.
#include "runtime/backend.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "runtime/cpu/memory_limits.h"
#include "runtime/cpu/side_thread.h"
#include "runtime/cpu/transfers.h"

namespace device {
namespace {

class CpuBackend : public Backend {
  public:
    std::string description() override {
        std::ifstream cpuinfo("/proc/cpuinfo");
        for (std::string line; std::getline(cpuinfo, line);)
            if (line.starts_with("model name") && line.find(": ") != std::string::npos)
                return line.substr(line.find(": ") + 2);
        return "CPU";
    }

    void* allocate(size_t bytes) override {
        void* block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED) return nullptr;
        madvise(block, bytes, MADV_HUGEPAGE);
        return block;
    }
    void release(void* block, size_t bytes) override { munmap(block, bytes); }
    void* allocate_host(size_t bytes) override { return std::calloc(bytes, 1); }
    void release_host(void* block) override { std::free(block); }

    size_t bytes_available() override { return cpu::memory_available(); }
    size_t bytes_in_use() override {
        std::ifstream statm("/proc/self/statm");
        size_t total = 0, resident = 0;
        statm >> total >> resident;
        return resident * size_t(sysconf(_SC_PAGESIZE));
    }

    void copy(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
    void wait() override {}

    std::unique_ptr<UploadSlot> upload_slot(size_t bytes) override {
        return std::make_unique<cpu::Upload>(*this, bytes);
    }
    std::unique_ptr<DownloadSlot> download_slot(size_t bytes) override {
        return std::make_unique<cpu::Download>(*this, bytes);
    }
    std::unique_ptr<Interval> interval() override { return std::make_unique<cpu::ClockInterval>(); }
    std::unique_ptr<Replay> replay() override { return std::make_unique<cpu::DirectRun>(); }
    std::unique_ptr<SideWork> side() override { return std::make_unique<cpu::SideThread>(); }
    int count() override { return 1; }
    void use(int) override {}
};

}  // namespace

Backend& cpu_backend() {
    static CpuBackend backend;
    return backend;
}

}  // namespace device
