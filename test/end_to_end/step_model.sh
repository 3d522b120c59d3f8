#!/bin/bash
# The predicted step of dev/bench/model.py against numbers that were derived apart from it: FLOPs and bytes by closed formulas,
# published parameter counts, and an estimate by hand for an H100. Nothing is measured.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
command -v python3 >/dev/null || { echo 'no python3'; exit 77; }
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=dev/bench
# The names of the parts, which step.cpp has as: kWeights = "weights", …
parts=$(sed -n '/^constexpr const char \*kWeights/,/;/p' dev/bench/step.cpp | grep -o '"[^"]*"' | tr -d '"' | paste -sd, -)

python3 - "$parts" <<'PYTHON'
import sys
import model
import ops

failures = []


def check(what, value, expected, relative=0.0, absolute=0.0):
    if not abs(value - expected) <= max(relative * abs(expected), absolute):
        failures.append(f"{what}: {value}, expected {expected} within {max(relative * abs(expected), absolute):g}")


def sum_of(prediction, field, *names):
    """The sum over an update's ops whose part or name is among `names`."""
    return sum(getattr(op, field) for op in prediction.micro_batch + prediction.update if op.part in names or op.name in names)


def ms(prediction, *names):
    return 1e3 * sum(op.seconds(h100) for op in prediction.micro_batch if op.name in names)


h100, T, r = model.GPUS["h100"], 1024, 128
# layers, width, batch, parameters (Hugging Face's count), ReLoRA (merged) over full-rank by hand
sizes = {"gpt2": (12, 768, 16, 124439808, 0.987), "gpt2-medium": (24, 1024, 16, 354823168, 0.942),
         "gpt2-large": (36, 1280, 8, 774030080, 0.905), "gpt2-xl": (48, 1600, 8, 1557611200, 0.869)}
for name, (L, C, B, parameters, ratio) in sizes.items():
    N, V, linears = B * T, 50304, 12 * L * C * C
    full = model.predict(name, B, T, 4)
    check(f"{name}: FLOPs of products", sum_of(full, "flops", "weights", "head+loss"), 6 * N * (linears + V * C))
    check(f"{name}: FLOPs of attention", sum_of(full, "flops", "attention"), 7 * N * C * T * L)
    # fp32 gradient read twice, master and two moments read and written, bf16 weight written; 47 rows of padding.
    check(f"{name}: bytes of clipping and AdamW", sum_of(full, "bytes", "adamw"), (8 + 24 + 2) * (parameters + 47 * C))
    check(f"{name}: MFU", full.mfu_percent, full.tokens_per_s * (6 * parameters + 12 * L * C * T) / 989e12 * 100, 1e-12)
    check(f"{name}: sum of parts", sum(full.parts.values()), full.seconds, 1e-12)
    merged = model.predict(name, B, T, 4, "relora", "merged", r)
    check(f"{name}: merged / full", merged.seconds / full.seconds, ratio, absolute=0.01)
    for route, low_rank, weights in (("merged", 4 * N * 18 * r * C * L, 4), ("factored", 6 * N * 18 * r * C * L, 4),
                                     ("project", 4 * r * linears, 6)):
        p = model.predict(name, B, T, 4, "relora", route, r)
        per_token = 4 * parameters + 2 * (parameters - linears) + 12 * L * C * T
        per_token += 2 * linears if route == "project" else low_rank / N
        check(f"{name} {route}: MFU", p.mfu_percent, p.tokens_per_s * per_token / 989e12 * 100, 1e-12)
        check(f"{name} {route}: low-rank FLOPs", sum_of(p, "flops", "low-rank"), low_rank)
        check(f"{name} {route}: FLOPs of weights", sum_of(p, "flops", "weights"), weights * N * linears)
        check(f"{name} {route}: FLOPs of W + s B A", sum_of(p, "flops", "effective"), 0 if route == "factored" else 2 * r * linears)
        check(f"{name} {route}: AdamW's bytes", sum_of(p, "bytes", "adamw"), 34 * (parameters + 47 * C - linears + 18 * r * C * L))

