// How ranks find each other, and what they say when some don't come, come twice, or belong to another start.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "runtime/ranks/address_file.h"
#include "runtime/ranks/connection.h"
#include "runtime/ranks/messages.h"
#include "runtime/signals.h"
#include "test/error_of.h"
#include "test/runtime/rank_processes.h"

namespace {

void pause(double seconds) { usleep(useconds_t(seconds * 1e6)); }

// Meets the others, and leaves.
std::function<std::string()> meets(const Place& place, const Meeting& meeting) {
    return [=] {
        Control control(place, meeting);
        std::string all;
        for (const std::string& one : control.gather(std::to_string(place.rank))) all += one;
        control.leave();
        return all;
    };
}

// A folder of this test's own.
class MeetingIn : public testing::Test {
  protected:
    MeetingIn() : folder_("/tmp/ranks-XXXXXX") {
        if (!mkdtemp(folder_.data())) ADD_FAILURE();
    }
    ~MeetingIn() override { std::filesystem::remove_all(folder_); }
    static Place at_folder(int rank, int size, const std::string& nonce) {
        Place place = place_of(rank, size, 0, nonce);
        place.address.clear();
        return place;
    }
    bool is_empty() const { return std::filesystem::is_empty(folder_); }

    std::string folder_;
};

}  // namespace

TEST(Meeting, RankIsMissing) {
    const int port = free_port();
    RankProcess rank_0(meets(place_of(0, 4, port), {.patience = 1.5}));
    RankProcess rank_2(meets(place_of(2, 4, port), {.patience = 1.5}));
    const std::string message = str("ranks 1, 3 of 4 did not come to rank 0 at 127.0.0.1:", port, " within 1.5 s");
    EXPECT_EQ(rank_0.said(), "Error 1: " + message);
    EXPECT_EQ(rank_2.said(), "PeerFailed 1 silent: " + message);
}

TEST(Meeting, Rank0IsMissing) {
    const int port = free_port();
    RankProcess rank_1(meets(place_of(1, 2, port), {.patience = 1}));
    EXPECT_EQ(rank_1.said(), str("Error 1: rank 1: rank 0 at 127.0.0.1:", port,
                                 " did not answer within 1 s (127.0.0.1:", port, ": Connection refused)"));
}

TEST(Meeting, Rank0ComesLate) {
    const int port = free_port();
    RankProcess rank_1(meets(place_of(1, 2, port), {.patience = 20}));
    pause(1);
    RankProcess rank_0(meets(place_of(0, 2, port), {.patience = 20}));
    EXPECT_EQ(rank_0.said(), "01");
    EXPECT_EQ(rank_1.said(), "01");
}

TEST(Meeting, NamesAndAddressesOfThisMachine) {
    std::string problem;
    const bool has_ipv6 = bool(ranks::listen_on("::1", 0, problem));
    std::vector<std::string> addresses = ranks::own_addresses();
    addresses.insert(addresses.end(), {"localhost", "127.0.0.1", "127.0.0.2", "::1"});
    for (const std::string& address : addresses) {
        if (address == "::1" && !has_ipv6) continue;
        Place places[] = {place_of(0, 2, free_port()), place_of(1, 2, 0)};
        places[1].port = places[0].port;
        for (Place& place : places) place.address = address;
        RankProcess rank_0(meets(places[0], {.patience = 20})), rank_1(meets(places[1], {.patience = 20}));
        EXPECT_EQ(rank_0.said(), "01") << address;
        EXPECT_EQ(rank_1.said(), "01") << address;
    }
}

TEST(Meeting, NameOfNoMachine) {
    Place place = place_of(1, 2, 4000);
    place.address = "no-such-host.invalid";
    RankProcess rank_1(meets(place, {.patience = 1}));
    EXPECT_NE(rank_1.said().find("no-such-host.invalid:4000: its address can't be found: "), std::string::npos)
        << rank_1.said();
}

