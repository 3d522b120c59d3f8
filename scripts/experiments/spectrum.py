#!/usr/bin/env python3
"""The rank of what a run's weights changed by between two checkpoints: W_B - W_A of every linear, adapters merged.

    scripts/experiments/spectrum.py RUN STEP_A STEP_B [--svg FILE]

train_relora itself merges: both checkpoints are exported (--init-from … --export), and the exports subtracted. LAPACK computes
the singular values in fp64. c_attn counts as three linears, q, k and v, unless one adapter is fused for them.

A singular value counts for the rank if it is above the larger of two thresholds:

- R times the largest one, R = --relative, by default 1e-4. A merge rounds the product s·B·A in fp32 by (r + 1)·2^-24 of its
  size at most, which is below 1e-4 for every r up to 1600.
- a bound on what rounding W to fp32 can leave. Each merge and each export rounds an element w by 2^-24·|w| at most, so that
  n of them change W by a matrix E with ‖E‖₂ ≤ ‖E‖_F ≤ n·2^-24·‖W‖_F, where ‖W‖_F is the larger one of both ends. By Weyl's
  inequality no singular value moves by more than ‖E‖₂, so that those which would be zero stay below.

A cycle changes a linear by rank r at most. The bound that is printed is cycles·r, where the cycles are the restarts between
the two checkpoints, and one more for each of them that has adapters with B ≠ 0. Full-rank updates have no bound.
"""
import argparse
import array
import ctypes
import ctypes.util
import dataclasses
import functools
import json
import math
import mmap
import operator
import os
import pathlib
import subprocess
import sys
import tempfile

import svg
from refusal import Parser, Refusal, fraction
from trainer import ROOT, last_line

LINEARS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
RELATIVE = 1e-4
SMALL = 0.1  # the paper's figure counts singular values below this
ROUNDING = 2.0 ** -24


@functools.cache
def lapack():
    name = ctypes.util.find_library("lapack")
    if not name:
        raise Refusal("LAPACK is not there; scripts/setup.sh --tests installs liblapack.so")
    return ctypes.CDLL(name)


def singular_values(matrix, rows, columns, first, stride):
    """Descending; of the matrix whose column j begins at element first + j·stride of an array of doubles, which is lost."""
    least = min(rows, columns)
    if not least:
        return []
    values, iwork, info = array.array("d", bytes(8 * least)), (ctypes.c_int * (8 * least))(), ctypes.c_int()

    def pointer(doubles, offset=0):
        return ctypes.cast(doubles.buffer_info()[0] + 8 * offset, ctypes.POINTER(ctypes.c_double))

    def call(work, size):
        one, none = ctypes.c_int(1), pointer(values)
        lapack().dgesdd_(ctypes.c_char_p(b"N"), *map(ctypes.byref, map(ctypes.c_int, (rows, columns))), pointer(matrix, first),
                         ctypes.byref(ctypes.c_int(stride)), pointer(values), none, ctypes.byref(one), none, ctypes.byref(one),
                         pointer(work), ctypes.byref(ctypes.c_int(size)), iwork, ctypes.byref(info), ctypes.c_size_t(1))
        if info.value:
            raise Refusal(f"LAPACK's dgesdd ends with info {info.value}; a value of the weights may be not finite")
    best_size = array.array("d", [0.0])
    call(best_size, -1)
    call(array.array("d", bytes(8 * int(best_size[0]))), int(best_size[0]))
    return list(values)


class Safetensors:
    """The F32 tensors of a file, without a copy."""

    def __init__(self, path):
        try:
            with open(path, "rb") as file:
                self.bytes = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:
            raise Refusal(f"{path}: {error}") from error
        size = int.from_bytes(self.bytes[:8], "little")
        self.header, self.start = json.loads(bytes(self.bytes[8:8 + size])), 8 + size

    def shape(self, name):
        return self.header[name]["shape"]

    def __contains__(self, name):
        return name in self.header

    def __getitem__(self, name):
        begin, end = self.header[name]["data_offsets"]
        return self.bytes[self.start + begin:self.start + end].cast("f")


@dataclasses.dataclass
class Spectrum:
    """One linear: singular values of its change, the threshold they are counted by, and the largest rank it can have."""
    linear: str
    values: list
    threshold: float
    bound: int | None

    @property
    def rank(self):
        return sum(value > self.threshold for value in self.values)

    @property
    def small(self):
        return sum(value < SMALL for value in self.values)


