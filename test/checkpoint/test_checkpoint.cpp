// Checkpoints: the layout that files have, the way back into memory, and which folders count as complete.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "checkpoint/checkpoint.h"
#include "checkpoint/run_folder.h"
#include "io/safetensors.h"
#include "runtime/error.h"
#include "test/error_of.h"

namespace {

namespace fs = std::filesystem;

// A parameter with memory of its own, filled with values that tell every element apart.
struct OwnedParameter : Parameter {
    OwnedParameter(const std::string& parameter_name, int64_t r, int64_t c, Role its_role, bool trained) {
        name = parameter_name;
        rows = file_rows = r;
        cols = c;
        role = its_role;
        trains = trained;
        adam_step = 0;
        for (std::vector<float>* memory : {&master_memory, &m_memory, &v_memory}) memory->assign(size_t(r * c), 0.0f);
        master = weight = make_tensor(master_memory.data(), DType::f32, r, c);
        if (!trained) return;
        m = make_tensor(m_memory.data(), DType::f32, r, c);
        v = make_tensor(v_memory.data(), DType::f32, r, c);
    }
    std::vector<float> master_memory, m_memory, v_memory;
};

// What element (r, c) of parameter number `tensor` holds: a third is not a short binary fraction, so all bits matter.
float value(int tensor, int64_t r, int64_t c) { return float(tensor) + float(100 * r + c) / 3.0f; }

// A small table as a model has it: an embedding padded from 5 to 8 rows, a transposed linear, a bias, an adapter.
struct Table {
    OwnedParameter wte{"transformer.wte.weight", 8, 3, Role::token_embedding, true};
    OwnedParameter linear{"transformer.h.0.attn.c_proj.weight", 37, 5, Role::linear, false};
    OwnedParameter bias{"transformer.h.0.attn.c_proj.bias", 1, 37, Role::bias, true};
    OwnedParameter A{"transformer.h.0.attn.c_proj.lora_A", 2, 5, Role::adapter_A, true};
    std::vector<OwnedParameter*> owned{&wte, &linear, &bias, &A};

    Table() { wte.file_rows = 5; }
    std::vector<Parameter*> parameters() { return {owned.begin(), owned.end()}; }
    void fill() {
        for (int i = 0; i < int(owned.size()); i++) {
            OwnedParameter& p = *owned[size_t(i)];
            p.adam_step = p.trains ? 1 + i : 0;
            for (int64_t k = 0; k < p.size(); k++) {
                p.master_memory[size_t(k)] = value(i, k / p.cols, k % p.cols);
                p.m_memory[size_t(k)] = value(i + 20, k / p.cols, k % p.cols);
                p.v_memory[size_t(k)] = value(i + 40, k / p.cols, k % p.cols);
            }
        }
    }
};

class Checkpoint : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "relora_checkpoint_XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        out = pattern;
        table.fill();
    }
    void TearDown() override { fs::remove_all(out); }

    static RunState state(int64_t step) {
        RunState s;
        s.step = step;
        s.restarts = 3;
        s.low_rank = true;
        s.data = {.epoch = 2, .position = 71};
        s.seed = 0xFFFFFFFFFFFFFFFFull;  // more than a double or a signed integer holds
        s.config = {.vocab_size = 5, .max_positions = 7, .layers = 1, .heads = 1, .channels = 3};
        s.train_data.shards = {{.path = "train.bin", .bytes = 2048, .sha256 = std::string(64, 'b')}};
        s.rank = 2;
        s.alpha = 0.1;
        s.options = {{"lr", "0.1"}, {"mode", "\"relora\""}};
        return s;
    }
    std::string write(int64_t step) { return write_checkpoint(out, state(step), table.parameters(), Whole()); }
    // Names in the run folder, sorted.
    std::vector<std::string> names() const {
        std::vector<std::string> found;
        for (const auto& entry : fs::directory_iterator(out)) found.push_back(entry.path().filename().string());
        std::sort(found.begin(), found.end());
        return found;
    }
    static void put(const std::string& path, int64_t at, const std::string& bytes) {
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(at);
        file << bytes;
    }

    std::string out;
    Table table;
};

