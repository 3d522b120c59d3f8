# The quickstart's run: a model of 1.9 million parameters, 400 updates at full rank, then three low-rank cycles of 200
# updates. About three minutes on two cores; ends at a validation loss of about 1.74 nats per byte.
# shellcheck shell=bash disable=SC2034  # the scripts that source this use the variables
max_steps=1000
warm_start_steps=400
merge_every=200
rank=32
data=(--train-data 'data/austen/shards/train_*.bin' --val-data 'data/austen/shards/val_*.bin')
shape=(--layers 4 --heads 4 --channels 192 --seq-len 128 --batch-size 16)
course=(--max-steps "$max_steps" --lr 2e-3 --warmup-steps 40 --eval-every 100)
low_rank=(--rank "$rank" --warm-start-steps "$warm_start_steps" --restart-warmup-steps 20)
