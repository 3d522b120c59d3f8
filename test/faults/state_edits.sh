#!/bin/bash
# No edit of state.json goes through: not of any value, and not of the structure even where the hash is made anew.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards
must_train run --mode relora --rank 4 --max-steps 6 --warm-start-steps 2 --merge-every 2 --warmup-steps 1
python3 test/faults/state_edits.py "$work/run" "$trainer" --resume --out "$work/run" --threads 1
