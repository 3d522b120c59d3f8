#!/bin/bash
# The scripts that start ranks: by mpirun, on a machine's GPUs, and under Slurm, whose commands are played here.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards
export TRAINER=$PWD/$trainer

# command_ends EXIT_CODE COMMAND…: runs it, and keeps what it printed in $work/said.
command_ends() {
    local code=0 expected=$1
    shift
    timeout 240 "$@" >"$work/said" 2>&1 </dev/null || code=$?
    [ "$code" -eq "$expected" ] || differs "$*: exit code $code, expected $expected: $(tail -n 3 "$work/said")"
}
says() { grep -qE -- "$1" "$work/said" || differs "expected '$1', it says: $(tail -n 3 "$work/said")"; }
# refused COMMAND…: exit code 2, and one line.
refused() {
    command_ends 2 "$@"
    [ "$(wc -l <"$work/said")" -eq 1 ] || differs "$*: expected one line, it says: $(cat "$work/said")"
}
run=(--train-data "$shards/train_*.bin" --val-data "$shards/val_*.bin" --device cpu "${shape[@]}" "${quiet[@]}"
    --rank 4 --adapter-route merged --lr 2e-3)
short=(--warm-start-steps 30 --merge-every 30 --max-steps 90) long=(--warm-start-steps 30000 --merge-every 30000 --max-steps 90000)
# reaches FOLDER LINES: waits until the metrics there have so many lines.
reaches() {
    for ((i = 0; i < 600; i++)); do
        [ "$(wc -l 2>/dev/null <"$1/metrics.jsonl" || echo 0)" -lt "$2" ] || return 0
        sleep 0.1
    done
    differs "$1 has not come to $2 lines of metrics"
}

# ---- mpirun
mpi=scripts/launch_mpi.sh
command_ends 0 $mpi --help
says 'launch_mpi.sh NUMBER'
for bad in 'none --' '2' '2 --' '2 --host' '2 --hostfile /nowhere -- --seq-len 8' '2 --device cpu'; do
    # shellcheck disable=SC2086  # words
    refused $mpi $bad
done
TRAINER=/nowhere/train_relora refused $mpi 2 -- --device cpu
command_ends 0 $mpi 2 --oversubscribe -- "${run[@]}" "${short[@]}" --out "$work/whole"
says '2 ranks, each on'
! grep -q $'\033' "$work/said" || differs 'launch_mpi.sh: a log has codes of a terminal'
command_ends 2 $mpi 2 --oversubscribe -- "${run[@]}" --seq-len 0 --out "$work/none"

# A signal to the script saves a checkpoint.
$mpi 2 --oversubscribe -- "${run[@]}" "${long[@]}" --out "$work/stopped" >"$work/said" 2>&1 </dev/null &
starter=$!
reaches "$work/stopped" 20
kill -TERM $starter
code=0
wait $starter || code=$?
[ "$code" -eq 143 ] || differs "launch_mpi.sh after SIGTERM: exit code $code, expected 143"
says 'stopped by a signal after'
[ -e "$(echo "$work"/stopped/step_*/state.json)" ] || differs 'launch_mpi.sh after SIGTERM: there is no checkpoint'

