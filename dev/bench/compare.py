"""Time training steps of several workers interleaved on one machine: ours, build/bench/step, and where it is, PyTorch's.

All workers of a group are started first and then take turns, one step each, so that a noisy or throttling machine is
the same to all of them; minimum and 10th percentile are compared. With --alone, for models of which not all workers fit
into memory, every round starts each worker anew in turn, for some turns after its warm-up: rounds are interleaved as
before although only one worker is there at a time. With --device cuda each worker has the GPU and its memory to itself,
one after another (or, with --alone, in rounds too), and a turn is several steps, timed together, so that the GPU is never
idle. A step is --grad-accum micro-batches and one update. Low-rank modes have a worker of ours for each of --routes; the
first of them is "ours" in ratios. worker.py says what a worker is asked and answers.
The floor of a step is its FLOPs over the best matrix-product rate that our worker of the same type reached in the same
group. MFU counts for each token 6 FLOPs a parameter (4 a frozen one), 12 L C T for attention and what the adapters'
routes take, over the --peak-tflops that the GPU's maker states. Peak memory on a GPU: ours is what is in use after a
step less what was before the model was allocated (the CUDA context is not in it, kernels and cuBLASLt are), PyTorch's is
torch.cuda.max_memory_allocated.
On a GPU that model.py knows, or with --ceilings, steps of ours stand beside the times that it predicts.
Python's standard library only; the PyTorch workers run under the interpreter given by --peer-python.
"""
import itertools
import json
import pathlib
import shlex
import signal
import sys
import typing

from model import BATCH_SIZES, machine_of, measured_machine, predict
from options import Parser, comma_list
from tables import TIMES, memory_table, parts_table, table
from worker import OURS, Worker, WorkerFailed

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEER = ROOT / "dev/peers/pytorch_step.py"
IDLE_LIMIT_PERCENT = 2.0
EAGER, COMPILED = "torch eager", "torch compiled"


def percentile(values, fraction):
    """Linear interpolation between the order statistics."""
    values = sorted(values)
    position = fraction * (len(values) - 1)
    below = int(position)
    above = min(below + 1, len(values) - 1)
    return values[below] + (position - below) * (values[above] - values[below])


class Planned(typing.NamedTuple):
    """A worker to start."""
    kind: str
    model: str
    batch_size: int
    device: str
    dtype: str
    mode: str
    route: str  # the route of our adapters; in a full-rank worker the route after a switch, or None
    command: list

    @property
    def shown_route(self):
        return None if self.mode == "full" else self.route

    def __str__(self):
        return " ".join(filter(None, (self.kind, self.model, self.dtype, self.mode, self.shown_route)))


def planned_workers(args):
    """The workers to start. What is compared stands side by side: all modes of a type, so that they share a group."""
    plan = []
    low_rank = any(mode != "full" for mode in args.modes)
    for (model, batch_size), dtype, mode in itertools.product(args.model, args.dtypes, args.modes):
        options = ["--model", model, "--batch-size", str(batch_size), "--seq-len", str(args.seq_len), "--dtype", dtype,
                   "--mode", mode, "--rank", str(args.rank), "--threads", str(args.threads), "--device", args.device,
                   "--grad-accum", str(args.grad_accum), "--steps-per-turn", str(args.steps_per_turn)]
        commands = [(OURS, route, shlex.split(args.worker) + options + (["--adapter-route", route] if route else []))
                    for route in (args.routes if mode != "full" else args.routes[:1] if low_rank else [None])]
        if args.peer_python:
            peer = [args.peer_python, str(PEER)] + options
            commands += [(EAGER, None, peer)] if "eager" in args.peers else []
            commands += [(COMPILED, None, peer + ["--compile"])] if "compiled" in args.peers else []
        plan += [Planned(kind, model, batch_size, args.device, dtype, mode, route, command) for kind, route, command in commands]
    return plan


