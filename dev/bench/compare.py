"""Time training steps of several workers interleaved on one machine: our build/bench/step and, where there is one, PyTorch.

All workers of a group are started first and then take turns, one step each, so that a noisy or throttling machine is the same
to all of them; minimum and 10th percentile are compared. A worker is a process with this protocol:
    start         sets up, warms up, prints "ready {json}"; ours tells flops_per_step and planned_bytes there
    "step"        runs one training step, prints {"seconds": s, ...}
    "gemm"        ours only: measures the rate of matrix products in its type, prints {"gflops": g, ...}
    "quit"        prints {"peak_bytes": n} and ends
The floor of a step is its FLOPs over the best matrix-product rate that our worker of the same type reached in the same group.
Python's standard library only; the PyTorch workers run under the interpreter given by --peer-python.
"""
import argparse
import json
import os
import pathlib
import select
import shlex
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEER = ROOT / "dev/peers/pytorch_step.py"
SETTLE_SECONDS = 0.25
IDLE_LIMIT_PERCENT = 2.0
OURS, EAGER, COMPILED = "train_relora", "torch eager", "torch compiled"


def worker_environment():
    """What makes a waiting worker free without slowing down a working one.

    Inside a step, threads must spin at the end of a parallel region: the next one follows in microseconds, and
    OMP_WAIT_POLICY=passive would pay a wake-up for each. Between turns they must sleep. So spinning stays on but is bounded:
    GOMP_SPINCOUNT is libgomp's own default, some milliseconds, and KMP_BLOCKTIME (Intel's and LLVM's runtime) is 20 ms instead
    of 200; an inherited wait policy would override both. A turn starts only after SETTLE_SECONDS of silence. The CPU time that a
    worker uses while others have their turns is measured and reported.
    """
    environment = dict(os.environ, GOMP_SPINCOUNT="300000", KMP_BLOCKTIME="20")
    environment.pop("OMP_WAIT_POLICY", None)
    environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no pool of compiler processes that outlives the compilation
    return environment


class WorkerFailed(Exception):
    pass


class Worker:
    """One process, its answers, and the CPU time it used out of turn."""

    def __init__(self, kind, dtype, mode, command, timeout):
        self.kind, self.dtype, self.mode, self.timeout = kind, dtype, mode, timeout
        self.label = f"{kind} {dtype} {mode}"
        self.seconds, self.gflops = [], []
        self.peak_bytes = None
        self.idle_cpu = self.idle_wall = 0.0
        self.idle_since = None
        self.pending = b""
        self.errors = tempfile.TemporaryFile()
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                            env=worker_environment(), bufsize=0)
        except OSError as error:
            raise WorkerFailed(f"{self.label}: cannot start {command[0]}: {error.strerror}") from error
        self.ready = self.read_json("ready ")

    def failure(self, what):
        self.process.kill()
        code = self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return WorkerFailed(f"{self.label}: {what} (exit status {code}): {lines[-1] if lines else 'nothing on stderr'}")

    def read_json(self, prefix=""):
        """The next line of stdout that starts with `prefix` and an object; anything else on stdout is ignored."""
        deadline = time.monotonic() + self.timeout
        while True:
            while b"\n" not in self.pending:
                if not select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    raise self.failure(f"no answer in {self.timeout:g} s")
                chunk = os.read(self.process.stdout.fileno(), 65536)
                if not chunk:
                    raise self.failure("ended without an answer")
                self.pending += chunk
            line, self.pending = self.pending.split(b"\n", 1)
            text = line.decode(errors="replace")
            if text.startswith(prefix + "{"):
                return json.loads(text[len(prefix):])

    def ask(self, word):
        try:
            self.process.stdin.write(word.encode() + b"\n")
        except BrokenPipeError:
            raise self.failure(f"gone before '{word}'") from None
        return self.read_json()

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def turn(self):
        if self.idle_since:
            wall, cpu = self.idle_since
            self.idle_wall += time.monotonic() - wall
            self.idle_cpu += self.cpu_seconds() - cpu
        self.seconds.append(float(self.ask("step")["seconds"]))
        if self.kind == OURS:
            self.gflops.append(float(self.ask("gemm")["gflops"]))
        time.sleep(SETTLE_SECONDS)
        self.idle_since = (time.monotonic(), self.cpu_seconds())

    def quit(self):
        self.peak_bytes = self.ask("quit").get("peak_bytes")
        self.process.wait(timeout=60)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def percentile(values, fraction):
    """Linear interpolation between the order statistics."""
    values = sorted(values)
    position = fraction * (len(values) - 1)
    below = int(position)
    above = min(below + 1, len(values) - 1)
    return values[below] + (position - below) * (values[above] - values[below])