full = model.predict("gpt2", 16, T, 4)
for what, expected, *names in (("linears", 15.7, "linears forward", "linears dX", "linears dW"), ("head", 6.25, "head products"),
                               ("cross-entropy", 1.55, "cross-entropy", "logits stored"),
                               ("attention forward", 1.6, "attention forward"),
                               ("attention backward", 5.15, "attention backward"), ("bias gradients", 0.35, "bias gradients"),
                               ("LayerNorm", 1.45, "LayerNorm forward", "LayerNorm backward"),
                               ("residual", 0.2, "residual in epilogues"),
                               ("GELU", 0.6, "GELU in epilogues")):
    check(f"124M, ms of {what}", ms(full, *names), expected, 0.05, 0.05)
check("124M, ms of gaps", 1e3 * ops.gaps(full.micro_batch), 0.32, absolute=0.05)
check("124M, ms of a micro-batch", 1e3 * ops.total_seconds(full.micro_batch, h100), 33.3, 0.03)
check("124M, tokens/s", full.tokens_per_s, 486e3, 0.01)
# 1 GiB holds 10672 rows of 50304 bf16: two chunks of 16384 rows.
check("rows of the first chunk of logits", ops.chunks_of_logits(ops.MODELS["gpt2"], 16384)[0], 8192)
check("chunks of logits", len(ops.chunks_of_logits(ops.MODELS["gpt2"], 16384)), 2)
check("rows in chunks of logits", sum(ops.chunks_of_logits(ops.MODELS["gpt2"], 16384)), 16384)
half = model.Machine(product=h100.product / 2, copy=h100.copy / 2)
gaps = 4 * ops.gaps(full.micro_batch) + ops.gaps(full.update)
check("a machine of half the rates", model.predict("gpt2", 16, T, 4, machine=half).seconds - gaps, 2 * (full.seconds - gaps), 1e-12)
if tuple(sys.argv[1].split(",")) != ops.PARTS or tuple(full.parts) != ops.PARTS:
    failures.append(f"parts {tuple(full.parts)}, in step.cpp {sys.argv[1]}")
if model.predict("gpt2", 16, T, 4, dtype="fp32") is not None or model.predict("llama", 16, T, 4) is not None:
    failures.append("predicts what it has no rates for")
sys.exit("\n".join(failures) or 0)
PYTHON

# The trainer's own choice of routes for a GPU, by the cost model of src/train/routes.cpp, is that of the prediction.
python3 - <<'PYTHON'
import itertools
import subprocess
import sys
import model

failures = []
for name, batch_size, rank, accumulation in itertools.product(model.BATCH_SIZES, (1, 16), (16, 128, 256), (1, 16)):
    for seq_len in (128, 1024):
        rows = batch_size * seq_len
        expected = ",".join(model.fastest_route(linear, rows, rank, accumulation, model.GPUS["h100"])
                            for linear in model.MODELS[name].linears)
        command = ["./train_relora", "--dry-run", "--device", "cuda", "--dtype", "bf16", "--mode", "relora", "--model", name,
                   "--batch-size", str(batch_size), "--seq-len", str(seq_len), "--rank", str(rank),
                   "--total-batch-tokens", str(rows * accumulation)]
        report = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        chosen = next(line.split()[1] for line in report.splitlines() if line.startswith("adapters  "))
        if chosen != expected:
            failures.append(f"{' '.join(command)}: {chosen}, predicted {expected}")
sys.exit("\n".join(failures) or 0)
PYTHON

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo '{"bench": "ceilings", "bf16_tflop_per_s": 370, "gb_per_s": 1500}' >"$work/ceilings.jsonl"
python3 dev/bench/model.py --model gpt2 --ceilings "$work/ceilings.jsonl" >"$work/out"
grep -q '^predicted.* 370 TFLOP/s in bf16, a copy of 1.50 TB/s' "$work/out" || { cat "$work/out"; exit 1; }
# refused OPTIONS…: exit code 2, one line that has the value.
refused() {
    local code=0
    python3 dev/bench/model.py "$@" >"$work/out" 2>&1 || code=$?
    if [ $code -ne 2 ] || [ "$(wc -l <"$work/out")" -ne 1 ] || ! grep -qF -- "$2" "$work/out"; then
        echo "$*: exit code $code: $(cat "$work/out")"
        exit 1
    fi
}
refused --model gpt3
refused --seq-len 1025
refused --rank 0
refused --bandwidth -1
refused --ceilings "$work/none.jsonl"
refused --ceilings /dev/null
