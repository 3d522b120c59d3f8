#!/bin/bash
# GPT-2 355M with ReLoRA on 10 billion tokens.
#   scripts/recipes/gpt2-355m.sh --help
#
# Tokens       19,000 updates x 524,288 = 9.96 billion, 28 for each of 354,823,168 parameters: the size of FineWeb's 10BT sample
# Update       524,288 tokens, the batch of GPT-3's paper at this size: on 8 GPUs 8 x 2 x 32 x 1024
# Warm start   5,000 updates, 26 % of the run, full-rank
# Low rank     14,000 updates = 10 cycles of 1,400, merged after the first five and the last; rank 256 of 1024 columns
#              (a quarter, as by default). A and all moments go on through a merge, as by default
# Rate         3e-4 (GPT-3's) full-rank, and throughout for all but adapters; 7.5e-4 for B (2.5 times it, the default),
#              7.5e-5 for A (LoRA+); cosine to a tenth; 700 updates of warm-up (llm.c's), for A and B also after the switch
# Memory       28 GiB for each of 8 GPUs, as --dry-run plans it
# Time         1.8 hours on 8 H100s, computed by dev/bench/scaling.py, not measured
# Nothing of this has run on a GPU: it is arithmetic from published settings, and the first run will say more.
source "$(dirname "$0")/common.bash"
model=gpt2-medium total_batch_tokens=524288 batch_size=32
max_steps=19000 warm_start_steps=5000 merge_every=1400 rank=256
lr=3e-4 warmup_steps=700
recipe "$@"
