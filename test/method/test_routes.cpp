// The routes of an adapter: the same gradients by each, the cost model, the choice, and the file that keeps
// measurements.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "test/error_of.h"
#include "train/dry_run.h"
#include "train/route_choice.h"
#include "train/routes.h"

namespace {

using relora::Route;
constexpr Route kAll[] = {Route::merged, Route::factored, Route::project};

// One linear with an adapter of `sections`, random, and a micro-batch for it.
struct Layer {
    int64_t N, in, out, rank;
    int sections;
    DType type;
    std::vector<std::vector<float>> memory;
    Parameter weight, bias;
    relora::Adapter adapter;
    relora::Linear linear{&weight, &bias, &adapter};
    relora::Scratch scratch;
    Tensor x, dx, y, dy;
    std::mt19937 random{7};

    Tensor tensor(DType t, int64_t rows, int64_t cols, double deviation = 0) {
        memory.emplace_back(size_t(rows * cols));
        const Tensor made = make_tensor(memory.back().data(), t, rows, cols);
        std::normal_distribution<float> draw(0, 1);
        for (int64_t i = 0; i < rows * cols; i++) {
            const float value = float(deviation) * draw(random);
            if (t == DType::bf16)
                made.get<bf16>()[i] = bf16(value);
            else
                made.get<float>()[i] = value;
        }
        return made;
    }
    // Random values; in bf16 with a master beside the weight, which round() fills.
    void fill(Parameter& p, int64_t rows, int64_t cols, double deviation) {
        const Tensor values = tensor(DType::f32, rows, cols, deviation);
        p.weight = type == DType::f32 ? values : tensor(type, rows, cols);
        if (type != DType::f32) p.master = values, p.has_master = true;
    }
    Layer(int64_t N, int64_t in, int64_t out, int64_t rank, int sections, DType type)
        : N(N), in(in), out(out), rank(rank), sections(sections), type(type) {
        memory.reserve(32);  // tensors point into it
        weight.rows = out, weight.cols = in;
        adapter = relora::make_adapter(0, weight, {.rank = rank, .alpha = 0.5 * double(rank), .sections = sections}, 0);
        fill(weight, out, in, 0.1);
        bias.weight = tensor(type, 1, out, 0.1);
        bias.gradient = tensor(DType::f32, 1, out);
        for (Parameter* p : {&adapter.A, &adapter.B}) {
            fill(*p, p->rows, p->cols, 0.2);
            p->gradient = tensor(DType::f32, p->rows, p->cols);
        }
        adapter.effective = tensor(type, out, in);
        adapter.u = scratch.u = tensor(type, N, sections * rank);
        scratch.du = tensor(type, N, sections * rank);
        scratch.delta = tensor(DType::f32, 1, in * out);
        x = tensor(type, N, in, 1), dx = tensor(type, N, in), y = tensor(type, N, out), dy = tensor(type, N, out, 1);
        if (const int64_t floats = kernels::workspace_floats(Device::cpu, type, std::max({N * in, N * out, in * out}));
            floats > 0)
            kernels::set_workspace(Device::cpu, tensor(DType::f32, 1, floats));
        round();
    }
    ~Layer() { kernels::set_workspace(Device::cpu, {}); }
    // Brings masters that have changed to the weights.
    void round() {
        for (const Parameter* p : {&weight, &adapter.A, &adapter.B}) relora::round_weight(*p);
        adapter.route = Route::merged;
        relora::form_effective_weight(adapter, scratch);
    }
    // The function sum(dy * y) in fp64, whose gradients backward() gives.
    double objective(Route route) {
        adapter.route = route;
        relora::linear_forward(y, x, linear, scratch, {});
        double sum = 0;
        for (int64_t i = 0; i < N * out; i++) sum += at(dy, i) * at(y, i);
        return sum;
    }
    void backward(Route route, bool accumulate = false) {
        adapter.route = route;
        relora::linear_forward(y, x, linear, scratch, {});
        relora::linear_backward(dx, dy, x, linear, scratch, {}, accumulate);
    }
    static double at(const Tensor& t, int64_t i) {
        return t.dtype == DType::bf16 ? float(t.get<bf16>()[i]) : t.get<float>()[i];
    }
    std::vector<double> values(const Tensor& t) const {
        std::vector<double> all;
        for (int64_t i = 0; i < t.size(); i++) all.push_back(at(t, i));
        return all;
    }
};

double relative_difference(const std::vector<double>& x, const std::vector<double>& y) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < x.size(); i++) difference += (x[i] - y[i]) * (x[i] - y[i]), norm += y[i] * y[i];
    return std::sqrt(difference / norm);
}

