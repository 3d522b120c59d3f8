// Whether checkpoints are whole: not only that their files are those that were written, but that a run can have written
// them.
#pragma once

#include <string>

// Checks a checkpoint's hashes, that it has the tensors of its model and phase and no others, and that every number is
// finite; throws where it finds a fault.
void verify_checkpoint(const std::string& folder);

// Findings about each checkpoint of a run folder, or about one checkpoint, a line each.
struct Verdict {
    std::string lines;
    bool all_whole = true;
};
Verdict verify(const std::string& folder);
