"""Measure what ranks on CPUs send, how long reducing takes, how much of it is hidden, and memory: full-rank beside ReLoRA.

Each run is mpirun with so many ranks on this machine, a thread each. It is ended after a few updates, so that it writes no
checkpoint; medians are over all updates but the first. A run whose ranks would not fit the memory that is free, by --dry-run's
plan, is left out, and the address space of each rank is limited. With --results the table and a row per run are written to
dev/results/DATE-CPU-ranks.txt and .jsonl. Python's standard library only.
"""
import datetime
import json
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from options import Parser, above_zero, at_least_one, comma_list
from tables import table

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIB = 1 << 20
COLUMNS = [("ranks", "ranks", "{}"), ("gradients, MiB", "gradient_bytes", "MiB"), ("weights", "weight_bytes", "MiB"),
           ("/full", "over_full", "{:.3f}"), ("update s", "update_s", "{:.2f}"), ("reduce s", "reduce_s", "{:.3f}"),
           ("hidden %", "hidden_percent", "{:.0f}"), ("planned", "planned_bytes", "MiB"), ("peak", "peak_bytes", "MiB"),
           ("peak/plan", "peak_over_planned", "{:.3f}")]


def options_of(args, model, mode):
    options = ["--device", "cpu", "--dtype", "fp32", "--threads", "1", "--model", model, "--vocab-size", "50257", "--mode", mode,
               "--batch-size", str(args.batch_size), "--seq-len", str(args.seq_len), "--max-steps", "1000",
               "--train-data", args.train_data, "--sample-tokens", "0", "--eval-every", "0", "--check-every", "0"]
    if mode == "relora":
        options += ["--rank", str(args.rank), "--warm-start-steps", "0", "--merge-every", "1000", "--adapter-route", "merged"]
    return options


def planned_bytes(args, ranks, options):
    command = [args.trainer, "--dry-run", "--ranks", str(ranks), *options]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    total = re.search(r"^  total +([\d.]+)$", run.stdout, re.M)
    if run.returncode != 0 or not total:
        sys.exit(f"ranks.py: --dry-run: {(run.stderr or run.stdout).strip()}")
    return int(float(total[1]) * MIB)


def memory_available():
    text = pathlib.Path("/proc/meminfo").read_text(encoding="ascii")
    return int(re.search(r"^MemAvailable: +(\d+)", text, re.M)[1]) * 1024


def ranks_under(process):
    """The ids of the trainers that mpirun has started."""
    children = pathlib.Path("/proc").glob(f"{process.pid}/task/*/children")
    return [int(pid) for file in children for pid in file.read_text(encoding="ascii").split()]


def peak_of(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"^VmHWM:\s+(\d+)", status, re.M)[1]) * 1024


def lines_of(path):
    """The whole lines of metrics so far."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(True) if line.endswith("\n")]


def measured(args, ranks, options, limit):
    """Lines of metrics of a run's first updates, and each rank's peak of memory by then."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, "run")
        command = ["mpirun", "--quiet", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), args.trainer, *options,
                   "--out", out]
        environment = dict(os.environ, OMP_WAIT_POLICY="passive", XDG_CACHE_HOME=folder)
        with open(pathlib.Path(folder, "said"), "w+", encoding="utf-8") as said:
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment,
                                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))) as process:
                try:
                    until = time.monotonic() + args.timeout
                    while process.poll() is None and time.monotonic() < until:
                        lines = lines_of(out / "metrics.jsonl")
                        if sum("loss" in line for line in lines) > args.updates:
                            return lines, [peak_of(pid) for pid in ranks_under(process)]
                        time.sleep(0.2)
                finally:
                    for pid in ranks_under(process) if process.poll() is None else ():
                        os.kill(pid, 9)
                    process.wait(60)
            said.seek(0)
            text = said.read().strip().splitlines()
    why = text[-1] if process.returncode not in (0, 137) and text else f"no {args.updates} updates within {args.timeout:.0f} s"
    print(f"left out: {ranks} ranks {' '.join(options[6:12])}: {why}", file=sys.stderr)
    return None


