// A folder has one owner at a time, whether that lives, is stopped, was killed, or is on another machine.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "io/files.h"
#include "io/folder_lock.h"
#include "test/error_of.h"

namespace {

namespace fs = std::filesystem;

void silent(const std::string&) {}

class FolderLocks : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "relora_lock_XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder = pattern;
    }
    void TearDown() override { fs::remove_all(folder); }

    std::string problem() const {
        return error_of([&] { FolderLock lock(folder, silent); });
    }
    // A process that holds the lock until it is killed.
    pid_t owner() const {
        int ready[2];
        EXPECT_EQ(pipe2(ready, O_CLOEXEC), 0);
        const pid_t child = fork();
        if (child == 0) {
            const FolderLock lock(folder, silent);
            char byte = 'x';
            if (write(ready[1], &byte, 1) != 1) _exit(1);
            for (;;) pause();
        }
        char byte = 0;
        close(ready[1]);
        EXPECT_EQ(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        return child;
    }
    static void end(pid_t child) {
        kill(child, SIGKILL);
        waitpid(child, nullptr, 0);
    }
    // A record that another machine wrote so many seconds ago.
    void foreign_record(int64_t age) const {
        const std::string path = folder + "/lock";
        std::ofstream(path)
            << R"({"host":"elsewhere","process":7,"since":"2026-01-02 03:04:05 UTC","boot":"b","key":"k"})"
            << "\n";
        const timespec then{.tv_sec = time(nullptr) - age, .tv_nsec = 0};
        const timespec times[2] = {then, then};
        ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
    }

    std::string folder;
};

TEST_F(FolderLocks, RefuseASecondOwnerAndNameTheFirst) {
    const FolderLock lock(folder, silent);
    const std::string said = problem();
    EXPECT_NE(said.find(folder + " is in use by process " + std::to_string(getpid()) + " on host "), std::string::npos)
        << said;
    EXPECT_NE(said.find(" since 20"), std::string::npos) << said;
    lock.check();
}

TEST_F(FolderLocks, AreFreeAfterTheirOwner) {
    { const FolderLock lock(folder, silent); }
    EXPECT_EQ(problem(), "no error");
}

TEST_F(FolderLocks, HoldWhileTheirOwnerIsStoppedAndNotOnceItIsKilled) {
    const pid_t child = owner();
    kill(child, SIGSTOP);
    EXPECT_NE(problem().find("is in use by process " + std::to_string(child)), std::string::npos);
    end(child);
    bool waited = false;
    FolderLock lock(folder, [&](const std::string&) { waited = true; });
    EXPECT_FALSE(waited) << "the kernel knows that the owner is gone";
}

TEST_F(FolderLocks, TakeARecordOfAnotherMachineOnceNobodyTouchesIt) {
    foreign_record(2 * FolderLock::kStaleAfter.count());
    EXPECT_EQ(problem(), "no error");
}

TEST_F(FolderLocks, RefuseARecordOfAnotherMachineThatIsTouched) {
    foreign_record(5);
    std::string waits;
    const std::string said = error_of([&] {
        FolderLock lock(folder, [&](const std::string& line) {
            waits = line;
            ASSERT_EQ(utimensat(AT_FDCWD, (folder + "/lock").c_str(), nullptr, 0), 0);  // as its owner would
        });
    });
    EXPECT_NE(waits.find("was in use a moment ago by process 7 on host elsewhere"), std::string::npos) << waits;
    EXPECT_NE(said.find("is in use by process 7 on host elsewhere since 2026-01-02 03:04:05 UTC"), std::string::npos)
        << said;
}

TEST_F(FolderLocks, NoticeThatTheFolderWasTakenOver) {
    const FolderLock lock(folder, silent);
    foreign_record(0);
    const std::string said = error_of([&] { lock.check(); });
    EXPECT_NE(said.find("has taken the folder of"), std::string::npos) << said;
    EXPECT_NE(said.find("process 7 on host elsewhere"), std::string::npos) << said;
}

TEST_F(FolderLocks, FollowNoLinkAndWaitForNoPipe) {
    const std::string outside = folder + "/outside", path = folder + "/lock";
    std::ofstream(outside) << "mine";
    fs::create_symlink(outside, path);
    EXPECT_NE(problem(), "no error");
    EXPECT_EQ(read_file(outside), "mine");
    fs::remove(path);
    ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
    EXPECT_NE(problem().find("is not a regular file"), std::string::npos);
}

TEST_F(FolderLocks, AreTakenWhateverARecordHolds) {
    for (const char* record : {"", "{", "[1]", "null", "\"text\""}) {
        std::ofstream(folder + "/lock") << record;
        const timespec times[2] = {{.tv_sec = 1, .tv_nsec = 0}, {.tv_sec = 1, .tv_nsec = 0}};
        ASSERT_EQ(utimensat(AT_FDCWD, (folder + "/lock").c_str(), times, 0), 0);
        EXPECT_EQ(problem(), "no error") << record;
    }
}

}  // namespace
