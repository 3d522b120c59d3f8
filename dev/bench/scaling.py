"""Predict the time of an update on many GPUs by arithmetic: nothing printed here is measured.

model.py's times of ops are put on a line with the exchanges between ranks, as src/optimizer/reduction.cpp orders them: the
last micro-batch's backward pass completes a layer at a time, and a layer's segments go when they are complete and those before
them have gone. What is not done by the end of the backward pass is exposed; so are the norm, AdamW on a rank's share, and the
all-gather of weights. dev/SCALING.md has the formulas. --check FILE compares with what dev/bench/ranks.py measured on CPUs.
Python's standard library only.
"""
import dataclasses
import json
import math
import signal
import typing

from model import BATCH_SIZES, GPUS, predict
from ops import BF16, FP32, GPT2, MODELS, linear_update_ops, optimizer_ops, total_seconds
from options import Parser, above_zero, at_least_one, comma_list
from tables import aligned

# ---- what the program divides and sends (src/optimizer/segments.cpp, reduction.cpp, src/runtime/cuda/nccl.cpp) ------------

UNIT = 2048            # kNormUnit: shares are multiples of it
STAGED = 32 << 20      # kStagedBytes: what comes in at once, from all ranks together
EXCHANGES = ("all-to-all", "hierarchical", "ring")


