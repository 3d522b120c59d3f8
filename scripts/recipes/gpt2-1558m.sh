#!/bin/bash
# GPT-2 1558M with ReLoRA on 34 billion tokens.
#   scripts/recipes/gpt2-1558m.sh --help
#
# Tokens       32,000 updates x 1,048,576 = 33.6 billion, 22 for each of 1,557,611,200 parameters, as llm.c's run of this size
# Update       1,048,576 tokens, the batch of GPT-3's paper at this size and of llm.c: on 8 GPUs 8 x 8 x 16 x 1024
# Warm start   8,000 updates, a quarter of the run, full-rank
# Low rank     24,000 updates = 10 cycles of 2,400, merged after the first five and the last; rank 400 of 1600 columns
#              (a quarter, as by default). A and all moments go on through a merge, as by default
# Rate         2e-4 (GPT-3's) full-rank, and throughout for all but adapters; 5e-4 for B (2.5 times it, the default), 5e-5
#              for A (LoRA+); cosine to a tenth; 700 updates of warm-up (llm.c's), for A and B also after the switch
# Memory       50 GiB for each of 8 GPUs, as --dry-run plans it
# Time         23.4 hours on 8 H100s, computed by dev/bench/scaling.py, not measured
# Nothing of this has run on a GPU: it is arithmetic from published settings, and the first run will say more.
source "$(dirname "$0")/common.bash"
model=gpt2-xl total_batch_tokens=1048576 batch_size=16
max_steps=32000 warm_start_steps=8000 merge_every=2400 rank=400
lr=2e-4 warmup_steps=700
recipe "$@"
