// A thread that lets work run when another rank has waited for it: on a GPU it would run by itself, while the host may
// be waiting for the other rank in ways of its own.
#pragma once

namespace nccl {

// Starts the thread at its first call.
void serve_other_ranks();

}  // namespace nccl
