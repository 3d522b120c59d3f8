#!/bin/bash
# hopper.cuh as nvcc compiles it for sm_90a: the product of the executor's tests must have no warning, no spill and no wgmma
# that ptxas made to wait, and its machine code the instructions that the wrappers stand for (where a disassembler is there).
set -euo pipefail
cd "$(dirname "$0")/../.."
nvcc=$(command -v nvcc || true)
[ -n "$nvcc" ] || { echo "no nvcc"; exit 77; }
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
"$nvcc" -std=c++20 -O3 -arch=sm_90a -Xptxas -v,-warn-spills -I. -Isrc -cubin "$work/product.cu" -o "$work/product.cubin" \
    >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
if grep -iE 'warning|serializ|C75[0-9]+|[1-9][0-9]* bytes spill' "$work/log"; then exit 1; fi
[ "$(grep -c ' 0 bytes spill stores, 0 bytes spill loads' "$work/log")" -eq 4 ] || { cat "$work/log"; exit 1; }

disassembler=$(command -v nvdisasm || true)
[ -n "$disassembler" ] || { echo "no nvdisasm: machine code not looked at"; exit 0; }
"$disassembler" -c "$work/product.cubin" >"$work/sass"
for instruction in HGMMA UTMALDG UTMASTG SYNCS WARPGROUP.ARRIVE WARPGROUP.DEPBAR USETMAXREG FENCE.VIEW.ASYNC; do
    grep -qF "$instruction" "$work/sass" || { echo "$instruction is missing"; exit 1; }
done
