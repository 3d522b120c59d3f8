#!/bin/bash
# Two short ReLoRA runs beside the same runs in PyTorch, which dev/gpu_parity.py recorded: loss and gradient norm of every
# update, merges and resets, in fp32 and bf16. Arguments are more options of the trainer: with a wrong --alpha,
# --lora-plus-ratio, --others, --restart-A or --restart-until it must fail.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
for route in merged project; do
    echo "$route:"
    python3 dev/gpu_parity.py --recorded test/fixtures/parity --device cpu --trainer ./train_relora --out "$work/$route" \
        -- --threads 2 --adapter-route "$route" "$@" || differs "$route: not as close to PyTorch as it should be"
done
finish
