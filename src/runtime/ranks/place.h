// Finds out where this process stands among those that train together.
#pragma once

#include <functional>
#include <string>

// Place::starter of ranks that this program has started itself.
inline constexpr const char* kOwnStarter = "this program";

// A process's place among the ranks, as whoever started them says by environment variables.
struct Place {
    int rank = 0, size = 1;              // among all processes
    int local_rank = 0, local_size = 1;  // among those of this machine
    std::string starter;                 // "mpirun", "srun", "torchrun", "this program", ...; "" for one process alone
    std::string nonce;    // tells this start from every other: job, step, count of restarts; "" where nothing says it
    std::string address;  // where rank 0 listens; "" if nothing says it, and a shared folder serves instead
    int port = 0;         // the port there
    int listener = -1;    // a listening socket that rank 0 inherited from its starter, or -1
};

// Reads the environment. The first of these that says anything counts: this program's own starter, torchrun (or its
// variables set by hand), Open MPI, PMI, and Slurm; a shell of Slurm's that is no task of several is one process alone.
// MASTER_ADDR and MASTER_PORT say where rank 0 listens, whoever started it. What is incomplete, no number or
// contradicts itself is a usage error that names the variable and its value.
Place find_place();

// The same for variables that are looked up by `variable`, which returns null for one that is not set.
Place find_place(const std::function<const char*(const char* name)>& variable);
