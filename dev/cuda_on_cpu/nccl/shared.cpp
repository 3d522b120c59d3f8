#include "dev/cuda_on_cpu/nccl/shared.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "dev/cuda_on_cpu/executor/options.h"

namespace nccl {

const char* const kNamePrefix = "/executor_nccl_";

namespace {

// The state and the start of a process, from the fields behind its name in /proc/ID/stat.
bool look_up(int64_t id, char& state, int64_t& start) {
    char text[1024];
    FILE* const file = fopen(("/proc/" + std::to_string(id) + "/stat").c_str(), "re");
    if (!file) return false;
    const size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = 0;
    const char* field = strrchr(text, ')');
    if (!field || sscanf(field, ") %c", &state) != 1) return false;
    field += 2;
    for (int number = 3; number < 22; number++)
        if (!(field = strchr(field + 1, ' '))) return false;
    start = atoll(field);
    return true;
}

size_t whole_pages(size_t bytes) { return (bytes + 4095) / 4096 * 4096; }

// A file whose lock is held as long as the object lives.
class LockedFile {
  public:
    LockedFile(const std::string& name, int flags) {
        // A file whose name was removed while this waited for the lock is another communicator's.
        for (struct stat found; (descriptor_ = shm_open(name.c_str(), flags | O_RDWR | O_CLOEXEC, 0600)) >= 0;) {
            if (flock(descriptor_, LOCK_EX) == 0 && fstat(descriptor_, &found) == 0 && found.st_nlink > 0) {
                bytes_ = size_t(found.st_size);
                break;
            }
            close(descriptor_);
        }
    }
    ~LockedFile() {
        if (descriptor_ < 0) return;
        flock(descriptor_, LOCK_UN);  // a mapping would keep the lock beyond close
        close(descriptor_);
    }
    LockedFile(const LockedFile&) = delete;
    bool open() const { return descriptor_ >= 0; }
    size_t bytes() const { return bytes_; }
    bool resize(size_t bytes) { return ftruncate(descriptor_, off_t(bytes)) == 0; }
    void* map(size_t bytes) const {
        void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_, 0);
        return memory == MAP_FAILED ? nullptr : memory;
    }

  private:
    int descriptor_ = -1;
    size_t bytes_ = 0;
};

}  // namespace

Process Process::mine() {
    Process process;
    char state;
    process.id = getpid();
    look_up(process.id, state, process.start);
    return process;
}
bool Process::alive() const {
    char state;
    int64_t now;
    return look_up(id, state, now) && now == start && state != 'Z' && state != 'X';
}

void Channel::write(const void* from, size_t bytes) {
    const uint64_t position = written.load(std::memory_order_relaxed);
    const size_t at = position % kBytes, first = std::min(bytes, kBytes - at);
    memcpy(ring + at, from, first);
    memcpy(ring, static_cast<const char*>(from) + first, bytes - first);
    written.store(position + bytes, std::memory_order_release);
}
void Channel::take(void* to, size_t bytes) {
    const uint64_t position = read.load(std::memory_order_relaxed);
    const size_t at = position % kBytes, first = std::min(bytes, kBytes - at);
    memcpy(to, ring + at, first);
    memcpy(static_cast<char*>(to) + first, ring, bytes - first);
    read.store(position + bytes, std::memory_order_release);
}

size_t Shared::bytes() const { return whole_pages(sizeof(Header)) + sizeof(Channel) * size_t(ranks_) * size_t(ranks_); }

Shared::Shared(const std::string& name, int ranks, int rank, int device) : name_(name), ranks_(ranks), rank_(rank) {
    LockedFile file(name, O_CREAT);
    if (!file.open() || (file.bytes() == 0 && !file.resize(bytes()))) {
        problem_ = "no shared memory " + name + ": " + strerror(errno);
        return;
    }
    void* const memory =
        file.map(bytes());  // beyond the file's end, if other ranks know of fewer, where nothing is touched
    if (!memory) {
        problem_ = "the shared memory " + name + " cannot be mapped: " + strerror(errno);
        return;
    }
    header_ = static_cast<Header*>(memory);
    channels_ = reinterpret_cast<Channel*>(static_cast<char*>(memory) + whole_pages(sizeof(Header)));
    if (file.bytes() != 0 && file.bytes() != bytes())
        refuse("rank " + std::to_string(rank) + " was told of " + std::to_string(ranks) +
               " ranks, and another one of another number");
    else
        join(device);
    if (header_->refused || everyone_came()) shm_unlink(name.c_str());
}

void Shared::refuse(const std::string& why) {
    if (header_->refused) return;
    snprintf(header_->why, sizeof header_->why, "%s", why.c_str());
    header_->refused = 1;
}

// With the file locked.
void Shared::join(int device) {
    if (me().state != State::absent) return refuse("two processes want to be rank " + std::to_string(rank_));
    for (int r = 0; r < ranks_; r++) {
        const Rank& other = header_->rank[r];
        if (other.state == State::absent || other.device != device || executor::options().shared_gpu) continue;
        return refuse("Duplicate GPU: rank " + std::to_string(std::min(rank_, r)) + " and rank " +
                      std::to_string(std::max(rank_, r)) + " are both on device " + std::to_string(device));
    }
    me().process = Process::mine();
    me().device = device;
    me().state = State::here;
    header_->came++;
}

Shared::~Shared() {
    if (!header_) return;
    if (!everyone_came()) {
        header_->left_early = 1;
        shm_unlink(name_.c_str());
    }
    munmap(header_, bytes());
}

std::string Shared::broken() const {
    for (int r = 0; r < ranks_; r++) {
        const Rank& rank = header_->rank[r];
        if (r == rank_) continue;
        const std::string who = "rank " + std::to_string(r) + " (process " + std::to_string(rank.process.id) + ")";
        if (rank.state == State::aborted) return who + " has aborted the communicator";
        if (rank.state == State::here && !rank.process.alive()) return who + " has ended";
    }
    return header_->left_early && !everyone_came() ? "another rank could not join the communicator" : "";
}

bool Shared::demanded() const {
    for (int r = 0; r < ranks_; r++)
        if (r != rank_ && header_->rank[r].waits_for >> rank_ & 1) return true;
    return false;
}

void remove_leftovers() {
    DIR* const folder = opendir("/dev/shm");
    if (!folder) return;
    const std::string prefix = kNamePrefix + 1;
    while (const dirent* const entry = readdir(folder)) {
        if (prefix.compare(0, std::string::npos, entry->d_name, std::min(prefix.size(), strlen(entry->d_name))))
            continue;
        const std::string name = std::string("/") + entry->d_name;
        const LockedFile file(name, 0);
        void* const memory = file.open() && file.bytes() > 0 ? file.map(file.bytes()) : nullptr;
        if (memory && Shared::abandoned(memory)) shm_unlink(name.c_str());
        if (memory) munmap(memory, file.bytes());
    }
    closedir(folder);
}

bool Shared::abandoned(const void* memory) {
    const auto* const header = static_cast<const Header*>(memory);
    const auto waits = [](const Rank& rank) { return rank.state != State::absent && rank.process.alive(); };
    return header->came > 0 && std::none_of(header->rank, header->rank + kMostRanks, waits);
}

}  // namespace nccl
