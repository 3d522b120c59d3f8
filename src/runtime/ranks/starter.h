// Starts the ranks of one machine.
#pragma once

// Starts `count` processes of the program `argv`[0] with these arguments on this machine, and waits for them. Each
// finds its Place in the environment; rank 0 inherits a listening socket, so that no port can be taken in between. They
// keep this process's standard output and input (rank 0 alone the input); each line of their standard error gets "rank
// N: " before it, unless it has that already or begins with the program's name, as the line does that ends a run.
//
// When a rank ends with an error, the others have kStopWithin seconds to end by themselves; then they get SIGTERM, and
// SIGKILL in the end. SIGINT, SIGTERM, SIGUSR1 and SIGUSR2 go on to all ranks; they end if this process does. Returns
// the exit code of the rank that failed first (128 + signal for one that a signal ended, which is reported), else 0.
int start_ranks(int count, char** argv);

// Seconds that the other ranks have to end by themselves once one has failed, before they get SIGTERM; and from there
// until SIGKILL.
inline constexpr double kStopWithin = 20;
inline constexpr double kKillWithin = 5;