struct Size {
    int64_t N, in, out, rank;
    int sections;
};
constexpr Size kSizes[] = {{33, 20, 48, 5, 3}, {64, 96, 32, 8, 1}, {7, 24, 24, 24, 1}};

TEST(Routes, GiveTheSameOutputsAndGradients) {
    for (const DType type : {DType::f32, DType::bf16})
        for (const Size& s : kSizes) {
            // fp32: sums in another order. bf16: u, du, y and dx rounded to 8 bits at different places.
            const double most = type == DType::f32 ? 2e-6 : 1.2e-2;
            Layer layer(s.N, s.in, s.out, s.rank, s.sections, type);
            layer.backward(Route::factored);
            const auto y = layer.values(layer.y), dx = layer.values(layer.dx),
                       dA = layer.values(layer.adapter.A.gradient), dB = layer.values(layer.adapter.B.gradient),
                       db = layer.values(layer.bias.gradient);
            for (const Route route : kAll) {
                layer.backward(route);
                EXPECT_LT(relative_difference(layer.values(layer.y), y), most)
                    << relora::route_name(route) << " " << dtype_name(type);
                EXPECT_LT(relative_difference(layer.values(layer.dx), dx), most)
                    << relora::route_name(route) << " " << dtype_name(type);
                EXPECT_LT(relative_difference(layer.values(layer.adapter.A.gradient), dA), most)
                    << relora::route_name(route) << " " << dtype_name(type);
                EXPECT_LT(relative_difference(layer.values(layer.adapter.B.gradient), dB), most)
                    << relora::route_name(route) << " " << dtype_name(type);
                EXPECT_EQ(layer.values(layer.bias.gradient), db);
                // A second micro-batch of the same numbers doubles the gradients.
                layer.backward(route, true);
                const auto doubled = layer.values(layer.adapter.A.gradient),
                           doubled_B = layer.values(layer.adapter.B.gradient);
                auto twice_A = dA, twice_B = dB;
                for (double& v : twice_A) v *= 2;
                for (double& v : twice_B) v *= 2;
                EXPECT_LT(relative_difference(doubled, twice_A), most) << relora::route_name(route);
                EXPECT_LT(relative_difference(doubled_B, twice_B), most) << relora::route_name(route);
            }
        }
}

// y is linear in A and in B, so a central difference is exact but for rounding.
TEST(Routes, GradientsAreFiniteDifferences) {
    for (const Size& s : kSizes) {
        Layer layer(s.N, s.in, s.out, s.rank, s.sections, DType::f32);
        for (const Route route : kAll) {
            layer.backward(route);
            for (Parameter* p : {&layer.adapter.A, &layer.adapter.B}) {
                const auto gradient = layer.values(p->gradient);
                double size = 0;
                for (const double g : gradient) size += g * g / double(gradient.size());
                for (const int64_t i : {int64_t(0), p->size() / 2 + 1, p->size() - 1}) {
                    float& w = p->value().get<float>()[i];
                    const float saved = w, h = 0.5f;
                    const auto moved_to = [&](float value) {
                        w = value;
                        layer.round();
                        return layer.objective(route);
                    };
                    const double up = moved_to(saved + h), down = moved_to(saved - h);
                    moved_to(saved);
                    EXPECT_NEAR(gradient[size_t(i)], (up - down) / (2 * h), 1e-4 * std::sqrt(size) + 1e-3)
                        << relora::route_name(route) << " " << i;
                }
            }
        }
    }
}

