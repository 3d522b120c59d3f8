// Shards and batches against a plain vector of the same tokens.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <set>

#include "io/data_loader.h"
#include "io/token_dataset.h"
#include "runtime/error.h"
#include "test/error_of.h"

namespace {

namespace fs = std::filesystem;
using Tokens = std::vector<uint16_t>;

std::string shard_bytes(const Tokens& tokens, int32_t magic = 20240520, int32_t version = 1, int32_t extra = 0) {
    std::vector<int32_t> header(256, 0);
    header[0] = magic;
    header[1] = version;
    header[2] = int32_t(tokens.size()) + extra;
    return std::string(reinterpret_cast<const char*>(header.data()), 1024) +
           std::string(reinterpret_cast<const char*>(tokens.data()), 2 * tokens.size());
}

class Shards : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "relora_shards_XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder = pattern;
    }
    void TearDown() override { fs::remove_all(folder); }
    std::string put(const std::string& name, const std::string& bytes) const {
        std::ofstream(folder / name, std::ios::binary) << bytes;
        return (folder / name).string();
    }
    // A shard in which every token says where it is: 0, 1, 2 …
    std::string put_counting(const std::string& name, int begin, int end) const {
        Tokens tokens(end - begin);
        std::iota(tokens.begin(), tokens.end(), begin);
        return put(name, shard_bytes(tokens));
    }

    fs::path folder;
};
using Loader = Shards;

TEST_F(Shards, WindowsRunAcrossShards) {
    // 7 + 0 + 1 + 2 + 13 tokens: the second window of 5 lies in four of the five shards.
    const int sizes[] = {7, 0, 1, 2, 13};
    Tokens stream;
    for (int shard = 0; shard < 5; shard++) {
        Tokens tokens;
        for (int i = 0; i < sizes[shard]; i++) tokens.push_back(uint16_t((7919 * (stream.size() + i) + 13) % 50257));
        put("train_" + std::to_string(shard) + ".bin", shard_bytes(tokens));
        stream.insert(stream.end(), tokens.begin(), tokens.end());
    }
    const TokenDataset data((folder / "train_*.bin").string(), 50257);
    EXPECT_EQ(data.num_tokens(), 23);
    EXPECT_EQ(data.num_windows(5), 4);
    EXPECT_EQ(data.num_windows(22), 1);
    EXPECT_EQ(data.num_windows(23), 0);
    for (const int T : {1, 2, 3, 5, 11, 22}) {
        for (int64_t w = 0; w < data.num_windows(T); w++) {
            std::vector<int32_t> inputs(T), targets(T);
            data.read_window(w, T, inputs.data(), targets.data());
            EXPECT_EQ(inputs, std::vector<int32_t>(&stream[w * T], &stream[w * T] + T)) << "T " << T << " window " << w;
            EXPECT_EQ(targets, std::vector<int32_t>(&stream[w * T + 1], &stream[w * T + 1] + T));
        }
    }
    int32_t none[5];
    EXPECT_THROW(data.read_window(4, 5, none, none), Error);
    EXPECT_THROW(data.read_window(-1, 5, none, none), Error);
}

TEST_F(Shards, MalformedShardsGetOneLineEach) {
    const Tokens tokens = {1, 2, 3, 4};
    const std::string good = shard_bytes(tokens);
    const struct {
        std::string file, error;
    } cases[] = {
        {"", " is too short: 0 bytes, the header alone needs 1024"},
        {good.substr(0, 1023), " is too short: 1023 bytes, the header alone needs 1024"},
        {good.substr(0, good.size() - 1), " is too short: 1031 bytes, the header's 4 tokens need 1032"},
        {good + "x", " is too long: 1033 bytes, the header's 4 tokens need 1032"},
        {shard_bytes(tokens, 20240520, 1, -5), " has a header with -1 tokens, which cannot be"},
        {shard_bytes(tokens, 20240522), " has the magic number 20240522, a token shard has 20240520"},
        {shard_bytes(tokens, 20240520, 7), " has version 7, only version 1 (uint16 tokens) can be read"},
        {shard_bytes({1, 255, 256, 300}), " holds token 256 at position 2, beyond the vocabulary of 256 tokens"},
    };
    for (const auto& [file, expected] : cases) {
        const std::string path = put("bad.bin", file);
        EXPECT_EQ(error_of([&] { TokenDataset data(path, 256); }), "shard " + path + expected);
    }
    const std::string missing = (folder / "none_*.bin").string();
    EXPECT_EQ(error_of([&] { TokenDataset data(missing, 256); }), "no file matches " + missing);
}

TEST_F(Shards, StrayTokenIsFoundWhereverItIs) {
    Tokens tokens(100003, 255);
    for (const size_t place : {0u, 1u, 63u, 99999u, 100002u}) {
        tokens[place] = 256;
        const std::string path = put("stray.bin", shard_bytes(tokens));
        EXPECT_EQ(error_of([&] { TokenDataset data(path, 256); }), "shard " + path + " holds token 256 at position " +
                                                                       std::to_string(place) +
                                                                       ", beyond the vocabulary of 256 tokens");
        tokens[place] = 255;
    }
    tokens[7] = 65535;
    EXPECT_EQ(TokenDataset(put("stray.bin", shard_bytes(tokens)), 65536).num_tokens(), 100003);
}

