#include "runtime/ranks/address_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "runtime/error.h"
#include "runtime/ranks/socket.h"

namespace ranks {

namespace {

constexpr const char* kFirstLine = "rank 0 of train_relora listens";
constexpr const char* kLastLine = "end";

// A line holds what it says even where a nonce has a line's end in it.
std::string one_line(std::string text) {
    for (char& c : text)
        if (c == '\n') c = ' ';
    return text;
}

}  // namespace

std::string AddressFile::path(const std::string& folder, const std::string& nonce) {
    std::string name = nonce.empty() ? "start" : nonce.substr(0, 100);
    for (char& c : name)
        if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '-') c = '_';
    return folder + "/.ranks-" + name;
}

void AddressFile::write(const std::string& path) const {
    std::error_code ignored;  // a folder that is missing shows when the file is written
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
    std::string text = str(kFirstLine, '\n', one_line(nonce), '\n', token, '\n', host, '\n', port, '\n');
    for (const std::string& address : addresses) text += address + "\n";
    text += str(kLastLine, '\n');
    const std::string temporary = str(path, ".", token);
    {
        const Descriptor file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        const bool written =
            file && ::write(file.get(), text.data(), text.size()) == ssize_t(text.size()) && fsync(file.get()) == 0;
        const int error = errno;
        if (!written) unlink(temporary.c_str());
        CHECK(written, "cannot write ", temporary, ", by which the other ranks find rank 0: ", std::strerror(error));
    }
    const bool renamed = std::rename(temporary.c_str(), path.c_str()) == 0;
    CHECK(renamed, "cannot rename ", temporary, ": ", std::strerror(errno));
}

bool AddressFile::read(const std::string& path) {
    // A network's file system may go on saying that a file is missing until its folder is read again.
    if (DIR* folder = opendir(std::filesystem::path(path).parent_path().c_str())) closedir(folder);
    std::ifstream file(path);
    std::string first, nonce_there, port_text, line;
    if (!std::getline(file, first) || first != kFirstLine) return false;
    if (!std::getline(file, nonce_there) || nonce_there != one_line(nonce)) return false;
    if (!std::getline(file, token) || !std::getline(file, host) || !(file >> port) || !std::getline(file, port_text))
        return false;
    addresses.clear();
    while (std::getline(file, line)) {
        if (line == kLastLine) return port > 0 && port <= 65535;
        addresses.push_back(line);
    }
    return false;
}

std::string random_word() {
    std::random_device random;
    char text[17];
    std::snprintf(text, sizeof text, "%08x%08x", random(), random());
    return text;
}

}  // namespace ranks
