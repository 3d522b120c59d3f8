"""Training at the size that users run, beside PyTorch: GPT-2 124M through a warm start, a switch, merges and resets.

Records the courses of two short runs in PyTorch (dev/peers/relora_course.py), `keep` by the default method and `redraw` with
restarts as the paper has them, has the trainer do the same from the same weights and tokens, and compares loss and
gradient norm of every update, what merges and resets report, and the loss of the merged model, in fp32 and bf16; then the
loss that transformers computes from the trainer's export. One update takes all of the data, so that the order of the data
decides nothing.

    python3 dev/gpu_parity.py --device cuda --trainer ./train_relora     both, on a GPU (needs torch and transformers)
    python3 dev/gpu_parity.py --record FOLDER                            PyTorch's part only
    python3 dev/gpu_parity.py --recorded FOLDER --trainer ./train_relora only the trainer's, without PyTorch or the export
    … -- --adapter-route project                                         options after -- go to the trainer

Exit code 0: all is as close as it should be; 1: something is not, or the trainer failed; 2: bad usage, or a program or
PyTorch is missing. test/fixtures/parity, which the tests use, was made by

    python dev/gpu_parity.py --record test/fixtures/parity --device cpu --weights bf16 --layers 2 --heads 1 --channels 64 \\
        --vocab-size 300 --positions 48 --seq-len 40 --batch-size 4 --micro-batches 2 --rank 8 --alpha 16 --lr 3.5e-4
"""
import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import typing

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "dev/bench"))
from options import Parser, at_least_one  # noqa: E402  # the benchmarks'

TYPES = ("fp32", "bf16")


def course_name(compute_type, device):
    """What the course of a type on a device is recorded as: in bf16, devices form W + s*B*A from another W."""
    return compute_type if compute_type == "fp32" else f"{compute_type} {device}"


# ---- comparing -----------------------------------------------------------------------------------------------------


class Quantity(typing.NamedTuple):
    """Numbers of the course that are compared together."""
    what: str  # {} is how many
    key: str  # of metrics.jsonl
    limits: dict  # type -> largest difference
    relative: bool = False
    phase: str = ""  # the updates of this phase only

    def pick(self, numbers, switch):
        """The numbers of this quantity out of key -> values."""
        values = numbers.get(self.key, [])
        return {"full": values[:switch], "low-rank": values[switch:]}.get(self.phase, values)


# Rounding alone moved losses by up to 5e-7 in fp32 and 1.1e-3 in bf16, norms by 2e-6 and 2e-3. This was measured for 124M with
# 512 tokens an update on a CPU, and for test/fixtures/parity there and on the executor, by each route and with GELU in products
# or apart: 1.1e-3 where a GPU's effective weight is dithered, 4e-4 where there is none. More tokens average more of it away.
LOSS = {"fp32": 5e-6, "bf16": 2e-3}
NORM = {"fp32": 1e-5, "bf16": 1e-2}
QUANTITIES = (
    Quantity("full: loss of {} updates", "loss", LOSS, phase="full"),
    Quantity("full: gradient norm of {} updates", "grad_norm", NORM, relative=True, phase="full"),
    Quantity("low-rank: loss of {} updates", "loss", LOSS, phase="low-rank"),
    Quantity("low-rank: gradient norm of {} updates", "grad_norm", NORM, relative=True, phase="low-rank"),
    Quantity("low-rank: loss before {} merges", "loss_before", LOSS),
    Quantity("low-rank: loss after {} merges", "loss_after", LOSS),
    Quantity("low-rank: norm of what {} merges added", "delta_norm", NORM, relative=True),
    Quantity("low-rank: share of zeros after {} resets", "zeroed_fraction", {"fp32": 1e-9, "bf16": 1e-9}),
    Quantity("merged model: loss", "val_loss", LOSS),
)


def compare(what, ours, expected, limit, relative=False):
    """Prints the largest difference beside its limit; returns whether it is within."""
    if len(ours) != len(expected):
        print(f"{what}: {len(ours)} values, expected {len(expected)}: FAIL", flush=True)
        return False
    far = [abs(a - b) / (abs(b) if relative else 1) for a, b in zip(ours, expected)]
    worst = max(range(len(far)), key=lambda i: math.inf if math.isnan(far[i]) else far[i])
    passed = far[worst] <= limit
    print(f"{what}: largest {'relative ' * relative}difference {far[worst]:.1e}, limit {limit:.0e}: "
          f"{'PASS' if passed else 'FAIL'}", flush=True)
    if not passed:
        print(f"    value {worst + 1} is {ours[worst]:.9g}, expected {expected[worst]:.9g}", flush=True)
    return passed


# ---- the trainer's side --------------------------------------------------------------------------------------------


class Failure(Exception):
    """What ends the comparison, with the exit code."""

    def __init__(self, text, code):
        super().__init__(text)
        self.code = code


def read_metrics(path):
    """key -> values, in their order; NaN where a number was not finite."""
    numbers = {}
    for line in path.read_text().splitlines():
        for key, value in json.loads(line).items():
            numbers.setdefault(key, []).append(math.nan if value is None else value)
    return numbers


