// The handler of memory faults: says whether the host touched device memory, a kernel left its allocations, or a CUDA
// thread used up its stack; other faults go on to whoever handled them before.
#pragma once

namespace executor {

void install_fault_handler();
// Each OS thread calls this: without a stack of its own the handler could not run when a fiber's is used up.
void give_fault_handler_a_stack();

enum class FaultCause { other, host_on_device_memory, kernel_outside_allocations };
FaultCause cause_of_fault(const void* address);

}  // namespace executor