def planned_workers(args):
    """[(kind, dtype, mode, command)], those that are compared with each other next to each other."""
    plan = []
    for mode in args.modes:
        for dtype in args.dtypes:
            options = ["--model", args.model, "--batch-size", str(args.batch_size), "--seq-len", str(args.seq_len),
                       "--dtype", dtype, "--mode", mode, "--threads", str(args.threads)]
            plan.append((OURS, dtype, mode, shlex.split(args.worker) + options))
            if args.peer_python:
                peer = [args.peer_python, str(PEER)] + options
                plan += [(EAGER, dtype, mode, peer)] if "eager" in args.peers else []
                plan += [(COMPILED, dtype, mode, peer + ["--compile"])] if "compiled" in args.peers else []
    return plan


def run_group(plan, args):
    """Start the workers of one group, let them take turns, end them. A peer that fails is left out; ours may not."""
    workers = []

    def attempt(worker_kind, action):
        try:
            return action()
        except WorkerFailed as error:
            if worker_kind == OURS:
                raise
            print(f"left out: {error}", file=sys.stderr)
            return None

    try:
        for kind, dtype, mode, command in plan:
            print(f"starting {kind} {dtype} {mode}", file=sys.stderr)
            worker = attempt(kind, lambda: Worker(kind, dtype, mode, command, args.timeout))
            workers += [worker] if worker else []
        for turn in range(args.rounds):
            first = turn % len(workers)  # nobody always follows the same neighbour out of an idle machine
            for worker in workers[first:] + workers[:first]:
                if worker.process.poll() is None:
                    attempt(worker.kind, worker.turn)
            print(f"round {turn + 1} of {args.rounds}", file=sys.stderr)
        for worker in workers:
            if worker.process.poll() is None:
                attempt(worker.kind, worker.quit)
        return [worker for worker in workers if worker.peak_bytes is not None]
    finally:
        for worker in workers:
            worker.kill()


def rows_of(workers, group, args):
    """One row per worker; ratios only within the group, whose steps were interleaved."""
    by_key = {(w.kind, w.dtype, w.mode): w for w in workers}
    rows = []
    for w in workers:
        ours = by_key[(OURS, w.dtype, w.mode)]
        row = {"bench": "step", "group": group, "worker": w.kind, "dtype": w.dtype, "mode": w.mode, "model": args.model,
               "batch_size": args.batch_size, "seq_len": args.seq_len, "threads": args.threads, "rounds": len(w.seconds),
               "min_seconds": min(w.seconds), "p10_seconds": percentile(w.seconds, 0.1),
               "median_seconds": percentile(w.seconds, 0.5),
               "min_over_ours": min(w.seconds) / min(ours.seconds),
               "p10_over_ours": percentile(w.seconds, 0.1) / percentile(ours.seconds, 0.1),
               "peak_bytes": w.peak_bytes, "ready": w.ready}
        if w.idle_wall > 0:
            row["idle_cpu_percent"] = 100.0 * w.idle_cpu / w.idle_wall
        gflops = max(g for o in workers if o.kind == OURS and o.dtype == w.dtype for g in o.gflops)
        row["gemm_gflops"] = gflops
        if "flops_per_step" in ours.ready:
            floor = ours.ready["flops_per_step"] / (gflops * 1e9)
            row.update(flops_per_step=ours.ready["flops_per_step"], floor_seconds=floor,
                       min_over_floor=row["min_seconds"] / floor, p10_over_floor=row["p10_seconds"] / floor)
        if (w.kind, "fp32", w.mode) in by_key and w.dtype == "bf16":
            row["bf16_over_fp32"] = min(w.seconds) / min(by_key[(w.kind, "fp32", w.mode)].seconds)
        if (w.kind, w.dtype, "full") in by_key and w.mode == "relora":
            row["relora_over_full"] = min(w.seconds) / min(by_key[(w.kind, w.dtype, "full")].seconds)
        if "planned_bytes" in w.ready:
            row["planned_bytes"] = w.ready["planned_bytes"]
            row["peak_over_planned"] = w.peak_bytes / w.ready["planned_bytes"]
        rows.append(row)
    return rows


