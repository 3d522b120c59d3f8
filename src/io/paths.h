// Where things are: names, folders and patterns. Every error is one of ours and names the path.
#pragma once

#include <string>
#include <vector>

// Whether there is something of that name, at the end of its links. Throws where that can't be told.
bool path_exists(const std::string& path);

// The names in a folder, sorted; none where there is no such folder.
std::vector<std::string> names_in(const std::string& folder);

// The folder that a path lies in.
std::string parent_of(const std::string& path);

// The path for a process in another working directory.
std::string absolute_path(const std::string& path);

// The files that match a shell pattern, sorted by name. A path that exists is taken as it is, even if it has the
// characters of a pattern.
std::vector<std::string> matching_files(const std::string& pattern);
// The same; a pattern that matches no file is an error.
std::vector<std::string> glob_files(const std::string& pattern);
// The same pattern for a process in another working directory.
std::string absolute_pattern(const std::string& pattern);
