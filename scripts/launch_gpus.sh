#!/bin/bash
# Trains on the GPUs of this machine, one process for each.
#   scripts/launch_gpus.sh [NUMBER] OPTION…
#     NUMBER     how many GPUs (default: those that CUDA_VISIBLE_DEVICES names, else all that nvidia-smi lists)
#     OPTION…    options of ./train_relora
# TRAINER=FILE names another build of the program.
set -euo pipefail
fail() { echo "launch_gpus.sh: $*" >&2; exit 2; }

trainer=${TRAINER:-$(dirname "$0")/../train_relora} number=''
case ${1:-} in
    '' | -h | --help) sed -n '2,6s/^# //p' "$0"; exit 0 ;;
    -*) ;;
    *) number=$1; shift ;;
esac
if [ -z "$number" ]; then
    if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then
        number=$(tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c .)
    else
        command -v nvidia-smi >/dev/null || fail 'no nvidia-smi here to count GPUs: say how many, as in launch_gpus.sh 8 OPTION…'
        number=$(nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU ' || true)
        [ "$number" -gt 0 ] || fail 'nvidia-smi lists no GPU: say how many, as in launch_gpus.sh 8 OPTION…'
    fi
fi
[[ $number =~ ^[1-9][0-9]{0,3}$ ]] || fail "'$number' is not a number of GPUs"
[ $# -gt 0 ] || fail 'options of ./train_relora are missing, such as --train-data'
[ -x "$trainer" ] || fail "$trainer is not built: run make"

exec "$trainer" --gpus "$number" "$@"
