// Routes by name, their cost by FLOPs and bytes, and the choice by time.
#include "train/routes.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

using relora::Route;

namespace {

double total(const RouteTime& time, int64_t micro_batches) {
    return double(micro_batches) * time.micro_batch + time.update;
}

// On a CPU all products take their FLOPs' time, relative to that of large ones; the formation, in fp32, twice as long
// where those are in bf16.
RouteTime time_on_cpu(const RouteSetting& s, int linear, Route route) {
    const relora::AdapterConfig a = s.lora.adapter(linear);
    const int64_t in = linear_in(s.config, linear), out = linear_out(s.config, linear);
    const relora::RouteFlops f = relora::flops_by_route(route, in, out, a.rank, a.sections);
    const double N = double(s.rows), frozen = 4 * double(in) * double(out), rate = 1e12;
    return {.micro_batch = ((frozen + f.dense) * N + f.low_rank * N + f.projection) / rate,
            .update = f.formation / (s.type == DType::f32 ? rate : rate / 2)};
}

// On a GPU a product takes its FLOPs or its bytes, whichever take longer, at the rates that an H100 is taken to reach
// (in fp32, which has no tensor cores, a fifteenth of its FLOPs).
RouteTime time_on_gpu(const RouteSetting& s, int linear, Route route) {
    const relora::AdapterConfig a = s.lora.adapter(linear);
    const double type = double(dtype_size(s.type)), product = s.type == DType::f32 ? 50e12 : 740e12, copy = 3.0e12;
    const double narrow_rate = product * 450 / 740, projection_rate = product * 150 / 740,
                 form_rate = product * 200 / 740;
    const double narrow_stream = 0.71 * copy, stream = 0.87 * copy, gap = 0.9e-6;  // behind every kernel
    const double in = double(linear_in(s.config, linear)), out = double(linear_out(s.config, linear));
    const double N = double(s.rows), r = double(a.rank), stacked = r * a.sections, size = in * out;
    const double x = N * in * type, y = N * out * type, u = N * stacked * type;
    const double by_in = 2 * N * stacked * in, by_out = 2 * N * r * out;
    const auto large = [&](double m, double n, double k, double width) {
        const double narrowest = std::min({m, n, k});
        return 2 * m * n * k / (product * narrowest / (narrowest + width)) + gap;
    };
    // Sums over N are cut into parts, which another kernel adds up.
    const auto narrow = [&](double flops, double bytes, int kernels = 1) {
        return std::max(flops / narrow_rate, bytes / narrow_stream) + kernels * gap;
    };
    const auto pass = [&](double bytes) { return bytes / stream + gap; };

    RouteTime time{.micro_batch = large(N, out, in, 245) + large(N, in, out, 245)};
    if (route == Route::project) {
        const auto project = [&](double bytes) {
            return std::max(2 * r * size / projection_rate, (size * type + bytes) / narrow_stream) + gap;
        };
        time.micro_batch += large(out, in, N, 400) + gap + project(stacked * in * type + 8 * r * out) +
                            project(r * out * type + 8 * stacked * in);
    } else {
        time.micro_batch += narrow(by_in, x + u) + narrow(by_out, y + u) + narrow(by_out, y + u + 8 * r * out, 2) +
                            narrow(by_in, x + u + 8 * stacked * in, 2);
    }
    if (route == Route::factored) {
        // GELU, its gradient and the sum with the residual stream wait for what it adds to y and dx.
        time.micro_batch += narrow(by_out, 2 * y + u) + narrow(by_in, 2 * x + u);
        if (linear == kMlpFc) time.micro_batch += pass(2 * y);
        if (linear == kMlpProj) time.micro_batch += pass(3 * x);
        if (linear == kAttnProj || linear == kMlpProj) time.micro_batch += pass(3 * y);
    } else if (s.type == DType::f32) {
        time.update = large(out, in, r, 0) + pass(4 * size * type);
    } else {
        time.update = std::max(2 * r * size / form_rate, 2 * size * type / stream) + gap;
    }
    return time;
}

}  // namespace

RouteTimes modelled_times(const RouteSetting& s) {
    RouteTimes times{};
    for (int i = 0; i < kLinears; i++)
        for (int r = 0; r < relora::kRoutes && s.lora.targets[i]; r++)
            times[size_t(i)][size_t(r)] = (s.device == Device::cuda ? time_on_gpu : time_on_cpu)(s, i, Route(r));
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
