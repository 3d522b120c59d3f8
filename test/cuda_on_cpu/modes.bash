# The modes in which the kernels' cases run on the CPU: for kernels.sh, and for mutants/run.py, which plants mistakes.
# shellcheck shell=bash disable=SC2034  # the scripts that source this use the variables
. test/cuda_on_cpu/small_cases.bash

# Shapes that take long and do what smaller ones do: the smaller ones are enough to see where threads or accesses go wrong.
large='*_257x768*:*8192*:*70001*:*50257*:*50304*:*1x257x2x64*:*200x*:*1x1100x*:*2x129x35x64*'
# Misaligned operands change the accesses, not who waits for whom.
placements='*_misaligned:*_mixed'
# Products are cuBLASLt's, whose stand-in has no threads.
products='*matmul*:*Matmul*:CublasLt.*'

# name | variant | environment | cases; of AdamW's many tensors, which take half the time of all, data races see one placement
modes=(
    "forward|plain|EXECUTOR_LEAKS=error|*"
    "address and undefined behaviour|asan||*-$large"
    "data races|tsan||$small_cases:*Nccl*.AGraph*/3:*Nccl*.Abort*/2-*adamw*_many_m*:*50257*"
    "random order|plain|EXECUTOR_ORDER=random|*-$large:$products"
    "reverse order|plain|EXECUTOR_ORDER=reverse|*-$large:$products:$placements"
    "deferred streams|plain|EXECUTOR_STREAMS=deferred EXECUTOR_GUARD=1|*-$large:$placements"
    "a GPU before 9.0|plain|EXECUTOR_CAPABILITY=8.0|$products:Attention.*"
    "the second of two GPUs|plain|EXECUTOR_CAPABILITY=7.5,9.0|Devices.*"
)
# One thread each, as they run side by side. ThreadSanitizer allows no other, as it doesn't know OpenMP's runtime. The guard of
# device memory takes longer with every allocation that there has been, so one short mode has it.
mode_environment=(OMP_NUM_THREADS=1 EXECUTOR_WORKERS=1 EXECUTOR_GUARD=0 ASAN_OPTIONS=detect_leaks=0)