// A shard that is cut, or written anew, while a run reads it.
TEST_F(Shards, AShardThatShrinksIsAnErrorThatNamesIt) {
    const std::string path = put("train_0.bin", shard_bytes(Tokens(1000, 7)));
    const TokenDataset data(path, 256);
    fs::resize_file(path, 1024 + 2 * 500);
    std::vector<int32_t> inputs(100), targets(100);
    data.read_window(3, 100, inputs.data(), targets.data());
    EXPECT_EQ(inputs[99], 7);
    EXPECT_EQ(error_of([&] { data.read_window(4, 100, inputs.data(), targets.data()); }),
              "cannot read " + path + ": it ends at byte 2024, and had 3024 bytes when it was opened");
}

// A token that the scan at the start has not seen, here because the file changed after it, is found by the reader.
TEST_F(Loader, StrayTokenIsFoundWhenItIsRead) {
    const std::string path = put_counting("train.bin", 0, 41);
    const TokenDataset data(path, 256);
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(1024 + 2 * 25);
    file.write("\x00\x01", 2).flush();
    DataLoader loader(data, 1, 10, 0, /*shuffle=*/false);
    TokenBatch batch;
    const auto next = [&] { batch = loader.next(); };
    next();
    next();
    const std::string expected =
        "shard " + path + " holds token 256 at position 25, beyond the vocabulary of 256 tokens";
    EXPECT_EQ(error_of(next), expected);
    EXPECT_EQ(error_of(next), expected);
    EXPECT_EQ(loader.state(), (DataState{0, 2}));
    loader.restore({0, 3});
    next();
    EXPECT_EQ(batch.tokens[0], 30);
}

TEST(Shuffle, IsAPermutation) {
    for (const int64_t n : {1, 2, 3, 4, 5, 7, 16, 17, 100, 1000, 4096, 4097}) {
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            std::vector<int> seen(n, 0);
            for (int64_t i = 0; i < n; i++) {
                const int64_t window = shuffled_window(i, n, 42, epoch);
                ASSERT_GE(window, 0);
                ASSERT_LT(window, n);
                seen[window]++;
            }
            EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), n) << "n " << n << " epoch " << epoch;
        }
    }
    // Positions need 64 bits.
    const int64_t huge = int64_t(1) << 40;
    std::set<int64_t> places;
    for (int64_t i = huge - 1000; i < huge; i++) places.insert(shuffled_window(i, huge, 42, 0));
    EXPECT_EQ(places.size(), 1000u);
    EXPECT_GT(*places.rbegin(), int64_t(1) << 39);
    EXPECT_LT(*places.rbegin(), huge);
}

TEST(Shuffle, DependsOnSeedAndEpochOnly) {
    const auto order = [](uint64_t seed, int64_t epoch) {
        std::vector<int64_t> windows;
        for (int64_t i = 0; i < 100; i++) windows.push_back(shuffled_window(i, 100, seed, epoch));
        return windows;
    };
    EXPECT_EQ(order(1, 0), order(1, 0));
    std::set<std::vector<int64_t>> orders = {order(1, 0), order(1, 1), order(1, 2),
                                             order(2, 0), order(2, 1), order(uint64_t(1) << 32, 0)};
    EXPECT_EQ(orders.size(), 6u);
}

// Chi-squared against the uniform distribution, over epochs: all 6 orders of 3 windows (5 degrees of freedom), and
// where each of 10 positions goes (9 each). A true shuffle exceeds these bounds with probability 1e-6 each.
TEST(Shuffle, IsUniform) {
    const int epochs = 6000;
    std::map<std::array<int64_t, 3>, int> orders;
    std::array<std::array<int, 10>, 10> counts{};
    for (int epoch = 0; epoch < epochs; epoch++) {
        orders[{shuffled_window(0, 3, 7, epoch), shuffled_window(1, 3, 7, epoch), shuffled_window(2, 3, 7, epoch)}]++;
        for (int i = 0; i < 10; i++) counts[i][shuffled_window(i, 10, 7, epoch)]++;
    }
    double chi2 = 0;
    for (const auto& [order, count] : orders) chi2 += (count - epochs / 6.0) * (count - epochs / 6.0) / (epochs / 6.0);
    EXPECT_EQ(orders.size(), 6u);
    EXPECT_LT(chi2, 35.9);
    for (const auto& row : counts) {
        chi2 = 0;
        for (const int count : row) chi2 += (count - epochs / 10.0) * (count - epochs / 10.0) / (epochs / 10.0);
        EXPECT_LT(chi2, 44.8);
    }
}

