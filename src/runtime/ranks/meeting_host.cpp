// Rank 0's part of a meeting.
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <map>
#include <set>

#include "runtime/clock.h"
#include "runtime/ranks/address_file.h"
#include "runtime/ranks/meeting.h"
#include "runtime/ranks/messages.h"
#include "runtime/signals.h"

namespace ranks {

namespace {

constexpr double kSaysWhom = 10;       // seconds between two lines that say for whom rank 0 waits
constexpr double kHelloWithin = 10;    // seconds that who has connected has to say who it is
constexpr size_t kMostStrangers = 64;  // connections at a time that have not said it yet

// The file in the shared folder, removed at the end of the meeting.
class Announcement {
  public:
    Announcement(const std::string& folder, const std::string& nonce, int port)
        : path_(AddressFile::path(folder, nonce)),
          file_{
              .nonce = nonce, .token = random_word(), .host = host_name(), .port = port, .addresses = own_addresses()} {
        file_.write(path_);
    }
    ~Announcement() {
        // Another start may have put its own file there by now.
        AddressFile there{.nonce = file_.nonce};
        if (there.read(path_) && there.token == file_.token) unlink(path_.c_str());
    }
    Announcement(const Announcement&) = delete;
    Announcement& operator=(const Announcement&) = delete;
    const std::string& token() const { return file_.token; }
    const std::string& path() const { return path_; }

  private:
    std::string path_;
    AddressFile file_;
};

class Host {
  public:
    Host(const Place& place, const Meeting& meeting) : place_(place), meeting_(meeting), guests_(size_t(place.size)) {}

    Met meet() {
        try {
            open();
            const double start = seconds_now();
            double says = start + kSaysWhom, lives = start;
            while (!missing().empty()) {
                wait();
                const double now = seconds_now();
                CHECK(now < start + meeting_.patience, too_late());
                check_signals(true);
                if (now >= says) {
                    std::fprintf(stderr, "waiting for %s at %s\n", ranks_text(missing()).c_str(), where_.c_str());
                    says = now + kSaysWhom;
                }
                if (now >= lives) {
                    for (const auto& guest : guests_)
                        if (guest) guest->line->send(Kind::alive, Packer().add(int64_t(0)).body());
                    lives = now + 1;
                }
            }
            check_agreement();
        } catch (const Error& error) {
            tell_all(error);
            throw;
        }
        return welcome();
    }

  private:
    struct Guest {
        std::unique_ptr<Connection> line;
        Hello hello;
    };
    struct Stranger {
        std::unique_ptr<Connection> line;
        double until;
    };

    void open() {
        if (place_.listener >= 0) {
            listener_ = inherit_listener(place_.listener);
            CHECK(listener_, "descriptor ", place_.listener,
                  ", which rank 0 was started with, is no socket that listens");
            where_ = endpoint(place_.address, port_of(listener_));
            return;
        }
        std::string problem;
        const bool has_address = !place_.address.empty();
        listener_ = listen_on(place_.address, has_address ? place_.port : 0, problem);
        if (has_address) {
            where_ = endpoint(place_.address, place_.port);
            USAGE_CHECK(listener_, "rank 0 cannot listen on port ", place_.port, " of ", place_.address, ": ", problem,
                        "; set MASTER_PORT to a free port");
            return;
        }
        CHECK(listener_, "rank 0 cannot listen on any port: ", problem);
        USAGE_CHECK(!meeting_.shared_folder.empty(),
                    "nothing says where the ranks meet: set MASTER_ADDR to the machine of rank 0 and MASTER_PORT to a "
                    "free port there");
        announcement_ = std::make_unique<Announcement>(meeting_.shared_folder, place_.nonce, port_of(listener_));
        where_ = str("port ", port_of(listener_), " of ", host_name(), ", as ", announcement_->path(), " says");
    }

    std::vector<int> missing() const {
        std::vector<int> ranks;
        for (int rank = 1; rank < place_.size; rank++)
            if (!guests_[size_t(rank)]) ranks.push_back(rank);
        return ranks;
    }
    std::string too_late() const {
        std::string text = str(ranks_text(missing()), " of ", place_.size, " did not come to rank 0 at ", where_,
                               " within ", meeting_.patience, " s");
        for (const std::string& reason : refused_) text += "; refused there: " + reason;
        return text;
    }

    // ---- who comes

    void wait() {
        std::vector<pollfd> polls;
        const auto add = [&](int fd) { polls.push_back({.fd = fd, .events = POLLIN, .revents = 0}); };
        add(strangers_.size() < kMostStrangers ? listener_.get() : -1);
        for (const Stranger& stranger : strangers_) add(stranger.line->fd());
        for (const auto& guest : guests_) add(guest ? guest->line->fd() : -1);
        poll(polls.data(), polls.size(), 200);

        const size_t first_guest = 1 + strangers_.size();
        for (size_t rank = 1; rank < guests_.size(); rank++)
            // A guest has nothing to say before all have come: whatever comes from it is its end.
            CHECK(polls[first_guest + rank].revents == 0, "rank ", rank,
                  " has ended while the other ranks were waited for");
        std::vector<Stranger> still;
        for (size_t i = 0; i < strangers_.size(); i++) {
            const bool stays = polls[1 + i].revents == 0 || hear(strangers_[i]);
            if (stays && strangers_[i].line && seconds_now() < strangers_[i].until)
                still.push_back(std::move(strangers_[i]));
        }
        strangers_ = std::move(still);
        if (polls[0].revents != 0) admit();
    }