def run_alone(plan, args, starts, steps):
    """Run each worker alone, `starts` times in turn. Return the workers that gave times, and whether one of ours failed.

    A time is printed at once, so that it stays where a later worker fails: it may have taken minutes.
    """
    done, failed = {}, set()
    for start in range(starts):
        first = start % len(plan)
        for planned in plan[first:] + plan[:first]:
            name = str(planned)
            if name in failed:
                continue
            print(f"round {start + 1} of {starts}: {name}", file=sys.stderr)
            worker = None
            try:
                worker = Worker(planned, args.timeout, done.get(name))
                for _ in range(steps):
                    worker.step()
                worker.gemm()
                done[name] = worker
                tokens = planned.batch_size * args.seq_len * args.grad_accum
                print(f"{name}: min {min(worker.seconds):.4f} s, {tokens / percentile(worker.seconds, 0.5):.0f} tokens/s", flush=True)
                if start + 1 == starts:
                    worker.measure_once()
                worker.quit()
            except WorkerFailed as error:
                failed.add(name)
                print(f"left out: {error}", file=sys.stderr)
            finally:
                if worker:
                    worker.kill()
    return [done[str(p)] for p in plan if str(p) in done], any(p.kind == OURS and str(p) in failed for p in plan)


def run_group(plan, args):
    """Start the workers of one group, let them take turns, end them. A peer that fails is left out; ours may not."""
    workers = []

    def attempt(worker_kind, action, *given):
        try:
            return action(*given)
        except WorkerFailed as error:
            if worker_kind == OURS:
                raise
            print(f"left out: {error}", file=sys.stderr)
            return None

    try:
        for planned in plan:
            print(f"starting {planned}", file=sys.stderr)
            worker = attempt(planned.kind, Worker, planned, args.timeout)
            workers += [worker] if worker else []
        for turn in range(args.rounds):
            first = turn % len(workers)  # nobody always follows the same neighbour out of an idle machine
            for worker in workers[first:] + workers[:first]:
                if worker.process.poll() is None:
                    attempt(worker.kind, worker.turn)
            print(f"round {turn + 1} of {args.rounds}", file=sys.stderr)
        for finish in (Worker.measure_once, Worker.quit):
            for worker in workers:
                if worker.process.poll() is None:
                    attempt(worker.kind, finish, worker)
        return [worker for worker in workers if worker.peak_bytes is not None]
    finally:
        for worker in workers:
            worker.kill()


def predicted(worker, args):
    """What model.py predicts for our worker on the GPU it reports, or None."""
    machine = args.machine or machine_of(worker.ready.get("device", ""))
    if worker.kind != OURS or args.device != "cuda" or not machine:
        return None
    route = worker.ready.get("routes") or worker.planned.route  # "ready" has the routes that `auto` has chosen
    return predict(worker.planned.model, worker.planned.batch_size, args.seq_len, args.grad_accum, worker.mode, route or "",
                   args.rank, worker.dtype, machine)


