"""Predict the time of a training step on a GPU by arithmetic: nothing printed here is measured.

The FLOPs and bytes of every op, over the rate that it is taken to reach (ops.py), are added up. The rates are fractions of the
ceilings below, which are stated for a GPU, given as options, or read from what build/kernel_bench --json measured (--ceilings). A
micro-batch goes forward and backward in bf16; an update is --grad-accum micro-batches, clipping, AdamW and, on the routes that
have them, the effective weights. The data loader, and restarts, which come once in many updates, are not in it.
Python's standard library only; compare.py imports predict() and shows its times beside those that it measures.
"""
import dataclasses
import json
import signal

from ops import MODELS, PARTS, ROUTES, gaps, linear_ops, linear_update_ops, optimizer_ops, other_ops, total_seconds
from options import Parser, above_zero, at_least_one, comma_list
from tables import aligned

TERA, GIGA = 1e12, 1e9
# Sequences in a micro-batch that leave room on a GPU of 80 GB for PyTorch's logits too.
BATCH_SIZES = {"gpt2": 16, "gpt2-medium": 16, "gpt2-large": 8, "gpt2-xl": 8}

# ---- ceilings ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Machine:
    """A GPU's ceilings in FLOP/s and bytes/s: dense bf16 of the data sheet, then what large ops can reach of it."""
    peak: float = 989 * TERA
    product: float = 740 * TERA       # bf16 with fp32 sums: three quarters of the peak, at the clock that power allows
    copy: float = 3.0 * TERA          # read and written: nine tenths of the data sheet's 3.35 TB/s

    def product_rate(self, op):
        return self.product * op.product_share

    def stream_rate(self, op):
        return self.copy * op.stream_share


# SXM boards with the same processor; the H200's memory is stated at 4.8 TB/s. The names are those that CUDA reports.
GPUS = {"h100": Machine(), "h200": Machine(copy=4.3 * TERA)}
CUDA_NAMES = {"NVIDIA H100 80GB HBM3": "h100", "NVIDIA H200": "h200"}


def machine_of(description):
    """The stated ceilings of a GPU as device::description names it, "NAME (sm_90, …)"; None for any other GPU."""
    return GPUS.get(CUDA_NAMES.get(description.partition(" (")[0]))


def measured_machine(path, machine=GPUS["h100"]):
    """`machine` with the rates in the last row of ceilings of kernel_bench's --json file; a ValueError says what is wrong."""
    try:
        with open(path, encoding="utf-8") as file:
            row = [row for row in map(json.loads, file) if row.get("bench") == "ceilings"][-1]
        rates = {"product": row["bf16_tflop_per_s"] * TERA, "copy": row["gb_per_s"] * GIGA}
        if min(rates.values()) <= 0:
            raise ValueError
    except OSError as error:
        raise ValueError(f"--ceilings {path}: {error.strerror}") from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"--ceilings {path}: should be what build/kernel_bench --json writes, with a row of ceilings "
                         "above 0") from error
    return dataclasses.replace(machine, **rates)


# ---- the prediction ----------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Prediction:
    """An update: its seconds, in all and by part; the ops of a micro-batch, the ops that come once; tokens/s and MFU."""
    seconds: float
    parts: dict
    micro_batch: list
    update: list
    tokens_per_s: float
    mfu_percent: float


def fastest_route(linear, rows, rank, grad_accum, machine):
    """The choice of fastest_routes in src/train/routes.cpp: merged unless another route is 2 % faster."""
    def seconds(route):
        return (grad_accum * total_seconds(linear_ops(linear, rows, rank, route), machine) +
                total_seconds(linear_update_ops(linear, rank, route), machine))
    best = min(ROUTES, key=seconds)
    return best if seconds(best) < 0.98 * seconds("merged") else "merged"


def predict(model, batch_size, seq_len, grad_accum, mode="full", route="merged", rank=128, dtype="bf16", machine=GPUS["h100"]):
    """The time of an update as a Prediction, by the formulas of ops.py; None for a model or type that has no rates there.

    mode: full, lora or relora (the last two take the same steps); route: of every linear's adapter, or four with commas
    between; auto is the one that is predicted to be the fastest.
    """
    if model not in MODELS or dtype != "bf16":
        return None
    shape, rows, rank = MODELS[model], batch_size * seq_len, 0 if mode == "full" else rank
    micro_batch, update, routes, taken = [], optimizer_ops(shape, rank), route.split(","), []
    for i, linear in enumerate(shape.linears):
        own = routes[i % len(routes)] if rank else None
        own = fastest_route(linear, rows, rank, grad_accum, machine) if own == "auto" else own
        taken += [own] if rank else []
        micro_batch += [op.times(shape.layers) for op in linear_ops(linear, rows, rank, own)]
        update += [op.times(shape.layers) for op in linear_update_ops(linear, rank, own)]
    micro_batch += other_ops(shape, rows, seq_len)
    parts = dict.fromkeys(PARTS, 0.0)
    for count, ops in ((grad_accum, micro_batch), (1, update)):
        parts["rest"] += count * gaps(ops)
        for op in ops:
            parts[op.part] += count * op.seconds(machine)
    seconds = sum(parts.values())
    tokens_per_s = rows * grad_accum / seconds
    mfu = 100.0 * tokens_per_s * shape.flops_per_token(seq_len, rank, taken) / machine.peak
    return Prediction(seconds, parts, micro_batch, update, tokens_per_s, mfu)