TEST(Meeting, AnotherJobOnThePort) {
    const int port = free_port();
    RankProcess rank_0(meets(place_of(0, 2, port, "A"), {.patience = 30}));
    RankProcess stranger(meets(place_of(1, 2, port, "B"), {.patience = 2}));
    RankProcess larger(meets(place_of(2, 3, port, "A"), {.patience = 2}));
    EXPECT_EQ(stranger.said(), str("Error 2: rank 1: port ", port,
                                   " of 127.0.0.1 belongs to another job: rank 1 is of start 'B', not of 'A'"));
    EXPECT_EQ(larger.said(), str("Error 2: rank 2: port ", port,
                                 " of 127.0.0.1 belongs to another job: rank 2 is one of 3, not of 2"));
    RankProcess rank_1(meets(place_of(1, 2, port, "A"), {.patience = 30}));
    EXPECT_EQ(rank_0.said(), "01");
    EXPECT_EQ(rank_1.said(), "01");
}

TEST(Meeting, AnotherJobEndsInTime) {
    const int port = free_port();
    RankProcess older(meets(place_of(0, 2, port, "A"), {.patience = 2}));
    RankProcess rank_1(meets(place_of(1, 2, port, "B"), {.patience = 30}));
    EXPECT_NE(older.said().find("refused there: 127.0.0.1: rank 1 is of start 'B', not of 'A'"), std::string::npos)
        << older.said();
    RankProcess rank_0(meets(place_of(0, 2, port, "B"), {.patience = 30}));
    EXPECT_EQ(rank_0.said(), "01");
    EXPECT_EQ(rank_1.said(), "01");
}

TEST(Meeting, PortIsTaken) {
    std::string problem;
    const ranks::Descriptor taken = ranks::listen_on("127.0.0.1", 0, problem);
    const int port = ranks::port_of(taken);
    RankProcess rank_0(meets(place_of(0, 2, port), {.patience = 5}));
    EXPECT_EQ(rank_0.said(), str("Error 2: rank 0 cannot listen on port ", port,
                                 " of 127.0.0.1: Address already in use; set MASTER_PORT to a free port"));
}

TEST(Meeting, RankComesTwice) {
    const int port = free_port();
    RankProcess rank_0(meets(place_of(0, 3, port), {.patience = 30}));
    RankProcess rank_1(meets(place_of(1, 3, port), {.patience = 30}));
    pause(0.5);
    RankProcess again(meets(place_of(1, 3, port), {.patience = 2}));
    EXPECT_NE(again.said().find("rank 1 has already come from "), std::string::npos) << again.said();
    RankProcess rank_2(meets(place_of(2, 3, port), {.patience = 30}));
    EXPECT_EQ(rank_0.said(), "012");
    EXPECT_EQ(rank_1.said(), "012");
    EXPECT_EQ(rank_2.said(), "012");
}

TEST(Meeting, RankEndsMeanwhile) {
    const int port = free_port();
    RankProcess rank_0(meets(place_of(0, 3, port), {.patience = 30}));
    RankProcess rank_1(meets(place_of(1, 3, port), {.patience = 30}));
    pause(1.5);
    kill(rank_1.pid(), SIGKILL);
    EXPECT_EQ(rank_0.said(), "Error 1: rank 1 has ended while the other ranks were waited for");
    EXPECT_LT(rank_0.seconds(), 5);
}

