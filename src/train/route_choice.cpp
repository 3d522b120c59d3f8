#include "train/route_choice.h"

#include "runtime/device.h"
#include "train/dry_run.h"

Routes affordable_routes(const Options& o, const Routes& fastest, size_t available) {
    Routes factored;
    factored.fill(relora::Route::factored);
    const auto bytes = [&](const Routes& routes) { return estimate_phase(o, true, routes).total_bytes; };
    const size_t needed = bytes(fastest);
    return needed > available && bytes(factored) < needed ? factored : fastest;
}

Routes choose_routes(const Options& o, int threads, Console& console) {
    const RouteSetting setting = o.route_setting();
    std::optional<RouteTimes> times = stored_times(setting, threads);
    if (!times) {
        console.line("measuring which adapter route is the fastest for each linear");
        times = measured_times(setting);
        try {
            store_times(*times, setting, threads);
        } catch (const Error& error) {
            console.line(str("the next run will measure again: ", error.what()));
        }
    }
    const Routes fastest = fastest_routes(*times, o.accumulation);
    const size_t available = device::bytes_available(o.run_device);
    const Routes chosen = affordable_routes(o, fastest, available);
    if (chosen != fastest)
        console.line(format("effective weights would take memory to %zu MiB of %zu: adapters are factored",
                            estimate_phase(o, true, fastest).total_bytes >> 20, available >> 20));
    if (o.profile) console.line(route_table(*times, chosen, o.lora));
    return chosen;
}

Routes known_routes(const Options& o, int threads) {
    const std::optional<RouteTimes> times = stored_times(o.route_setting(), threads);
    return times ? fastest_routes(*times, o.accumulation) : o.lora.routes;
}
