"""Print what a GPU must hold for full-rank training and for ReLoRA's low-rank phase, by model and route of the adapters.

The numbers are those of `./train_relora --dry-run --device cuda`, which needs no GPU. "state" is what does not depend on
the batch: weights, masters, adapters, gradients, moments; "total" is with activations and workspaces of --batch-size
sequences of --seq-len tokens. What lies in the host's memory is not counted, but shown where the dry run has it.
Python's standard library only. With --json a row per line is appended to that file.
"""
import json
import pathlib
import subprocess
import sys

from options import Parser, comma_list
from tables import table

ROOT = pathlib.Path(__file__).resolve().parents[2]
STATE = ("weights", "masters", "adapters", "gradients", "moments")
BATCH = ("activations", "workspaces")


def dry_run(args, model, route):
    """{phase: {category: MiB}} as the trainer plans them."""
    command = [args.trainer, "--dry-run", "--device", "cuda", "--model", model, "--dtype", args.dtype, "--mode", "relora",
               "--rank", str(args.rank), "--adapter-route", route, "--batch-size", str(args.batch_size),
               "--seq-len", str(args.seq_len), "--recompute", args.recompute, "--train-data", "none"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    except OSError as error:
        sys.exit(f"memory.py: cannot start {args.trainer}: {error.strerror}")
    if run.returncode != 0:
        lines = (run.stderr or run.stdout).strip().splitlines()
        print(f"left out: {model} {route}: {lines[-1] if lines else 'failed'}", file=sys.stderr)
        return None
    lines = run.stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("memory (MiB)"))
    phases = lines[start].split()[2:]
    plans = {phase: {} for phase in phases}
    for line in lines[start + 1:]:
        name, *values = line.rsplit(maxsplit=len(phases))
        if len(values) == len(phases):
            for phase, value in zip(phases, values):
                plans[phase][name.strip()] = float(value)
    return plans


def rows_of(args, model):
    rows, full = [], None
    for route in args.routes:
        plans = dry_run(args, model, route)
        if not plans:
            continue
        for phase, plan in plans.items():
            if phase == "full-rank" and full:
                continue  # the same for all routes
            row = {"bench": "memory", "model": model, "batch_size": args.batch_size, "seq_len": args.seq_len,
                   "dtype": args.dtype, "rank": args.rank, "recompute": args.recompute,
                   "mode": "full" if phase == "full-rank" else "relora", "route": None if phase == "full-rank" else route}
            row.update({name: plan[name] * 2**20 for name in STATE + BATCH})
            row["state"] = sum(row[name] for name in STATE)
            row["total"] = row["state"] + sum(row[name] for name in BATCH)
            row["host"] = sum(mib for name, mib in plan.items() if "host" in name) * 2**20 or None
            full = full or row
            if row is not full:
                row.update(state_over_full=row["state"] / full["state"], total_over_full=row["total"] / full["total"])
            rows.append(row)
    return rows


def main():
    parser = Parser(description="planned GPU memory of full-rank training and ReLoRA")
    parser.add_argument("--trainer", default=str(ROOT / "train_relora"))
    parser.add_argument("--models", default="gpt2,gpt2-medium,gpt2-large,gpt2-xl")
    parser.add_argument("--routes", type=comma_list("auto", "merged", "factored", "project"),
                        default=["auto", "merged", "factored", "project"])
    parser.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--rank", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seq-len", type=int, default=1024)
    parser.add_argument("--recompute", default="none", help="none, pointwise or block")
    parser.add_argument("--json", help="append one JSON line per row to this file")
    args = parser.parse_args()
    rows = [row for model in args.models.split(",") for row in rows_of(args, model)]
    if not rows:
        sys.exit("memory.py: the trainer planned nothing")
    print(f"GPU memory, MiB, rank {args.rank}, T={args.seq_len}, recompute {args.recompute}; "
          "state = the first five; ratios to full-rank training")
    print(table(rows, [(name, name, "MiB") for name in STATE + ("state",)] + [("/full", "state_over_full", "{:.3f}")] +
                [(name, name, "MiB") for name in BATCH + ("total",)] + [("/full", "total_over_full", "{:.3f}")] +
                [("on host", "host", "MiB")]))
    if args.json:
        with open(args.json, "a", encoding="utf-8") as f:
            f.writelines(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    main()
