// Checkpoints beside the training: they hold the values of when they were saved, whatever happens to them since.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <numeric>

#include "checkpoint/checkpoint.h"
#include "checkpoint/saver.h"
#include "io/safetensors.h"
#include "test/error_of.h"

namespace {

namespace fs = std::filesystem;

class SaverTest : public testing::Test {
  protected:
    static constexpr int64_t kRows = 64, kCols = 8192;

    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "relora_saver_XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        root = pattern;
        out = root + "/out";
        fs::create_directory(out);
        for (auto* memory : {&weight, &m, &v}) memory->assign(size_t(kRows * kCols), 0.0f);
        p.name = "transformer.wte.weight";
        p.role = Role::token_embedding;
        p.rows = p.file_rows = kRows;
        p.cols = kCols;
        p.weight = make_tensor(weight.data(), DType::f32, kRows, kCols);
        p.m = make_tensor(m.data(), DType::f32, kRows, kCols);
        p.v = make_tensor(v.data(), DType::f32, kRows, kCols);
    }
    void TearDown() override { fs::remove_all(root); }

    static RunState state(int64_t step) {
        RunState s;
        s.step = step;
        s.config = {.vocab_size = kRows, .max_positions = 7, .layers = 1, .heads = 1, .channels = kCols};
        s.train_data.shards = {{.path = "train.bin", .bytes = 2048, .sha256 = std::string(64, 'b')}};
        s.rank = 1;
        s.alpha = 1;
        return s;
    }
    // Saves, and then changes all that was saved.
    void save(Saver& saver, const HeldFolder& folder, int64_t step, bool beside) {
        std::iota(weight.begin(), weight.end(), float(step));
        std::iota(m.begin(), m.end(), float(2 * step));
        std::iota(v.begin(), v.end(), float(3 * step));
        p.adam_step = step;
        saver.save(&folder, state(step), {&p}, Whole(), beside);
        for (auto* memory : {&weight, &m, &v}) std::fill(memory->begin(), memory->end(), -1.0f);
        p.adam_step = 0;
    }
    void expect_saved(const std::string& folder, int64_t step) {
        const RunState read = read_state(folder);
        verify_files(folder, read);
        read_parameters(folder, read, {&p});
        EXPECT_EQ(p.adam_step, step);
        for (const int64_t i : {int64_t(0), kCols, kRows * kCols - 1}) {
            EXPECT_EQ(weight[size_t(i)], float(step) + float(i));
            EXPECT_EQ(m[size_t(i)], float(2 * step) + float(i));
            EXPECT_EQ(v[size_t(i)], float(3 * step) + float(i));
        }
    }

    std::string root, out;
    std::vector<float> weight, m, v;
    Parameter p;
};

TEST_F(SaverTest, WritesWhatWasThereWhenItWasSaved) {
    const HeldFolder folder(out);
    Saver saver(kAlone, Device::cpu, {});
    for (int64_t step = 1; step <= 3; step++) save(saver, folder, step, true);
    save(saver, folder, 4, false);
    for (int64_t step = 1; step <= 4; step++) {
        const auto saved = saver.finished();
        ASSERT_TRUE(saved);
        EXPECT_EQ(saved->step, step);
        EXPECT_EQ(saved->folder, out + "/" + step_name(step));
        expect_saved(saved->folder, step);
    }
    EXPECT_FALSE(saver.finished());
}

TEST_F(SaverTest, ErrorsReachTheNextCall) {
    const HeldFolder folder(out);
    Saver saver(kAlone, Device::cpu, {});
    struct rlimit before;
    ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit small { 1 << 16, before.rlim_max };
    const auto ignored = std::signal(SIGXFSZ, SIG_IGN);
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    save(saver, folder, 1, true);
    EXPECT_EQ(error_of([&] { saver.wait(); }).find("cannot write " + out + "/"), 0u);
    setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, ignored);
    EXPECT_FALSE(saver.finished());
    EXPECT_TRUE(fs::is_empty(out));
    save(saver, folder, 1, true);
    saver.wait();
    expect_saved(out + "/step_00000001", 1);
}

TEST_F(SaverTest, NothingComesOfAFolderThatIsRemoved) {
    const HeldFolder folder(out);
    Saver saver(kAlone, Device::cpu, {});
    fs::remove_all(out);
    save(saver, folder, 1, true);
    saver.wait();
    EXPECT_FALSE(saver.finished());
    EXPECT_FALSE(fs::exists(out));
}

TEST_F(SaverTest, FollowsAFolderThatGetsAnotherName) {
    const HeldFolder folder(out);
    Saver saver(kAlone, Device::cpu, {});
    EXPECT_TRUE(folder.in_place());
    fs::rename(out, root + "/moved");
    fs::create_directory(out);  // another one in its place
    EXPECT_FALSE(folder.in_place());
    EXPECT_EQ(folder.place(), fs::canonical(root + "/moved").string());
    save(saver, folder, 1, true);
    saver.wait();
    expect_saved(root + "/moved/step_00000001", 1);
    EXPECT_TRUE(fs::is_empty(out));
    fs::remove_all(root + "/moved");
    EXPECT_EQ(folder.place(), "");
}

}  // namespace
