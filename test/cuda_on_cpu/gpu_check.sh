#!/bin/bash
# dev/gpu_check.sh itself, in a folder like an unpacked bundle, with the CUDA half executed on the CPU and a stand-in for
# nvidia-smi: verdicts, reports, what is missing, and that nothing is written but under OUT.
set -euo pipefail
cd "$(dirname "$0")/../.."
. test/cuda_on_cpu/common.bash
build cuda-on-cpu
source test/end_to_end/common.bash
make_shards

check=$work/check smi=$work/bin/nvidia-smi
mkdir -p "$check/build/bench" "$check/data/austen" "$work/bin"
cp -r --parents dev/gpu_check.sh dev/gpu_parity.py dev/bench/*.py dev/peers/*.py scripts/recipe.bash test/cuda_on_cpu/{training.sh,small_cases.bash} \
    test/end_to_end/common.bash test/fixtures/parity "$check"
cp -r "$shards" "$check/data/austen/shards"
for program in train_relora build/kernel_tests build/kernel_bench build/bench/step; do
    ln -s "$PWD/build/cuda_on_cpu/plain/$(basename "$program")" "$check/$program"
done
ln -s "$PWD/data/tokenize" "$check/data/tokenize"
echo '0123456789ab with changes' >"$check/COMMIT"
cat >"$smi" <<'EOF'
#!/bin/bash
case $* in *=name*) echo 'A Stand-In (80 GB)' ;; *=driver*) echo 1.2 ;; *=memory*) echo '80 GiB' ;; *=compute*) echo 9.0 ;; esac
EOF
chmod +x "$smi"

# check EXIT_CODE ARGUMENT…: runs it, and keeps what it printed in $work/said.
check() {
    local code=0 expected=$1
    shift
    env PATH="$work/bin:$PATH" EXECUTOR_GUARD=0 REHEARSAL=1 OUT="$work/out" "$check/dev/gpu_check.sh" "$@" >"$work/said" 2>&1 || code=$?
    [ "$code" -eq "$expected" ] || { differs "gpu_check.sh $*: exit code $code, expected $expected"; tail -n 30 "$work/said" >&2; }
}
says() { grep -qE -- "$1" "$work/said" || { differs "gpu_check.sh doesn't say '$1'"; tail -n 30 "$work/said" >&2; }; }

find "$check" | sort >"$work/before"
check 0 tests+parity throughput kernels text
says '^[0-9-]+ [0-9:]+ UTC, A Stand-In \(80 GB\), 80 GiB, sm_90, driver 1\.2, commit 0123456789ab with changes$'
for stage in tests parity throughput kernels text; do says "^-- $stage: PASS"; done
says '^tests: .* 0 wrong, 0 without an algorithm'
says '^fp32: validation loss [0-9.]+, at most'
says 'compare.py .*--attention wgmma'
[ "$(grep -c '"attention": "wgmma"' "$work"/out/*.jsonl)" -eq 1 ] || differs 'the rows have no time of attention by wgmma'
diff "$work/before" <(find "$check" | sort) || differs 'gpu_check.sh wrote beside OUT'
report=$(basename "$work"/out/*.txt .txt)  # the day may have changed since
[[ $report =~ ^[0-9]{4}-[0-9]{2}-[0-9]{2}-a-stand-in-80-gb-stages$ ]] || differs "the report is called $report"
[ "$(ls "$work/out")" = "$(printf '%s\n' "$report".{jsonl,log,txt})" ] || differs "OUT holds $(find "$work/out" -type f -printf '%f ')"
[ "$(grep -c '"bench": "gpu_check".*"PASS"' "$work/out/$report.jsonl")" -eq 5 ] || differs 'the rows do not have five verdicts'

# A stage fails for want of a program, and the next one runs all the same.
rm "$check/build/kernel_bench"
PEER_PYTHON=/nowhere/python3 check 1 kernels pytorch memcheck text
says '^-- kernels: FAIL'
says 'build/kernel_bench is not there'
says '^-- pytorch: FAIL'
says 'no torch in /nowhere/python3'
says '^-- memcheck: FAIL'
says 'compute-sanitizer is not there'
says '^-- text: PASS'

# A fault of the GPU takes no other op along.
rm "$check/build/kernel_tests"
cat >"$check/build/kernel_tests" <<'EOF'
#!/bin/bash
case $* in
    *'-:*/sum_*') printf '%s\n' 'op cases distance' 'add 1 0.5' '0 cases without an algorithm, 0 wrong' ;;
    *) echo 'GPU lost in DoesWhatTheCpuOpDoes/sum_fp32_5: a fault'; exit 1 ;;
esac
EOF
chmod +x "$check/build/kernel_tests"
check 1 tests
says '^GPU lost in DoesWhatTheCpuOpDoes/sum_fp32_5: a fault'
says '^2 cases compared: 0 wrong, 0 without an algorithm; 2 of 2 shards'
says '^-- tests: FAIL'

# A wrong number fails.
sed -i 's/"loss": \[/"loss": [1.0, /' "$check"/test/fixtures/parity/reference.json
check 1 parity
says '^-- parity: FAIL'

LIMIT=0 check 1 tests
says '^tests +FAIL .* the 0 s of all stages are used up'
check 2 everything
says "no stage 'everything'"
rm "$smi"
check 1 first
says '^dev/gpu_check.sh: no GPU on this machine'
finish
