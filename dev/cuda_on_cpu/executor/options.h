// The environment says how the executor runs; see ../README.md.
#pragma once

#include <cstddef>
#include <vector>

namespace executor {

struct Options {
    enum class Order { forward, reverse, random };
    Order order = Order::forward;  // EXECUTOR_ORDER: in which CUDA threads, blocks and independent streams run
    unsigned seed = 1;             // EXECUTOR_SEED: of the random order
    int workers = 0;               // EXECUTOR_WORKERS: OS threads for a grid; 0: one per core; always 1 under TSan
    bool deferred = false;         // EXECUTOR_STREAMS=deferred: work on streams runs as late as CUDA allows
    // EXECUTOR_CAPABILITY: the compute capability of each device, e.g. 8.0, or 8.0,9.0 for two devices
    struct Capability {
        int major = 9, minor = 0;
    };
    std::vector<Capability> devices;
    // EXECUTOR_NO_ALGORITHM: the product for which cuBLASLt finds none, as ROWSxCOLSxINNER of a row-major result
    struct Product {
        long rows = 0, cols = 0, inner = 0;
    } without_algorithm;
    size_t memory_mib = 0;    // EXECUTOR_MEMORY: the device's memory in MiB; 0: as much as the host's
    bool shared_gpu = false;  // EXECUTOR_SHARED_GPU=1: several ranks of an NCCL communicator may have one device
    bool guard = true;        // EXECUTOR_GUARD=0: do not lock device memory while the host runs
};
const Options& options();

}  // namespace executor
