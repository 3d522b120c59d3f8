#include "train/health.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "checkpoint/arrays.h"
#include "train/console.h"

namespace {

// Where values hardly vary, what varies a little more is no outlier yet.
constexpr double kLeastDeviation = 0.01;  // of the mean

float limit(std::span<const WatchedUpdate> window, double WatchedUpdate::*value, double zscore) {
    double mean = 0, squares = 0;
    for (const WatchedUpdate& update : window) mean += update.*value / double(window.size());
    for (const WatchedUpdate& update : window) squares += std::pow(update.*value - mean, 2) / double(window.size());
    return float(mean + zscore * std::max(std::sqrt(squares), kLeastDeviation * std::abs(mean)));
}

}  // namespace

Optimizer::Limits Health::limits(int64_t step) const {
    const auto& all = state_.window;
    const auto known = [&](const WatchedUpdate& update) { return update.step <= step - 2; };
    const size_t end = size_t(std::find_if_not(all.begin(), all.end(), known) - all.begin());
    if (!config_.watches || end < kLeast) return {};
    const size_t count = std::min(end, kWindow);
    const std::span window(all.data() + end - count, count);
    return {.loss = limit(window, &WatchedUpdate::loss, config_.zscore),
            .norm = limit(window, &WatchedUpdate::norm, config_.zscore)};
}

std::string Health::add(int64_t step, const Optimizer::Result& result) {
    const Optimizer::Limits most = limits(step);
    const bool high_loss = most.loss != 0 && result.loss > most.loss,
               high_norm = most.norm != 0 && result.gradient_norm > most.norm,
               finite = std::isfinite(result.loss) && std::isfinite(result.gradient_norm);
    if (result.taken) {
        state_.skipped_in_a_row = 0;
        // One more than the window, as the last one may not belong to it yet: limits don't depend on when they are
        // asked.
        if (state_.window.size() > kWindow) state_.window.erase(state_.window.begin());
        state_.window.push_back({step, result.loss, result.gradient_norm});
    } else {
        state_.skipped++;
        state_.skipped_in_a_row++;
    }
    if (finite && (high_loss || high_norm)) state_.outliers++;
    std::string what;
    if (!finite)
        what = format("the %s is not finite", std::isfinite(result.loss) ? "gradient" : "loss");
    else if (high_norm)
        what = format("the gradient norm %.3g is an outlier: usual here is less than %.3g", result.gradient_norm,
                      double(most.norm));
    else if (high_loss)
        what = format("the loss %.4f is an outlier: usual here is less than %.4f", result.loss, double(most.loss));
    if (!result.taken) what += format(", the update is skipped (%lld so far)", (long long)state_.skipped);
    return what;
}

std::string first_not_finite(const std::vector<Parameter*>& parameters) {
    std::vector<float> copy;
    for (const auto& [tensor, name] :
         {std::pair(&Parameter::weight, "the weight "), std::pair(&Parameter::gradient, "the gradient of ")})
        for (const Parameter* p : parameters) {
            if ((p->*tensor).empty()) continue;
            const float* values = on_host(p->*tensor, copy);
            if (!std::all_of(values, values + p->size(), [](float x) { return std::isfinite(x); }))
                return name + p->name;
        }
    return "";
}
