// Which route the adapter of each linear takes (relora::Route) where --adapter-route leaves it open: the one that a
// cost model, or better a measurement, says takes the least time. A measurement is kept in a file and made once per
// machine and setting, so that the same run chooses the same routes, and so gives the same bits, twice.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "model/lora.h"

using Routes = std::array<relora::Route, kLinears>;

// Seconds that one linear with its adapter takes by a route.
struct RouteTime {
    double micro_batch = 0;  // forward and backward
    double update = 0;       // what comes once per update: the effective weight
};
// The times of each linear by each route; zero where a linear has no adapter.
using RouteTimes = std::array<std::array<RouteTime, relora::kRoutes>, kLinears>;

// What times depend on, besides the machine.
struct RouteSetting {
    GPT2Config config;
    LoraConfig lora;
    DType type = DType::f32;
    Device device = Device::cpu;
    int64_t rows = 1;  // tokens in a micro-batch
};

// Times modelled from FLOPs, and on a GPU from bytes too, with rates that are rough. A linear [m, k] takes 4 k m per
// token for forward and dX. Its adapter takes per token 4 r (k + m) if merged, 6 r (k + m) if factored, 2 k m if
// projected; per update 2 r k m to form W + s B A; per micro-batch 4 r k m to project.
RouteTimes modelled_times(const RouteSetting& setting);
// Times measured with the real ops on real shapes, the shortest of a few rounds. This needs memory for one linear at a
// time, and takes about two seconds.
RouteTimes measured_times(const RouteSetting& setting);
// The route with the least time for updates of so many micro-batches; merged unless another saves 2 %.
Routes fastest_routes(const RouteTimes& times, int64_t micro_batches);

// The times that an earlier run measured for this setting and machine, if any, and a place for them: the Measurements
// in adapter_times.json. store_times() throws where they can't be written.
std::optional<RouteTimes> stored_times(const RouteSetting& setting, int threads);
void store_times(const RouteTimes& times, const RouteSetting& setting, int threads);

// Routes as text, "merged,project,...", one for each linear; and back.
std::string to_string(const Routes& routes);
Routes routes_from(const std::string& text);
relora::Route route_from(const std::string& name);
// A table of the times in milliseconds, and what was chosen.
std::string route_table(const RouteTimes& times, const Routes& chosen, const LoraConfig& lora);