TEST(Meeting, RanksDisagree) {
    const int port = free_port();
    const auto with = [](const std::string& agreement) { return Meeting{.agreement = agreement, .patience = 30}; };
    RankProcess rank_0(meets(place_of(0, 4, port), with("version 1\nlr = 1\nseed = 2\n")));
    RankProcess rank_1(meets(place_of(1, 4, port), with("version 1\nlr = 3\nseed = 2\n")));
    RankProcess rank_2(meets(place_of(2, 4, port), with("version 1\nlr = 1\nseed = 2\nmore\n")));
    RankProcess rank_3(meets(place_of(3, 4, port), with("version 1\nlr = 3\nseed = 4\n")));
    const std::string message =
        "the ranks have to be started alike, but ranks 1, 3 have `lr = 3`, where rank 0 has `lr = 1`; "
        "rank 2 has `more`, where rank 0 has nothing";
    EXPECT_EQ(rank_0.said(), "Error 2: " + message);
    for (RankProcess* rank : {&rank_1, &rank_2, &rank_3}) EXPECT_EQ(rank->said(), "PeerFailed 2 silent: " + message);
}

TEST(Meeting, FirstDifference) {
    using ranks::first_difference;
    EXPECT_EQ(first_difference("a\nb\n", "a\nb\n"), "");
    EXPECT_EQ(first_difference("a\nc\n", "a\nb\n"), "`c`, where rank 0 has `b`");
    EXPECT_EQ(first_difference("a\n", "a\nb\n"), "nothing, where rank 0 has `b`");
    EXPECT_EQ(first_difference("a\n\n", "a\n"), "``, where rank 0 has nothing");
}

TEST(Meeting, NamesRanksBriefly) {
    EXPECT_EQ(ranks::ranks_text({4}), "rank 4");
    EXPECT_EQ(ranks::ranks_text({1, 2}), "ranks 1, 2");
    EXPECT_EQ(ranks::ranks_text(std::vector<int>(15, 7)), "ranks 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7 and 3 more");
}

TEST(Meeting, SignalEndsTheWait) {
    const int port = free_port();
    const auto waits = [](const Place& place) {
        return [place] {
            signals::install();
            return meets(place, {.patience = 60})();
        };
    };
    RankProcess rank_0(waits(place_of(0, 3, port))), rank_1(waits(place_of(1, 3, port)));
    pause(1.5);
    kill(rank_0.pid(), SIGINT);
    const std::string message = "stopped by signal 2 while the other ranks were waited for";
    EXPECT_EQ(rank_0.said(), "PeerFailed 130 prints: " + message);
    EXPECT_EQ(rank_1.said(), "PeerFailed 130 silent: " + message);
}

// ---- strangers