def row_of(args, model, mode, ranks):
    options = options_of(args, model, mode)
    planned = planned_bytes(args, ranks, options)
    if ranks * planned * 1.1 > memory_available():
        print(f"left out: {ranks} ranks of {model}, {mode}: {ranks} x {planned / MIB:.0f} MiB are not free", file=sys.stderr)
        return None
    result = measured(args, ranks, options, int(1.3 * planned) + (3 << 30))
    if not result:
        return None
    lines, peaks = result
    updates = [line for line in lines if "loss" in line][1:args.updates + 1]
    sent = next(line for line in lines if line.get("event") == "ranks")
    tokens = ranks * args.batch_size * args.seq_len

    def median(value):
        return statistics.median(map(value, updates))
    row = {"bench": "ranks", "model": model, "mode": mode, "ranks": ranks, "batch_size": args.batch_size,
           "seq_len": args.seq_len, "dtype": "fp32", "rank": args.rank if mode == "relora" else 0, "device": "cpu", "threads": 1,
           "updates": len(updates),
           "update_s": median(lambda u: tokens / u["tokens_per_s"]), "reduce_s": median(lambda u: u["reduce_s"]),
           "reduce_hidden": median(lambda u: u["reduce_hidden"]),
           "passes_s": median(lambda u: tokens / u["tokens_per_s"] - u["reduce_s"] * (1 - u["reduce_hidden"])),
           **{key: sent[key] for key in ("gradient_bytes", "weight_bytes", "full_rank_bytes")},
           "planned_bytes": planned, "peak_bytes": max(peaks), "peak_bytes_of_ranks": peaks}
    row.update(over_full=(row["gradient_bytes"] + row["weight_bytes"]) / row["full_rank_bytes"],
               hidden_percent=100 * row["reduce_hidden"], peak_over_planned=row["peak_bytes"] / planned)
    print(f"{ranks} ranks of {model}, {mode}: update {row['update_s']:.2f} s", file=sys.stderr)
    return row


def heading():
    info = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    cpu = re.search(r"^model name\s*: (.*)", info, re.M)
    cpu = cpu[1] if cpu else os.uname().machine
    now = datetime.datetime.now(datetime.timezone.utc)
    mpi = subprocess.run(["mpirun", "--version"], capture_output=True, text=True, check=False).stdout.splitlines()[0]
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\([^)]*\)", "", cpu.lower())).strip("-")
    name = f"{now:%Y-%m-%d}-{slug}-ranks"
    load = " ".join(f"{load:.2f}" for load in os.getloadavg())
    return name, (f"$ python3 dev/bench/ranks.py {' '.join(sys.argv[1:])}\n{now:%Y-%m-%d %H:%M} UTC, {cpu}, "
                  f"{os.cpu_count()} CPUs, {gib:.0f} GiB, load {load}, {mpi}; ranks share these CPUs")


def main():
    parser = Parser(description="what ranks on CPUs send, reduce and hold, full-rank beside ReLoRA")
    parser.add_argument("--trainer", default=str(ROOT / "train_relora"), help="a build with MPI")
    parser.add_argument("--train-data", default=str(ROOT / "data/austen/shards/train_*.bin"))
    models = ("gpt2", "gpt2-medium", "gpt2-small", "gpt2-tiny")
    parser.add_argument("--models", type=comma_list(*models), default=list(models[:2]))
    parser.add_argument("--modes", type=comma_list("full", "relora"), default=["full", "relora"])
    parser.add_argument("--ranks", type=lambda text: [at_least_one(n) for n in text.split(",")], default=[2, 4])
    parser.add_argument("--rank", type=at_least_one, default=128, help="rank of the adapters")
    parser.add_argument("--batch-size", type=at_least_one, default=1)
    parser.add_argument("--seq-len", type=at_least_one, default=128)
    parser.add_argument("--updates", type=at_least_one, default=5, help="updates that count, after the first")
    parser.add_argument("--timeout", type=above_zero, default=600.0, help="seconds for each run")
    parser.add_argument("--results", action="store_true", help="write dev/results/DATE-CPU-ranks.txt and .jsonl")
    args = parser.parse_args()
    if not shutil.which("mpirun"):
        parser.error("mpirun is not there")
    if not os.access(args.trainer, os.X_OK):
        parser.error(f"--trainer {args.trainer} is not there: run make")
    name, text = heading()
    rows = [row_of(args, model, mode, ranks) for model in args.models for ranks in args.ranks for mode in args.modes]
    rows = [row for row in rows if row]
    if not rows:
        sys.exit("ranks.py: nothing was measured")
    text += (f"\nranks on CPUs in fp32, B={args.batch_size}, T={args.seq_len}, a thread each, rank {args.rank}; bytes sent by a "
             f"rank in an update, and over full-rank; medians of {args.updates} updates; memory of the largest rank, MiB\n"
             f"{table(rows, COLUMNS)}")
    print(text)
    if args.results:
        path = ROOT / "dev/results" / name
        path.with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
        path.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
