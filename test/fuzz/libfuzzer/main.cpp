// The entry of libFuzzer: the target is the one that FUZZ_TARGET names. `make fuzz` builds and runs this.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "test/fuzz/targets.h"

namespace {

const fuzz::Target& chosen() {
    const char* name = std::getenv("FUZZ_TARGET");
    for (const fuzz::Target& target : fuzz::all())
        if (name && std::strcmp(name, target.name) == 0) return target;
    std::fprintf(stderr, "FUZZ_TARGET has to be one of:");
    for (const fuzz::Target& target : fuzz::all()) std::fprintf(stderr, " %s", target.name);
    std::fprintf(stderr, "\n");
    std::exit(2);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Target& target = chosen();
    target.run({reinterpret_cast<const char*>(data), size});
    return 0;
}
