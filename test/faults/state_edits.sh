#!/bin/bash
# No edit of state.json goes through: not of any value, and not of the structure even where the hash is made anew.
source "$(dirname "${BASH_SOURCE[0]}")/../end_to_end/common.bash"
make_shards
shape=(--layers 1 --heads 2 --channels 32 --seq-len 32 --batch-size 4)
quiet=(--sample-tokens 0 --threads 1)
must_train run --mode relora --rank 4 --max-steps 6 --warm-start-steps 2 --merge-every 2 --warmup-steps 1
python3 test/faults/state_edits.py "$work/run" "$trainer" --resume --out "$work/run" --threads 1
