#include "train/health.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "checkpoint/arrays.h"
#include "train/console.h"

namespace {

// Where values hardly vary, what varies a little more is no outlier yet.
constexpr double kLeastDeviation = 0.01;  // of the mean

float limit(const std::vector<WatchedUpdate>& window, size_t count, double WatchedUpdate::*value, double zscore) {
    double mean = 0, squares = 0;
    for (size_t i = 0; i < count; i++) mean += window[i].*value / double(count);
    for (size_t i = 0; i < count; i++) squares += std::pow(window[i].*value - mean, 2) / double(count);
    return float(mean + zscore * std::max(std::sqrt(squares), kLeastDeviation * std::abs(mean)));
}

}  // namespace

Optimizer::Limits Health::limits(int64_t step) const {
    const auto& window = state_.window;
    const auto known = [&](const WatchedUpdate& update) { return update.step <= step - 2; };
    const size_t count = size_t(std::find_if_not(window.begin(), window.end(), known) - window.begin());
    if (!config_.watches || count < kLeast) return {};
    return {.loss = limit(window, count, &WatchedUpdate::loss, config_.zscore),
            .norm = limit(window, count, &WatchedUpdate::norm, config_.zscore)};
}

std::string Health::add(int64_t step, const Optimizer::Result& result) {
    const Optimizer::Limits most = limits(step);
    const bool high_loss = most.loss != 0 && result.loss > most.loss,
               high_norm = most.norm != 0 && result.gradient_norm > most.norm,
               finite = std::isfinite(result.loss) && std::isfinite(result.gradient_norm);
    if (result.taken) {
        state_.skipped_in_a_row = 0;
        if (state_.window.size() == kWindow) state_.window.erase(state_.window.begin());
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
