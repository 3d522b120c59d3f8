// A lock on a folder, so that two programs never write into one.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

// Holds FOLDER/lock, which names its owner: host, process, and the time. The kernel frees it when the process ends,
// however that comes. A file system may have no locks, or ones that another machine doesn't see: the owner touches the
// file again and again, and a record that nobody has touched for `kStaleAfter` belongs to nobody.
class FolderLock {
  public:
    static constexpr std::chrono::seconds kTouchedEvery{10}, kStaleAfter{60};

    // Throws where the folder has another owner. `say` gets a line if it takes a while to find out.
    FolderLock(const std::string& folder, const std::function<void(const std::string&)>& say);
    ~FolderLock();
    FolderLock(const FolderLock&) = delete;
    FolderLock& operator=(const FolderLock&) = delete;

    // Throws where another process has taken the folder over, as it may where this one was stopped for long.
    void check() const;

  private:
    bool held() const { return record() == record_; }
    // What the file holds; nothing where it can't be read, and errno says why.
    std::optional<std::string> record() const;
    void wait_until_stale(const std::function<void(const std::string&)>& say) const;
    void touch();

    const std::string path_;
    int fd_ = -1;
    std::string record_;  // what the file holds while this is its owner
    std::mutex mutex_;
    std::condition_variable ends_;
    bool ended_ = false;
    std::thread toucher_;
};
