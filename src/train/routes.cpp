#include "train/routes.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "io/files.h"
#include "runtime/clock.h"
#include "train/options.h"

namespace fs = std::filesystem;
using nlohmann::json;
using relora::Route;

namespace {

// One linear as the model holds it, in memory of its own.
struct Trial {
    const RouteSetting& s;
    const bool takes_gelu, gives_gelu;
    MemoryPlan memory;
    Parameter weight, bias;
    relora::Adapter adapter;
    relora::Linear linear{&weight, &bias, &adapter};
    relora::Scratch scratch;
    Tensor x, dx, y, dy, activated, preactivation, workspace, outer_workspace;
    Tensor master;  // of the weight, where the effective weight is formed from it

    Trial(const RouteSetting& setting, int index)
        : s(setting), takes_gelu(index == kMlpProj), gives_gelu(index == kMlpFc), memory(setting.device) {
        adapter.sections = s.lora.sections(index);
        adapter.rank = s.lora.rank;
        adapter.in = linear_in(s.config, index);
        adapter.out = linear_out(s.config, index);
        adapter.scale = float(s.lora.alpha / double(s.lora.rank));
        weight.trains = false;
        const int64_t in = adapter.in, out = adapter.out, stacked = adapter.sections * adapter.rank;
        const auto plan = [&](Tensor& t, DType type, int64_t rows, int64_t cols) {
            memory.add(&t, MemoryCategory::workspaces, type, rows, cols);
        };
        for (Tensor* t : {&x, &dx}) plan(*t, s.type, s.rows, in);
        for (Tensor* t : {&y, &dy}) plan(*t, s.type, s.rows, out);
        if (gives_gelu) plan(activated, s.type, s.rows, out);
        if (takes_gelu) plan(preactivation, s.type, s.rows, in);
        plan(weight.weight, s.type, out, in);
        if (s.type != DType::f32 && s.device == Device::cpu) plan(master, DType::f32, out, in);
        plan(bias.weight, s.type, 1, out);
        plan(bias.gradient, DType::f32, 1, out);
        plan(adapter.effective, s.type, out, in);
        for (auto [p, rows, cols] : {std::tuple{&adapter.A, stacked, in}, {&adapter.B, out, adapter.rank}}) {
            plan(p->weight, s.type, rows, cols);
            plan(p->master, DType::f32, rows, cols);
            plan(p->gradient, DType::f32, rows, cols);
        }
        for (Tensor* t : {&scratch.u, &scratch.du}) plan(*t, s.type, s.rows, stacked);
        plan(scratch.delta, DType::f32, 1, in * out);
        if (const int64_t floats =
                kernels::workspace_floats(s.device, s.type, std::max({s.rows * in, s.rows * out, in * out}));
            floats > 0)
            plan(workspace, DType::f32, 1, floats);
        memory.allocate();
        adapter.u = scratch.u;
        outer_workspace = kernels::set_workspace(s.device, workspace);
        // Numbers of a common size: zeros would cost a GPU less power, and so less time.
        uint32_t id = 0;
        for (const Tensor* t :
             {&x, &dy, &weight.weight, &adapter.A.weight, &adapter.B.weight, &adapter.A.master, &adapter.B.master})
            kernels::fill_normal(*t, 0.02f, {0, rng::Purpose::init, id++, 0});
        if (takes_gelu) kernels::fill_normal(preactivation, 1.0f, {0, rng::Purpose::init, id, 0});
    }
    ~Trial() { kernels::set_workspace(s.device, outer_workspace); }