def rows_of(workers, group, args):
    """One row per worker; ratios only within the group, whose steps were interleaved (on a GPU: minutes apart)."""
    by_key = {(w.planned.model, w.kind, w.dtype, w.mode, w.planned.shown_route): w for w in workers}
    rows = []
    for w in workers:
        def same(kind=w.kind, dtype=w.dtype, mode=w.mode, route=w.planned.shown_route, model=w.planned.model):
            return by_key.get((model, kind, dtype, mode, route))

        ours = same(kind=OURS, route=None if w.mode == "full" else args.routes[0])
        row = {"bench": "step", "group": group, "worker": w.kind, "dtype": w.dtype, "mode": w.mode, "route": w.planned.shown_route,
               "model": w.planned.model, "batch_size": w.planned.batch_size, "seq_len": args.seq_len,
               "grad_accum": args.grad_accum, "rank": args.rank, "device": args.device, "threads": args.threads, "rounds": len(w.seconds),
               "steps_per_turn": args.steps_per_turn,
               "min_seconds": min(w.seconds), "p10_seconds": percentile(w.seconds, 0.1),
               "median_seconds": percentile(w.seconds, 0.5), "peak_bytes": w.peak_bytes, "ready": w.ready}
        if ours:
            row.update(min_over_ours=row["min_seconds"] / min(ours.seconds),
                       p10_over_ours=row["p10_seconds"] / percentile(ours.seconds, 0.1))
        if w.loader_shares:
            row["loader_percent"] = 100.0 * sum(w.loader_shares) / len(w.loader_shares)
        if w.restart_seconds is not None:
            row["restart_seconds"] = w.restart_seconds
        if w.idle_wall > 0:
            row["idle_cpu_percent"] = 100.0 * w.idle_cpu / w.idle_wall
        rates = [g for o in workers if o.kind == OURS and o.dtype == w.dtype for g in o.gflops]
        if rates:
            row["gemm_gflops"] = max(rates)
        if rates and ours and "flops_per_step" in ours.ready:
            floor = ours.ready["flops_per_step"] / (max(rates) * 1e9)
            row.update(flops_per_step=ours.ready["flops_per_step"], floor_seconds=floor,
                       min_over_floor=row["min_seconds"] / floor, p10_over_floor=row["p10_seconds"] / floor)
        # The median is what a long run sees.
        row["tokens_per_s"] = w.planned.batch_size * args.seq_len * args.grad_accum / row["median_seconds"]
        if args.device == "cuda" and ours:
            row["peak_tflops"] = args.peak_tflops
            flops_per_s = row["tokens_per_s"] * ours.ready["flops_per_token"]
            row["mfu_percent"] = 100.0 * flops_per_s / (args.peak_tflops * 1e12)
        if prediction := predicted(w, args):
            row.update(predicted_seconds=prediction.seconds, predicted_tokens_per_s=prediction.tokens_per_s,
                       predicted_parts=prediction.parts,
                       measured_over_predicted=row["tokens_per_s"] / prediction.tokens_per_s)
        if w.dtype == "bf16" and same(dtype="fp32"):
            row["bf16_over_fp32"] = min(w.seconds) / min(same(dtype="fp32").seconds)
        if w.mode != "full" and same(mode="full", route=None):
            row["over_full"] = min(w.seconds) / min(same(mode="full", route=None).seconds)
        if w.parts:
            row["part_seconds"] = w.parts
        if w.switch:
            row["switch"] = w.switch
        if "planned_bytes" in w.ready:
            row["planned_bytes"] = w.ready["planned_bytes"]
            if w.peak_bytes is not None:
                row["peak_over_planned"] = w.peak_bytes / w.ready["planned_bytes"]
        rows.append(row)
    return rows


