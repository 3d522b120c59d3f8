// The processors that this process may use.
#pragma once

#include <string>

// What the machine has, and what of it this process is given.
struct Processors {
    int online = 1;   // of the machine
    int allowed = 1;  // by this process's affinity
    int granted = 0;  // worth of time, by the quotas of its control groups, rounded up; 0: without limit
    int wanted = 0;   // by OMP_NUM_THREADS; 0: it says nothing
};
Processors find_processors();

// Processors::granted, where /proc and the mounts lie in the folder `root`, "" for the machine's own.
int granted_processors(const std::string& root = "");

// How many threads keep one of `processes` that share the machine busy, and what keeps them from being more: "this
// machine has 2 processors".
struct ThreadLimit {
    int threads;
    std::string reason;
};
ThreadLimit thread_limit(const Processors& processors, int processes);
