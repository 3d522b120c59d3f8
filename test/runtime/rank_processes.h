// Processes for the tests of ranks: each runs a function after a fork, and tells the test what came of it.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "runtime/clock.h"
#include "runtime/ranks/control.h"
#include "runtime/ranks/socket.h"

// A process that runs a function, which returns a text for the test. What it writes to standard error is kept apart.
class RankProcess {
  public:
    explicit RankProcess(const std::function<std::string()>& function) {
        int out[2], errors[2];
        if (pipe2(out, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC) != 0) std::abort();
        start_ = seconds_now();
        pid_ = fork();
        if (pid_ == 0) {
            alarm(120);  // no test leaves a process behind for long
            setpgid(0, 0);
            std::signal(SIGINT, SIG_DFL);  // a shell makes its jobs in the background ignore it
            dup2(errors[1], STDERR_FILENO);
            const std::string said = outcome(function);
            [[maybe_unused]] const ssize_t written = write(out[1], said.data(), said.size());
            _exit(0);
        }
        close(out[1]);
        close(errors[1]);
        out_ = out[0];
        errors_ = errors[0];
    }
    ~RankProcess() {
        if (!ended_) kill(pid_, SIGKILL);
        wait();
        close(out_);
        close(errors_);
    }
    RankProcess(const RankProcess&) = delete;
    RankProcess& operator=(const RankProcess&) = delete;

    pid_t pid() const { return pid_; }
    // What the function returned, or how it failed: "Error CODE: MESSAGE", "PeerFailed CODE prints: MESSAGE".
    const std::string& said() { return wait().said_; }
    const std::string& errors() { return wait().written_; }
    // The exit code, or 128 + signal.
    int code() { return wait().code_; }
    double seconds() { return wait().seconds_; }

  private:
    static std::string outcome(const std::function<std::string()>& function) {
        try {
            return function();
        } catch (const PeerFailed& error) {
            return str("PeerFailed ", error.exit_code, error.prints ? " prints: " : " silent: ", error.what());
        } catch (const Error& error) {
            return str("Error ", error.exit_code, ": ", error.what());
        } catch (const std::exception& error) {
            return str("exception: ", error.what());
        }
    }
    RankProcess& wait() {
        if (ended_) return *this;
        ended_ = true;
        int status = 0;
        waitpid(pid_, &status, 0);
        seconds_ = seconds_now() - start_;
        code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        said_ = all_of(out_);
        written_ = all_of(errors_);
        return *this;
    }
    static std::string all_of(int fd) {
        std::string text;
        char buffer[4096];
        for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, size_t(got));
        return text;
    }

    pid_t pid_ = 0;
    int out_ = -1, errors_ = -1;
    bool ended_ = false;
    int code_ = 0;
    double start_ = 0, seconds_ = 0;
    std::string said_, written_;
};

// A port of the loopback interface that was free a moment ago.
inline int free_port() {
    std::string problem;
    return ranks::port_of(ranks::listen_on("127.0.0.1", 0, problem));
}

inline Place place_of(int rank, int size, int port, const std::string& nonce = "test") {
    return {.rank = rank,
            .size = size,
            .local_rank = rank,
            .local_size = size,
            .starter = "a test",
            .nonce = nonce,
            .address = "127.0.0.1",
            .port = port};
}