COLUMNS = [("worker", "worker", "{}"), ("type", "dtype", "{}"), ("mode", "mode", "{}"), ("min s", "min_seconds", "{:.3f}"),
           ("p10 s", "p10_seconds", "{:.3f}"), ("min/ours", "min_over_ours", "{:.2f}"),
           ("p10/ours", "p10_over_ours", "{:.2f}"), ("GEMM GFLOP/s", "gemm_gflops", "{:.0f}"),
           ("min/floor", "min_over_floor", "{:.2f}"), ("p10/floor", "p10_over_floor", "{:.2f}"),
           ("bf16/fp32", "bf16_over_fp32", "{:.2f}"), ("relora/full", "relora_over_full", "{:.2f}"),
           ("planned MiB", "planned_bytes", "MiB"), ("peak MiB", "peak_bytes", "MiB"),
           ("peak/plan", "peak_over_planned", "{:.3f}"), ("idle CPU %", "idle_cpu_percent", "{:.1f}")]


def table(rows):
    def cell(row, key, form):
        if row.get(key) is None:
            return "-"
        return f"{row[key] / 2**20:.0f}" if form == "MiB" else form.format(row[key])

    used = [c for c in COLUMNS if any(row.get(c[1]) is not None for row in rows)]
    lines = [[c[0] for c in used]] + [[cell(row, key, form) for _, key, form in used] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(used))]
    text_columns = 3
    return "\n".join("  ".join(v.ljust(w) if i < text_columns else v.rjust(w)
                               for i, (v, w) in enumerate(zip(line, widths))).rstrip() for line in lines)


def comma_list(*allowed):
    def parse(text):
        values = [v for v in text.split(",") if v]
        for value in values:
            if value not in allowed:
                raise argparse.ArgumentTypeError(f"'{value}' is none of {', '.join(allowed)}")
        return values
    return parse


def parse_args():
    parser = argparse.ArgumentParser(description="interleaved timing of training steps")
    parser.add_argument("--worker", default=str(ROOT / "build/bench/step"), help="our worker, options of its own allowed")
    parser.add_argument("--peer-python", help="an interpreter that has torch; without it only our workers run")
    parser.add_argument("--peers", type=comma_list("eager", "compiled"), default=["eager", "compiled"])
    parser.add_argument("--model", default="gpt2")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--seq-len", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtypes", type=comma_list("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--modes", type=comma_list("full", "relora"), default=["full"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--group-size", type=int, default=6, help="workers alive at once; about 3 GB each at 124M")
    parser.add_argument("--timeout", type=float, default=900, help="seconds to wait for one answer, set-up included")
    parser.add_argument("--json", help="append one JSON line per row to this file")
    args = parser.parse_args()
    for name in ("rounds", "group_size"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: at least 1")
    if not args.dtypes or not args.modes:
        parser.error("--dtypes and --modes: at least one each")
    return args


def groups_of(plan, size):
    """Consecutive workers, at most `size`, never apart from our worker of the same type and mode."""
    units = {}
    for entry in plan:
        units.setdefault(entry[1:3], []).append(entry)
    groups = [[]]
    for unit in units.values():
        if groups[-1] and len(groups[-1]) + len(unit) > size:
            groups.append([])
        groups[-1] += unit
    return groups


def main():
    args = parse_args()
    rows = []
    try:
        for number, plan in enumerate(groups_of(planned_workers(args), args.group_size), start=1):
            rows += rows_of(run_group(plan, args), number, args)
    except WorkerFailed as error:
        sys.exit(f"compare.py: {error}")
    print(f"step of {args.model}, B={args.batch_size}, T={args.seq_len}, {args.threads} threads, {args.rounds} rounds; "
          "min and p10 over rounds; floor = FLOPs of the step / best measured GEMM rate of its type")
    print(table(rows))
    for row in rows:
        if row.get("idle_cpu_percent", 0) > IDLE_LIMIT_PERCENT:
            print(f"warning: {row['worker']} {row['dtype']} {row['mode']} used {row['idle_cpu_percent']:.1f} % of a CPU "
                  "while others were timed")
    if args.json:
        with open(args.json, "a", encoding="utf-8") as f:
            f.writelines(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    main()
