#!/bin/bash
# A sample of what `make soak` does often: kills, signals, failing calls, damaged files, two runs at once. None may lose, falsify
# or crash anything.
source "$(dirname "${BASH_SOURCE[0]}")/../end_to_end/common.bash"
make -q build/fault_shim.so 2>/dev/null || make build/fault_shim.so >"$work/make.log" 2>&1 || { cat "$work/make.log"; exit 1; }
python3 test/faults/soak --trials 60 --seed 20