float element(const SafetensorsReader& file, const std::string& name, int64_t index) {
    const SafetensorsEntry& entry = file.at(name);
    std::vector<float> values(size_t(entry.bytes()) / sizeof(float));
    file.read(entry, values.data());
    return values.at(size_t(index));
}

using Shape = std::vector<int64_t>;

TEST_F(Checkpoint, FilesHoldTheDocumentedLayout) {
    const std::string folder = write(42);
    EXPECT_EQ(folder, out + "/step_00000042");
    const SafetensorsReader model(folder + "/model.safetensors"), adapters(folder + "/adapters.safetensors"),
        moments(folder + "/optimizer.safetensors");

    // The padding of the vocabulary stays in memory.
    ASSERT_EQ(model.at("transformer.wte.weight").shape, (Shape{5, 3}));
    for (int64_t r = 0; r < 5; r++)
        for (int64_t c = 0; c < 3; c++) EXPECT_EQ(element(model, "transformer.wte.weight", r * 3 + c), value(0, r, c));
    // [out, in] in memory, [in, out] in the file.
    const std::string linear = "transformer.h.0.attn.c_proj.weight";
    ASSERT_EQ(model.at(linear).shape, (Shape{5, 37}));
    for (int64_t to = 0; to < 37; to++)
        for (int64_t from = 0; from < 5; from++) EXPECT_EQ(element(model, linear, from * 37 + to), value(1, to, from));
    EXPECT_EQ(model.at("transformer.h.0.attn.c_proj.bias").shape, Shape{37});

    EXPECT_EQ(model.find("transformer.h.0.attn.c_proj.lora_A"), nullptr);
    ASSERT_EQ(adapters.at("transformer.h.0.attn.c_proj.lora_A").shape, (Shape{2, 5}));
    EXPECT_EQ(element(adapters, "transformer.h.0.attn.c_proj.lora_A", 7), value(3, 1, 2));

    // Moments lie as in memory, and only what trains has them.
    EXPECT_EQ(moments.entries().size(), 6u);
    EXPECT_EQ(moments.find(linear + ".m"), nullptr);
    EXPECT_EQ(element(moments, "transformer.wte.weight.m", 14), value(20, 4, 2));
    EXPECT_EQ(element(moments, "transformer.h.0.attn.c_proj.lora_A.v", 5), value(43, 1, 0));
}

TEST_F(Checkpoint, ReadsBackWhatItWrote) {
    const std::string folder = write(42);
    Table read;
    read_parameters(folder, read_state(folder), read.parameters());
    for (size_t i = 0; i < table.owned.size(); i++) {
        const OwnedParameter &wanted = *table.owned[i], &got = *read.owned[i];
        EXPECT_EQ(got.adam_step, wanted.adam_step) << wanted.name;
        for (int64_t k = 0; k < wanted.size(); k++) {
            const bool stored = k < wanted.file_size(), moments = stored && wanted.trains;
            ASSERT_EQ(got.master_memory[size_t(k)], stored ? wanted.master_memory[size_t(k)] : 0.0f)
                << wanted.name << " " << k;
            ASSERT_EQ(got.m_memory[size_t(k)], moments ? wanted.m_memory[size_t(k)] : 0.0f) << wanted.name << " " << k;
            ASSERT_EQ(got.v_memory[size_t(k)], moments ? wanted.v_memory[size_t(k)] : 0.0f) << wanted.name << " " << k;
        }
    }
    const RunState s = read_state(folder), wanted = state(42);
    EXPECT_EQ(s.step, 42);
    EXPECT_EQ(s.restarts, 3);
    EXPECT_TRUE(s.low_rank);
    EXPECT_EQ(s.data, wanted.data);
    EXPECT_EQ(s.seed, wanted.seed);
    EXPECT_EQ(s.config, wanted.config);
    EXPECT_EQ(s.rank, 2);
    EXPECT_EQ(s.alpha, 0.1);
    EXPECT_EQ(s.options, wanted.options);
}

