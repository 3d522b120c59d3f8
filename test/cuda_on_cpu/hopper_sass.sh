#!/bin/bash
# hopper.cuh as nvcc compiles it for sm_90a, in the product of the executor's tests and in attention: kernels must have no
# warning, no spill and no wgmma that ptxas made to wait, and their machine code the instructions that the wrappers stand for
# (where a disassembler is there).
set -euo pipefail
cd "$(dirname "$0")/../.."
nvcc=$(command -v nvcc || true)
[ -n "$nvcc" ] || { echo "no nvcc"; exit 77; }
disassembler=$(command -v nvdisasm || true)
[ -n "$disassembler" ] || echo "no nvdisasm: machine code not looked at"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/product.cu" <<'EOF'
#include "test/cuda_on_cpu/executor/hopper_product.cuh"
using gpu::Swizzle;
#define PRODUCT(...) \
    template CUresult hopper_product::run_product<__VA_ARGS__>(float*, bf16*, bf16*, int, int, int, int, int, int, \
                                                               hopper_product::NoMistake);
PRODUCT(Swizzle::bytes128, false, false, false)
PRODUCT(Swizzle::bytes64, true, false, false)
PRODUCT(Swizzle::none, true, true, false)
PRODUCT(Swizzle::bytes128, false, true, true)
EOF

# compiled FILE KERNELS WAITS INSTRUCTION…: WAITS is how often the source waits for wgmma, in all kernels together.
compiled() {
    local file=$1 kernels=$2 waits=$3 instruction
    shift 3
    "$nvcc" -std=c++20 -O3 -gencode arch=compute_90a,code=sm_90a -Xptxas -v,-warn-spills -I. -Isrc -cubin "$file" \
        -o "$work/cubin" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
    if grep -iE 'warning|serializ|C75[0-9]+|[1-9][0-9]* bytes spill' "$work/log"; then exit 1; fi
    [ "$(grep -c ' 0 bytes spill stores, 0 bytes spill loads' "$work/log")" -eq "$kernels" ] || { cat "$work/log"; exit 1; }
    [ -n "$disassembler" ] || return 0
    "$disassembler" -c "$work/cubin" >"$work/sass"
    for instruction in "$@" HGMMA UTMALDG SYNCS WARPGROUP.ARRIVE WARPGROUP.DEPBAR USETMAXREG; do
        grep -qF "$instruction" "$work/sass" || { echo "$file: $instruction is missing"; exit 1; }
    done
    [ "$(grep -cF WARPGROUP.DEPBAR "$work/sass")" -le "$waits" ] || { echo "$file: more than $waits waits for wgmma"; exit 1; }
}
compiled "$work/product.cu" 4 4 UTMASTG FENCE.VIEW.ASYNC
compiled src/kernels/cuda/attention_hopper.cu 4 16 FENCE.VIEW.ASYNC MUFU.EX2