def parse_args():
    parser = Parser(description="interleaved timing of training steps")
    parser.add_argument("--worker", default=str(ROOT / "build/bench/step"), help="our worker, options of its own allowed")
    parser.add_argument("--peer-python", help="an interpreter that has torch; without it only our workers run")
    parser.add_argument("--peers", type=comma_list("eager", "compiled"), default=["eager", "compiled"])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--model", "--models", default="gpt2", help="NAME or NAME:BATCH_SIZE, several with commas between")
    parser.add_argument("--batch-size", type=int, help="sequences where --model names none; default: 4, on a GPU " +
                        ", ".join(f"{size} for {name}" for name, size in BATCH_SIZES.items()))
    parser.add_argument("--seq-len", type=int, help="default: 256, on a GPU 1024")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtypes", type=comma_list("fp32", "bf16"), help="default: fp32,bf16, on a GPU bf16")
    parser.add_argument("--modes", type=comma_list("full", "lora", "relora"), default=["full"])
    parser.add_argument("--routes", type=comma_list("auto", "merged", "factored", "project"), default=["auto"],
                        help="of our adapters, a worker for each; default: auto")
    parser.add_argument("--rank", type=int, default=128)
    parser.add_argument("--grad-accum", type=int, default=1, help="micro-batches in a step")
    parser.add_argument("--alone", type=int, nargs="?", const=2, default=0, metavar="TURNS",
                        help="start every worker anew in each round, one at a time, for so many turns; default: 2")
    parser.add_argument("--rounds", type=int, help="default: 9, on a GPU 5, with --alone 2")
    parser.add_argument("--steps-per-turn", type=int, help="default: 1, on a GPU 10")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="of MFU; default: an H100 SXM's in dense bf16")
    parser.add_argument("--ceilings", metavar="FILE",
                        help="predict from the rates that build/kernel_bench --json FILE measured on this GPU")
    parser.add_argument("--group-size", type=int, default=6,
                        help="workers alive at once on a CPU; about 3 GB each at 124M")
    parser.add_argument("--timeout", type=float, default=1800,
                        help="seconds to wait for one answer; set-up may be a compilation of many minutes")
    parser.add_argument("--json", help="append one JSON line per row to this file")
    args = parser.parse_args()
    on_gpu = args.device == "cuda"
    if args.alone and args.rounds is None:
        args.rounds = 2
    for name, on_cpu, otherwise in (("seq_len", 256, 1024), ("rounds", 9, 5), ("steps_per_turn", 1, 10),
                                    ("dtypes", ["fp32", "bf16"], ["bf16"])):
        if getattr(args, name) is None:
            setattr(args, name, otherwise if on_gpu else on_cpu)
    models = []
    for item in args.model.split(","):
        name, _, size = item.partition(":")
        default = args.batch_size or (BATCH_SIZES.get(name, 16) if on_gpu else 4)
        if size and not size.isdigit():
            parser.error(f"--model {item}: the batch size is no number")
        models.append((name, int(size) if size else default))
    args.model = models
    for name in ("rounds", "group_size", "steps_per_turn", "grad_accum", "rank"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: at least 1")
    try:
        args.machine = measured_machine(args.ceilings) if args.ceilings else None
    except ValueError as error:
        parser.error(str(error))
    if args.alone < 0:
        parser.error(f"--alone {args.alone}: at least 1")
    return args


def groups_of(plan, size):
    """Group consecutive workers, at most `size`, never apart from our worker of the same type and mode."""
    units = {}
    for entry in plan:
        units.setdefault((entry.model, entry.dtype, entry.mode), []).append(entry)
    groups = [[]]
    for unit in units.values():
        if groups[-1] and len(groups[-1]) + len(unit) > size:
            groups.append([])
        groups[-1] += unit
    return groups


def main():
    args = parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("compare.py: stopped"))  # and so ends its workers
    rows, ours_failed = [], False
    try:
        if args.alone or args.device == "cuda":
            starts, steps = (args.rounds, args.alone) if args.alone else (1, args.rounds)
            workers, ours_failed = run_alone(planned_workers(args), args, starts, steps)
            rows = rows_of(workers, 1, args)
        else:
            for number, plan in enumerate(groups_of(planned_workers(args), args.group_size), start=1):
                rows += rows_of(run_group(plan, args), number, args)
    except WorkerFailed as error:
        sys.exit(f"compare.py: {error}")
    if not rows:
        sys.exit("compare.py: no worker ran to its end")
    what = ", ".join(f"{model}, B={size}" for model, size in args.model)
    on_gpu = args.device == "cuda"
    how = [f"T={args.seq_len}"] + ([f"{args.grad_accum} micro-batches a step"] if args.grad_accum > 1 else [])
    how += [f"rank {args.rank}"] if args.modes != ["full"] else []
    how += [f"{args.rounds} rounds" + (f" of {args.alone} turns, each worker alone" if args.alone else "")]
    how += [f"{args.threads} threads"] if not on_gpu else [f"{args.steps_per_turn} steps a turn",
                                                           f"MFU of {args.peak_tflops:g} TFLOP/s"]
    print(f"step of {what}, {', '.join(how)}; min and p10 over turns; tokens/s of the median; "
          "floor = FLOPs of the step / best measured GEMM rate of its type")
    print(table(rows, TIMES))
    print("\n" + ("ms of each part of a step of ours" if on_gpu else "share of each part of a step of ours, %") +
          "; rest: bias gradients, embeddings, between ops")
    print(parts_table(rows, on_gpu))
    print("\nmemory, MiB: by category (ours planned, PyTorch's counted between steps), peak, and in use of ours before and after "
          "a switch to low rank")
    print(memory_table(rows))
    for row in rows:
        if row.get("idle_cpu_percent", 0) > IDLE_LIMIT_PERCENT:
            print(f"warning: {row['worker']} {row['dtype']} {row['mode']} {row['route'] or ''} used {row['idle_cpu_percent']:.1f} % of a CPU "
                  "while others were timed")
    if args.json:
        with open(args.json, "a", encoding="utf-8") as f:
            f.writelines(json.dumps(row) + "\n" for row in rows)
    if ours_failed:
        sys.exit("compare.py: a worker of ours failed, see above")


if __name__ == "__main__":
    main()
