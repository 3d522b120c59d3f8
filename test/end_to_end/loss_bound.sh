#!/bin/bash
# The quickstart's recipe, smaller: a full-rank phase and three ReLoRA cycles learn text to a stated loss.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards

shape=(--layers 2 --heads 2 --channels 64 --seq-len 64 --batch-size 8)
recipe=(--mode relora --rank 8 --alpha 8 --max-steps 240 --warm-start-steps 120 --merge-every 40 --restart-warmup-steps 5
    --warmup-steps 10 --lr 4e-3 --lora-lr 4e-3 --eval-every 40)
must_train run "${recipe[@]}"

# at STEP: the validation loss after that update.
at() { sed -nE 's/.*"step":'"$1"',.*"val_loss":([^,}]*).*/\1/p' "$work/run/metrics.jsonl"; }
switch=$(at 120) first=$(at 160) second=$(at 200) end=$(at 240)
echo "validation loss: $switch at the switch, then $first, $second and $end after the cycles"
# A model of single letters stays near 2.9. The full-rank phase was measured to reach 1.66 and the whole run 1.45; the limits
# leave room for another machine's rounding, not for a low-rank phase that learns nothing.
holds "$switch < 2.2" || differs "the full-rank phase ends at $switch, expected less than 2.2"
holds "$first < $switch - 0.05" || differs "the first cycle took the loss from $switch to $first, expected 0.05 less or better"
holds "$end < 1.58 && $end < $switch - 0.05" || differs "the run ends at a validation loss of $end, expected less than 1.58"

finish
