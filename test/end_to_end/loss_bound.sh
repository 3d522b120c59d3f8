#!/bin/bash
# The quickstart's recipe, smaller: a full-rank warm start, then three ReLoRA cycles, learn text to a stated loss.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards

recipe=(--max-steps 72 --warmup-steps 4 --lr 1e-2 --eval-every 12 --batch-size 8)
shape=(--layers 2 --heads 2 --channels 32 --seq-len 32)
must_train relora --mode relora "${recipe[@]}" --rank 8 --warm-start-steps 24 --merge-every 16 --restart-warmup-steps 3
must_train frozen --mode relora "${recipe[@]}" --rank 8 --warm-start-steps 24 --merge-every 16 --restart-warmup-steps 3 --lora-lr 0
must_train full --mode full "${recipe[@]}"

# at NAME STEP: the validation loss after that update.
at() { sed -nE 's/.*"step":'"$2"',.*"val_loss":([^,}]*).*/\1/p' "$work/$1/metrics.jsonl"; }
end=$(at relora 72) switch=$(at relora 24) frozen=$(at frozen 72) full=$(at full 72)
echo "validation loss: relora $switch at the switch, $end at the end; full-rank $full"
LIMITS
finish
