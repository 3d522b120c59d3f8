// The file in a shared folder by which rank 0 says where it listens.
#pragma once

#include <string>
#include <vector>

namespace ranks {

struct AddressFile {
    std::string nonce;                   // the start that it belongs to
    std::string token;                   // a random word; who comes by this file repeats it
    std::string host;                    // rank 0's machine
    int port = 0;                        // where it listens
    std::vector<std::string> addresses;  // the machine's addresses, as other machines know it

    // The file of one start. Its name tells starts apart as far as a nonce can be part of a name; what it holds does
    // in any case.
    static std::string path(const std::string& folder, const std::string& nonce);
    // Appears whole, by a rename, and makes the folder if it isn't there.
    void write(const std::string& path) const;
    // Returns false where there is no such file yet, or only that of another start.
    bool read(const std::string& path);
};

// A word that nobody else will draw.
std::string random_word();

}  // namespace ranks
