// How long threads that wait for each other spin before they sleep.
#pragma once

// Starts this program anew, once, with a bound on spinning, unless the environment has one already: OpenMP's library
// reads it before main(), and its own bound is so high that where other programs want the processors, threads burn the
// time of those that they wait for. `argv` is main's. Returns where there is nothing to do, or the program can't be
// started anew.
void bound_spinning(char** argv);
