// What a run will take: parameters, memory and FLOPs of its phases, without allocating any of it.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "optimizer/optimizer.h"
#include "runtime/memory.h"
#include "train/options.h"

// What one phase takes.
struct PhaseEstimate {
    const char* name = "";
    int64_t trained = 0;  // parameters
    double flops_per_token = 0;
    std::array<size_t, kMemoryCategories> bytes{};
    size_t total_bytes = 0;  // on the device
    int64_t checkpoint_bytes = 0;
    Optimizer::Traffic traffic;  // of a rank, in an update
};
// Estimates one phase of the run, the low-rank one with these routes.
PhaseEstimate estimate_phase(const Options& options, bool low_rank, const Routes& routes);

// Estimates the phases that the run has, the low-rank one with these routes.
std::vector<PhaseEstimate> estimate_phases(const Options& options, const Routes& routes);

// --dry-run's report: parameters, memory by category for each phase, tokens, updates, FLOPs.
std::string dry_run_report(const Options& options);
