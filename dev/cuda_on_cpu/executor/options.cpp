#include "dev/cuda_on_cpu/executor/options.h"

#include <cstdlib>
#include <sstream>
#include <string>

#include "dev/cuda_on_cpu/executor/report.h"

namespace executor {

namespace {

std::string variable(const char* name) {
    const char* value = getenv(name);
    return value ? value : "";
}

Options from_environment() {
    Options options;
    const std::string order = variable("EXECUTOR_ORDER"), streams = variable("EXECUTOR_STREAMS");
    if (order == "reverse")
        options.order = Options::Order::reverse;
    else if (order == "random")
        options.order = Options::Order::random;
    else if (!order.empty() && order != "forward")
        die("EXECUTOR_ORDER is " + order + ", not forward, reverse or random");
    if (!streams.empty() && streams != "immediate" && streams != "deferred")
        die("EXECUTOR_STREAMS is " + streams + ", not immediate or deferred");
    options.deferred = streams == "deferred";
    options.shared_gpu = variable("EXECUTOR_SHARED_GPU") == "1";
    options.guard = variable("EXECUTOR_GUARD") != "0";
    if (const std::string seed = variable("EXECUTOR_SEED"); !seed.empty()) options.seed = unsigned(std::stoul(seed));
    const std::string capabilities = variable("EXECUTOR_CAPABILITY");
    std::istringstream each(capabilities.empty() ? "9.0" : capabilities);
    for (std::string c; std::getline(each, c, ',');) {
        Options::Capability& device = options.devices.emplace_back();
        if (sscanf(c.c_str(), "%d.%d", &device.major, &device.minor) != 2)
            die("EXECUTOR_CAPABILITY is " + capabilities +
                ", not a compute capability such as 8.0, or several with commas");
    }
    if (const std::string p = variable("EXECUTOR_NO_ALGORITHM"); !p.empty())
        if (Options::Product& product = options.without_algorithm;
            sscanf(p.c_str(), "%ldx%ldx%ld", &product.rows, &product.cols, &product.inner) != 3)
            die("EXECUTOR_NO_ALGORITHM is " + p + ", not the sizes of a product such as 5x7x3");
    if (const std::string mib = variable("EXECUTOR_MEMORY"); !mib.empty()) options.memory_mib = std::stoul(mib);
    if (const std::string n = variable("EXECUTOR_WORKERS"); !n.empty()) options.workers = std::stoi(n);
    return options;
}

}  // namespace

const Options& options() {
    static const Options options = from_environment();
    return options;
}

}  // namespace executor