    void micro_batch(Route route) {
        adapter.route = route;
        relora::linear_forward(y, x, linear, scratch, {}, activated);
        relora::linear_backward(dx, dy, x, linear, scratch, {}, false, preactivation);
    }
    void update(Route route) {
        adapter.route = route;
        relora::form_effective_weight(adapter, master.empty() ? weight.weight : master, scratch);
    }
    template <class Body>
    double seconds(const Body& body) {
        const int repeats = s.device == Device::cuda ? 10 : 1;  // so that the GPU is seen, not the launch
        const double start = seconds_now();
        for (int i = 0; i < repeats; i++) body();
        device::wait(s.device);
        return (seconds_now() - start) / repeats;
    }
};

std::string cache_path() {
    const char *cache = std::getenv("XDG_CACHE_HOME"), *home = std::getenv("HOME");
    if (cache && *cache) return str(cache, "/train_relora/adapter_times.json");
    return home && *home ? str(home, "/.cache/train_relora/adapter_times.json") : "";
}

// What times depend on.
std::string key_of(const RouteSetting& s, int threads) {
    std::string targets;
    for (const bool target : s.lora.targets) targets += target ? '1' : '0';
    return str(kVersion, "; ", device::description(s.device), "; ",
               s.device == Device::cpu ? str(threads, " threads; ") : "", dtype_name(s.type), "; ", s.rows, " rows; ",
               s.config.channels, " channels; rank ", s.lora.rank, "; ", s.lora.separate_qkv ? "separate" : "fused",
               "; targets ", targets);
}

json read_cache() {
    const std::string path = cache_path();
    if (path.empty()) return json::object();
    try {
        json all = json::parse(read_file(path));
        return all.is_object() ? all : json::object();
    } catch (const std::exception&) {
        return json::object();
    }
}

// Held while the file is read and written anew, so that of runs that start together none loses what another has
// measured. On a file system that has no locks they may.
class CacheLock {
  public:
    explicit CacheLock(const std::string& path) : fd_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
        if (fd_ < 0) fail_errno("create", path, errno);
        while (flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
        }
    }
    ~CacheLock() { close(fd_); }
    CacheLock(const CacheLock&) = delete;
    CacheLock& operator=(const CacheLock&) = delete;

  private:
    int fd_;
};

double total(const RouteTime& time, int64_t micro_batches) {
    return double(micro_batches) * time.micro_batch + time.update;
}

}  // namespace

RouteTimes modelled_times(const RouteSetting& s) {
    // FLOP/s relative to large products of the compute type: measured on CPUs, on a GPU what memory and fp32 units
    // allow.
    const double low_rank = s.device == Device::cuda ? 0.4 : 1.0, large = 1e12;
    const double fp32 = s.type == DType::f32 ? 1.0 : s.device == Device::cuda ? 0.08 : 0.5;
    RouteTimes times{};
    for (int i = 0; i < kLinears; i++) {
        if (!s.lora.targets[i]) continue;
        const double k = double(linear_in(s.config, i)), m = double(linear_out(s.config, i)), r = double(s.lora.rank),
                     N = double(s.rows);
        const double sections = s.lora.sections(i), products = 4 * k * m * N / large;
        // One product by r columns for each; A has rows for every section.
        const double step = 2 * r * (sections * k + m) * N / (low_rank * large), form = 2 * r * k * m / (fp32 * large);
        times[size_t(i)][int(Route::merged)] = {products + 2 * step, form};
        times[size_t(i)][int(Route::factored)] = {products + 3 * step, 0};
        times[size_t(i)][int(Route::project)] = {products + 2 * k * m * N / large + 4 * r * k * m / (low_rank * large),
                                                 form};
    }
    return times;
}

RouteTimes measured_times(const RouteSetting& s) {
    constexpr int kLeastRounds = 4, kMostRounds = 100;  // the first warms up
    constexpr double kSeconds = 0.5;                    // for each linear: what disturbs a short round spares another
    RouteTimes times{};
    for (int i = 0; i < kLinears; i++) {
        if (!s.lora.targets[i]) continue;
        Trial trial(s, i);
        const double start = seconds_now();
        for (int round = 0; round < kLeastRounds || (round < kMostRounds && seconds_now() - start < kSeconds); round++)
            for (int r = 0; r < relora::kRoutes; r++) {
                const double micro_batch = trial.seconds([&] { trial.micro_batch(Route(r)); });
                const double update = trial.seconds([&] { trial.update(Route(r)); });
                RouteTime& best = times[size_t(i)][size_t(r)];
                best = round <= 1 ? RouteTime{micro_batch, update}
                                  : RouteTime{std::min(best.micro_batch, micro_batch), std::min(best.update, update)};
            }
    }
    return times;
}