RouteSetting setting(int64_t rank, int64_t rows) {
    RouteSetting s{.config = {}, .lora = {}, .type = DType::f32, .device = Device::cpu, .rows = rows};
    s.lora.rank = rank;
    return s;
}

TEST(Routes, AreChosenByCost) {
    // Forming W + s B A costs 2 r k m per update, and saves 2 r (k + m) a token: nothing at 64 tokens, much at 65536.
    EXPECT_EQ(to_string(fastest_routes(modelled_times(setting(128, 64)), 1)), "factored,factored,factored,factored");
    EXPECT_EQ(to_string(fastest_routes(modelled_times(setting(128, 4096)), 16)), "merged,merged,merged,merged");
    // At rank 512 the low-rank gradient, 4 r (k + m) = 4096 C for c_proj, is dearer than the dense one, 2 k m = 1536 C.
    EXPECT_EQ(fastest_routes(modelled_times(setting(512, 4096)), 16)[kAttnProj], Route::project);
    RouteTimes times{};
    for (auto& linear : times) linear = {RouteTime{1.0, 0.5}, RouteTime{1.2, 0}, RouteTime{0.99, 0.5}};
    EXPECT_EQ(to_string(fastest_routes(times, 1)), "factored,factored,factored,factored");  // 1.2 against 1.5
    EXPECT_EQ(to_string(fastest_routes(times, 10)), "merged,merged,merged,merged");         // 1 % is not worth it
    times[kMlpFc][int(Route::project)].micro_batch = 0.9;
    EXPECT_EQ(to_string(fastest_routes(times, 10)), "merged,merged,project,merged");
}

TEST(Routes, AreFactoredWhereMemoryIsShortAndThatTakesLess) {
    Options o;
    o.mode = "lora", o.device = "cpu", o.layers = 2, o.heads = 2, o.channels = 64, o.seq_len = 32, o.batch_size = 1,
    o.rank = 4;
    const Routes merged{}, factored{Route::factored, Route::factored, Route::factored, Route::factored};
    for (const char* type : {"fp32", "bf16"}) {
        o.dtype = type;
        o.resolve();
        const size_t needed = estimate_phase(o, true, merged).total_bytes;
        EXPECT_EQ(affordable_routes(o, merged, needed), merged);
        EXPECT_EQ(affordable_routes(o, merged, needed - 1), o.dtype == "fp32" ? factored : merged) << type;
    }
}

TEST(Routes, HaveNames) {
    const Routes routes{Route::project, Route::merged, Route::factored, Route::merged};
    EXPECT_EQ(to_string(routes), "project,merged,factored,merged");
    EXPECT_EQ(routes_from(to_string(routes)), routes);
    EXPECT_THROW(routes_from("merged,merged,merged"), Error);
    EXPECT_THROW(routes_from("merged,merged,merged,quick"), Error);
}

class Cache : public testing::Test {
  protected:
    std::string folder = (std::filesystem::temp_directory_path() / "relora_routes_XXXXXX").string();
    std::string before;
    void SetUp() override {
        ASSERT_TRUE(mkdtemp(folder.data()));
        if (const char* set = std::getenv("XDG_CACHE_HOME")) before = set;
        setenv("XDG_CACHE_HOME", folder.c_str(), 1);
    }
    void TearDown() override {
        before.empty() ? unsetenv("XDG_CACHE_HOME") : setenv("XDG_CACHE_HOME", before.c_str(), 1);
        std::filesystem::remove_all(folder);
    }
    // Times that are the same for every route.
    static RouteTimes times_of(double micro_batch, double update) {
        RouteTimes times;
        for (auto& linear : times) linear.fill({micro_batch, update});
        return times;
    }
    std::string path() const { return folder + "/train_relora/adapter_times.json"; }
};

