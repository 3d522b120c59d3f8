// TCP sockets as the ranks need them: none of them blocks, and none outlives an exec.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace ranks {

// An open file descriptor, closed at the end.
class Descriptor {
  public:
    Descriptor() = default;
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor();
    Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }

  private:
    int fd_ = -1;
};

// "ADDRESS:PORT", with brackets around an IPv6 address.
std::string endpoint(const std::string& address, int port);

// Listens on a port (0: any free one), of all interfaces unless `address` is one of the loopback interface. Leaves the
// reason in `problem` and returns none where that can't be.
Descriptor listen_on(const std::string& address, int port, std::string& problem);
// Takes over a socket that was inherited as a number; none where it is no socket that listens.
Descriptor inherit_listener(int fd);
// The port that a socket listens on.
int port_of(const Descriptor& listener);
// Accepts a connection, if one is there; `peer` becomes its address.
Descriptor accept_from(const Descriptor& listener, std::string& peer);

// Connects to a name or address of either family, within these seconds. Leaves the reason in `problem` and returns none
// where that fails.
Descriptor connect_to(const std::string& address, int port, double seconds, std::string& problem);

// Whether a name or an address is that of the loopback interface.
bool is_loopback(const std::string& address);
// The addresses by which other machines may reach this one.
std::vector<std::string> own_addresses();
// The name of this machine.
std::string host_name();
// Tells this machine from others, also where two have the same name.
std::string machine_id();

}  // namespace ranks