TEST(Meeting, StrangersBytesDisturbNobody) {
    const int port = free_port();
    RankProcess rank_0(meets(place_of(0, 2, port), {.patience = 30}));
    pause(0.3);
    // A frame begins with a magic number, its kind, and the length of its body.
    const auto frame = [](uint32_t kind, uint64_t length, const std::string& body) {
        const uint32_t magic = 0x614c6552;
        std::string text(reinterpret_cast<const char*>(&magic), 4);
        text.append(reinterpret_cast<const char*>(&kind), 4);
        text.append(reinterpret_cast<const char*>(&length), 8);
        return text + body;
    };
    const std::string number(8, '\1'), huge(8, '\x7f');
    const std::string version("\1\0\0\0\0\0\0\0", 8);
    std::vector<std::string> garbage = {
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        std::string(1 << 20, '\0'),
        std::string(1 << 20, '\xff'),
        frame(1, ~uint64_t(0), "x"),
        frame(1, uint64_t(1) << 40, "x"),
        frame(1, 4, "1234"),
        frame(1, 0, ""),
        frame(99, 0, ""),
        frame(6, 8, number),                                           // a call before any hello
        frame(1, 16, version + huge),                                  // a text of any length
        frame(1, 16, version + std::string(8, '\xff')),                // of a negative one
        frame(1, 8, number),                                           // another version
        ranks::Hello{.nonce = "test", .size = 2, .rank = 1}.packed(),  // without a frame
    };
    std::string hello = ranks::Hello{.nonce = "test", .size = 2, .rank = 1}.packed();
    for (size_t cut = 8; cut < hello.size(); cut += 8) garbage.push_back(frame(1, cut, hello.substr(0, cut)));
    garbage.push_back(frame(1, hello.size() + 1, hello + "x"));
    for (const int rank : {-1, 0, 2, 1 << 30}) {
        hello = ranks::Hello{.nonce = "test", .size = 2, .rank = rank}.packed();
        garbage.push_back(frame(1, hello.size(), hello));
    }
    std::vector<ranks::Descriptor> open;
    for (const std::string& bytes : garbage) {
        std::string problem;
        open.push_back(ranks::connect_to("127.0.0.1", port, 5, problem));
        for (int i = 0; i < 500 && !open.back(); i++, pause(0.02))  // rank 0 may not listen yet
            open.back() = ranks::connect_to("127.0.0.1", port, 5, problem);
        ASSERT_TRUE(open.back()) << problem;
        [[maybe_unused]] const ssize_t sent = send(open.back().get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }
    RankProcess rank_1(meets(place_of(1, 2, port), {.patience = 30}));
    EXPECT_EQ(rank_0.said(), "01");
    EXPECT_EQ(rank_1.said(), "01");
    EXPECT_LT(rank_0.seconds(), 10);
}

TEST(Meeting, AnotherProgramListens) {
    std::string problem, peer;
    const ranks::Descriptor listener = ranks::listen_on("127.0.0.1", 0, problem);
    const int port = ranks::port_of(listener);
    RankProcess rank_1(meets(place_of(1, 2, port), {.patience = 3}));
    std::thread server([&] {
        for (int i = 0; i < 50; i++, pause(0.05)) {
            const ranks::Descriptor fd = ranks::accept_from(listener, peer);
            if (fd) [[maybe_unused]]
                const ssize_t sent = send(fd.get(), "HTTP/1.1 400 Bad Request\r\n\r\n", 28, MSG_NOSIGNAL);
        }
    });
    EXPECT_EQ(rank_1.said(),
              str("Error 2: rank 1: 127.0.0.1:", port, " belongs to another program; set MASTER_PORT to a free port"));
    server.join();
}

TEST(Meeting, SilentProgramListens) {
    std::string problem;
    const ranks::Descriptor listener = ranks::listen_on("127.0.0.1", 0, problem);
    const int port = ranks::port_of(listener);
    RankProcess rank_1(meets(place_of(1, 2, port), {.patience = 1}));
    EXPECT_EQ(rank_1.said(),
              str("Error 1: rank 1: rank 0 at 127.0.0.1:", port, " did not answer within 1 s (127.0.0.1:", port,
                  " has taken the connection, but says nothing)"));
}

// ---- frames

TEST(Frame, ComesInParts) {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    ranks::Connection from{ranks::Descriptor(ends[0]), "a", 1 << 24}, to{ranks::Descriptor(ends[1]), "b", 1 << 24};
    // More than the socket takes at once.
    const std::string body(size_t(9) << 20, 'x');
    from.send(ranks::Kind::call, body);
    from.send(ranks::Kind::alive, "y");
    EXPECT_TRUE(from.has_more_to_send());
    std::vector<ranks::Frame> frames;
    for (int i = 0; i < 10000 && frames.size() < 2; i++) {
        ASSERT_TRUE(to.receive());
        while (auto frame = to.next()) frames.push_back(*frame);
        from.flush();
    }
    ASSERT_EQ(frames.size(), 2u);
    EXPECT_EQ(frames[0].kind, ranks::Kind::call);
    EXPECT_TRUE(frames[0].body == body);
    EXPECT_EQ(frames[1].body, "y");
    from.send(ranks::Kind::alive, "z");
    from.end_sending();
    EXPECT_FALSE(to.receive());
    EXPECT_EQ(to.next()->body, "z");
}

// ---- the shared folder

TEST_F(MeetingIn, SharedFolder) {
    const Meeting meeting{.shared_folder = folder_ + "/new", .patience = 30};
    RankProcess rank_1(meets(at_folder(1, 3, "job 7/3"), meeting)), rank_2(meets(at_folder(2, 3, "job 7/3"), meeting));
    pause(0.3);
    RankProcess rank_0(meets(at_folder(0, 3, "job 7/3"), meeting));
    EXPECT_EQ(rank_0.said(), "012");
    EXPECT_EQ(rank_1.said(), "012");
    EXPECT_EQ(rank_2.said(), "012");
    EXPECT_TRUE(std::filesystem::is_empty(folder_ + "/new"));
}

TEST_F(MeetingIn, StaleFileMisleadsNobody) {
    // One names a port where nobody listens, one a port of another start that still waits.
    for (const bool other_waits : {false, true}) {
        const Meeting meeting{.shared_folder = folder_, .patience = 30};
        const int port = free_port();
        std::unique_ptr<RankProcess> other;
        if (other_waits) other = std::make_unique<RankProcess>(meets(place_of(0, 2, port, ""), {.patience = 30}));
        const std::string path = ranks::AddressFile::path(folder_, "");
        ranks::AddressFile{.token = "stale", .host = ranks::host_name(), .port = port}.write(path);
        RankProcess rank_1(meets(at_folder(1, 2, ""), meeting));
        // The other start, whose nonce is empty too, must not take this rank for its own.
        pause(other_waits ? 0.0 : 1.0);
        RankProcess rank_0(meets(at_folder(0, 2, ""), meeting));
        EXPECT_EQ(rank_0.said(), "01");
        EXPECT_EQ(rank_1.said(), "01");
        EXPECT_TRUE(is_empty());
    }
}

TEST_F(MeetingIn, FileOfAnotherStart) {
    const std::string path = ranks::AddressFile::path(folder_, "a/b");
    EXPECT_EQ(path, folder_ + "/.ranks-a_b");
    const ranks::AddressFile written{
        .nonce = "a/b", .token = "t", .host = "h", .port = 5, .addresses = {"10.0.0.1", "fd00::1"}};
    written.write(path);
    ranks::AddressFile same{.nonce = "a/b"}, other{.nonce = "a_b"};
    EXPECT_TRUE(same.read(path));
    EXPECT_EQ(same.token, "t");
    EXPECT_EQ(same.host, "h");
    EXPECT_EQ(same.port, 5);
    EXPECT_EQ(same.addresses, written.addresses);
    EXPECT_FALSE(other.read(path));
    for (const char* text : {"", "x", "rank 0 of train_relora listens\na/b\nt\nh\n5\n10.0.0.1\n",
                             "rank 0 of train_relora listens\na/b\nt\nh\nfive\nend\n"}) {
        std::ofstream(path) << text;
        EXPECT_FALSE(same.read(path)) << text;
    }
}

TEST_F(MeetingIn, NobodyWritesTheFile) {
    RankProcess rank_1(meets(at_folder(1, 2, "n"), {.shared_folder = folder_, .patience = 1}));
    EXPECT_EQ(rank_1.said(), "Error 1: rank 1: rank 0 was not found by a file in " + folder_ + " within 1 s");
}

TEST_F(MeetingIn, FolderCannotBeWritten) {
    std::ofstream(folder_ + "/file") << "x";
    RankProcess rank_0(meets(at_folder(0, 2, "n"), {.shared_folder = folder_ + "/file", .patience = 1}));
    EXPECT_NE(rank_0.said().find(", by which the other ranks find rank 0: Not a directory"), std::string::npos)
        << rank_0.said();
}

TEST_F(MeetingIn, NothingSaysWhere) {
    for (const int rank : {0, 1}) {
        RankProcess process(meets(at_folder(rank, 2, "n"), {.patience = 1}));
        EXPECT_EQ(process.said(),
                  "Error 2: nothing says where the ranks meet: set MASTER_ADDR to the machine of rank 0 and "
                  "MASTER_PORT to a free port there");
    }
}
