// What the ranks say to each other when they meet and when one fails, and how it is worded for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ranks {

// The version of what goes over the line. Other versions of the program have others.
inline constexpr int64_t kProtocol = 1;
// The most bytes of what a rank says when it comes.
inline constexpr size_t kMostOfHello = size_t(1) << 20;

// What a rank says when it comes.
struct Hello {
    int64_t protocol = kProtocol;  // the first word, so that any version understands it; all else is that version's
    std::string nonce, token;      // the token is that of the file in the shared folder by which rank 0 was found
    int size = 0, rank = 0;
    std::string machine, host;
    std::string agreement;

    std::string packed() const;
    static Hello unpack(std::string_view body);  // throws Malformed
};

// What rank 0 says to all when a rank has failed. `message` is whole: it names the rank.
struct FailureNews {
    int rank = 0, exit_code = 1;
    std::string message;

    std::string packed() const;
    static FailureNews unpack(std::string_view body);  // throws Malformed
};

// "rank 2", "ranks 2, 3, 5"; of more than a dozen the first ones and how many more there are.
std::string ranks_text(const std::vector<int>& ranks);

// The first lines where two texts differ: "`lr = 2`, where rank 0 has `lr = 1`". Empty if they are the same.
std::string first_difference(std::string_view text, std::string_view rank_0s);

}  // namespace ranks
