#!/bin/bash
# The predicted update on many GPUs of dev/bench/scaling.py: its bytes against the program's own plan, its times against cases
# that are computed by hand. Nothing is measured.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
command -v python3 >/dev/null || { echo 'no python3'; exit 77; }
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=dev/bench

python3 - <<'PYTHON'
import dataclasses
import re
import subprocess
import sys
import model
import ops
import scaling
from scaling import Links, Segment

failures = []


def check(what, value, expected, relative=1e-9):
    if not abs(value - expected) <= relative * abs(expected):
        failures.append(f"{what}: {value}, expected {expected}")


for name, shape in ((name, ops.MODELS[name]) for name in model.BATCH_SIZES):
    for ranks in (2, 64, 4096):
        for dtype, wire in (("fp32", 4), ("bf16", 2)):
            plan = subprocess.run(["./train_relora", "--dry-run", "--ranks", str(ranks), "--device", "cuda", "--model", name,
                                   "--batch-size", "1", "--train-data", "none", "--reduce-dtype", dtype, "--rank", "128"], text=True, check=True,
                                  stdout=subprocess.PIPE).stdout
            sent = [re.findall(r"([\d.e+]+) MB", line) for line in plan.splitlines() if line.startswith("sent")]
            for planned, rank in zip(sent, (0, 128)):
                for kind, text, own in zip(("gradients", "weights"), planned, scaling.traffic(shape, ranks, rank, wire)):
                    check(f"{name}, {ranks} ranks, {dtype}, rank {rank}: MB of {kind}", own / 1e6, float(text), 6e-4)

# A line of work: the second waits for the first, the third for its own beginning.
check("overlap", scaling.overlap([1, 2, 10], [3, 1, 2]), 12)
check("overlap without cost", scaling.overlap([1, 2], [0, 0]), 2)

# 16 GPUs, two nodes: 7 peers at 100 GB/s beside 8 at 10 GB/s; 1e6 elements of 4 bytes from each, and 5 us of the call.
links = Links(node=8, nvlink=100e9, nic=10e9, call=5e-6, message=1e-6, local_hop=1e-6, remote_hop=10e-6)
check("all-to-all", links.exchange(16, 10**6, 4, "all-to-all"), 5e-6 + 8 * 4e6 / 10e9)
check("all-to-all in a node", links.exchange(8, 10**6, 4, "all-to-all"), 5e-6 + 7 * 4e6 / 100e9)
check("all-to-all of little", links.exchange(16, 1, 4, "all-to-all"), 5e-6 + 8e-6)
check("hierarchical", links.exchange(16, 10**6, 4, "hierarchical"), 5e-6 + 64e6 * 7 / 8 / 100e9 + 5e-6 + 8e6 / 2 / 10e9)
check("ring", links.exchange(16, 10**6, 4, "ring"), 5e-6 + 2 * (7e-6 + 10e-6) + 64e6 * 15 / 16 / 100e9)
check("tree", links.tree(16, 100), 5e-6 + 14e-6 + 20e-6 + 200 / 10e9)

# 3000 units among 2 ranks: parts of 4 Mi elements, in fp32 the 32 MiB that come in at once; and one unit among 64.
s = scaling.segment([3000 * 2048 * 4], 2)
check("share", s.share, 3000 * 2048 * 2)
check("part", scaling.part_of_share(s, 2, 4), 4 << 20)
check("parts", scaling.reduce_seconds(s, 2, 4, dataclasses.replace(links, nvlink=1e30), dataclasses.replace(
    model.GPUS["h100"], copy=1e30), "all-to-all"), 3 * 5e-6, 1e-6)
check("owners", scaling.segment([100], 64).owners, 1)
check("padding", scaling.segment([100, 1], 1).size, 256)

# Where links cost nothing, many GPUs are as one but for a smaller share of AdamW.
free = Links(nvlink=1e30, nic=1e30, call=0, message=0, local_hop=0, remote_hop=0)
fast = dataclasses.replace(model.GPUS["h100"])
for rank in (0, 128):
    one = scaling.predict_update("gpt2", 1, 16, 1024, 4, rank)
    check("one GPU", one.seconds, model.predict("gpt2", 16, 1024, 4, "relora" if rank else "full").seconds)
    many = scaling.predict_update("gpt2", 64, 16, 1024, 4, rank, links=free)
    if not 0.985 * one.seconds < many.seconds <= 1.005 * one.seconds:
        failures.append(f"free links, rank {rank}: {many.seconds} s, one GPU {one.seconds} s")
    slow = scaling.predict_update("gpt2", 64, 16, 1024, 4, rank, links=dataclasses.replace(Links(), nic=1e9))
    check("an update's parts", slow.seconds, slow.floor + slow.exposed + slow.tail + slow.gather)
    if not slow.exposed <= slow.reduce:
        failures.append("more is exposed than is reduced")
check("batches", *(float(n[0] * 100 + n[1]) for n in (scaling.batches(64, 16, 1024, 1 << 19), (8, 1))))
check("batches of too many", *(float(n[0] * 100 + n[1]) for n in (scaling.batches(4096, 16, 1024, 1 << 19), (1, 1))))
sys.exit("\n".join(failures) or 0)
PYTHON

python3 dev/bench/scaling.py --model gpt2 --gpus 8,64 --exchange hierarchical --reduce-dtype bf16 --nic 20 >"$work/out"
grep -q '^predicted, nothing is measured: H100s, 8 in a node; 360 GB/s within and 20 GB/s between nodes; gradients in bf16' "$work/out" ||
    differs "scaling.py says: $(head -n 1 "$work/out")"
[ "$(grep -c '^gpt2 ' "$work/out")" -eq 8 ] || differs 'scaling.py: expected 8 rows'
row='{"bench":"ranks","model":"gpt2","mode":"full","ranks":2,"rank":0,"reduce_s":0.5,"reduce_hidden":0.5,"passes_s":1'
echo "$row,\"gradient_bytes\":248973312,\"weight_bytes\":248979456}" >"$work/rows"
code=0
python3 dev/bench/scaling.py --check "$work/rows" >"$work/out" || code=$?
expected=$(python3 -c 'import ops, scaling; print(*scaling.traffic(ops.MODELS["gpt2"], 2, 0, 4, 4))')
[ "$code" -eq 1 ] || differs "scaling.py --check with wrong bytes: exit code $code, expected 1"
read -r gradients weights <<<"$expected"
echo "$row,\"gradient_bytes\":$gradients,\"weight_bytes\":$weights}" >"$work/rows"
python3 dev/bench/scaling.py --check "$work/rows" >"$work/out" || differs "scaling.py --check: $(cat "$work/out")"
# refused OPTIONS…: exit code 2, one line.
refused() {
    local code=0
    python3 dev/bench/scaling.py "$@" >"$work/out" 2>&1 || code=$?
    [ "$code $(wc -l <"$work/out")" = '2 1' ] || differs "$*: exit code $code: $(cat "$work/out")"
}
refused --model gpt3
refused --gpus 12
refused --nic 0
refused --check /nowhere
refused --check /dev/null
finish
