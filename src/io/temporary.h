// Files and folders that are not complete yet. Their names are unique and nobody else's, and whoever makes one holds a
// lock on it, so that what a process left that has died is recognised.
#pragma once

#include <string>
#include <vector>

// A new, empty file or folder under a temporary name. Unless rename_to() succeeded, the destructor removes it.
class Temporary {
  public:
    enum class Kind { file, folder };
    // Makes it in a folder, which must be there.
    Temporary(const std::string& folder, Kind kind);
    ~Temporary();
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;

    const std::string& path() const { return path_; }
    // Writes to a file go here.
    int fd() const { return fd_; }
    // Brings it to the disk, then renames it to its final name. A file replaces what is there; a folder takes only a
    // free name, or that of an empty folder.
    void rename_to(const std::string& target);

  private:
    std::string path_;
    int fd_ = -1;
};

// Removes the temporary files and folders that no living process holds, and returns their paths. On a file system
// without locks these are the ones that nobody has changed for a day.
std::vector<std::string> remove_stale_temporaries(const std::string& folder);