// Returns the first tokens of the windows of so many batches, from shards that count 0, 1, 2 …; checks that each window
// is whole.
std::vector<int> windows_of(DataLoader& loader, int B, int T, int batches) {
    std::vector<int> windows;
    for (int i = 0; i < batches; i++) {
        const TokenBatch batch = loader.next();
        EXPECT_EQ(batch.B, B);
        EXPECT_EQ(batch.T, T);
        for (int b = 0; b < B; b++) {
            const int first = batch.tokens[b * T];
            EXPECT_EQ(first % T, 0);
            windows.push_back(first / T);
            for (int t = 0; t < T; t++) {
                EXPECT_EQ(batch.tokens[b * T + t], first + t);
                EXPECT_EQ(batch.targets[b * T + t], first + t + 1);
            }
        }
    }
    return windows;
}

TEST_F(Loader, UnshuffledBatchesAreTheStream) {
    const TokenDataset data(put_counting("val.bin", 0, 7 * 4 + 2), 256);
    DataLoader loader(data, 3, 4, 5, /*shuffle=*/false);
    EXPECT_EQ(loader.num_windows(), 7);
    EXPECT_EQ(windows_of(loader, 3, 4, 5), (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 0}));
    EXPECT_EQ(loader.state(), (DataState{2, 1}));
}

TEST_F(Loader, EveryEpochCoversEveryWindowOnceInAnotherOrder) {
    put_counting("train_0.bin", 0, 333);
    put_counting("train_1.bin", 333, 1005);
    const TokenDataset data((folder / "train_*.bin").string(), 2000);
    DataLoader loader(data, 3, 10, 5, /*shuffle=*/true);
    const std::vector<int> windows = windows_of(loader, 3, 10, 100);  // 100 windows: three epochs, batches cross them
    std::set<std::vector<int>> orders;
    for (int epoch = 0; epoch < 3; epoch++) {
        std::vector<int> order(windows.begin() + epoch * 100, windows.begin() + (epoch + 1) * 100);
        orders.insert(order);
        std::sort(order.begin(), order.end());
        std::vector<int> all(100);
        std::iota(all.begin(), all.end(), 0);
        EXPECT_EQ(order, all) << "epoch " << epoch;
    }
    EXPECT_EQ(orders.size(), 3u);
    EXPECT_EQ(loader.state(), (DataState{3, 0}));
    EXPECT_GE(loader.wait_seconds(), 0.0);
}

TEST_F(Loader, RestoredLoaderGoesOnExactly) {
    const TokenDataset data(put_counting("train.bin", 0, 171), 256);
    DataLoader whole(data, 4, 10, 9, true);
    const std::vector<int> expected = windows_of(whole, 4, 10, 12);
    for (int consumed = 0; consumed < 12; consumed++) {
        DataLoader first(data, 4, 10, 9, true);
        windows_of(first, 4, 10, consumed);
        DataLoader second(data, 4, 10, 9, true);
        second.restore(first.state());
        EXPECT_EQ(second.state(), first.state());
        EXPECT_EQ(windows_of(second, 4, 10, 12 - consumed),
                  std::vector<int>(expected.begin() + 4 * consumed, expected.end()));
        // A loader that has run on can also go back, as before every evaluation.
        second.restore({0, 0});
        EXPECT_EQ(windows_of(second, 4, 10, 12), expected);
    }
    DataLoader other(data, 4, 10, 9, true);
    EXPECT_NE(error_of([&] {
                  other.restore({0, 17});
              }).find("data position 17 of epoch 0 is not within the 17 windows"),
              std::string::npos);
}

TEST_F(Loader, RanksShareEveryBatch) {
    const TokenDataset data(put_counting("train.bin", 0, 235), 256);  // 23 windows: batches of 8 cross the epochs
    DataLoader alone(data, 8, 10, 3, true), rank0(data, 4, 10, 3, true, 0, 2), rank1(data, 4, 10, 3, true, 1, 2);
    for (int step = 0; step < 10; step++) {
        const std::vector<int> all = windows_of(alone, 8, 10, 1);
        std::vector<int> both = windows_of(rank0, 4, 10, 1);
        const std::vector<int> second = windows_of(rank1, 4, 10, 1);
        both.insert(both.end(), second.begin(), second.end());
        EXPECT_EQ(both, all) << "step " << step;
        EXPECT_EQ(rank0.state(), alone.state());
        EXPECT_EQ(rank1.state(), alone.state());
    }
}

TEST_F(Loader, TooSmallADataSetIsAClearError) {
    const std::string path = put_counting("tiny.bin", 0, 80);
    const TokenDataset data(path, 256);
    EXPECT_EQ(
        error_of([&] { DataLoader loader(data, 4, 10, 0, true, 0, 2); }),
        path + " holds 80 tokens, one batch of 8 sequences of 10 needs 81: use more data, fewer or shorter sequences");
    const TokenDataset enough(put_counting("tiny.bin", 0, 81), 256);
    EXPECT_EQ(error_of([&] { DataLoader loader(enough, 4, 10, 0, true, 0, 2); }), "no error");
    EXPECT_EQ(error_of([&] { DataLoader loader(enough, 1, 10, 0, true, 2, 2); }), "rank 2 is not one of 2");
}

}  // namespace