def folder_of(name, compute_type, out):
    """Where a run of the trainer is."""
    return out / f"{name}-{compute_type}"


def train(trainer, recorded, name, options, compute_type, device, out, extra):
    """Runs the trainer from the recorded weights on the recorded tokens; returns the numbers of its metrics."""
    folder, label = folder_of(name, compute_type, out), f"{name} {compute_type}"
    config, log = folder.with_suffix(".toml"), folder.with_suffix(".log")
    config.write_text("".join(f"{option} = {json.dumps(value)}\n" for option, value in options.items()))
    command = [trainer.resolve(), "--config", config, "--out", folder, "--device", device, "--dtype", compute_type,
               "--init-from", recorded, "--train-data", recorded / "tokens.bin", "--val-data", recorded / "tokens.bin",
               "--eval-every", "0", "--eval-batches", "0", "--sample-tokens", "0", *extra]
    print(f"{trainer.name} {label}: {options['max-steps']} updates …", file=sys.stderr, flush=True)
    start = time.monotonic()
    with open(log, "w") as output:
        # What it measures of the machine stays among the rest.
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
                              env={**os.environ, "XDG_CACHE_HOME": str(out / "cache")}).returncode
    if code != 0:
        said = log.read_text(errors="replace").strip().splitlines()
        raise Failure(f"{label}: the trainer ended with code {code}: {said[-1] if said else 'it said nothing'}", 1)
    print(f"{trainer.name} {label}: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
    return read_metrics(folder / "metrics.jsonl")


def check(recorded, trainer, device, out, types=TYPES, extra=()):
    """Compares runs of the trainer with the recorded courses.

    Returns whether all is close, and (course, type) -> [loss of the merged model].
    """
    path = recorded / "reference.json"
    try:
        courses = json.loads(path.read_text())
        runs = [(name, t, course["options"], course["expected"][course_name(t, device)])
                for name, course in courses.items() for t in types]
    except OSError as error:
        raise Failure(f"--recorded {recorded}: {path}: {error.strerror}; --record FOLDER writes one", 2) from error
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(f"{path} has no {error}; record it anew", 2) from error
    passed, merged = True, {}
    for name, compute_type, options, expected in runs:
        numbers = train(trainer, recorded, name, options, compute_type, device, out, extra)
        for quantity in QUANTITIES:
            ours, theirs = (quantity.pick(side, options["warm-start-steps"]) for side in (numbers, expected))
            if not ours and not theirs:
                continue  # the course has none of it, as `keep` of resets
            passed &= compare(f"{name} {compute_type} {quantity.what.format(len(theirs))}", ours, theirs,
                              quantity.limits[compute_type], quantity.relative)
        merged[name, compute_type] = numbers["val_loss"]
    return passed, merged


# ---- PyTorch's side ------------------------------------------------------------------------------------------------


def import_course(device):
    """dev/peers/relora_course.py, which needs PyTorch, with the device there."""
    sys.path.insert(0, str(ROOT / "dev/peers"))
    try:
        import relora_course
    except ImportError as error:
        raise Failure(f"{sys.executable} can't import {error.name}: PyTorch, transformers and safetensors are needed; with "
                      "--recorded they are not", 2) from error
    if device == "cuda" and not relora_course.torch.cuda.is_available():
        raise Failure("--device cuda: PyTorch sees no usable GPU", 2)
    return relora_course


SIZES = {"layers": 12, "heads": 12, "channels": 768, "vocab-size": 50257, "positions": 1024, "seq-len": 1024, "batch-size": 8,
         "micro-batches": 2, "rank": 128, "alpha": 32}
PEAK_RATE = 5e-5


def course_options(sizes, rate):
    """Course -> the options of its run, named as the trainer's.

    `keep` is the default method: a switch after 4 of 14 updates, then merges after 2, 4 and 6 of the next ten, none after 8, and
    one at the end; A and all moments go on. The warm-up is there to show that the rates of A and B have it again after the
    switch, and the others' rate has not. `redraw` has all that is not the default: a switch after 5 of 11 updates that starts
    all moments anew, one rate for everything, and two cycles of 3 with a re-warm, A drawn anew after each.
    Merged adapters are what the course in PyTorch has: factored ones round elsewhere, which moved a bf16 loss by 3.6e-3.
    Strong decay, clipping and a reset that keeps a tenth make a mistake in any of them show within so few updates.
    """
    both = {"mode": "relora", "seq-len": sizes["seq-len"], "batch-size": sizes["batch-size"],
            "total-batch-tokens": sizes["seq-len"] * sizes["batch-size"] * sizes["micro-batches"], "rank": sizes["rank"],
            "adapter-route": "merged", "min-lr-ratio": 0.1, "lr": rate, "lora-lr": 2 * rate, "weight-decay": 0.5,
            "grad-clip": 0.5, "seed": 1337}
    return {"keep": {**both, "alpha": 0, "others": "continue", "lora-plus-ratio": 8, "max-steps": 14, "warm-start-steps": 4,
                     "merge-every": 2, "restart-A": "keep", "restart-until": 0.6, "reset-every": 2, "reset": "none",
                     "warmup-steps": 1, "restart-warmup-steps": 0},
            "redraw": {**both, "alpha": sizes["alpha"], "others": "restart", "lora-plus-ratio": 1, "max-steps": 11,
                       "warm-start-steps": 5, "merge-every": 3, "restart-A": "redraw", "restart-until": 1, "reset-every": 3,
                       "reset": "magnitude:0.9", "warmup-steps": 0, "restart-warmup-steps": 2}}


# ---- the command line ----------------------------------------------------------------------------------------------


def rate(text):
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number between 0 and 1")
    return value


def parse_args():
    parser = Parser(description="short ReLoRA runs of the trainer beside the same runs in PyTorch",
                    usage="%(prog)s [options] [-- options of the trainer]")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--dtype", choices=TYPES, help="only this type (default: both)")
    parser.add_argument("--trainer", type=pathlib.Path, default=ROOT / "train_relora", help="default: the one built here")
    parser.add_argument("--out", type=pathlib.Path, help="a new folder for all that is written (default: a temporary one)")
    parser.add_argument("--record", type=pathlib.Path, metavar="FOLDER", help="only record PyTorch's course, in this new folder")
    parser.add_argument("--recorded", type=pathlib.Path, metavar="FOLDER", help="compare with what is recorded there")
    recording = parser.add_argument_group("what is recorded")
    for name, default in SIZES.items():
        recording.add_argument("--" + name, type=at_least_one, metavar="N",
                               help=f"{'of the course `redraw`; ' * (name == 'alpha')}default: {default}")
    recording.add_argument("--lr", type=rate, help="peak rate of the full-rank phase, half that of B; default: 5e-5")
    recording.add_argument("--weights", choices=TYPES, help="type in which the weights are stored; default: fp32")
    arguments, extra = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, extra = arguments[:at], arguments[at + 1:]
    args = parser.parse_args(arguments)
    args.extra, args.types = extra, [args.dtype] if args.dtype else TYPES
    given = {name: getattr(args, name.replace("-", "_")) for name in (*SIZES, "lr", "weights")}
    args.sizes = {name: given[name] or default for name, default in SIZES.items()}
    args.lr, args.weights = args.lr or PEAK_RATE, args.weights or "fp32"
    named = [name for name, value in given.items() if value]
    if args.recorded and (args.record or named):
        parser.error(f"--{named[0] if named else 'record'} is for recording, --recorded {args.recorded} is there already")
    idle = ["--out"] * bool(args.out) + ["--dtype"] * bool(args.dtype) + extra
    if args.record and idle:
        parser.error(f"--record {args.record} runs no trainer: {idle[0]} is not for it")
    if not args.record and not (args.trainer.is_file() and os.access(args.trainer, os.X_OK)):
        parser.error(f"--trainer {args.trainer} is no program: build it with make, or name another")
    for name, folder in (("record", args.record), ("out", args.out)):
        if folder and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            parser.error(f"--{name} {folder} is not an empty folder; give a new one")
    for name, value, most, of in (("seq-len", args.sizes["seq-len"], args.sizes["positions"], "--positions"),
                                  ("rank", args.sizes["rank"], args.sizes["channels"], "--channels"),
                                  ("vocab-size", args.sizes["vocab-size"], 65536, "tokens of 16 bits")):
        if value > most:
            parser.error(f"--{name} {value} is above {most}, the most that {of} lets")
    if args.sizes["channels"] % args.sizes["heads"]:
        parser.error(f"--heads {args.sizes['heads']} doesn't divide --channels {args.sizes['channels']}")
    return args


def compare_with_pytorch(args, out):
    """Records, checks, and has transformers read the trainer's exports; returns whether all is close."""
    course = import_course(args.device)
    courses, recorded = course_options(args.sizes, args.lr), out / "recorded"
    course.record(recorded, args.sizes, courses, args.weights, args.device, [course_name(t, args.device) for t in args.types])
    passed, merged = check(recorded, args.trainer, args.device, out, args.types, args.extra)
    for (name, compute_type), loss in merged.items():
        export = folder_of(name, compute_type, out) / "export"
        theirs = course.loss_of(export, recorded / "tokens.bin", courses[name], compute_type, args.device)
        passed &= compare(f"{name} {compute_type} export: loss in transformers", loss, [theirs], LOSS[compute_type])
    return passed


def main():
    args = parse_args()
    try:
        if args.record:
            courses = course_options(args.sizes, args.lr)
            import_course(args.device).record(args.record, args.sizes, courses, args.weights, args.device)
            return 0
        with tempfile.TemporaryDirectory(prefix="gpu_parity_") as temporary:
            out = (args.out or pathlib.Path(temporary)).resolve()
            out.mkdir(parents=True, exist_ok=True)
            if args.recorded:
                passed, _ = check(args.recorded, args.trainer, args.device, out, args.types, args.extra)
            else:
                passed = compare_with_pytorch(args, out)
            return 0 if passed else 1
    except Failure as failure:
        print(f"gpu_parity.py: {failure}", file=sys.stderr)
        return failure.code


if __name__ == "__main__":
    sys.exit(main())
