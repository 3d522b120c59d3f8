#!/bin/bash
# Starts the ranks of a run by Open MPI's mpirun, on this machine or on several: on CPUs, or one on each GPU.
#   scripts/launch_mpi.sh NUMBER [--host LIST | --hostfile FILE] [--oversubscribe] -- OPTION…
#     NUMBER             ranks in all
#     --host LIST        machines and the ranks that each takes, as in a:8,b:8
#     --hostfile FILE    the same in a file, a line for each machine, as in: a slots=8
#     --oversubscribe    also where that is more ranks than cores
#     OPTION…            options of ./train_relora: --device cpu for CPUs, which needs a build with MPI
# All machines see the program, the shards and the run folder at the same paths.
# Ctrl-C or SIGTERM saves a checkpoint if a rank runs on this machine. TRAINER=FILE names another build of the program.
set -euo pipefail
fail() { echo "launch_mpi.sh: $*" >&2; exit 2; }

trainer=$(realpath -m "${TRAINER:-$(dirname "$0")/../train_relora}") number='' where=()
case ${1:-} in
    '' | -h | --help) sed -n '2,10s/^# //p' "$0"; exit 0 ;;
    *) number=$1; shift ;;
esac
[[ $number =~ ^[1-9][0-9]{0,6}$ ]] || fail "'$number' is not a number of ranks"
while [ "${1:---}" != -- ]; do
    case $1 in
        --host | --hostfile)
            if [ -z "${2:-}" ] || [ "$2" = -- ]; then fail "$1 needs a value"; fi
            [ "$1" = --host ] || [ -r "$2" ] || fail "--hostfile $2 can't be read"
            where+=("$1" "$2"); shift 2 ;;
        --oversubscribe) where+=("$1"); shift ;;
        *) fail "unknown argument '$1': options of ./train_relora come after --" ;;
    esac
done
[ $# -gt 1 ] || fail 'options of ./train_relora are missing after --, such as --train-data'
shift
command -v mpirun >/dev/null || fail 'no mpirun here: install Open MPI'
[ -x "$trainer" ] || fail "$trainer is not built: run make"

# The machines get what of this environment libraries read; those of a machine's own GPUs and cores stay there.
exports=()
for name in $(compgen -e); do
    case $name in
        LD_LIBRARY_PATH | CUDA_HOME | XDG_CACHE_HOME | MASTER_ADDR | MASTER_PORT | OMP_* | NCCL_* | UCX_*) exports+=(-x "$name") ;;
    esac
done
# In a pipe, which the ranks take for no terminal, they print a line now and then, not one that changes.
# shellcheck disable=SC2016  # for the shell that mpirun starts
rank='exec "$0" "$@" > >(trap "" INT TERM HUP QUIT USR1; exec cat)'
# Ranks choose their cores themselves.
set -m  # gives mpirun a process group of its own, so that Ctrl-C reaches this script alone
mpirun --quiet -n "$number" "${where[@]}" --bind-to none "${exports[@]}" bash -c "$rank" "$trainer" "$@" </dev/null &
mpirun=$!

# A signal goes to one rank: all save a checkpoint, and stop, together. mpirun itself would kill them a second later, and is
# left to do so only where no rank runs on this machine.
# shellcheck disable=SC2013,SC2317  # the trap calls it; words are what is wanted
forward() {  # SIGNAL
    local pid to=$mpirun
    for pid in $(cat "/proc/$mpirun/task/"*/children); do
        [ "$(readlink "/proc/$pid/exe")" != "$trainer" ] || to=$pid
    done
    kill "-$1" "$to"
}
trap 'forward TERM' INT TERM HUP QUIT
trap 'forward USR1' USR1
set +e  # a signal interrupts a wait
while :; do
    wait "$mpirun"
    code=$?
    kill -0 "$mpirun" 2>/dev/null || break
done
exit "$code"