class Checkpoint:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        try:
            self.state = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            steps = sorted(int(path.name[5:]) for path in self.folder.parent.glob("step_*[0-9]"))
            there = f"the run has those of {', '.join(map(str, steps))}" if steps else "the run has none"
            raise Refusal(f"{self.folder} is no checkpoint; {there}, and --save-every with --keep 0 leaves more") from error
        path = self.folder / "adapters.safetensors"
        self.adapters = Safetensors(path) if path.exists() else None

    def fused(self, linear):
        return self.adapters is not None and \
            self.adapters.shape(f"{linear}.lora_A")[0] == self.state["adapters"]["rank"]

    def is_open(self):
        """Whether it is within a cycle: adapters that are not merged."""
        return self.adapters is not None and any(any(self.adapters[name]) for name in self.adapters.header
                                                 if name.endswith(".lora_B"))

    def export(self, binary, folder):
        run = subprocess.run([binary, "--init-from", self.folder, "--export", folder], capture_output=True, text=True,
                             check=False, stdin=subprocess.DEVNULL)
        if run.returncode != 0:
            raise Refusal(f"{self.folder}: no export: {last_line(run.stderr) or last_line(run.stdout)}")
        return Safetensors(pathlib.Path(folder, "model.safetensors"))


def cycles_between(before, after):
    """None if full-rank updates are among those between the two."""
    if before.state["phase"] == after.state["phase"] == "full" or after.adapters is None:
        return None
    switch = json.loads(before.state["options"].get("warm-start-steps", "0"))
    if before.state["phase"] == "full" and before.state["step"] < switch:
        return None
    return after.state["restarts"] - before.state["restarts"] + before.is_open() + after.is_open()


def spectra(binary, run, step_before, step_after, relative=RELATIVE):
    """A spectrum for each linear of each block."""
    before, after = (Checkpoint(pathlib.Path(run, f"step_{step:08}")) for step in (step_before, step_after))
    if step_after <= step_before:
        raise Refusal(f"STEP_B {step_after} is not above STEP_A {step_before}; give the earlier checkpoint first")
    cycles = cycles_between(before, after)
    roundings = after.state["restarts"] - before.state["restarts"] + 2
    found = []
    with tempfile.TemporaryDirectory() as folder:
        weights = [checkpoint.export(binary, os.path.join(folder, name)) for checkpoint, name in ((before, "a"), (after, "b"))]
        for layer in range(after.state["model"]["layers"]):
            for linear in LINEARS:
                name = f"transformer.h.{layer}.{linear}"
                rank = after.state["adapters"]["rank"] if after.adapters and f"{name}.lora_A" in after.adapters else None
                both = [tensors[f"{name}.weight"] for tensors in weights]
                inputs, outputs = weights[0].shape(f"{name}.weight")
                change = array.array("d", map(operator.sub, both[1], both[0]))
                # The array has the outputs of one input beside each other: a matrix of columns, as LAPACK wants it.
                sections = 3 if linear == "attn.c_attn" and not after.fused(name) else 1
                size = outputs // sections
                for section in range(sections):
                    rows = slice(section * size, (section + 1) * size)
                    norm = max(math.sqrt(sum(w * w for i in range(inputs) for w in tensor[i * outputs:(i + 1) * outputs][rows]))
                               for tensor in both)
                    values = singular_values(change, size, inputs, section * size, outputs)
                    limit = min(size, inputs)
                    found.append(Spectrum(f"h.{layer}.{linear}" + (f".{'qkv'[section]}" if sections > 1 else ""), values,
                                          max(relative * values[0], roundings * ROUNDING * norm),
                                          None if cycles is None or rank is None else min(limit, cycles * rank)))
    return found


def table(found):
    lines = [("linear", "rank", "at most", "of", "largest", "threshold", f"below {SMALL}")]
    lines += [(s.linear, str(s.rank), "-" if s.bound is None else str(s.bound), str(len(s.values)), f"{s.values[0]:.4g}",
               f"{s.threshold:.2g}", str(s.small)) for s in found]
    bounds = [s.bound for s in found]
    lines.append(("all", str(sum(s.rank for s in found)), "-" if None in bounds else str(sum(bounds)),
                  str(sum(len(s.values) for s in found)), f"{max(s.values[0] for s in found):.4g}", "",
                  str(sum(s.small for s in found))))
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines)


def histogram(found, title):
    above = [value for s in found for value in s.values if value > s.threshold]
    return svg.histogram(above, "singular value", f"{title}: the {len(above)} above their thresholds") if above else ""


def main():
    parser = Parser(prog="spectrum.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("steps", metavar="STEP", nargs=2, type=int, help="updates of the two checkpoints")
    parser.add_argument("--binary", default=ROOT / "train_relora", help="default: train_relora of this repository")
    parser.add_argument("--relative", type=fraction, default=RELATIVE, metavar="R", help="default: %(default)s")
    parser.add_argument("--svg", metavar="FILE", help="write a histogram of the singular values above their thresholds")
    args = parser.parse_args()
    try:
        found = spectra(args.binary, args.run, *args.steps, args.relative)
        print(table(found))
        if args.svg:
            pathlib.Path(args.svg).write_text(histogram(found, f"{args.run}, {args.steps[0]} to {args.steps[1]}"),
                                              encoding="utf-8")
    except (Refusal, OSError) as refusal:
        print(f"spectrum.py: {refusal}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
