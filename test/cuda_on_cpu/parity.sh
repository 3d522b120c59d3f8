#!/bin/bash
# The runs of test/end_to_end/parity.sh on the CUDA device, executed on the CPU. TRAINER=./train_relora does it on a GPU.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -z "${TRAINER:-}" ]; then
    . test/cuda_on_cpu/common.bash
    build cuda-on-cpu
fi
source test/end_to_end/common.bash
EXECUTOR_GUARD=0 python3 dev/gpu_parity.py --recorded test/fixtures/parity --device cuda --out "$work/parity" \
    --trainer "${TRAINER:-build/cuda_on_cpu/plain/train_relora}" -- --threads 2 "$@" ||
    differs 'not as close to PyTorch as it should be'
finish
