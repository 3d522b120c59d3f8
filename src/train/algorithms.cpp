#include "train/algorithms.h"

#include "runtime/device.h"
#include "train/measurements.h"

kernels::AlgorithmMemory kept_algorithms(Device device, Console& console) {
    const Measurements file("algorithms.json");
    const std::string gpu = device::description(device) + "; ";
    return {.recall =
                [=](const std::string& product) {
                    const nlohmann::json kept = file.find(gpu + product);
                    return kept.is_string() ? kept.get<std::string>() : "";
                },
            .keep =
                [=, &console, said = false](const std::string& product, const std::string& algorithm) mutable {
                    try {
                        file.store(gpu + product, algorithm);
                    } catch (const Error& error) {
                        if (!said) console.line(str("the next run will choose algorithms again: ", error.what()));
                        said = true;
                    }
                },
            .agree = {}};
}
