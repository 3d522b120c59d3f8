// The checkpoints within a run's folder OUT: which they are, which is to be resumed, and which may go.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/run_state.h"

// The name of the checkpoint after `step` updates: step_NNNNNNNN, of eight digits or more.
std::string step_name(int64_t step);
// The step that a folder's name says; nothing where it is not a name that step_name() gives.
std::optional<int64_t> step_of(const std::string& name);

// The number that a text is which a person has given for a step: digits alone.
std::optional<int64_t> step_number(const std::string& text);

// The folders of a run's checkpoints, by step: those with a name that step_name() gives. They need not be whole.
std::vector<std::string> checkpoints(const std::string& out);

// A checkpoint whose files have been verified.
struct WholeCheckpoint {
    std::string folder;
    RunState state;
};
// Reads and verifies a checkpoint; throws where it is damaged.
WholeCheckpoint whole_checkpoint(const std::string& folder);
// The newest whole one under OUT, if there is any. What is wrong with each newer one is added to `passed_over`.
std::optional<WholeCheckpoint> newest_whole(const std::string& out, std::vector<std::string>& passed_over);

// Which checkpoints stay when a new one has been written.
struct Keep {
    int64_t newest = 0;  // so many; 0: all
    int64_t every = 0;   // and those whose step is a multiple of this; 0: none for that reason
};
void remove_old(const std::string& out, const Keep& keep);

// Gives a file or folder another name, NAME.abandoned or NAME.abandoned.N, and returns that.
std::string set_aside(const std::string& path);
// Sets the checkpoints of a later step aside: what goes on from `step` makes others. Returns the new names.
std::vector<std::string> set_aside_later(const std::string& out, int64_t step);

// Throws where OUT has not so much room, and says by how much.
void check_room(const std::string& out, int64_t bytes);
