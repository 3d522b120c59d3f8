# The quickstart's run: a model of 1.9 million parameters, 250 updates at full rank, then 750 at low rank, with the program's
# defaults for the method. About three minutes on two cores.
# shellcheck shell=bash disable=SC2034  # the scripts that source this use the variables
max_steps=1000
warm_start_steps=250
data=(--train-data 'data/austen/shards/train_*.bin' --val-data 'data/austen/shards/val_*.bin')
shape=(--layers 4 --heads 4 --channels 192 --seq-len 128 --batch-size 16)
course=(--max-steps "$max_steps" --lr 3e-3 --warmup-steps 40 --eval-every 100)
low_rank=(--warm-start-steps "$warm_start_steps")
