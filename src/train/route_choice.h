// The route that each linear's adapter takes in a run that leaves it open.
#pragma once

#include "train/console.h"
#include "train/options.h"

// The fastest routes, or factored ones where those would take more than is available and factored ones take less. In
// bf16 on a CPU they don't: there an effective weight takes the place of another, and factored adapters keep
// activations.
Routes affordable_routes(const Options& options, const Routes& fastest, size_t available);

// The fastest affordable ones, as this run measures or an earlier one has.
Routes choose_routes(const Options& options, int threads, Console& console);
// The fastest ones that an earlier run has measured, else those of the options.
Routes known_routes(const Options& options, int threads);
