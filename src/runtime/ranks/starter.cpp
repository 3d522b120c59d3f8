#include "runtime/ranks/starter.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/clock.h"
#include "runtime/error.h"
#include "runtime/ranks/address_file.h"
#include "runtime/ranks/line_mixer.h"
#include "runtime/ranks/socket.h"

namespace {

using ranks::Descriptor;

constexpr std::initializer_list<int> kForwarded = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

void write_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = write(fd, text.data(), text.size());
        if (written > 0)
            text.remove_prefix(size_t(written));
        else if (written < 0 && errno != EINTR)
            return;
    }
}

// Signals come by a descriptor, not by handlers, while this lives; a stream that nobody reads ends nothing.
class SignalQueue {
  public:
    SignalQueue() {
        sigset_t mask;
        sigemptyset(&mask);
        for (const int signal : kForwarded) sigaddset(&mask, signal);
        for (const int signal : {SIGCHLD, SIGTSTP}) sigaddset(&mask, signal);
        sigprocmask(SIG_BLOCK, &mask, &before_);
        pipe_before_ = std::signal(SIGPIPE, SIG_IGN);
        fd_ = Descriptor(signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
        CHECK(fd_, "cannot make a signal descriptor: ", std::strerror(errno));
    }
    ~SignalQueue() { restore(); }
    SignalQueue(const SignalQueue&) = delete;
    SignalQueue& operator=(const SignalQueue&) = delete;

    int fd() const { return fd_.get(); }
    // The next signal that came, or 0.
    int next() const {
        signalfd_siginfo info{};
        return read(fd_.get(), &info, sizeof info) == sizeof info ? int(info.ssi_signo) : 0;
    }
    // A child starts with what held before.
    void restore() const {
        std::signal(SIGPIPE, pipe_before_);
        sigprocmask(SIG_SETMASK, &before_, nullptr);
    }

  private:
    sigset_t before_;
    sighandler_t pipe_before_;
    Descriptor fd_;
};

class Starter {
  public:
    Starter(char** argv, double stop_within, double kill_within)
        : argv_(argv), stop_within_(stop_within), kill_within_(kill_within) {}
    // Whatever goes wrong, no rank stays behind.
    ~Starter() {
        tell_all(SIGKILL);
        for (Rank& rank : ranks_)
            if (rank.runs) waitpid(rank.pid, nullptr, 0);
    }
    Starter(const Starter&) = delete;
    Starter& operator=(const Starter&) = delete;

