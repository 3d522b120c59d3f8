// The part of a meeting of every rank but rank 0.
#include <poll.h>

#include <algorithm>
#include <cstdio>

#include "runtime/clock.h"
#include "runtime/ranks/address_file.h"
#include "runtime/ranks/meeting.h"
#include "runtime/ranks/messages.h"

namespace ranks {

namespace {

constexpr double kSaysWhom = 10;       // seconds between two lines that say that rank 0 is waited for
constexpr double kPause = 0.2;         // seconds between two tries to reach rank 0
constexpr double kConnectWithin = 3;   // seconds for a connection to an address
constexpr double kAnswerWithin = 5;    // seconds for rank 0's answer where other addresses may be the right ones
constexpr double kRefusedWithin = 10;  // seconds after which a refusal counts: an older start may still be ending

class Guest {
  public:
    Guest(const Place& place, const Meeting& meeting)
        : place_(place), meeting_(meeting), start_(seconds_now()), says_(start_ + kSaysWhom) {}

    Met meet() {
        USAGE_CHECK(!place_.address.empty() || !meeting_.shared_folder.empty(),
                    "nothing says where the ranks meet: set MASTER_ADDR to the machine of rank 0 and MASTER_PORT to a "
                    "free port there");
        CHECK(meeting_.agreement.size() < kMostOfHello / 2, "the ranks are to agree on a text of ",
              meeting_.agreement.size(), " bytes; the most is ", kMostOfHello / 2);
        for (;;) {
            refused_ = false;
            for (const std::string& address : addresses()) {
                Met met;
                if (try_at(address, met)) return met;
            }
            const double now = seconds_now();
            if (!refused_) refused_since_ = now;
            const double end = start_ + meeting_.patience;
            USAGE_CHECK(
                !refused_ || now < std::min(refused_since_ + std::min(kRefusedWithin, meeting_.patience / 2), end),
                refusal_);
            CHECK(now < end, nobody());
            poll(nullptr, 0, int(kPause * 1000));
            look_up();
        }
    }

  private:
    // Where rank 0 may be.
    std::vector<std::string> addresses() {
        if (!place_.address.empty()) {
            port_ = place_.port;
            return {place_.address};
        }
        file_.nonce = place_.nonce;
        if (!file_.read(AddressFile::path(meeting_.shared_folder, place_.nonce))) return {};
        port_ = file_.port;
        std::vector<std::string> all = file_.addresses;
        all.insert(file_.host == host_name() ? all.begin() : all.end(), "127.0.0.1");
        return all;
    }

    std::string nobody() const {
        const bool by_file = place_.address.empty();
        std::string text = str("rank ", place_.rank, ": rank 0 ",
                               by_file ? "was not found by a file in " + meeting_.shared_folder
                                       : "at " + endpoint(place_.address, place_.port) + " did not answer",
                               " within ", meeting_.patience, " s");
        return problem_.empty() ? text : text + " (" + problem_ + ")";
    }

    // Says from time to time who is waited for, and ends the wait where a signal asks for it.
    void look_up() {
        check_signals(!accepted_);
        const double now = seconds_now();
        if (accepted_ || now < says_) return;
        says_ = now + kSaysWhom;
        if (place_.local_rank == 0)
            std::fprintf(stderr, "rank %d: waiting for rank 0 at %s\n", place_.rank,
                         place_.address.empty() ? meeting_.shared_folder.c_str()
                                                : endpoint(place_.address, place_.port).c_str());
    }

    // Connects, says who has come, and waits for what rank 0 says. False where it is not found there.
    bool try_at(const std::string& address, Met& met) {
        std::string problem;
        Descriptor fd = connect_to(address, port_, kConnectWithin, problem);
        if (!fd) {
            problem_ = endpoint(address, port_) + ": " + problem;
            return false;
        }
        auto line = std::make_unique<Connection>(std::move(fd), endpoint(address, port_),
                                                 size_t(place_.size) * (kMostBytes + 64));
        line->send(Kind::hello, Hello{.nonce = place_.nonce,
                                      .token = file_.token,
                                      .size = place_.size,
                                      .rank = place_.rank,
                                      .machine = machine_id(),
                                      .host = host_name(),
                                      .agreement = meeting_.agreement}
                                    .packed());
        try {
            if (!is_welcome(*line, met)) return false;
        } catch (const Malformed&) {
            refuse(line->peer() + " belongs to another program; set MASTER_PORT to a free port");
            return false;
        }
        met.lines.push_back(std::move(line));
        return true;
    }

    bool is_welcome(Connection& line, Met& met) {
        const double until = place_.address.empty() ? seconds_now() + kAnswerWithin : start_ + meeting_.patience;
        double heard = seconds_now();
        for (;;) {
            pollfd wait{
                .fd = line.fd(), .events = short(POLLIN | (line.has_more_to_send() ? POLLOUT : 0)), .revents = 0};
            poll(&wait, 1, 200);
            line.flush();
            if (wait.revents & ~POLLOUT) {
                heard = seconds_now();
                const bool open = line.receive();
                while (const auto frame = line.next()) {
                    if (frame->kind == Kind::welcome) {
                        met.prints_without_0 = Unpacker(frame->body).number(0, 1) == 1;
                        return true;
                    }
                    hear(line, *frame);
                }
                CHECK(open || !accepted_, "rank 0 at ", line.peer(), " has ended");
                if (!open) {
                    if (!refused_) problem_ = line.peer() + " has closed the connection";
                    return false;
                }
            }
            look_up();
            if (!accepted_ && seconds_now() >= until) {
                problem_ = line.peer() + " has taken the connection, but says nothing";
                return false;
            }
            CHECK(seconds_now() < heard + meeting_.silence || !accepted_, "rank 0 at ", line.peer(),
                  " has not been heard of for ", meeting_.silence, " s");
        }
    }

    void hear(const Connection& line, const Frame& frame) {
        if (frame.kind == Kind::accepted) {
            accepted_ = true;
        } else if (frame.kind == Kind::refused) {
            refuse(str("port ", port_, " of ", line.peer().substr(0, line.peer().rfind(':')),
                       " belongs to another job: ", Unpacker(frame.body).text()));
        } else if (frame.kind == Kind::failure) {
            const FailureNews news = FailureNews::unpack(frame.body);
            throw PeerFailed(news.message, __FILE__, __LINE__, news.exit_code, false);
        } else if (frame.kind != Kind::alive) {
            throw Malformed();
        }
    }

    void refuse(const std::string& message) {
        refusal_ = str("rank ", place_.rank, ": ", message);
        problem_ = message;
        refused_ = true;
    }

    const Place& place_;
    const Meeting& meeting_;
    const double start_;
    double says_;
    AddressFile file_;
    int port_ = 0;
    bool accepted_ = false;
    std::string problem_;            // what came of the last try
    std::string refusal_;            // why rank 0 has refused this one
    bool refused_ = false;           // whether the last tries met a refusal
    double refused_since_ = start_;  // when a try last met none
};

}  // namespace

Met meet_as_guest(const Place& place, const Meeting& meeting) { return Guest(place, meeting).meet(); }

}  // namespace ranks
