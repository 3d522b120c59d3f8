// Measured times of routes as a file keeps them between runs.
#include "runtime/device.h"
#include "runtime/version.h"
#include "train/measurements.h"
#include "train/routes.h"

using nlohmann::json;

namespace {

const char* const kFile = "adapter_times.json";

// The key of a measurement in the file: everything that times depend on.
std::string key_of(const RouteSetting& s, int threads) {
    std::string targets;
    for (const bool target : s.lora.targets) targets += target ? '1' : '0';
    return str(kVersion, "; ", device::description(s.device), "; ",
               s.device == Device::cpu ? str(threads, " threads; ") : "", dtype_name(s.type), "; ", s.rows, " rows; ",
               s.config.channels, " channels; rank ", s.lora.rank, "; ", s.lora.separate_qkv ? "separate" : "fused",
               "; targets ", targets);
}

}  // namespace

std::optional<RouteTimes> stored_times(const RouteSetting& s, int threads) {
    const json found = Measurements(kFile).find(key_of(s, threads));
    if (found.is_null()) return {};
    RouteTimes times{};
    try {
        for (size_t i = 0; i < kLinears; i++)
            for (size_t r = 0; r < relora::kRoutes; r++) {
                const RouteTime time{found.at(i).at(r).at(0).get<double>(), found.at(i).at(r).at(1).get<double>()};
                if (s.lora.targets[i] && !(time.micro_batch > 0 && time.update >= 0)) return {};  // no clock gave that
                times[i][r] = time;
            }
    } catch (const json::exception&) {
        return {};
    }
    return times;
}

void store_times(const RouteTimes& times, const RouteSetting& s, int threads) {
    json entry = json::array();
    for (const auto& linear : times) {
        json routes = json::array();
        for (const RouteTime& time : linear) routes.push_back({time.micro_batch, time.update});
        entry.push_back(routes);
    }
    Measurements(kFile).store(key_of(s, threads), entry);
}
