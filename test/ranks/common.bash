# What the tests of several ranks share: CPUs by mpirun, or GPUs, which the executor plays (RANKS_ON=cuda).
# shellcheck shell=bash disable=SC2034  # the scripts that source this use the variables
source "$(dirname "${BASH_SOURCE[0]}")/../end_to_end/common.bash"
if [ "${RANKS_ON:-cpu}" = cpu ]; then
    if ! command -v mpirun >/dev/null || ! ldd ./train_relora | grep libmpi >/dev/null; then
        echo 'no MPI: mpirun is not there, or ./train_relora was built without it'
        exit 77
    fi
    # MPI's own start takes long where it looks for other machines.
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_plm_rsh_agent=/bin/false
    device=cpu trainer=./train_relora
    start=(mpirun --oversubscribe --bind-to none -q -np)
else
    . test/cuda_on_cpu/common.bash
    build cuda-on-cpu
    export EXECUTOR_GUARD=0 EXECUTOR_CAPABILITY=9.0,9.0,9.0,9.0
    device=cuda trainer=build/cuda_on_cpu/plain/train_relora
    start=()
fi
quiet=(--sample-tokens 0 --threads 1)

# run_ranks N NAME OPTION…: a run of the tiny model on N ranks in $work/NAME; 0: of one process without ranks. Returns its
# exit code.
run_ranks() {
    local ranks=$1 folder=$work/$2 code=0
    shift 2
    local line=("$trainer" --train-data "$shards/train_*.bin" --val-data "$shards/val_*.bin" --out "$folder" --device "$device"
        "${shape[@]}" "${quiet[@]}" "$@")
    if [ "$ranks" -gt 0 ]; then
        if [ "$device" = cpu ]; then line=("${start[@]}" "$ranks" "${line[@]}"); else line+=(--gpus "$ranks"); fi
    fi
    timeout 240 "${line[@]}" >"$folder.log" 2>&1 </dev/null || code=$?
    return $code
}
must_run() {
    local code=0
    run_ranks "$@" || code=$?
    [ "$code" -eq 0 ] || { echo "$2: exit code $code: $(tail -n 3 "$work/$2.log")" >&2; exit 1; }
}

# same_bits NAME EXPECTED STEP: numbers and checkpoint of two runs.
same_bits() {
    local file from
    from=step_$(printf %08d "$3")
    cmp -s <(numbers "$work/$1") <(numbers "$work/$2") ||
        differs "$1: metrics differ from those of $2: $(diff <(numbers "$work/$1") <(numbers "$work/$2") | sed -n 2,4p)"
    for file in model adapters optimizer; do
        [ -e "$work/$2/$from/$file.safetensors" ] || continue
        cmp "$work/$1/$from/$file.safetensors" "$work/$2/$from/$file.safetensors" || differs "$1: $file differs from that of $2"
    done
}