TEST_F(Checkpoint, ReadsBf16AndNamesWithoutPrefix) {
    // 1.5, -2 and 0.0078125 as bfloat16: the upper halves of 0x3FC00000, 0xC0000000 and 0x3C000000.
    const uint16_t bits[3] = {0x3FC0, 0xC000, 0x3C00};
    SafetensorsWriter file(out + "/model.safetensors");
    file.add("h.0.bias", "BF16", {3});
    file.write("h.0.bias", bits, sizeof bits);
    file.close();
    OwnedParameter bias("transformer.h.0.bias", 1, 3, Role::bias, true);
    read_weights(out, {&bias});
    EXPECT_EQ(bias.master_memory, (std::vector<float>{1.5f, -2.0f, 0.0078125f}));
    OwnedParameter longer("transformer.h.0.bias", 1, 4, Role::bias, true),
        other("transformer.h.1.bias", 1, 3, Role::bias, true);
    EXPECT_NE(error_of([&] { read_weights(out, {&longer}); }).find("h.0.bias"), std::string::npos);
    EXPECT_NE(error_of([&] { read_weights(out, {&other}); }).find("transformer.h.1.bias"), std::string::npos);
}

TEST_F(Checkpoint, OnlyItsOwnNamesCount) {
    EXPECT_EQ(step_name(60), "step_00000060");
    EXPECT_EQ(step_name(123456789), "step_123456789");
    for (const char* name : {"step_00000060", "step_00000000", "step_123456789"})
        EXPECT_EQ(step_name(step_of(name).value_or(-1)), name);
    for (const char* name : {"step_00000060.bak", "step_0000060", "step_000000060", "step_", "step_-0000060", "",
                             "step", "step_0000006x", "step_99999999999999999999"})
        EXPECT_FALSE(step_of(name)) << name;
}

TEST_F(Checkpoint, NewestWholeIsFound) {
    std::vector<std::string> passed_over;
    const auto newest = [&] {
        passed_over.clear();
        const auto found = newest_whole(out, passed_over);
        return found ? found->folder : "";
    };
    EXPECT_EQ(newest(), "");
    EXPECT_TRUE(checkpoints(out + "/nowhere").empty());
    write(9);
    write(10);
    // Nine digits sort as numbers.
    write(100000001);
    write(99999999);
    EXPECT_EQ(newest(), out + "/step_100000001");
    fs::remove_all(out + "/step_100000001");
    fs::remove_all(out + "/step_99999999");
    // A folder that a crash left without state.json, a temporary one, one of another kind, and copies by hand.
    fs::create_directories(out + "/step_00000011");
    for (const char* name : {".step_00000012.tmp", "export", "step_00000012.bak", "step_0000013"})
        fs::copy(out + "/step_00000010", out + "/" + name);
    EXPECT_EQ(newest(), out + "/step_00000010");
    EXPECT_EQ(passed_over, std::vector<std::string>{out + "/step_00000011 is not a checkpoint: it has no state.json"});
    fs::remove(out + "/step_00000011");
    // One under another's name, and a damaged one.
    fs::copy(out + "/step_00000010", out + "/step_00000014");
    put(out + "/step_00000010/model.safetensors", 100, "~");
    EXPECT_EQ(newest(), out + "/step_00000009");
    ASSERT_EQ(passed_over.size(), 2u);
    EXPECT_EQ(passed_over[0], out + "/step_00000014 holds step 10, which its name doesn't say");
    EXPECT_EQ(passed_over[1].find(out + "/step_00000010/model.safetensors is damaged"), 0u);
}

