#!/bin/bash
# One command in a job script, with --resume: it begins what is not there, goes on with what is, and leaves alone what is complete.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards
method=(--mode relora --rank 4 --max-steps 300 --warm-start-steps 100 --merge-every 100 --warmup-steps 1 --eval-every 50)
must_train straight "${method[@]}"
# same NAME: whether a run has the numbers and the model of the one that was never stopped.
same() {
    [ "$(numbers "$work/$1")" = "$(numbers "$work/straight")" ] || differs "$1: other numbers"
    cmp "$work/$1/export/model.safetensors" "$work/straight/export/model.safetensors" || differs "$1: another model"
}

# Nothing there; then complete.
must_train job "${method[@]}" --resume
grep -q 'there is no checkpoint in .* yet, the run begins' "$work/job.log" || differs "job: $(head -n 3 "$work/job.log")"
same job
listing() { (cd "$work/job" && find . -type f ! -name lock -exec sha256sum {} + | sort); }
before=$(listing)
must_train job "${method[@]}" --resume
tail -n 1 "$work/job.log" | grep -q 'the run is complete' || differs "complete: $(tail -n 1 "$work/job.log")"
[ "$(listing)" = "$before" ] || differs 'complete: something was written'
mkdir "$work/empty"
must_train empty "${method[@]}" --resume
same empty

# Killed before the first checkpoint: begun again, with the options given or those of the folder, and with no others.
for options in given stored; do
    begin killed "${method[@]}"
    within 30 updates killed 5 || differs "killed: does not train: $(tail -n 1 "$work/killed.log")"
    kill -s KILL "$pid"
    wait "$pid" 2>/dev/null || true
    [ -z "$(compgen -G "$work/killed/step_*")" ] || differs 'killed: has a checkpoint already'
    code=0
    train "$work/killed" "${method[@]}" --resume --lr 0.1234 || code=$?
    { [ "$code" -eq 2 ] && grep -q -- '--lr is 0.1234, but the run in .*killed' "$work/killed.log"; } ||
        differs "other options: exit code $code: $(tail -n 1 "$work/killed.log")"
    if [ $options = given ]; then
        must_train killed "${method[@]}" --resume
    else
        "$trainer" --out "$work/killed" --resume >"$work/killed.log" 2>&1 || differs "stored: $(tail -n 1 "$work/killed.log")"
    fi
    same killed
    rm -r "$work/killed"
done

# Checkpoints by time need no option that counts updates, say what they cost, and change no number.
must_train timed "${method[@]}" --save-minutes 0.0005 --keep 0
[ "$(compgen -G "$work/timed/step_*" | wc -l)" -ge 2 ] || differs "timed: holds $(ls "$work/timed")"
grep -qE 'saved .* \(paused [0-9]+ ms' "$work/timed.log" || differs "timed: $(tail -n 3 "$work/timed.log")"
same timed

# Killed between the last checkpoint and the export: the last validation is not reported twice.
cp -r "$work/straight" "$work/late"
rm -r "$work/late/export"
must_train late "${method[@]}" --resume
same late
# And where the kill came before its line.
cp -r "$work/straight" "$work/later"
rm -r "$work/later/export"
sed -i '/"step":300,.*"val_loss"/d' "$work/later/metrics.jsonl"
must_train later "${method[@]}" --resume
same later
finish
