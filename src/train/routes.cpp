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
#include "runtime/device.h"
#include "runtime/memory.h"
#include "runtime/version.h"

namespace fs = std::filesystem;
using nlohmann::json;
using relora::Route;

namespace {

// One linear as the model holds it, in memory of its own, with an adapter for each route.
class Trial {
  public:
    Trial(const RouteSetting& setting, int index)
        : s_(setting), takes_gelu_(index == kMlpProj), gives_gelu_(index == kMlpFc), memory_(setting.device) {
        weight_.rows = linear_out(s_.config, index);
        weight_.cols = linear_in(s_.config, index);
        for (int r = 0; r < relora::kRoutes; r++) {
            relora::AdapterConfig config = s_.lora.adapter(index);
            config.route = Route(r);
            adapters_.push_back(relora::make_adapter(uint32_t(r), weight_, config, 0));
        }
        const int64_t in = weight_.cols, out = weight_.rows;
        const bool has_master = s_.type != DType::f32;
        const auto plan = [&](Tensor& t, DType type, int64_t rows, int64_t cols) {
            memory_.add(&t, MemoryCategory::workspaces, type, rows, cols);
        };
        for (Tensor* t : {&x_, &dx_}) plan(*t, s_.type, s_.rows, in);
        for (Tensor* t : {&y_, &dy_}) plan(*t, s_.type, s_.rows, out);
        if (gives_gelu_) plan(activated_, s_.type, s_.rows, out);
        if (takes_gelu_) plan(preactivation_, s_.type, s_.rows, in);
        plan(weight_.weight, s_.type, out, in);
        if (has_master && s_.device == Device::cpu) plan(weight_.master, DType::f32, out, in);
        plan(bias_.weight, s_.type, 1, out);
        plan(bias_.gradient, DType::f32, 1, out);
        int64_t largest_result = 0;
        for (relora::Adapter& a : adapters_) {
            for (Parameter* p : {&a.A, &a.B}) {
                plan(p->weight, s_.type, p->rows, p->cols);
                if (has_master) plan(p->master, DType::f32, p->rows, p->cols);
                plan(p->gradient, DType::f32, p->rows, p->cols);
            }
            largest_result = std::max(largest_result, relora::largest_result(a, s_.rows));
        }
        relora::plan_adapters(memory_, adapters_, scratch_, s_.type, s_.rows);
        if (const int64_t floats = kernels::workspace_floats(s_.device, s_.type, largest_result); floats > 0)
            plan(workspace_, DType::f32, 1, floats);
        memory_.allocate();
        relora::place_adapters(adapters_, scratch_, s_.type, s_.device, s_.rows);
        outer_workspace_ = kernels::set_workspace(s_.device, workspace_);
        // Numbers of a common size: zeros would cost a GPU less power, and so less time.
        uint32_t id = 0;
        const auto fill = [&](const Tensor& t, float stddev) {
            kernels::fill_normal(t, stddev, {0, rng::Purpose::init, id++, 0});
        };
        for (const Tensor* t : {&x_, &dy_, &weight_.weight}) fill(*t, 0.02f);
        if (!weight_.master.empty()) fill(weight_.master, 0.02f);
        for (const relora::Adapter& a : adapters_)
            for (const Parameter* p : {&a.A, &a.B}) {
                fill(p->value(), 0.02f);
                relora::round_weight(*p);
            }
        if (takes_gelu_) fill(preactivation_, 1.0f);
    }
    ~Trial() { kernels::set_workspace(s_.device, outer_workspace_); }
    Trial(const Trial&) = delete;
    Trial& operator=(const Trial&) = delete;

    RouteTime time(Route route) {
        relora::Adapter& adapter = adapters_[size_t(route)];
        const relora::Linear linear{&weight_, &bias_, &adapter};
        return {.micro_batch = seconds([&] {
                    relora::linear_forward(y_, x_, linear, scratch_, {}, activated_);
                    relora::linear_backward(dx_, dy_, x_, linear, scratch_, {}, false, preactivation_);
                }),
                .update = seconds([&] { relora::form_effective_weight(adapter, scratch_); })};
    }

  private:
    template <class Body>
    double seconds(const Body& body) {
        const int repeats = s_.device == Device::cuda ? 10 : 1;  // so that the GPU is seen, not the launch
        const double start = seconds_now();
        for (int i = 0; i < repeats; i++) body();
        device::wait(s_.device);
        return (seconds_now() - start) / repeats;
    }

    const RouteSetting& s_;
    const bool takes_gelu_, gives_gelu_;
    MemoryPlan memory_;
    Parameter weight_, bias_;
    std::vector<relora::Adapter> adapters_;  // by route
    relora::Scratch scratch_;
    Tensor x_, dx_, y_, dy_;            // (rows, in), (rows, in), (rows, out), (rows, out)
    Tensor activated_, preactivation_;  // (rows, out), (rows, in)
    Tensor workspace_, outer_workspace_;
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
        const relora::AdapterConfig a = s.lora.adapter(i);
        const int64_t in = linear_in(s.config, i), out = linear_out(s.config, i);
        const double N = double(s.rows), frozen = 4 * double(in) * double(out);
        for (int r = 0; r < relora::kRoutes; r++) {
            const relora::RouteFlops f = relora::flops_by_route(Route(r), in, out, a.rank, a.sections);
            times[size_t(i)][size_t(r)] = {
                .micro_batch = ((frozen + f.dense) * N + (f.low_rank * N + f.projection) / low_rank) / large,
                .update = f.formation / (fp32 * large)};
        }
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
                const RouteTime now = trial.time(Route(r));
                RouteTime& best = times[size_t(i)][size_t(r)];
                best = round <= 1
                           ? now
                           : RouteTime{std::min(best.micro_batch, now.micro_batch), std::min(best.update, now.update)};
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
