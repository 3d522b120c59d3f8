// Routes by name, their cost by FLOPs, and the choice by time.
#include "train/routes.h"

#include <iomanip>
#include <sstream>

using relora::Route;

namespace {

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
