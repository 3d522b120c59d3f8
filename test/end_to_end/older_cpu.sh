#!/bin/bash
# Products in bf16 as on a CPU with AVX2 only, where oneDNN has none: the tests that need them, and a run beside fp32. (Other
# CPUs than x86 have no such limit; there the tests run once more.)
set -euo pipefail
cd "$(dirname "$0")/../.."
source test/end_to_end/common.bash
export ONEDNN_MAX_CPU_ISA=AVX2
build/tests --gtest_brief=1 --gtest_filter='Matmul*:Routes.*:ReLoRA.*:*GPT2Fixture*:Memory.*'
make_shards
must_train bf16 --max-steps 4 --mode full --dtype bf16 --lr 1e-4
must_train fp32 --max-steps 4 --mode full --dtype fp32 --lr 1e-4
paste <(field loss "$work/bf16/metrics.jsonl") <(field loss "$work/fp32/metrics.jsonl") |
    awk '{ d = $1 - $2 } NF != 2 || d * d > 1e-6 { bad = 1 } END { exit bad || NR != 4 }' ||
    differs "bf16: losses $(field loss "$work/bf16/metrics.jsonl" | xargs), in fp32 $(field loss "$work/fp32/metrics.jsonl" | xargs)"
finish
