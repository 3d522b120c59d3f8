#!/bin/bash
# A sample of what `make soak` does often: kills, signals, failing calls, damaged files, two runs at once. None may lose, falsify
# or crash anything.
source "$(dirname "${BASH_SOURCE[0]}")/../end_to_end/common.bash"
[ -e build/fault_shim.so ] || { echo "build it first: make build/fault_shim.so" >&2; exit 1; }
python3 test/faults/soak --trials 60 --seed 20
