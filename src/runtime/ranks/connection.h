// The language of the ranks: frames, each a kind and a body, over a connection that never blocks.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "runtime/ranks/socket.h"

namespace ranks {

// What a frame is about. In brackets: who sends it, and what its body holds.
enum class Kind : uint32_t {
    hello = 1,  // a rank has come (to rank 0: Hello)
    accepted,   // this is rank 0, which waits for the others (from it: nothing)
    refused,    // there is no place for who has come (from rank 0: reason)
    welcome,    // all have come (from rank 0: whether to print where rank 0 is lost)
    alive,      // the sender lives (both ways: its progress)
    call,       // a rank joins a collective call (to rank 0: what call, what it gives)
    answer,     // all have joined it (from rank 0: what all have given)
    failing,    // a rank fails (to rank 0: exit code, message)
    failure,    // a rank has failed (from rank 0: rank, exit code, message)
};

struct Frame {
    Kind kind;
    std::string body;
};

// Bytes came that no rank of this program has sent.
class Malformed : public std::runtime_error {
  public:
    Malformed() : std::runtime_error("malformed") {}
};

// Writes a body: numbers as 8 bytes, texts with their length before them.
class Packer {
  public:
    Packer& add(int64_t value);
    Packer& add(std::string_view text);
    const std::string& body() const { return body_; }

  private:
    std::string body_;
};

// Reads a body in the same order; throws Malformed where it holds less, or more at the end.
class Unpacker {
  public:
    explicit Unpacker(std::string_view body) : rest_(body) {}
    int64_t number();
    // A number that has to lie in a range.
    int number(int64_t least, int64_t most);
    std::string text();
    bool done() const { return rest_.empty(); }
    void end() const;

  private:
    std::string_view rest_;
};

// A connected socket with what has come in and is not yet read, and what is to go out and is not yet sent.
class Connection {
  public:
    // `limit`: the most bytes that the body of a frame from there may have. Memory grows with what has come, not with
    // what a header claims.
    Connection(Descriptor fd, std::string peer, size_t limit)
        : limit(limit), fd_(std::move(fd)), peer_(std::move(peer)) {}

    // Takes in what has come. False where the connection has ended; what came before is there for next().
    bool receive();
    // The next whole frame, if there is one. Throws Malformed.
    std::optional<Frame> next();

    // Sends a frame, as far as the socket takes it; flush() tries the rest.
    void send(Kind kind, std::string_view body = {});
    void flush();
    bool has_more_to_send() const { return sent_ < out_.size(); }
    // Ends this direction, so that the peer finds the end of the connection behind all that was sent.
    void end_sending();

    int fd() const { return fd_.get(); }
    const std::string& peer() const { return peer_; }

    size_t limit;

  private:
    Descriptor fd_;
    std::string peer_;
    std::string in_, out_;
    size_t read_ = 0, sent_ = 0;
    bool broken_ = false;  // nothing can be sent any more; what has come may still be read
};

}  // namespace ranks