# ---- GPUs of one machine: what the program is started with
gpus=scripts/launch_gpus.sh
mkdir -p "$work/bin"
cat >"$work/bin/nvidia-smi" <<'SCRIPT'
#!/bin/bash
printf 'GPU 0: A\n  MIG 1g.10gb Device 0: b\nGPU 1: A\nGPU 2: A\n'
SCRIPT
cat >"$work/bin/trainer" <<'SCRIPT'
#!/bin/bash
echo "$@"
SCRIPT
chmod +x "$work"/bin/*
started() {
    local expected=$1
    shift
    command_ends 0 env PATH="$work/bin:$PATH" TRAINER="$work/bin/trainer" "$@"
    [ "$(cat "$work/said")" = "$expected" ] || differs "$*: started with '$(cat "$work/said")', expected '$expected'"
}
unset CUDA_VISIBLE_DEVICES
started '--gpus 3 --mode full' $gpus --mode full
started '--gpus 2 --mode full' env CUDA_VISIBLE_DEVICES=1,2 $gpus --mode full
started '--gpus 8 --mode full' $gpus 8 --mode full
command_ends 0 $gpus --help
says 'launch_gpus.sh \[NUMBER\]'
refused $gpus 0 --mode full
refused $gpus 8
TRAINER=/nowhere/train_relora refused $gpus 8 --mode full

# ---- Slurm
# srun starts two ranks by mpirun, which is to know nothing of Slurm; `limit` is the update at which all get SIGTERM.
cat >"$work/bin/srun" <<'SCRIPT'
#!/bin/bash
echo "$MASTER_ADDR $MASTER_PORT $*" >>"$WORK/srun"
while [[ $1 == --* ]]; do shift; done
for name in ${!SLURM_*}; do unset "$name"; done
mpirun --oversubscribe --bind-to none -q -np 2 "$@" &
if [ -e "$WORK/limit" ]; then
    limit=$(cat "$WORK/limit")
    until grep -q "\"step\":$limit," "$OUT/metrics.jsonl" 2>/dev/null; do sleep 0.02; done
    for pid in $(cat /proc/$!/task/*/children); do kill -TERM "$pid"; done
fi
wait $!
SCRIPT
cat >"$work/bin/scontrol" <<'SCRIPT'
#!/bin/bash
case $1 in
    show) [ "$3" = 'node[1-2]' ] && printf '127.0.0.1\nnode2\n' ;;
    requeue) echo "$2" >>"$WORK/requeued" ;;
esac
SCRIPT
chmod +x "$work"/bin/*
job=$$
# submitted EXIT_CODE RESTARTS OPTION…: the job as sbatch starts it.
submitted() {
    local code=$1 restarts=$2
    shift 2
    command_ends "$code" env PATH="$work/bin:$PATH" WORK="$work" OUT="$work/job" SLURM_JOB_ID=$job SLURM_JOB_NAME=relora \
        SLURM_JOB_NODELIST='node[1-2]' SLURM_RESTART_COUNT="$restarts" SLURM_CPUS_PER_TASK=1 bash scripts/slurm/relora.sbatch "$@"
}
requeues() {
    local count
    count=$(wc -l 2>/dev/null <"$work/requeued" || echo 0)
    [ "$count" -eq "$1" ] || differs "$2: requeued $count times in all, expected $1"
}
refused bash scripts/slurm/relora.sbatch --out "$work/job"
submitted 2 0 --resume --out "$work/job"
command_ends 0 bash scripts/slurm/relora.sbatch --help
says 'sbatch \[SBATCH_OPTION…\]'
submitted 2 0 --out "$work/job" --no-such-option
requeues 0 'bad options'

# The job is lost before its first checkpoint, comes twice to its time limit, and completes: the run is that of one start.
mkdir "$work/job"
echo '{"step":1,"loss":1}' >"$work/job/metrics.jsonl"
echo 20 >"$work/limit"
submitted 0 1 "${run[@]}" "${short[@]}" --out "$work/job"
requeues 1 'first time limit'
[ "$(cut -d' ' -f1,2 "$work/srun" | tail -n 1)" = "127.0.0.1 $((10000 + job % 20000))" ] ||
    differs "srun: MASTER_ADDR and MASTER_PORT are $(cut -d' ' -f1,2 "$work/srun" | tail -n 1)"
echo 60 >"$work/limit"
submitted 0 2 "${run[@]}" "${short[@]}" --out="$work/job"
requeues 2 'second time limit'
tail -n 1 "$work/srun" | grep -q -- --resume || differs 'srun: not resumed'
rm "$work/limit"
submitted 0 3 "${run[@]}" "${short[@]}" --out "$work/job"
requeues 2 'complete'
says 'run folder'
same_bits job whole 90
# A job that is complete has nothing to do; one that comes no further is not requeued.
submitted 0 0 "${run[@]}" "${short[@]}" --out "$work/job"
says 'the run is complete'
submitted 2 0 "${run[@]}" "${short[@]}" --seed 1 --out "$work/job"
says 'without a new checkpoint'
requeues 2 'no further'
finish
