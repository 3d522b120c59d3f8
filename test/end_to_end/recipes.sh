#!/bin/bash
# The recipes: what they print is what their comments say, the program accepts their options, and each starts what it should.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"

# A stand-in for the program: plans are the real one's, and a start is printed.
mkdir -p "$work/bin"
cat >"$work/bin/trainer" <<SCRIPT
#!/bin/bash
case " \$* " in *' --dry-run '*) exec "$PWD/train_relora" "\$@" ;; esac
echo "started \$*"
SCRIPT
cat >"$work/bin/sbatch" <<'SCRIPT'
#!/bin/bash
echo "submitted $*"
SCRIPT
chmod +x "$work"/bin/*
export TRAINER=$work/bin/trainer PATH=$work/bin:$PATH

# ends EXIT_CODE COMMAND…: runs it, and keeps what it printed in $work/said.
ends() {
    local code=0 expected=$1
    shift
    "$@" >"$work/said" 2>&1 </dev/null || code=$?
    [ "$code" -eq "$expected" ] || differs "$*: exit code $code, expected $expected: $(tail -n 2 "$work/said")"
}
says() { grep -qE -- "$1" "$work/said" || differs "$name: expected '$1', it says: $(cat "$work/said")"; }

for recipe in scripts/recipes/*.sh; do
    name=$(basename "$recipe")
    ends 0 "$recipe" --help
    for gpus in 1 8 64 256; do
        ends 0 "$recipe" --gpus $gpus --plan
        says '^    total +[0-9.]+ +[0-9.]+$'
        says '^  time +computed, not measured'
        updates=$(sed -nE 's/^# Tokens +([0-9,]+) updates x.*/\1/p' "$recipe" | tr -d ,)
        batch=$(sed -nE 's/^# Tokens +[0-9,]+ updates x ([0-9,]+) =.*/\1/p' "$recipe" | tr -d ,)
        says "^  tokens +$((updates * batch))\$"
        says "^  update +$batch tokens = $gpus GPUs x"
    done
    ends 0 "$recipe" --gpus 8 --plan
    micro=$(sed -nE 's/^# Update .*on 8 GPUs 8 x ([0-9]+) x ([0-9]+) x 1024$/\1 micro-batches x \2 x 1024/p' "$recipe")
    says "= 8 GPUs x $micro\$"
    cycles=$(sed -nE 's/^# Low rank .* = ([0-9]+) cycles of ([0-9,]+),.*/\1 cycles of \2/p' "$recipe" | tr -d ,)
    rank=$(sed -nE 's/^# Low rank .*; rank ([0-9]+) of .*/\1/p' "$recipe")
    warm=$(sed -nE 's/^# Warm start +([0-9,]+) updates.*/\1/p' "$recipe" | tr -d ,)
    says "= $warm full-rank \\+ $cycles at rank $rank\$"
    hours=$(sed -nE 's/^# Time +([0-9.]+) hours.*/\1/p' "$recipe")
    says "; $hours hours without"
    gib=$(sed -nE 's/^# Memory +([0-9]+) GiB.*/\1/p' "$recipe")
    holds "$(sed -nE 's/^    total +([0-9.]+) .*/\1/p' "$work/said") / 1024 - $gib < 0.5" || differs "$name: needs more than $gib GiB"
done

recipe=scripts/recipes/gpt2-124m.sh name=gpt2-124m.sh
# GPUs that don't divide the tokens of an update: the nearest number of whole micro-batches, 1/16 off at most.
ends 0 $recipe --gpus 6 --plan
says '^  update +491520 tokens = 6 GPUs x 5 micro-batches x 16 x 1024$'
ends 0 $recipe --gpus 2 --train 'a*.bin' --val 'b*.bin' --out "$work/run" --seed 7
says "^started --gpus 2 --model gpt2 .* --seed 7 --train-data a\*.bin --val-data b\*.bin --out $work/run .*--save-every 500\$"
mkdir -p "$work/run/step_00000500"
touch "$work/run/step_00000500/state.json"
ends 0 $recipe --gpus 2 --train a --val b --out "$work/run"
says '^started .* --resume$'
ends 0 $recipe --gpus 32 --nodes 4 --train a --val b --out "$work/run"
says '^submitted --job-name=gpt2-124m --nodes=4 --ntasks-per-node=8 --gpus-per-node=8 .*relora.sbatch --model gpt2 .*500$'
for bad in '--gpus 0 --plan' '--gpus' '--gpus 8' '--gpus 9 --nodes 2 --plan' '--gpus 4096 --plan' '--gpus 8 --plan --merge-every 7'; do
    # shellcheck disable=SC2086  # words
    ends 2 $recipe $bad
    [ "$(wc -l <"$work/said")" -eq 1 ] || differs "$bad: expected one line, it says: $(cat "$work/said")"
done
TRAINER=/nowhere ends 2 $recipe --gpus 8 --plan
says 'is not built'
finish
