// The route that each linear's adapter takes in a run that leaves it open.
#pragma once

#include "train/console.h"
#include "train/options.h"

// The fastest routes; or factored ones, where the fastest would take more memory than is available and factored ones
// take less. Factored ones take no less in bf16 on a CPU: there an effective weight takes the place of another, and
// factored adapters keep activations.
Routes affordable_routes(const Options& options, const Routes& fastest, size_t available);

// The fastest affordable routes, by times that this run measures or an earlier one has measured.
Routes choose_routes(const Options& options, int threads, Console& console);
// The fastest routes by times that an earlier run has measured, else those of the options.
Routes known_routes(const Options& options, int threads);