    void admit() {
        while (strangers_.size() < kMostStrangers) {
            std::string peer;
            Descriptor fd = accept_from(listener_, peer);
            if (!fd) {
                // Without a free descriptor the connection stays in the queue, and must not be asked for at once again.
                if (errno == EMFILE || errno == ENFILE) poll(nullptr, 0, 100);
                return;
            }
            strangers_.push_back(
                {std::make_unique<Connection>(std::move(fd), peer, kMostOfHello), seconds_now() + kHelloWithin});
        }
    }

    // Hears what a stranger says, who may become a guest by that. Returns whether it is to be heard further.
    bool hear(Stranger& stranger) {
        try {
            const bool open = stranger.line->receive();
            const auto frame = stranger.line->next();
            if (!frame) return open;
            if (frame->kind != Kind::hello) return false;
            Hello hello = Hello::unpack(frame->body);
            if (const std::string reason = why_not(hello); !reason.empty()) {
                if (refused_.size() < 3) refused_.insert(stranger.line->peer() + ": " + reason);
                stranger.line->send(Kind::refused, Packer().add(reason).body());
                stranger.line->end_sending();
                return false;
            }
            stranger.line->send(Kind::accepted);
            stranger.line->limit = size_t(place_.size) * (kMostBytes + 64);
            const size_t rank = size_t(hello.rank);
            guests_[rank] = std::make_unique<Guest>(Guest{std::move(stranger.line), std::move(hello)});
            return false;
        } catch (const Malformed&) {
            return false;
        }
    }

    // Why there is no place here for who comes so; empty if there is.
    std::string why_not(const Hello& hello) const {
        if (hello.protocol != kProtocol)
            return str("another version of the program (protocol ", hello.protocol, ", not ", kProtocol, ")");
        const std::string rank = str("rank ", hello.rank);
        if (hello.nonce != place_.nonce)
            return str(rank, " is of start '", hello.nonce, "', not of '", place_.nonce, "'");
        if (hello.token != (announcement_ ? announcement_->token() : std::string()))
            return rank + " was sent here by the file of another start";
        if (hello.size != place_.size) return str(rank, " is one of ", hello.size, ", not of ", place_.size);
        if (hello.rank >= place_.size) return str("there is no ", rank, " of ", place_.size);
        if (const auto& there = guests_[size_t(hello.rank)])
            return str(rank, " has already come from ", there->hello.host);
        return {};
    }

    // ---- the end of the meeting

    void check_agreement() const {
        std::map<std::string, std::vector<int>> others;
        for (int rank = 1; rank < place_.size; rank++) {
            const std::string difference = first_difference(guests_[size_t(rank)]->hello.agreement, meeting_.agreement);
            if (!difference.empty()) others[difference].push_back(rank);
        }
        std::string all;
        for (const auto& [difference, ranks] : others)
            all +=
                (all.empty() ? "" : "; ") + ranks_text(ranks) + (ranks.size() == 1 ? " has " : " have ") + difference;
        USAGE_CHECK(all.empty(), "the ranks have to be started alike, but ", all);
    }

    void tell_all(const Error& error) {
        const FailureNews news{.rank = 0, .exit_code = error.exit_code, .message = error.what()};
        for (const auto& guest : guests_) {
            if (!guest) continue;
            guest->line->send(Kind::failure, news.packed());
            guest->line->end_sending();
        }
    }

    Met welcome() {
        Met met;
        met.lines.resize(guests_.size());
        std::set<std::string> machines;
        for (size_t rank = 1; rank < guests_.size(); rank++) {
            const bool first = machines.insert(guests_[rank]->hello.machine).second;
            guests_[rank]->line->send(Kind::welcome, Packer().add(int64_t(first)).body());
            met.lines[rank] = std::move(guests_[rank]->line);
        }
        return met;
    }

    const Place& place_;
    const Meeting& meeting_;
    Descriptor listener_;
    std::unique_ptr<Announcement> announcement_;
    std::string where_;
    std::vector<std::unique_ptr<Guest>> guests_;  // by rank
    std::vector<Stranger> strangers_;
    std::set<std::string> refused_;
};

}  // namespace

Met meet_as_host(const Place& place, const Meeting& meeting) { return Host(place, meeting).meet(); }

void check_signals(bool prints) {
    const int signal = signals::stop;
    if (signal != 0)
        throw PeerFailed(str("stopped by signal ", signal, " while the other ranks were waited for"), __FILE__,
                         __LINE__, 128 + signal, prints);
}

}  // namespace ranks