class Segment(typing.NamedTuple):
    size: int   # elements
    share: int  # a rank's; the last ranks may have less, or none

    @property
    def owners(self):
        return -(-self.size // self.share)


def segment(sizes, ranks):
    """Parameters side by side, each at a multiple of 128 elements."""
    size = sum((n + 127) // 128 * 128 for n in sizes)
    return Segment(size, -(-(-(-size // UNIT)) // ranks) * UNIT)


def stages(model: GPT2, ranks, rank=0):
    """The segments by stage, in the order of the backward pass: a layer's, and at last all that always trains."""
    C = model.channels
    layer = [[linear.size] for linear in model.linears]
    if rank:  # all adapters of a layer are one segment
        layer = [[n for linear in model.linears for n in (rank * linear.sections * linear.inputs, linear.out * rank)]]
    biases = [linear.out for linear in model.linears]
    always = [model.padded_vocab * C, model.positions * C] + model.layers * (4 * [C] + biases) + 2 * [C]
    return model.layers * [[segment(sizes, ranks) for sizes in layer]] + [[segment(always, ranks)]]


def traffic(model, ranks, rank=0, wire=FP32, weight=BF16):
    """Bytes that rank 0, which has the largest shares, sends in an update: gradients, and weights."""
    all_segments = [s for stage in stages(model, ranks, rank) for s in stage]
    own = [min(s.share, s.size) for s in all_segments]
    return (sum(s.size - n for s, n in zip(all_segments, own)) * wire, sum(own) * (ranks - 1) * weight)


# ---- links -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Links:
    """Bytes/s of a GPU each way, and seconds. They are estimates, to be corrected by what a cluster measures."""
    node: int = 8               # GPUs that NVLink joins
    nvlink: float = 360e9       # four fifths of the 450 GB/s that an H100 has each way
    nic: float = 45e9           # nine tenths of one 400 Gbit/s port for each GPU
    call: float = 20e-6         # from the launch of a call to its first byte
    message: float = 1e-6       # a message through the NIC, at one end
    local_hop: float = 1e-6     # a step of a ring within a node
    remote_hop: float = 6e-6    # a step of a ring or tree between nodes

    def exchange(self, ranks, elements, size, kind):
        """A reduce-scatter, without its sums, in which a rank gets `elements` of `size` bytes from every other."""
        local = min(ranks, self.node)
        nodes = ranks // local
        if kind == "all-to-all":
            remote = ranks - local
            return self.call + max((local - 1) * elements * size / self.nvlink, remote * elements * size / self.nic,
                                   remote * self.message)
        total = ranks * elements * size
        if kind == "hierarchical":
            within = self.call + total * (local - 1) / local / self.nvlink
            between = self.call + max(total / local * (nodes - 1) / nodes / self.nic, (nodes - 1) * self.message)
            return within + (between if nodes > 1 else 0)
        return self.ring(ranks, total)

    def ring(self, ranks, total):
        """A ring through all ranks, as many rings side by side as a node has NICs."""
        local = min(ranks, self.node)
        nodes = ranks // local
        hops = nodes * (local - 1) * self.local_hop + (nodes * self.remote_hop if nodes > 1 else 0)
        through_nic = total / local * (nodes - 1) / nodes / self.nic
        return self.call + hops + max(total * (ranks - 1) / ranks / self.nvlink, through_nic)

    def tree(self, ranks, total):
        """An all-reduce of a little, up and down a tree."""
        local = min(ranks, self.node)
        hops = 2 * (local - 1) * self.local_hop + 2 * math.ceil(math.log2(max(1, ranks // local))) * self.remote_hop
        return self.call + hops + 2 * total / (self.nvlink if ranks == local else self.nic)


def part_of_share(s, ranks, wire):
    return min(s.share, max(1, STAGED // wire // ranks // UNIT) * UNIT)


def reduce_seconds(s, ranks, wire, links, machine, kind):
    """A segment's exchange, part by part, each followed by its sum."""
    part, seconds = part_of_share(s, ranks, wire), 0.0
    for done in range(0, min(s.share, s.size), part):
        n = min(part, s.share - done)
        moved = ranks * n * wire + FP32 * n + (min(s.size, ranks * n) * (FP32 + wire) if wire != FP32 else 0)
        seconds += links.exchange(ranks, n, wire, kind) + moved / machine.copy
    return seconds


def gather_seconds(s, ranks, staging, links, machine):
    if s.share * ranks == s.size:
        return links.ring(ranks, s.size * BF16)
    most, seconds = staging // BF16 // ranks // 64 * 64, 0.0
    for done in range(0, s.share, most):
        count = min(most, s.share - done)
        seconds += links.ring(ranks, count * ranks * BF16) + 2 * count * ranks * BF16 / machine.copy  # and copied to its place
    return seconds


# ---- an update -------------------------------------------------------------------------------------------------------

FORWARD = ("linears forward", "LayerNorm forward", "residual add", "attention forward")
HEAD = ("head products", "logits stored", "cross-entropy")


def is_gelu_forward(op):
    return op.name == "GELU in epilogues" and op.stored > 0


def overlap(ready, costs):
    """When all is done, where work i of `costs` begins at ready[i], and when the one before it has been done."""
    done = 0.0
    for at, cost in zip(ready, costs):
        done = max(done, at) + cost
    return done


@dataclasses.dataclass
class Update:
    seconds: float
    alone: float       # of one GPU with the same micro-batches
    reduce: float      # all exchanges of gradients
    exposed: float     # what of that comes after the backward pass
    tail: float        # norm and AdamW, and effective weights
    gather: float
    tokens: int        # of all ranks
    floor: float       # seconds of forward and backward

    @property
    def hidden(self):
        return 1 - self.exposed / self.reduce if self.reduce else 1.0

    @property
    def efficiency(self):
        return self.alone / self.seconds


def predict_update(name, ranks, batch_size, seq_len, grad_accum, rank=0, wire=FP32, links=Links(), machine=GPUS["h100"],
                   exchange="all-to-all", route="merged"):
    """An update of `ranks` GPUs; rank 0: full-rank."""
    shape = MODELS[name]
    p = predict(name, batch_size, seq_len, grad_accum, "relora" if rank else "full", route, rank or 128, machine=machine)
    micro = total_seconds(p.micro_batch, machine)
    before = total_seconds([op for op in p.micro_batch if op.name in FORWARD + HEAD or is_gelu_forward(op)], machine)
    embeddings = total_seconds([op for op in p.micro_batch if op.name == "embeddings"], machine)
    layer = (micro - before - embeddings) / shape.layers
    all_stages = stages(shape, ranks, rank)
    effective = sum(total_seconds(linear_update_ops(linear, rank, route if rank else None), machine)
                    for linear in shape.linears) * shape.layers
    tokens = ranks * grad_accum * batch_size * seq_len
    if ranks == 1:
        return Update(p.seconds, p.seconds, 0, 0, p.seconds - grad_accum * micro, 0, tokens, grad_accum * micro)
    segments = [s for stage in all_stages for s in stage]
    ready = [before + (i + 1) * layer for i in range(shape.layers)] + [micro]
    costs = [sum(reduce_seconds(s, ranks, wire, links, machine, exchange) for s in stage) for stage in all_stages]
    exposed = overlap(ready, costs) - micro
    total = sum(s.size for s in segments)
    own = sum(min(s.share, s.size) for s in segments) / total
    tail = (total_seconds([op.times(own) for op in optimizer_ops(shape, rank)], machine) + effective +
            links.tree(ranks, 8 * sum(-(-s.size // UNIT) for s in segments)))
    staging = max(part_of_share(s, ranks, wire) * ranks * wire for s in segments)
    gather = sum(gather_seconds(s, ranks, staging, links, machine) for s in segments)
    return Update(grad_accum * micro + exposed + tail + gather, p.seconds, sum(costs), exposed, tail, gather, tokens,
                  grad_accum * micro)


def batches(ranks, most, seq_len, tokens):
    """Sequences in a micro-batch, and micro-batches, for about so many tokens in an update: at most `most` sequences."""
    size = most
    while size > 1 and ranks * size * seq_len > tokens:
        size //= 2
    return size, max(1, round(tokens / (ranks * size * seq_len)))


# ---- tables ----------------------------------------------------------------------------------------------------------


def print_table(args, links, title, batch_of):
    print(f"\n{title}")
    lines = [["model", "mode", "GPUs", "micro-batches", "tokens", "update ms", "passes", "reduce", "hidden %", "exposed",
              "tail", "gather", "Mtokens/s", "efficiency %"]]
    for name in args.model:
        for mode in ("full", "relora"):
            for ranks in args.gpus:
                size, accum = batch_of(name, ranks)
                rank = args.rank if mode == "relora" else 0
                u = predict_update(name, ranks, size, args.seq_len, accum, rank, args.wire, links, GPUS[args.gpu],
                                   args.exchange, args.route)
                ms = [f"{1e3 * t:.1f}" for t in (u.seconds, u.floor, u.reduce, u.exposed, u.tail, u.gather)]
                lines.append([name, mode, str(ranks), f"{accum} x {size}", f"{u.tokens / 1e6:.2f} M", *ms[:3],
                              f"{100 * u.hidden:.0f}", *ms[3:], f"{u.tokens / u.seconds / 1e6:.2f}",
                              f"{100 * u.efficiency:.0f}"])
    print(aligned(lines, left=(0, 1)))


def print_hours(args, links):
    """One line for a whole run, of the sizes given: what a recipe prints at its start."""
    name, ranks = args.model[0], args.gpus[0]
    size = args.batch_size or BATCH_SIZES.get(name, 16)
    accum = max(1, round(args.total_batch_tokens / (ranks * size * args.seq_len)))
    full, low = (predict_update(name, ranks, size, args.seq_len, accum, rank, args.wire, links, GPUS[args.gpu], args.exchange,
                                args.route) for rank in (0, args.rank))
    seconds = args.warm_start_steps * full.seconds + (args.max_steps - args.warm_start_steps) * low.seconds
    print(f"computed, not measured, for {args.gpu.upper()}s: {full.tokens / full.seconds:,.0f} tokens/s full-rank, "
          f"{low.tokens / low.seconds:,.0f} at low rank; {seconds / 3600:.1f} hours without validation and checkpoints")


# ---- beside what was measured on CPUs --------------------------------------------------------------------------------


def check(path):
    """Bytes have to be the same. Times are compared with one rate of the links, fitted to all rows."""
    with open(path, encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row.get("bench") == "ranks"]
    if not rows:
        raise ValueError(f"--check {path}: has no rows of dev/bench/ranks.py")
    wrong, logs = 0, []
    for row in rows:
        rank = row["rank"] if row["mode"] == "relora" else 0
        row["bytes"] = traffic(MODELS[row["model"]], row["ranks"], rank, FP32, FP32)
        wrong += row["bytes"] != (row["gradient_bytes"], row["weight_bytes"])
        logs.append(math.log(row["bytes"][0] / row["reduce_s"]))
    rate = math.exp(sum(logs) / len(logs))
    print(f"{len(rows)} runs on CPUs; bytes as the model has them in {len(rows) - wrong}; reduced at {rate / 1e9:.2f} GB/s "
          "by a fit to all rows; the time outside of reducing is the measured one")
    lines = [["model", "mode", "ranks", "MB of gradients", "reduce s", "model", "measured/model", "hidden %", "model"]]
    for row in rows:
        rank, shape = row["rank"] if row["mode"] == "relora" else 0, MODELS[row["model"]]
        by_stage = [sum((s.size - min(s.share, s.size)) * FP32 for s in stage) / rate
                    for stage in stages(shape, row["ranks"], rank)]
        # The backward pass of the blocks by its FLOPs: 4 of 6 a parameter full-rank, 2 of 4 where it is frozen.
        micro = row["passes_s"]
        blocks = shape.linear_parameters * (4 if not rank else 2) / (6 * shape.other_parameters(shape.vocab) +
                                                                     shape.linear_parameters * (6 if not rank else 4))
        layer = micro * blocks / shape.layers
        ready = [micro - (shape.layers - 1 - i) * layer for i in range(shape.layers)] + [micro]
        exposed = overlap(ready, by_stage) - micro
        predicted = sum(by_stage)
        lines.append([row["model"], row["mode"], str(row["ranks"]), f"{row['bytes'][0] / 1e6:.0f}", f"{row['reduce_s']:.3f}",
                      f"{predicted:.3f}", f"{row['reduce_s'] / predicted:.2f}", f"{100 * row['reduce_hidden']:.0f}",
                      f"{100 * (1 - min(1, exposed / predicted)):.0f}"])
    print(aligned(lines, left=(0, 1)))
    return wrong


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = Parser(description="predicted time of an update on many GPUs; nothing is measured")
    parser.add_argument("--model", type=comma_list(*BATCH_SIZES), default=list(BATCH_SIZES))
    parser.add_argument("--gpus", type=lambda text: [at_least_one(n) for n in text.split(",")], default=[8, 64, 512, 4096])
    parser.add_argument("--batch-size", type=at_least_one, help="most sequences in a micro-batch (default: as model.py's)")
    parser.add_argument("--seq-len", type=at_least_one, default=1024)
    parser.add_argument("--total-batch-tokens", type=at_least_one, default=1 << 19, help="tokens per update of the first table")
    parser.add_argument("--rank", type=at_least_one, default=128)
    parser.add_argument("--route", choices=("merged", "factored", "project"), default="merged")
    parser.add_argument("--reduce-dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--exchange", choices=EXCHANGES, default=EXCHANGES[0], help="the program has the first only")
    parser.add_argument("--gpu", choices=tuple(GPUS), default="h100")
    for field in dataclasses.fields(Links):
        unit = {"node": "GPUs", "nvlink": "GB/s each way", "nic": "GB/s each way"}.get(field.name, "microseconds")
        scale = {"GPUs": 1, "GB/s each way": 1e9, "microseconds": 1e-6}[unit]
        parser.add_argument("--" + field.name.replace("_", "-"), type=at_least_one if unit == "GPUs" else above_zero,
                            default=None, help=f"{unit} (default: {field.default / scale:g})")
    parser.add_argument("--max-steps", type=at_least_one, help="with --warm-start-steps: hours of a run, in one line")
    parser.add_argument("--warm-start-steps", type=at_least_one)
    parser.add_argument("--check", metavar="FILE", help="compare with the rows that dev/bench/ranks.py wrote")
    args = parser.parse_args()
    if args.check:
        try:
            raise SystemExit(1 if check(args.check) else 0)
        except (OSError, KeyError, TypeError, ValueError) as error:
            parser.error(str(error))
    args.wire = FP32 if args.reduce_dtype == "fp32" else BF16
    given = {name: getattr(args, name) for name in ("node", "nvlink", "nic", "call", "message", "local_hop", "remote_hop")}
    scales = {"node": 1, "nvlink": 1e9, "nic": 1e9}
    links = dataclasses.replace(Links(), **{name: value * scales.get(name, 1e-6) for name, value in given.items() if value})
    for ranks in args.gpus:
        if ranks > links.node and ranks % links.node:
            parser.error(f"--gpus {ranks}: should be a multiple of the {links.node} of a node")
    if args.max_steps and args.warm_start_steps:
        print_hours(args, links)
        return
    most = {name: args.batch_size or size for name, size in BATCH_SIZES.items()}
    print(f"predicted, nothing is measured: {args.gpu.upper()}s, {links.node} in a node; {links.nvlink / 1e9:.0f} GB/s within "
          f"and {links.nic / 1e9:.0f} GB/s between nodes; gradients in {args.reduce_dtype}, {args.exchange}; "
          f"rank {args.rank}, {args.route}")
    tokens = args.total_batch_tokens
    print_table(args, links, f"the same {tokens / 1e6:.2f} M tokens in an update, as far as each GPU has a sequence",
                lambda name, ranks: batches(ranks, most[name], args.seq_len, tokens))
    print_table(args, links, "one micro-batch of the same size on each GPU, so that an update grows with them",
                lambda name, ranks: (most[name], 1))


if __name__ == "__main__":
    main()
