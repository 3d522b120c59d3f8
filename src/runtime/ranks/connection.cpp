#include "runtime/ranks/connection.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace ranks {

namespace {

// Every frame begins with this, so that another program's bytes are told at once. Machines of another byte order are
// none of this program's, and fail here.
constexpr uint32_t kMagic = 0x614c6552;

struct Header {
    uint32_t magic;
    Kind kind;
    uint64_t bytes;
};
static_assert(sizeof(Header) == 16);

// The most that one call takes in, so that one busy connection doesn't keep the others waiting.
constexpr size_t kMostAtOnce = size_t(4) << 20;

}  // namespace

Packer& Packer::add(int64_t value) {
    body_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
}
Packer& Packer::add(std::string_view text) {
    add(int64_t(text.size()));
    body_.append(text);
    return *this;
}

int64_t Unpacker::number() {
    int64_t value = 0;
    if (rest_.size() < sizeof value) throw Malformed();
    std::memcpy(&value, rest_.data(), sizeof value);
    rest_.remove_prefix(sizeof value);
    return value;
}
int Unpacker::number(int64_t least, int64_t most) {
    const int64_t value = number();
    if (value < least || value > most) throw Malformed();
    return int(value);
}
std::string Unpacker::text() {
    const int64_t size = number();
    if (size < 0 || size_t(size) > rest_.size()) throw Malformed();
    std::string text(rest_.substr(0, size_t(size)));
    rest_.remove_prefix(size_t(size));
    return text;
}
void Unpacker::end() const {
    if (!rest_.empty()) throw Malformed();
}

bool Connection::receive() {
    char buffer[65536];
    for (size_t taken = 0; taken < kMostAtOnce;) {
        const ssize_t got = recv(fd_.get(), buffer, sizeof buffer, 0);
        if (got > 0) {
            in_.append(buffer, size_t(got));
            taken += size_t(got);
        } else if (got == 0) {
            return false;
        } else if (errno != EINTR) {
            return errno == EAGAIN || errno == EWOULDBLOCK;
        }
    }
    return true;
}

std::optional<Frame> Connection::next() {
    Header header{};
    if (in_.size() - read_ < sizeof header) return {};
    std::memcpy(&header, in_.data() + read_, sizeof header);
    if (header.magic != kMagic || header.bytes > limit) throw Malformed();
    if (in_.size() - read_ - sizeof header < header.bytes) return {};
    Frame frame{header.kind, in_.substr(read_ + sizeof header, header.bytes)};
    read_ += sizeof header + header.bytes;
    if (read_ == in_.size()) {
        in_.clear();
        read_ = 0;
    } else if (read_ > kMostAtOnce) {
        in_.erase(0, read_);
        read_ = 0;
    }
    return frame;
}

void Connection::send(Kind kind, std::string_view body) {
    if (broken_) return;
    const Header header{kMagic, kind, body.size()};
    out_.append(reinterpret_cast<const char*>(&header), sizeof header);
    out_.append(body);
    flush();
}

void Connection::flush() {
    while (!broken_ && has_more_to_send()) {
        const ssize_t sent = ::send(fd_.get(), out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
        if (sent >= 0)
            sent_ += size_t(sent);
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            return;
        else if (errno != EINTR)
            broken_ = true;
    }
    out_.clear();
    sent_ = 0;
}

void Connection::end_sending() {
    flush();
    shutdown(fd_.get(), SHUT_WR);
}

}  // namespace ranks
