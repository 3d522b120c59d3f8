#include "io/paths.h"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "io/files.h"
#include "runtime/error.h"

namespace fs = std::filesystem;

bool path_exists(const std::string& path) {
    struct stat info;
    if (stat(path.c_str(), &info) == 0) return true;
    if (errno != ENOENT && errno != ENOTDIR) fail_errno("look for", path, errno);
    return false;
}

std::vector<std::string> names_in(const std::string& folder) {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
        names.push_back(entry->path().filename().string());
    const bool none = error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory;
    if (error && !none) fail_errno("read the folder", folder, error.value());
    std::sort(names.begin(), names.end());
    return names;
}

std::string parent_of(const std::string& path) {
    const fs::path parent = fs::path(path).parent_path();
    return parent.empty() ? "." : parent.string();
}

std::string absolute_path(const std::string& path) {
    if (path.starts_with('/')) return path;
    std::error_code error;
    const fs::path here = fs::current_path(error);
    if (error) fail_errno("find the working directory for", path, error.value());
    return here / path;
}

std::vector<std::string> matching_files(const std::string& pattern) {
    std::error_code ignored;
    if (fs::exists(pattern, ignored) && !fs::is_directory(pattern, ignored)) return {pattern};
    glob_t found;
    const int result = glob(pattern.c_str(), GLOB_NOSORT | GLOB_TILDE | GLOB_BRACE, nullptr, &found);
    std::vector<std::string> paths;
    if (result == 0) paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
    globfree(&found);
    std::erase_if(paths, [&](const std::string& path) { return fs::is_directory(path, ignored); });
    std::sort(paths.begin(), paths.end());
    return paths;
}

std::vector<std::string> glob_files(const std::string& pattern) {
    std::vector<std::string> paths = matching_files(pattern);
    USAGE_CHECK(!paths.empty(), "no file matches ", pattern);
    return paths;
}

std::string absolute_pattern(const std::string& pattern) {
    if (pattern.empty() || pattern.starts_with('/') || pattern.starts_with('~')) return pattern;
    const std::string here = absolute_path("");
    if (path_exists(pattern)) return here + pattern;
    std::string escaped;
    for (const char c : here) {
        if (std::string_view("\\*?[]{},~").find(c) != std::string_view::npos) escaped += '\\';
        escaped += c;
    }
    return escaped + pattern;
}
