#!/bin/bash
# A short run, its resume, an export and the tokenizer under valgrind: BUILD=build/memcheck test/faults/memcheck/run.sh
# The programs have to be built for a CPU that valgrind knows (make memcheck does).
source "$(dirname "${BASH_SOURCE[0]}")/../../end_to_end/common.bash"
export DNNL_MAX_CPU_ISA=SSE41 OMP_NUM_THREADS=1
build=${BUILD:-build/memcheck}
text 1 120 >"$work/train.txt"
text 2 60 >"$work/val.txt"

# checked NAME COMMAND…: no error of memory, no block lost for good.
checked() {
    local name=$1 code=0
    shift
    valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite \
        --num-callers=30 "$@" >"$work/$name.log" 2>&1 || code=$?
    [ "$code" -eq 0 ] || differs "$name: exit code $code: $(grep -v '^[a-z0-9]' "$work/$name.log" | head -n 40)"
    echo "$name: exit code $code, $(grep -c '^==.*==    at ' "$work/$name.log" || true) errors"
}
run=("$build/train_relora" --train-data "$shards/train_*.bin" --val-data "$shards/val_*.bin" --out "$work/run" --device cpu
    --layers 1 --heads 2 --channels 32 --seq-len 16 --batch-size 2 --threads 1 --mode relora --rank 4 --adapter-route merged
    --max-steps 6 --warm-start-steps 2 --merge-every 2 --restart-warmup-steps 1 --warmup-steps 1 --eval-every 2
    --eval-batches 1 --save-every 2 --sample-tokens 4)
checked tokenizer "$build/data/tokenize" --threads 1 --out "$shards" --val "$work/val.txt" "$work/train.txt"
checked run "${run[@]}"
rm -r "$work/run/export" "$work/run/step_00000006"
checked resume "${run[@]}" --resume
checked export "$build/train_relora" --threads 1 --init-from "$work/run/step_00000004" --export "$work/export"
finish