Routes fastest_routes(const RouteTimes& times, int64_t micro_batches) {
    constexpr double kWorthIt = 0.98;
    Routes routes{};
    for (int i = 0; i < kLinears; i++) {
        double least = kWorthIt * total(times[size_t(i)][int(Route::merged)], micro_batches);
        for (const Route route : {Route::factored, Route::project})
            if (const double time = total(times[size_t(i)][size_t(route)], micro_batches); time < least) {
                least = time;
                routes[size_t(i)] = route;
            }
    }
    return routes;
}

std::optional<RouteTimes> stored_times(const RouteSetting& s, int threads) {
    const json all = read_cache();
    const auto found = all.find(key_of(s, threads));
    if (found == all.end()) return {};
    RouteTimes times{};
    try {
        for (size_t i = 0; i < kLinears; i++)
            for (size_t r = 0; r < relora::kRoutes; r++) {
                const RouteTime time{found->at(i).at(r).at(0).get<double>(), found->at(i).at(r).at(1).get<double>()};
                if (s.lora.targets[i] && !(time.micro_batch > 0 && time.update >= 0)) return {};  // no clock gave that
                times[i][r] = time;
            }
    } catch (const json::exception&) {
        return {};
    }
    return times;
}

void store_times(const RouteTimes& times, const RouteSetting& s, int threads) {
    const std::string path = cache_path();
    if (path.empty()) return;
    json entry = json::array();
    for (const auto& linear : times) {
        json routes = json::array();
        for (const RouteTime& time : linear) routes.push_back({time.micro_batch, time.update});
        entry.push_back(routes);
    }
    try {
        fs::create_directories(fs::path(path).parent_path());
        const CacheLock lock(path + ".lock");
        json all = read_cache();
        all[key_of(s, threads)] = entry;
        write_file_atomic(path, all.dump(1) + "\n");
    } catch (const std::exception&) {
        // The next run measures again.
    }
}

std::string to_string(const Routes& routes) {
    std::string text;
    for (const Route route : routes) text += str(text.empty() ? "" : ",", relora::route_name(route));
    return text;
}

Route route_from(const std::string& name) {
    for (int r = 0; r < relora::kRoutes; r++)
        if (name == relora::route_name(Route(r))) return Route(r);
    FAIL("'", name, "' is no adapter route; it is merged, factored or project");
}

Routes routes_from(const std::string& text) {
    Routes routes{};
    std::istringstream list(text);
    for (Route& route : routes) {
        std::string name;
        std::getline(list, name, ',');
        route = route_from(name);
    }
    return routes;
}

std::string route_table(const RouteTimes& times, const Routes& chosen, const LoraConfig& lora) {
    std::ostringstream out;
    out << "adapter route, ms of a layer" << std::setw(9) << "merged" << std::setw(10) << "factored" << std::setw(10)
        << "project" << std::setw(12) << "per update"
        << "  chosen\n"
        << std::fixed << std::setprecision(3);
    for (int i = 0; i < kLinears; i++) {
        if (!lora.targets[i]) continue;
        const auto& t = times[size_t(i)];
        out << "  " << std::left << std::setw(26) << linear_name(i) << std::right << std::setw(9)
            << 1e3 * t[0].micro_batch << std::setw(10) << 1e3 * t[1].micro_batch << std::setw(10)
            << 1e3 * t[2].micro_batch << std::setw(12) << 1e3 * t[0].update << "  "
            << relora::route_name(chosen[size_t(i)]) << "\n";
    }
    return out.str();
}
