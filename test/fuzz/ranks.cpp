// What the processes of a run say to each other, and the file by which they meet.
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/ranks/address_file.h"
#include "runtime/ranks/connection.h"
#include "runtime/ranks/messages.h"
#include "test/fuzz/targets.h"

namespace {

template <class Parser>
void takes_or_calls_malformed(const Parser& parser) {
    try {
        parser();
    } catch (const ranks::Malformed&) {
    }
}

void hello(std::string_view input) {
    takes_or_calls_malformed([&] {
        const ranks::Hello hello = ranks::Hello::unpack(input);
        if (hello.protocol == ranks::kProtocol) CHECK(hello.packed() == input, "a greeting comes back otherwise");
    });
}

void failure_news(std::string_view input) {
    takes_or_calls_malformed([&] { ranks::FailureNews::unpack(input); });
}

void frames(std::string_view input) {
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0, "no pair of sockets");
    const ranks::Descriptor sender(ends[0]);
    ranks::Connection connection(ranks::Descriptor(ends[1]), "a fuzzer", 1 << 16);
    input = input.substr(0, 1 << 14);  // what a socket takes at once
    CHECK(write(ends[0], input.data(), input.size()) == ssize_t(input.size()), "the socket is full");
    takes_or_calls_malformed([&] {
        connection.receive();
        while (connection.next()) {
        }
    });
}

void address_file(std::string_view input) {
    ranks::AddressFile file;
    file.read(fuzz::file_with(input, "address"));
}

void differences(std::string_view input) {
    const size_t middle = input.size() / 2;
    CHECK(ranks::first_difference(input, input).empty(), "a text differs from itself");
    ranks::first_difference(input.substr(0, middle), input.substr(middle));
}

constexpr fuzz::Target kTargets[] = {{"hello", hello},
                                     {"failure_news", failure_news},
                                     {"frames", frames},
                                     {"address_file", address_file},
                                     {"differences", differences}};

}  // namespace

std::span<const fuzz::Target> fuzz::of_ranks() { return kTargets; }