TEST_F(Checkpoint, KeepsTheNewestAndMultiples) {
    for (int64_t step = 5; step <= 12; step++) write(step);
    fs::copy(out + "/step_00000005", out + "/step_00000005.good");
    remove_old(out, {.newest = 0});
    EXPECT_EQ(names().size(), 9u);
    remove_old(out, {.newest = 2, .every = 5});
    EXPECT_EQ(names(), (std::vector<std::string>{"step_00000005", "step_00000005.good", "step_00000010",
                                                 "step_00000011", "step_00000012"}));
}

TEST_F(Checkpoint, NothingIsOverwritten) {
    write(6);
    table.wte.master_memory[0] = 77.0f;
    write(6);
    write(7);
    EXPECT_EQ(names(), (std::vector<std::string>{"step_00000006", "step_00000006.abandoned", "step_00000007"}));
    const auto first_value = [&](const std::string& name) {
        return element(SafetensorsReader(out + "/" + name + "/model.safetensors"), "transformer.wte.weight", 0);
    };
    EXPECT_EQ(first_value("step_00000006"), 77.0f);
    EXPECT_EQ(first_value("step_00000006.abandoned"), value(0, 0, 0));
    write(5);
    EXPECT_EQ(set_aside_later(out, 5),
              (std::vector<std::string>{out + "/step_00000006.abandoned.2", out + "/step_00000007.abandoned"}));
}

TEST_F(Checkpoint, RoomIsAsked) {
    EXPECT_EQ(error_of([&] { check_room(out, 1 << 20); }), "no error");
    const std::string message = error_of([&] { check_room(out, int64_t(1) << 60); });
    EXPECT_EQ(message.find(out + ": a checkpoint takes 1099511627776 MiB, and only "), 0u);
    EXPECT_NE(message.find(" MiB too few"), std::string::npos);
}

TEST_F(Checkpoint, DamageIsFound) {
    const auto problem = [](const std::string& folder) {
        return error_of([&] { verify_files(folder, read_state(folder)); });
    };
    for (const std::string name : {"model.safetensors", "adapters.safetensors", "optimizer.safetensors"}) {
        const std::string folder = write(5), file = folder + "/" + name;
        ASSERT_EQ(problem(folder), "no error");
        put(file, int64_t(fs::file_size(file)) - 1, "~");  // the last byte of the last number
        EXPECT_NE(problem(folder).find(file + " is damaged"), std::string::npos);
        write(5);
        fs::resize_file(file, fs::file_size(file) - 4);
        EXPECT_NE(problem(folder).find(file + " is damaged"), std::string::npos);
        write(5);
        fs::remove(file);
        EXPECT_NE(problem(folder).find(file), std::string::npos);
    }
}

TEST_F(Checkpoint, ForeignStateIsRefused) {
    const std::string folder = write(5), path = folder + "/state.json";
    const auto refused = [&](const std::string& text) {
        std::ofstream(path) << text;
        return error_of([&] { read_state(folder); });
    };
    EXPECT_NE(refused("{\"format\": 1").find("is not valid JSON"), std::string::npos);
    EXPECT_NE(refused("{\"format\": 3}").find("has format 3, this program reads 1 to 2"), std::string::npos);
    EXPECT_NE(refused("{\"format\": 1}").find("state.json has no \"step\""), std::string::npos);
    EXPECT_NE(refused("[]").find("state.json is [], it should be an object"), std::string::npos);
    fs::remove(path);
    EXPECT_NE(error_of([&] { read_state(folder); }).find("it has no state.json"), std::string::npos);
}

TEST_F(Checkpoint, AFailedWriteLeavesTheEarlierOne) {
    write(5);
    // A tensor without memory: the write fails when its files are half written.
    OwnedParameter empty("transformer.empty", 1, 3, Role::bias, true);
    empty.master = empty.weight = {};
    EXPECT_NE(error_of([&] { write_checkpoint(out, state(6), {&empty}, Whole()); }), "no error");
    EXPECT_EQ(names(), std::vector<std::string>{"step_00000005"});
    EXPECT_EQ(error_of([&] { read_state(out + "/step_00000005"); }), "no error");
}

}  // namespace
