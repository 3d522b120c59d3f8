// A folder that is held open, so that it is found again after it, or one above it, has got another name.
#pragma once

#include <sys/types.h>

#include <string>

class HeldFolder {
  public:
    // Opens the folder; throws where there is none.
    explicit HeldFolder(const std::string& path);
    ~HeldFolder();
    HeldFolder(const HeldFolder&) = delete;
    HeldFolder& operator=(const HeldFolder&) = delete;

    const std::string& path() const { return path_; }
    // Whether the path still leads to it.
    bool in_place() const { return leads_here(path_); }
    // A path that leads to it now; "" once it has been removed.
    std::string place() const;

  private:
    bool leads_here(const std::string& path) const;

    const std::string path_;
    int fd_;
    dev_t device_ = 0;
    ino_t number_ = 0;
};
