#include "runtime/ranks/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>

#include "runtime/clock.h"

namespace ranks {

namespace {

constexpr int kBacklog = 1024;

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

void set(int fd, int level, int option, int value) { setsockopt(fd, level, option, &value, sizeof value); }

// Small messages go out at once, and the kernel asks a silent peer whether it still is there.
void tune(int fd) {
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 30);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

std::string numeric(const sockaddr* address, socklen_t length) {
    char host[NI_MAXHOST] = "?";
    getnameinfo(address, length, host, sizeof host, nullptr, 0, NI_NUMERICHOST);
    const std::string text = host;
    return text.starts_with("::ffff:") ? text.substr(7) : text;
}

Descriptor listen_at(int family, const sockaddr* address, socklen_t length) {
    Descriptor fd(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return {};
    set(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (family == AF_INET6) set(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (bind(fd.get(), address, length) != 0 || listen(fd.get(), kBacklog) != 0) return {};
    return fd;
}

Descriptor listen_ipv4(const char* address, int port) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(uint16_t(port));
    inet_pton(AF_INET, address, &at.sin_addr);
    return listen_at(AF_INET, reinterpret_cast<const sockaddr*>(&at), sizeof at);
}
// A socket of IPv6 for any address takes connections of IPv4, too.
Descriptor listen_ipv6(const char* address, int port) {
    sockaddr_in6 at{};
    at.sin6_family = AF_INET6;
    at.sin6_port = htons(uint16_t(port));
    inet_pton(AF_INET6, address, &at.sin6_addr);
    return listen_at(AF_INET6, reinterpret_cast<const sockaddr*>(&at), sizeof at);
}

// Whether a socket is connected with itself. Where nobody listens on a port of this machine, the kernel may choose that
// very port for the connection's own end.
bool meets_itself(int fd) {
    sockaddr_storage own{}, peer{};
    socklen_t own_length = sizeof own, peer_length = sizeof peer;
    return getsockname(fd, reinterpret_cast<sockaddr*>(&own), &own_length) == 0 &&
           getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_length) == 0 && own_length == peer_length &&
           std::memcmp(&own, &peer, own_length) == 0;
}

// Waits until a connection that was begun is there; the error number where it fails.
int finish_connect(int fd, double seconds) {
    pollfd wait{.fd = fd, .events = POLLOUT, .revents = 0};
    const double end = seconds_now() + seconds;
    int ready = 0;
    do {
        ready = poll(&wait, 1, std::max(0, int((end - seconds_now()) * 1000) + 1));
    } while (ready < 0 && errno == EINTR && seconds_now() < end);
    if (ready <= 0) return ETIMEDOUT;
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    return error;
}

}  // namespace

Descriptor::~Descriptor() {
    if (fd_ >= 0) close(fd_);
}

std::string endpoint(const std::string& address, int port) {
    const bool brackets = address.find(':') != address.npos;
    return (brackets ? "[" + address + "]" : address) + ":" + std::to_string(port);
}

Descriptor listen_on(const std::string& address, int port, std::string& problem) {
    Descriptor listener;
    if (address == "::1") {
        listener = listen_ipv6("::1", port);
    } else if (is_loopback(address)) {
        listener = listen_ipv4(address == "localhost" ? "127.0.0.1" : address.c_str(), port);
    } else {
        listener = listen_ipv6("::", port);
        // A machine without IPv6 has only the other kind.
        if (!listener && errno != EADDRINUSE && errno != EACCES) listener = listen_ipv4("0.0.0.0", port);
    }
    if (!listener) problem = std::strerror(errno);
    return listener;
}

Descriptor inherit_listener(int fd) {
    int listens = 0;
    socklen_t length = sizeof listens;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0 || !listens) return {};
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return Descriptor(fd);
}

int port_of(const Descriptor& listener) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    if (getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
    return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                                               : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

Descriptor accept_from(const Descriptor& listener, std::string& peer) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    Descriptor fd(
        accept4(listener.get(), reinterpret_cast<sockaddr*>(&address), &length, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) return fd;
    tune(fd.get());
    peer = numeric(reinterpret_cast<const sockaddr*>(&address), length);
    return fd;
}

Descriptor connect_to(const std::string& address, int port, double seconds, std::string& problem) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    addrinfo* list = nullptr;
    const int error = getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &list);
    if (error != 0) {
        problem = "its address can't be found: " + std::string(gai_strerror(error));
        return {};
    }
    const Addresses addresses(list, freeaddrinfo);
    const double end = seconds_now() + seconds;
    for (const addrinfo* one = list; one; one = one->ai_next) {
        Descriptor fd(socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (!fd) continue;
        int failed = 0;
        if (connect(fd.get(), one->ai_addr, one->ai_addrlen) != 0)
            failed = errno == EINPROGRESS ? finish_connect(fd.get(), end - seconds_now()) : errno;
        if (failed == 0 && meets_itself(fd.get())) failed = ECONNREFUSED;
        if (failed == 0) {
            tune(fd.get());
            return fd;
        }
        problem = std::strerror(failed);
    }
    return {};
}

bool is_loopback(const std::string& address) {
    return address == "localhost" || address == "::1" || address.starts_with("127.");
}

std::vector<std::string> own_addresses() {
    std::vector<std::string> addresses;
    ifaddrs* list = nullptr;
    if (getifaddrs(&list) != 0) return addresses;
    for (const ifaddrs* one = list; one; one = one->ifa_next) {
        if (!one->ifa_addr || !(one->ifa_flags & IFF_UP) || (one->ifa_flags & IFF_LOOPBACK)) continue;
        if (one->ifa_addr->sa_family == AF_INET) {
            addresses.push_back(numeric(one->ifa_addr, sizeof(sockaddr_in)));
        } else if (one->ifa_addr->sa_family == AF_INET6) {
            // Addresses of one link only say nothing to another machine.
            const auto& ipv6 = reinterpret_cast<const sockaddr_in6&>(*one->ifa_addr);
            if (!IN6_IS_ADDR_LINKLOCAL(&ipv6.sin6_addr)) addresses.push_back(numeric(one->ifa_addr, sizeof ipv6));
        }
    }
    freeifaddrs(list);
    return addresses;
}

std::string host_name() {
    char name[256] = "";
    return gethostname(name, sizeof name - 1) == 0 && name[0] ? name : "unknown";
}

std::string machine_id() {
    std::string boot;
    std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
    return host_name() + "/" + boot;
}

}  // namespace ranks
