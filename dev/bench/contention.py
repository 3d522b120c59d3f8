"""Measure what a busy neighbour costs: the rate of training on an idle machine, beside processes that spin, and their ratio.

Each setting is a number of iterations that a thread spins for before it sleeps (GOMP_SPINCOUNT); `own` is what the trainer chooses,
300000 is libgomp's default. Trainer and neighbours share the processors of --cpus. Settings take turns, so that what else the machine
does meets all of them; the best rate and the median of --rounds runs are printed. The model is the quickstart's, the text is this
repository. Python's standard library only.
"""
import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from options import Parser, at_least_one
from tables import aligned

ROOT = pathlib.Path(__file__).resolve().parents[2]
OWN = "own"
SHAPE = ["--layers", "4", "--heads", "4", "--channels", "192", "--seq-len", "128", "--batch-size", "16"]
HEADINGS = ["spin", "idle, tokens/s", "median", "beside others", "median", "ratio"]


def spin_counts(text):
    return [value if value == OWN else str(at_least_one(value)) for value in text.split(",")]


def arguments():
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spin", type=spin_counts, default=[OWN, "300000"], help=f"settings (default: {OWN},300000)")
    parser.add_argument("--cpus", type=spin_counts, default=["0", "1"], help="processors to share (default: 0,1)")
    parser.add_argument("--neighbours", type=at_least_one, default=1, help="processes that spin (default: 1)")
    parser.add_argument("--updates", type=at_least_one, default=60, help="of each run (default: 60)")
    parser.add_argument("--rounds", type=at_least_one, default=5, help="runs of each setting (default: 5)")
    parser.add_argument("--trainer", default=str(ROOT / "train_relora"))
    return parser.parse_args()


@contextlib.contextmanager
def spinning(count):
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def rate(args, spin, folder, number):
    """Tokens per second of one run."""
    environment = dict(os.environ, XDG_CACHE_HOME=folder)
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        environment.pop(name, None)
    if spin != OWN:
        environment["GOMP_SPINCOUNT"] = spin
    out = f"{folder}/run-{number}"
    subprocess.run([args.trainer, "--device", "cpu", "--mode", "full", *SHAPE, "--train-data", f"{folder}/shards/train_*.bin",
                    "--max-steps", str(args.updates), "--save-every", "0", "--sample-tokens", "0", "--out", out],
                   env=environment, stdout=subprocess.DEVNULL, check=True)
    lines = pathlib.Path(out, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [line["tokens_per_s"] for line in map(json.loads, lines) if "tokens_per_s" in line][-1]


def main():
    args = arguments()
    os.sched_setaffinity(0, {int(cpu) for cpu in args.cpus})
    rates = {spin: ([], []) for spin in args.spin}
    with tempfile.TemporaryDirectory() as folder:
        text = [str(path) for path in sorted(ROOT.glob("src/*/*.cpp"))]
        subprocess.run([ROOT / "data/tokenize", "--out", f"{folder}/shards", *text], stdout=subprocess.DEVNULL, check=True)
        number = 0
        for _ in range(args.rounds):
            for neighbours in (0, args.neighbours):
                with spinning(neighbours):
                    for spin in args.spin:
                        rates[spin][neighbours > 0].append(rate(args, spin, folder, number))
                        number += 1
    lines = [HEADINGS]
    for spin, (idle, beside) in rates.items():
        medians = statistics.median(idle), statistics.median(beside)
        lines.append([spin, f"{max(idle):.0f}", f"{medians[0]:.0f}", f"{max(beside):.0f}", f"{medians[1]:.0f}",
                      f"{medians[1] / medians[0]:.2f}"])
    print(f"{args.neighbours} spinning neighbours on processors {','.join(args.cpus)}, {args.rounds} runs of {args.updates} updates")
    print(aligned(lines, left=[]))


if __name__ == "__main__":
    main()