    int run(int count) {
        std::string problem;
        listener_ = ranks::listen_on("127.0.0.1", 0, problem);
        CHECK(listener_, "cannot listen on the loopback interface: ", problem);
        for (int rank = 0; rank < count; rank++) start(rank, count);
        listener_ = Descriptor();
        while (std::any_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return rank.runs; })) {
            poll_once();
            end_overdue();
        }
        // What the ranks have written last is there by now; whoever else holds the pipe may hold it for long.
        for (Rank& rank : ranks_) {
            pass_on(rank);
            write_all(STDERR_FILENO, rank.lines.rest());
        }
        say_signals();
        return first_code_;
    }

  private:
    struct Rank {
        pid_t pid;
        Descriptor errors;  // where its standard error comes from
        ranks::PrefixedLines lines;
        bool runs = true;
        int signal = 0;  // what ended it, unless this process sent it
    };

    // ---- start

    void start(int rank, int count) {
        int ends[2];
        CHECK(pipe2(ends, O_CLOEXEC) == 0, "cannot make a pipe: ", std::strerror(errno));
        Descriptor from(ends[0]), to(ends[1]);
        fcntl(from.get(), F_SETFL, O_NONBLOCK);
        std::fflush(nullptr);
        const pid_t parent = getpid(), pid = fork();
        CHECK(pid >= 0, "cannot start rank ", rank, ": ", std::strerror(errno));
        if (pid == 0) become(rank, count, parent, to.get());
        setpgid(pid, pid);
        const std::string prefix = str("rank ", rank, ": ");
        ranks_.push_back({.pid = pid, .errors = std::move(from), .lines = ranks::PrefixedLines(prefix)});
    }

    // The child's part: its place, its streams, and the program.
    [[noreturn]] void become(int rank, int count, pid_t parent, int errors) const {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);  // it has been killed before that
        setpgid(0, 0);
        setenv("RELORA_RANK", std::to_string(rank).c_str(), 1);
        setenv("RELORA_RANKS", std::to_string(count).c_str(), 1);
        setenv("RELORA_NONCE", nonce_.c_str(), 1);
        setenv("RELORA_PORT", std::to_string(ranks::port_of(listener_)).c_str(), 1);
        if (rank == 0) {
            fcntl(listener_.get(), F_SETFD, 0);
            setenv("RELORA_LISTENER", std::to_string(listener_.get()).c_str(), 1);
        } else {
            unsetenv("RELORA_LISTENER");
            const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
            dup2(nothing, STDIN_FILENO);
        }
        dup2(errors, STDERR_FILENO);
        signals_.restore();
        execvp(argv_[0], argv_);
        const int reason = errno;
        write_all(STDERR_FILENO, str("cannot start ", argv_[0], ": ", std::strerror(reason), "\n"));
        _exit(127);
    }

    // ---- while they run

    void poll_once() {
        std::vector<pollfd> polls{{.fd = signals_.fd(), .events = POLLIN, .revents = 0}};
        for (const Rank& rank : ranks_) polls.push_back({.fd = rank.errors.get(), .events = POLLIN, .revents = 0});
        poll(polls.data(), polls.size(), first_failed_ > 0 ? 200 : -1);
        for (size_t i = 0; i < ranks_.size(); i++)
            if (polls[i + 1].revents != 0) pass_on(ranks_[i]);
        while (const int signal = signals_.next()) {
            if (signal == SIGCHLD) {
                reap();
            } else if (signal == SIGTSTP) {
                tell_all(SIGSTOP);
                raise(SIGSTOP);
                tell_all(SIGCONT);
            } else {
                tell_all(signal);
            }
        }
    }

    void pass_on(Rank& rank) {
        char buffer[65536];
        while (rank.errors) {
            const ssize_t got = read(rank.errors.get(), buffer, sizeof buffer);
            if (got > 0)
                write_all(STDERR_FILENO, rank.lines.add({buffer, size_t(got)}));
            else if (got < 0 && errno == EINTR)
                continue;
            else if (got < 0 && errno == EAGAIN)
                return;
            else
                rank.errors = Descriptor();
        }
    }

    void reap() {
        for (Rank& rank : ranks_) {
            int status = 0;
            if (!rank.runs || waitpid(rank.pid, &status, WNOHANG) != rank.pid) continue;
            rank.runs = false;
            const bool killed = WIFSIGNALED(status);
            const int code = killed ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
            if (killed && !sigismember(&sent_, WTERMSIG(status))) rank.signal = WTERMSIG(status);
            if (first_code_ == 0) first_code_ = code;
            // A rank that stops at a signal returns 128 + its number. The others do the same, and take the time they
            // need.
            if ((killed || (code > 0 && code <= 128)) && first_failed_ == 0) first_failed_ = seconds_now();
        }
    }

    void tell_all(int signal) {
        sigaddset(&sent_, signal);
        for (const Rank& rank : ranks_)
            if (rank.runs) kill(rank.pid, signal);
    }

    // Ends the ranks that have not ended by themselves after one has failed.
    void end_overdue() {
        if (first_failed_ == 0) return;
        const double since = seconds_now() - first_failed_;
        const int due = since > stop_within_ + kill_within_ ? SIGKILL : since > stop_within_ ? SIGTERM : 0;
        if (due != std::exchange(due_, due)) tell_all(due);
    }

    void say_signals() const {
        for (size_t rank = 0; rank < ranks_.size(); rank++) {
            const int signal = ranks_[rank].signal;
            if (signal != 0)
                write_all(STDERR_FILENO,
                          str("rank ", rank, " was ended by signal ", signal, " (", strsignal(signal), ")\n"));
        }
    }

    char** argv_;
    const double stop_within_, kill_within_;
    SignalQueue signals_;
    Descriptor listener_;
    const std::string nonce_ = ranks::random_word();
    std::vector<Rank> ranks_;
    int first_code_ = 0;       // of the rank that failed first
    double first_failed_ = 0;  // when that was; 0: none has
    int due_ = 0;              // the signal by which the others are ended now
    sigset_t sent_{};          // all signals that were sent from here
};

}  // namespace

int start_ranks(int count, char** argv, double stop_within, double kill_within) {
    return Starter(argv, stop_within, kill_within).run(count);
}
