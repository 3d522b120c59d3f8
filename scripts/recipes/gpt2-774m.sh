#!/bin/bash
# GPT-2 774M with ReLoRA on 16 billion tokens.
#   scripts/recipes/gpt2-774m.sh --help
#
# Tokens       30,000 updates x 524,288 = 15.7 billion, 20 for each of 774,030,080 parameters (Chinchilla's)
# Update       524,288 tokens, the batch of GPT-3's paper at this size: on 8 GPUs 8 x 4 x 16 x 1024
# Warm start   7,500 updates, a quarter of the run, full-rank
# Low rank     22,500 updates = 9 cycles of 2,500, merged after the first four and the last; rank 320 of 1280 columns
#              (a quarter, as by default). A and all moments go on through a merge, as by default
# Rate         2.5e-4 (GPT-3's) full-rank, and throughout for all but adapters; 6.25e-4 for B (2.5 times it, the default),
#              6.25e-5 for A (LoRA+); cosine to a tenth; 700 updates of warm-up (llm.c's), for A and B also after the switch
# Memory       29 GiB for each of 8 GPUs, as --dry-run plans it
# Time         5.9 hours on 8 H100s, computed by dev/bench/scaling.py, not measured
# Nothing of this has run on a GPU: it is arithmetic from published settings, and the first run will say more.
source "$(dirname "$0")/common.bash"
model=gpt2-large total_batch_tokens=524288 batch_size=16
max_steps=30000 warm_start_steps=7500 merge_every=2500 rank=320
lr=2.5e-4 warmup_steps=700
recipe "$@"
