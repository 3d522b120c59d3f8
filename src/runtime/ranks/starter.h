// Starts the ranks of one machine.
#pragma once

// Seconds that the other ranks have to end by themselves once one has failed, before they get SIGTERM; and from there
// until they get SIGKILL. What a rank does by itself (kEndedWithin in control.h) comes in between.
inline constexpr double kStopWithin = 5;
inline constexpr double kKillWithin = 15;

// Starts `count` processes of the program argv[0] with these arguments on this machine, and waits for them. Each finds
// its Place in the environment. Rank 0 inherits a socket that listens already, so that no port can be lost in between.
//
// Standard output is this process's own for all ranks, standard input for rank 0. Each line of their standard error
// gets "rank N: " before it, unless it has that already or begins with "train_relora: ", as the last line of a run does
// that fails.
//
// Once a rank has failed, the others end by themselves, or are ended. SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and
// SIGUSR2 go on to every rank, once: the ranks are in process groups of their own, so that a terminal's Ctrl-C reaches
// this process alone. If this process is killed, the ranks are, too. Returns the exit code of the rank that failed
// first, which is 128 + signal for one that a signal has ended; this is then said on standard error. Else 0.
//
// To be called while the process has one thread.
int start_ranks(int count, char** argv, double stop_within = kStopWithin, double kill_within = kKillWithin);
