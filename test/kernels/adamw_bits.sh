#!/bin/bash
# AdamW gives the bits of its formula in a build for any CPU of the architecture, which may not fuse, as in one that does.
# (The build for this CPU is among the unit tests.)
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p build
builds=(1)
[ "$(uname -m)" != x86_64 ] || ! grep -qw fma /proc/cpuinfo || builds+=(x86-64-v3)
for cpu in "${builds[@]}"; do
    echo "== PORTABLE=$cpu"
    make PORTABLE="$cpu" CUDA=0 BUILD="build/adamw_bits/$cpu" "build/adamw_bits/$cpu/adamw_bits" >build/make_adamw_bits.log 2>&1 ||
        { tail -n 30 build/make_adamw_bits.log; exit 1; }
    "build/adamw_bits/$cpu/adamw_bits" --gtest_brief=1
done