TEST_F(Cache, KeepsMeasurementsApart) {
    RouteSetting small = setting(4, 16);
    small.config = {.vocab_size = 61, .max_positions = 12, .layers = 1, .heads = 2, .channels = 32};
    small.lora.targets[kMlpFc] = false;
    EXPECT_FALSE(stored_times(small, 2));
    const RouteTimes times = measured_times(small);
    for (int i = 0; i < kLinears; i++)
        for (int r = 0; r < relora::kRoutes; r++) {
            EXPECT_EQ(times[size_t(i)][size_t(r)].micro_batch > 0, i != kMlpFc);
            EXPECT_LT(times[size_t(i)][size_t(r)].micro_batch, 1.0);
        }
    store_times(times, small, 2);
    const auto stored = stored_times(small, 2);
    ASSERT_TRUE(stored);
    EXPECT_EQ((*stored)[kAttnProj][1].micro_batch, times[kAttnProj][1].micro_batch);
    EXPECT_FALSE(stored_times(small, 3));
    RouteSetting other = small;
    other.rows = 17;
    EXPECT_FALSE(stored_times(other, 2));
    store_times(times, other, 2);
    EXPECT_TRUE(stored_times(small, 2) && stored_times(other, 2));
}

TEST_F(Cache, KeepsWhatEachOfManyProcessesStores) {
    constexpr int kProcesses = 4, kSettings = 20;
    for (int process = 0; process < kProcesses; process++)
        if (fork() == 0) {
            for (int i = 0; i < kSettings; i++) store_times(times_of(1, 0), setting(4, 16), process * kSettings + i);
            _exit(0);
        }
    for (int process = 0; process < kProcesses; process++) wait(nullptr);
    for (int i = 0; i < kProcesses * kSettings; i++) EXPECT_TRUE(stored_times(setting(4, 16), i)) << i;
}

TEST_F(Cache, IsWorthNothingWhenItIsDamagedAndIsWrittenAnew) {
    std::filesystem::create_directories(folder + "/train_relora");
    for (const char* text : {"", "[1, 2", "[]", "{\"a\": 1}"}) {
        std::ofstream(path()) << text;
        EXPECT_FALSE(stored_times(setting(4, 16), 2)) << text;
        store_times(times_of(1, 0), setting(4, 16), 2);
        EXPECT_TRUE(stored_times(setting(4, 16), 2)) << text;
    }
    for (const auto& [micro_batch, update] : {std::pair{0.0, 0.0}, {-1.0, 0.0}, {1.0, -1.0}}) {
        store_times(times_of(micro_batch, update), setting(4, 16), 2);
        EXPECT_FALSE(stored_times(setting(4, 16), 2)) << micro_batch << " " << update;
    }
    std::filesystem::remove_all(folder);
    std::ofstream(folder) << "a file where the folder should be";
    const auto store = [] { store_times(times_of(1, 0), setting(4, 16), 2); };
    EXPECT_EQ(error_of(store), "cannot create " + folder + "/train_relora: Not a directory");
    EXPECT_FALSE(stored_times(setting(4, 16), 2));
    // A path that can't even be looked at holds no times either.
    std::filesystem::remove(folder);
    std::filesystem::create_symlink(folder, folder);
    EXPECT_EQ(error_of(store), "cannot create " + folder + "/train_relora: Too many levels of symbolic links");
    EXPECT_FALSE(stored_times(setting(4, 16), 2));
}

// A link in the place of one of the cache's files leads to something that is not the cache's.
TEST_F(Cache, FollowsNoLinkOfOthers) {
    std::filesystem::create_directories(folder + "/train_relora");
    std::ofstream(folder + "/mine") << "mine";
    std::filesystem::create_symlink(folder + "/mine", path() + ".lock");
    EXPECT_EQ(error_of([] { store_times(times_of(1, 0), setting(4, 16), 2); }),
              "cannot create " + path() + ".lock: Too many levels of symbolic links");
    std::filesystem::remove(path() + ".lock");
    for (const char* name : {".tmp", ""}) std::filesystem::create_symlink(folder + "/mine", path() + name);
    store_times(times_of(1, 0), setting(4, 16), 2);
    EXPECT_TRUE(stored_times(setting(4, 16), 2));
    std::string text;
    std::getline(std::ifstream(folder + "/mine"), text);
    EXPECT_EQ(text, "mine");
}

}  // namespace