# ---- the tables --------------------------------------------------------------------------------------------------


def op_table(ops, machine):
    """A line for each kind of op: ms, share, FLOPs, bytes, the rates that these make, and what bounds it."""
    total, names = total_seconds(ops, machine), dict.fromkeys(op.name for op in ops)
    lines = [["op", "ms", "%", "GFLOP", "GB", "TFLOP/s", "TB/s", "bound"]]
    for name in names:
        same = [op for op in ops if op.name == name]
        seconds, flops = sum(op.seconds(machine) for op in same), sum(op.flops for op in same)
        moved = sum(op.bytes + op.stored + op.loaded for op in same)
        in_products = sum(op.flops / machine.product_rate(op) for op in same)
        lines.append([name, f"{1e3 * seconds:.2f}", f"{100 * seconds / total:.1f}", f"{flops / GIGA:.0f}", f"{moved / GIGA:.2f}",
                      f"{flops / seconds / TERA:.0f}", f"{moved / seconds / TERA:.2f}",
                      "product" if in_products > seconds / 2 else "memory"])
    lines.append(["gaps between kernels", f"{1e3 * gaps(ops):.2f}", f"{100 * gaps(ops) / total:.1f}"] + [""] * 5)
    return aligned(lines, left=(0, 7))


def print_model(name, batch_size, args, machine):
    def update(grad_accum, mode="full", route="auto"):
        return predict(name, batch_size, args.seq_len, grad_accum, mode, route, args.rank, args.dtype, machine)

    full = update(args.grad_accum)
    print(f"\n{name}, B={batch_size}, T={args.seq_len}, {args.dtype}: full-rank update of {args.grad_accum} micro-batches "
          f"{1e3 * full.seconds:.1f} ms, {full.tokens_per_s:.0f} tokens/s, MFU {full.mfu_percent:.1f} %; "
          f"micro-batch {1e3 * total_seconds(full.micro_batch, machine):.1f} ms, clipping and AdamW "
          f"{1e3 * total_seconds(full.update, machine):.1f} ms")
    print(op_table(full.micro_batch, machine))
    accumulations = (1, 4, 16)
    lines = [["route"] + [f"/full of {n}" for n in accumulations] + ["tokens/s", "MFU %"] + list(PARTS)]
    for mode, route in [("full", "")] + [("relora", route) for route in args.routes]:
        p = update(args.grad_accum, mode, route)
        ratios = [update(n, mode, route).seconds / update(n).seconds for n in accumulations]
        lines.append([route or "full-rank"] + [f"{ratio:.3f}" for ratio in ratios] +
                     [f"{p.tokens_per_s:.0f}", f"{p.mfu_percent:.1f}"] + [f"{1e3 * p.parts[part]:.1f}" for part in PARTS])
    print(f"ReLoRA of rank {args.rank} over full-rank, updates of 1, 4 and 16 micro-batches; of {args.grad_accum}: tokens/s, MFU, "
          "ms of each part")
    print(aligned(lines, left=(0,)))


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader that has seen enough is no error
    parser = Parser(description="predicted time of a training step on a GPU; nothing is measured")
    parser.add_argument("--model", "--models", type=comma_list(*MODELS), default=list(BATCH_SIZES))
    parser.add_argument("--batch-size", type=at_least_one, help="default: " +
                        ", ".join(f"{size} for {name}" for name, size in BATCH_SIZES.items()) + ", else 16")
    parser.add_argument("--seq-len", type=at_least_one, default=1024)
    parser.add_argument("--grad-accum", type=at_least_one, default=4, help="micro-batches in an update")
    parser.add_argument("--rank", type=at_least_one, default=128)
    parser.add_argument("--routes", type=comma_list(*ROUTES, "auto"), default=list(ROUTES))
    parser.add_argument("--dtype", choices=("bf16",), default="bf16")
    parser.add_argument("--gpu", choices=tuple(GPUS), default="h100")
    parser.add_argument("--ceilings", metavar="FILE", help="the rates that build/kernel_bench --json FILE measured")
    parser.add_argument("--peak", type=above_zero, help="TFLOP/s that the maker states, for MFU")
    parser.add_argument("--product", type=above_zero, help="TFLOP/s of large bf16 products")
    parser.add_argument("--bandwidth", dest="copy", type=above_zero, help="TB/s of a large copy, read and written")
    args = parser.parse_args()
    try:
        machine = measured_machine(args.ceilings, GPUS[args.gpu]) if args.ceilings else GPUS[args.gpu]
    except ValueError as error:
        parser.error(str(error))
    given = {name: getattr(args, name) for name in ("peak", "product", "copy")}
    machine = dataclasses.replace(machine, **{name: rate * TERA for name, rate in given.items() if rate})
    for name in args.model:
        shape = MODELS[name]
        if args.seq_len > shape.positions:
            parser.error(f"--seq-len {args.seq_len}: at most {shape.positions}, the positions of {name}")
        if args.rank > shape.channels:
            parser.error(f"--rank {args.rank}: at most {shape.channels}, the width of {name}")
    print(f"predicted, no step is measured: products of {machine.product / TERA:.0f} TFLOP/s in bf16, "
          f"a copy of {machine.copy / TERA:.2f} TB/s; "
          f"MFU of {machine.peak / TERA:.0f} TFLOP/s")
    for name in args.model:
        print_model(name, args.batch_size or BATCH_SIZES.get(name, 16), args, machine)


if __name__ == "__main__":
    main()
