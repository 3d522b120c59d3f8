#!/bin/bash
# A full-rank phase and ReLoRA learn text to a stated loss: with restarts that keep A and all moments, and with the paper's, whose
# resets and re-warms cost more here than a cycle of so few updates can make good.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards

shape=(--layers 2 --heads 2 --channels 64 --seq-len 64 --batch-size 8)
course=(--mode relora --rank 8 --max-steps 240 --warm-start-steps 120 --warmup-steps 10 --lr 4e-3 --eval-every 40)
must_train kept "${course[@]}" --merge-every 15
must_train redrawn "${course[@]}" --alpha 8 --lora-lr 4e-3 --restart-A redraw --restart-until 1 --reset magnitude:0.99 \
    --merge-every 40 --restart-warmup-steps 5

# at RUN STEP: the validation loss after that update.
at() { sed -nE 's/.*"step":'"$2"',.*"val_loss":([^,}]*).*/\1/p' "$work/$1/metrics.jsonl"; }
# learns RUN LIMIT: whether the low-rank phase takes the loss on, and below the limit at its end.
learns() {
    local switch first end
    switch=$(at "$1" 120) first=$(at "$1" 160) end=$(at "$1" 240)
    echo "$1: validation loss $switch at the switch, then $first, $(at "$1" 200) and $end"
    holds "$switch < 2.2" || differs "$1: the full-rank phase ends at $switch, expected less than 2.2"
    holds "$first < $switch - 0.05" || differs "$1: 40 updates took the loss from $switch to $first, expected 0.05 less or better"
    holds "$end < $2 && $end < $switch - 0.05" || differs "$1: ends at a validation loss of $end, expected less than $2"
}
# A model of single letters stays near 2.9. The full-rank phase was measured to reach 1.68, the runs 0.84 and 1.37; the limits
# leave room for another machine's rounding, not for a low-rank phase that learns nothing.
learns kept 1.05
learns redrawn 1.58

finish
