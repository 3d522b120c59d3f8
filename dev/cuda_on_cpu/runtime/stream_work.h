// The runtime's services to stand-ins of libraries that put work of their own on a stream (cuBLASLt, NCCL).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace executor {

// Does what can be done now of a piece of work, and says whether the work is over. It never waits: whoever waits for
// the work asks again.
using Step = std::function<bool()>;
// Starts a piece of work when its turn comes. The step that it returns does the rest; none if nothing is left.
using Work = std::function<Step()>;

// Puts host code on a stream as a kernel would be: in the stream's order, deferred or recorded where the stream is, and
// with device memory open while it runs. An error of capture is returned, as the library would.
cudaError_t enqueue(cudaStream_t stream, std::function<void()> work);

// Work that runs in the order of the calls that submitted it, whatever streams they named: a communicator's.
struct CallOrder;
std::shared_ptr<CallOrder> make_call_order();
// Puts work on a stream, behind all earlier work of the same order. The work opens device memory itself.
cudaError_t enqueue(cudaStream_t stream, const std::shared_ptr<CallOrder>& order, Work work);
// Runs the oldest work of the order that is not over, as far as that goes without waiting. Is any left?
bool push_oldest(CallOrder& order);
// Waits until all work of the order is over.
void finish(CallOrder& order);
// Ends the program at a later launch of a graph that holds work of the order, with this reason.
void close(CallOrder& order, const std::string& reason);

// Makes what host threads share, before a library starts one of its own: TSan would not see that one made it for
// others.
void prepare_for_threads();

// Do all `bytes` at `pointer` lie in one live device allocation?
bool is_device_pointer(const void* pointer, size_t bytes);

}  // namespace executor
