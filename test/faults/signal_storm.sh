#!/bin/bash
# Signals that come all the time, at every point of the arithmetic, change nothing but when checkpoints are written.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
make_shards
method=(--mode relora --rank 4 --adapter-route merged --max-steps 600 --warm-start-steps 150 --merge-every 150 --eval-every 0)
must_train calm "${method[@]}"

train "$work/storm" "${method[@]}" &
shell=$!
python3 - "$work/storm" <<'END'
import os, pathlib, signal, subprocess, sys, time

# The program is found by its folder, once it hears signals: it has the log open then.
folder, sent = sys.argv[1], 0
for _ in range(1000):  # ten seconds
    if pathlib.Path(folder, 'metrics.jsonl').exists():
        break
    time.sleep(0.01)
number = int(subprocess.run(['pgrep', '-f', '--', f'^./train_relora.*--out {folder} '], capture_output=True, text=True).stdout.split()[0])
try:
    while True:
        os.kill(number, signal.SIGUSR1)
        sent += 1
        time.sleep(0.0003)
except ProcessLookupError:
    print(f'{sent} signals sent')
END
code=0
wait $shell || code=$?
[ "$code" -eq 0 ] || differs "exit code $code: $(tail -n 1 "$work/storm.log")"
cmp "$work/calm/export/model.safetensors" "$work/storm/export/model.safetensors" || differs 'the model differs'
[ "$(grep -c '"event":"save"' "$work/storm/metrics.jsonl")" -gt 1 ] || differs 'no signal was heard'
finish
