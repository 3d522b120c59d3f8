#!/usr/bin/env python3
"""Mutation test of the CUDA kernels on the executor: are the registry's cases strict enough?

Every mutant is one small mistake in a kernel, a helper or a launcher of src/kernels/cuda. A copy of the sources holds all
of them, each chosen at run time by MUTANT=number, so that a variant is compiled once. Each mutant then meets the cases
of its file's ops, the cheap ways of running them first, until one catches it. Survivors need an explanation in mutants.txt.

usage: mutate.py [--jobs N] [--report FILE] [--list] [--only TEXT] [--continue]
"""
import argparse
import concurrent.futures
import datetime
import fnmatch
import functools
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time

SOURCES = pathlib.Path("src/kernels/cuda")
BUILD = pathlib.Path(os.environ.get("BUILD", "build")) / "cuda_on_cpu/mutate"
RESULTS = BUILD / "results.json"
EXPLANATIONS = pathlib.Path("dev/cuda_on_cpu/mutants.txt")
LEAST_CAUGHT = 0.95

# What a file is tested by: ops, each with the shapes that are small enough for ThreadSanitizer. "-": shapes to leave out,
# because they take long and others do the same.
SMALL = "*67x24*"
ATTENTION = {"attention_": "*2x7x3x5:*1x65x2x64", "-": "*1x257x2x64*"}
FLASH = {"attention_*_bf16_": "*1x65x2x64", "-": "*1x257x2x64*"}
EMBEDDING = {"embedding_": "*3x33x100*:*2x7x24*"}
LAYERNORM = {"layernorm_": SMALL + ":*_5x1600", "-": "*257x768*"}
MAPS = {op: SMALL for op in ("add_", "convert_", "gelu_")}
CASES = {
    "adamw.cu": {"adamw_": "*p32:*f16:*_one*"},
    "attention_flash*": FLASH,
    "attention*": ATTENTION,
    "cross_entropy.cu": {"cross_entropy_": "*5x320*"},
    "elementwise.cu": MAPS | {"fill_fp32": SMALL, "zero_": SMALL},
    "elementwise.cuh": MAPS,
    "embedding.cu": EMBEDDING,
    "gelu.cu": {"gelu_": SMALL},
    "gpu.cuh": {"layernorm_*_5x1600": "", "sum_": SMALL, "cross_entropy_": "*5x320*", "fill_uniform_": SMALL, "prune_random_": "*_4097_p50*",
                "prune_magnitude_": "*_4097_p50*"},
    "layernorm.cu": LAYERNORM,
    "prune.cu": {"prune_magnitude_": "*_4097_p50*"},
    "random_fill.cu": {"fill_uniform_": SMALL, "fill_normal_": SMALL, "dropout_": SMALL, "prune_random_": "*_4097_p50*"},
    "sample.cu": {"sample_token_": "*257_top40"},
    "reduce.cu": {"sum_": SMALL, "bias_backward_": SMALL, "norm_squared_": "*_1000", "count_zeros_": "*_1000"},
    "slices.cuh": MAPS | EMBEDDING | {"adamw_": "*_one*", "dropout_": SMALL, "prune_random_": "*_4097_p50*"},
}
# How they are run: cheap first.
MODES = [
    ("forward", "plain", {}),
    ("reverse", "plain", {"EXECUTOR_ORDER": "reverse"}),
    ("random", "plain", {"EXECUTOR_ORDER": "random"}),
    ("deferred", "plain", {"EXECUTOR_STREAMS": "deferred"}),
    ("asan", "asan", {}),
    ("tsan", "tsan", {}),
]

# ---- mutations of a piece of text --------------------------------------------------------------------------------

# (pattern, replacements, always): `always` for mistakes that are peculiar to GPUs; of the others a sample is taken.
# Operators have spaces around them, which tells them from template brackets, pointers and signs.
OPERATORS = [
    (r" < ", [" <= "], False), (r" <= ", [" < "], False), (r" > ", [" >= "], False), (r" >= ", [" > "], False),
    (r" == ", [" != "], False), (r" != ", [" == "], False), (r" && ", [" || "], False), (r" \|\| ", [" && "], False),
    (r" \+ ", [" - "], False), (r" - ", [" + "], False), (r" \* ", [" + "], False), (r" / ", [" * "], False),
    (r" % ", [" / "], False), (r" << ", [" >> "], False), (r" >> ", [" << "], False), (r" & ", [" | "], False),
    (r" \| ", [" & "], False), (r" \+= ", [" -= ", " = "], False), (r" -= ", [" += "], False), (r" &= ", [" |= "], False),
    (r"\bmin\(", ["max("], False), (r"\bfmaxf\(", ["fminf("], False),
    (r"\baccumulate\b", ["false", "true"], False), (r"\bexists\b", ["true"], False),
    (r"(?<!\.)\bscale\b", ["(2.0f * scale)"], False),
    (r"\bstd::min\b", ["std::max"], False), (r"\bstd::max\b", ["std::min"], False),
    (r"\bgpu::div_ceil\(", ["mutation::div_floor("], False),
    (r"(?<![\w:.\[])(?:\w+(?:<[^<>]*>)?::)*k[A-Z]\w*(?:<HS>)?(?![\w<(:])", [r"(\g<0> / 2)"], False),  # a size
    (r"(?<![\w.])\d+\.\d+f\b", [r"(\g<0> * 1.01f + 0.001f)"], False),
    (r"(?<![\w.<\[])[1-9]\d*u?\b(?![.>])", [r"(\g<0> + 1)"], False),
    (r"(?<![\w.<\[])(?<!== )(?<!Threads, )0(?![\w.>])", ["1"], False),
    # Fragments, lanes and what moves data between them.
    (r"\bright\[1\]", ["right[2]"], True), (r"\bright\[2\]", ["right[1]"], True),
    (r"\bpair\[0\]", ["pair[1]"], True), (r"(?<=, )low(?=, )", ["high"], True), (r"(?<=, )high(?=, )", ["low"], True),
    (r"\bgpu::ldmatrix<4>", ["gpu::ldmatrix_trans<4>"], True), (r"\bgpu::ldmatrix_trans<4>", ["gpu::ldmatrix<4>"], True),
    (r"\[half\]", ["[1 - half]"], True), (r"\[half \+ 2\]", ["[3 - half]"], True), (r"\[2 \* half\]", ["[2 - 2 * half]"], True),
    (r"(?<=\[)i / 2(?=\])", ["1 - i / 2"], True), (r"(?<=\+ )i % 2(?=\])", ["1 - i % 2"], True),
    (r"\b__shfl_xor_sync\(0xFFFFFFFFu, (\w+), \w+\)", [r"\1", r"__shfl_xor_sync(0x7FFFFFFFu, \1, 1)"], True),
    (r"\b__shfl_up_sync\((\w+), (\w+), (\w+)\)", [r"__shfl_down_sync(\1, \2, \3)", r"\2"], True),
    (r"\b__shfl_sync\((\w+), (\w+), ([^,()]+)\)", [r"__shfl_sync(\1, \2, \3 + 1)", r"\2"], True),
    (r"\b__ballot_sync\((\w+), (\w+)\)", [r"uint32_t(\2)"], True), (r"\b__any_sync\((\w+), (\w+)\)", [r"(\2)"], True),
    (r"\batomicAdd\(", ["mutation::plain_add("], True),
]
SYNCHRONISATION = re.compile(r"__sync(threads|warp)\(\);|gpu::cp_async_(wait<0>|commit)\(\);|CUDA_CHECK\(.*\);")


def template_arguments(text):
    """Where the template arguments are, which a choice at run time can't change."""
    parts = []
    for opening in re.finditer(r"(?<=\w)<(?=\S)", text):
        depth = 0
        for i in range(opening.start(), len(text)):
            depth += (text[i] == "<") - (text[i] == ">")
            if depth == 0:
                parts.append((opening.start(), i))
                break
    return parts


class Mutant:
    def __init__(self, region, text, shown, always):
        self.region, self.text, self.shown, self.always = region, text, " ".join(shown.split()), always
        self.number = self.result = None

    @property
    def key(self):
        return f"{self.region.file} | {self.region.function} | {self.shown}"


class Region:
    """A piece of source that is replaced as a whole: a statement, or an expression with a value."""

    def __init__(self, file, function, kernel, start, end, kind, text):
        self.file, self.function, self.kernel, self.kind, self.start, self.end = file, function, kernel, kind, start, end
        self.original = text[start:end]
        self.mutants = []
        if kind == "statement" and (SYNCHRONISATION.fullmatch(self.original) or
                                    re.match(r"[\w.]*\b(store|add|zero)\w*[<(]", self.original)):
            self.add("", f"{{{self.original} => }}", bool(SYNCHRONISATION.fullmatch(self.original)))
        if kind == "if":
            for value in ("true", "false"):
                self.add(value, f"if ({{{self.original} => {value}}})", False)
        types = template_arguments(self.original)
        for pattern, replacements, always in OPERATORS:
            for match in re.finditer(pattern, self.original):
                if any(a <= match.start() < b for a, b in types):
                    continue
                for replacement in replacements:
                    new, old = match.expand(replacement), match[0]
                    before, after = self.original[:match.start()], self.original[match.end():]
                    mark = f"{{{old.strip()} => {new.strip()}}}"
                    pad = " " if old.startswith(" ") else ""
                    self.add(before + new + after, before + pad + mark + pad + after, always)

    def add(self, text, shown, always):
        self.mutants.append(Mutant(self, text, shown, always))

    def code(self):
        chosen = [m for m in self.mutants if m.number]
        if not chosen:
            return self.original
        if self.kind == "statement":
            cases = "".join(f"if (mutation::chosen == {m.number}) {{ {m.text} }} else " for m in chosen)
            return f"{{ {cases}{{ {self.original} }} }}"
        cases = "".join(f"mutation::chosen == {m.number} ? ({m.text}) : " for m in chosen)
        return f"({cases}({self.original}))"


# ---- finding the pieces ------------------------------------------------------------------------------------------


def split(text, separator, start, end):
    """The parts of text[start:end] between separators that are in no bracket, as (start, end)."""
    depth = angle = 0
    parts, first = [], start
    for i in range(start, end):
        c = text[i]
        if c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == "<" and text[i - 1] != " " and text[i - 1] != "<":
            angle += 1
        elif c == ">" and angle and text[i - 1] not in " -":
            angle -= 1
        elif c == separator and depth == 0 and angle == 0:
            parts.append((first, i))
            first = i + 1
    return parts + [(first, end)]


def closing(text, start):
    """Where the bracket at text[start] is closed."""
    depth = 0
    for i in range(start, len(text)):
        depth += text[i] in "([{"
        depth -= text[i] in ")]}"
        if depth == 0:
            return i
    raise ValueError("unbalanced brackets")


class File:
    def __init__(self, path):
        self.name, self.text = path.name, path.read_text()
        blank = lambda m: re.sub(r"[^\n]", " ", m[0])
        code = re.sub(r"#ifdef __CUDACC__.*?#else", blank, self.text, flags=re.S)  # what only nvcc sees
        code = re.sub(r"//[^\n]*|^#(?:[^\n]*\\\n)*[^\n]*", blank, code, flags=re.M)
        self.clean = code
        self.regions = []
        self.block(0, len(code), None, False)

    def block(self, start, end, function, kernel):
        """Goes through what stands in braces, or in the whole file."""
        code, i, first, depth = self.clean, start, start, 0
        while i < end:
            c = code[i]
            if c == "{":
                head, close = code[first:i].rstrip(), closing(code, i)
                if re.search(r"\)( const)?$|\belse$|\w>$|\]$|^$", head) or (function is None and "=" not in head):
                    inner, is_kernel = function, kernel
                    if function is None or function.endswith("::"):
                        inner, is_kernel = self.header(head, function)
                    elif not re.search(r"\[[^\]]*\]\s*(<.*>|\(.*\))?$", head, re.S):
                        self.statement(first, i, function, kernel, open_ended=True)
                    self.block(i + 1, close, inner, is_kernel)
                    first, depth = close + 1, 0
                i = close
            elif c in "([":
                # Lambdas among arguments: look into brackets only for their bodies.
                close = closing(code, i)
                if c == "(" and re.search(r"\[[&=]?\][^;{]*\{", code[i:close]):
                    first = i + 1
                else:
                    i = close
            elif c == ";":
                if function and not function.endswith("::"):
                    self.statement(first, i + 1, function, kernel)
                first = i + 1
            i += 1

    @staticmethod
    def header(head, outer):
        head = re.sub(r"__launch_bounds__\((?:[^()]|\([^()]*\))*\)|template <[^\n]*>\n|requires\([^\n]*\)", " ", head)
        if re.search(r"\bnamespace\b[^()]*$", head):
            return None, False
        struct = re.search(r"\bstruct\s+(?:alignas\(.*\)\s*)?(\w+)", head, re.S)
        if struct and not re.search(r"\)( const)?$", head):
            return struct[1] + "::", False
        name = re.search(r"(operator\(\)|operator\[\]|\w+)\s*\(", head)
        return (outer or "") + (name[1] if name else "?"), "__global__" in head

    def region(self, start, end, kind, function, kernel):
        while start < end and self.clean[start].isspace():
            start += 1
        while start < end and self.clean[end - 1].isspace():
            end -= 1
        text = self.clean[start:end]
        if not text or "#" in text or re.match(r"\[", text):  # a lambda
            return
        if text[0] == "{":
            for a, b in split(self.clean, ",", start + 1, end - 1):
                named = re.match(r"\s*\.\w+ = ", self.clean[a:b])
                self.region(a + (named.end() if named else 0), b, "value", function, kernel)
            return
        region = Region(self.name, function, kernel, start, end, kind, self.clean)
        if region.mutants:
            self.regions.append(region)

    def statement(self, start, end, function, kernel, open_ended=False):
        code = self.clean
        while True:
            while start < end and (code[start].isspace() or code.startswith("else", start)):
                start += 4 if code.startswith("else", start) else 1
            text = code[start:end]
            control = re.match(r"(if|for|while) \(", text)
            if not control:
                break
            opening = start + control.end() - 1
            close = closing(code, opening)
            if control[1] == "for":
                parts = split(code, ";", opening + 1, close)
                if len(parts) == 3:
                    self.declaration(*parts[0], function, kernel)
                    self.region(*parts[1], "value", function, kernel)
            else:
                self.region(opening + 1, close, control[1], function, kernel)
            start = close + 1
        if open_ended or not text.strip() or re.match(
                r"if constexpr|constexpr|static|using|template|GPU_|else|do\b|break|continue|CHECK|struct|extern", text):
            return
        if text.startswith("return"):
            self.region(start + 6, end - 1, "value", function, kernel)
        elif re.match(r"\*?[\w:.]+(<[\w:, ]+>)?((\[[^=;]*?\]|->\w+|\.\w+|\([^=]*?\))*) [-+*/&|^]?= |\*reinterpret_cast", text) \
                or re.match(r"[\w:.]+(<[\w:, <>]+>)?\(.*\);$", text, re.S):
            self.region(start, end, "statement", function, kernel)
        else:
            self.declaration(start, end - 1, function, kernel)

    def declaration(self, start, end, function, kernel):
        for a, b in split(self.clean, ",", start, end):
            value = re.search(r" = ", self.clean[a:b])
            if value:
                self.region(a + value.end(), b, "value", function, kernel)

    def code(self):
        out, at = [], 0
        for r in sorted(self.regions, key=lambda r: r.start):
            assert r.start >= at, f"{r.file}: pieces overlap at {r.original}"
            out += [self.text[at:r.start], r.code()]
            at = r.end
        return "".join(out) + self.text[at:]


# ---- choosing, building, running ---------------------------------------------------------------------------------

# Of a function, besides the mutants that are always taken.
SAMPLE_KERNEL, SAMPLE_OTHER = 6, 2

CHOICE = """\
#pragma once
#include <cstdint>
#include <cstdlib>
#include <type_traits>

namespace mutation {
inline const int chosen = [] {
    const char* number = getenv("MUTANT");
    return number ? atoi(number) : 0;
}();
inline unsigned div_floor(int64_t n, int64_t d) { return unsigned(n / d); }
template <class T>
void plain_add(T* p, std::type_identity_t<T> v) { *p += v; }
}  // namespace mutation
"""


def choose(files):
    """Numbers a sample of the mutants: the same ones as long as the function does not change."""
    functions, seen = {}, {}
    for region in [r for f in files for r in f.regions]:
        functions.setdefault((region.file, region.function), []).append(region)
        for m in region.mutants:
            seen[m.key] = seen.get(m.key, 0) + 1
            if seen[m.key] > 1:
                m.shown += f" #{seen[m.key]}"
    chosen = []
    for regions in functions.values():
        order = lambda m: hashlib.sha1(m.key.encode()).digest()
        rounds = []  # the first choice of each region, then the second, ...
        for r in regions:
            rounds += [(i, order(m), m) for i, m in enumerate(sorted((m for m in r.mutants if not m.always), key=order))]
        rounds.sort(key=lambda x: x[:2])
        picked = {m for _, _, m in rounds[:SAMPLE_KERNEL if regions[0].kernel else SAMPLE_OTHER]}
        chosen += [m for r in regions for m in r.mutants if m.always or m in picked]
    for number, m in enumerate(chosen, 1):
        m.number = number
    return chosen


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def build(files, jobs):
    copies = BUILD / "src/kernels/cuda"
    for f in files:
        write(copies / f.name, f.code())
    write(copies / "cuda.h", (SOURCES / "cuda.h").read_text())
    write(BUILD / "mutation.h", CHOICE)
    for shared in ("src/runtime", "src/kernels/kernels.h"):
        link = BUILD / shared
        if not link.is_symlink():
            link.symlink_to(pathlib.Path(shared).resolve())
    subprocess.run(["make", f"-j{jobs}", "mutated-kernel-tests"], check=True, stdout=subprocess.DEVNULL)


def cases_of(file):
    return next(c for pattern, c in CASES.items() if fnmatch.fnmatch(file, pattern))


def run(number, file, mode, seconds):
    """What caught the mutant, or nothing."""
    name, variant, environment = mode
    tests = []
    cases = cases_of(file)
    for op in cases.keys() - {"-"}:
        tests += [f"Registry/*/{op}{shape}" for shape in (cases[op].split(":") if variant == "tsan" else ["*"])]
    # What is out of bounds is so in small shapes, too.
    tests[-1] += "-" + cases.get("-", "") + (":*257x*:*200x*" if variant == "asan" else "")
    environment = dict(os.environ, MUTANT=str(number), OMP_NUM_THREADS="1", EXECUTOR_WORKERS="1",
                       EXECUTOR_GUARD="1" if name == "deferred" else "0", ASAN_OPTIONS="detect_leaks=0",
                       TSAN_OPTIONS="halt_on_error=1") | environment
    command = [BUILD / variant / "kernel_tests", "--gtest_brief=1", "--gtest_fail_fast", "--gtest_filter=" + ":".join(tests)]
    try:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds,
                              errors="replace")
    except subprocess.TimeoutExpired:
        return "hang"
    if done.returncode == 0:
        assert not re.search(r"\b0 tests", done.stdout), f"{file}: no case has run"
        return None
    for sign, what in (("ERROR: AddressSanitizer", "ASan"), ("runtime error:", "UBSan"), ("ThreadSanitizer", "TSan"),
                       ("==CUDA-on-CPU==", "executor"), ("Failure", "result")):
        if sign in done.stdout:
            return what
    return "crash"


@functools.cache
def baseline(file, mode):
    """Without a mutant everything must pass; returns how many seconds that takes."""
    begin = time.time()
    caught = run(0, file, MODES[mode], 600)
    if caught:
        print(f"{file} without a mutation fails in mode {MODES[mode][0]}: {caught}", flush=True)
        os._exit(1)
    return time.time() - begin


def test(mutant, known):
    file = mutant.region.file
    like_it = next(name for name in CASES if cases_of(name) == cases_of(file))  # a file with the same cases
    # That a survivor with an explanation survives needs no proof: it counts as one. It should not be caught at once, though.
    for mode in range(1 if mutant.key in known else len(MODES)):
        # Enough for a slow moment, short enough for the few that never end.
        caught = run(mutant.number, file, MODES[mode], 15 + 4 * baseline(like_it, mode))
        if caught:
            return caught, MODES[mode][0]
    return "survived", ""


def explanations():
    known = {}
    for line in EXPLANATIONS.read_text().splitlines():
        if line and not line.startswith("#"):
            key, _, reason = line.partition(" -- ")
            known[key.strip()] = reason.strip()
    return known


def report(files, mutants, known, out):
    kinds = ["result", "executor", "crash", "hang", "ASan", "UBSan", "TSan"]
    print(f"{'file':<28}{'mutants':>9}{'same':>6}{'caught':>8}{'%':>7}", "".join(f"{k:>9}" for k in kinds), file=out)
    for name in files + ["total"]:
        own = [m for m in mutants if name in (m.region.file, "total")]
        caught = [m.result[0] for m in own if m.result[0] != "survived"]
        same = sum(m.result[0] == "survived" and known.get(m.key, "").startswith("same: ") for m in own)
        share = len(caught) / max(1, len(own) - same)
        print(f"{name:<28}{len(own):>9}{same:>6}{len(caught):>8}{100 * share:>7.1f}",
              "".join(f"{caught.count(k):>9}" for k in kinds), file=out)
    print("same: survivors that give the same results as without the mutation; % is of the others", file=out)
    modes = [m.result[1] for m in mutants]
    print("\ncaught first in mode:", ", ".join(f"{m[0]} {modes.count(m[0])}" for m in MODES), file=out)
    kernels = {}
    for m in mutants:
        if m.region.kernel:
            kernels.setdefault((m.region.file, m.region.function), []).append(m.result[0] != "survived")
    print("\nkernels:", file=out)
    for (file, kernel), caught in kernels.items():
        print(f"    {file} {kernel}: {sum(caught)} of {len(caught)}", file=out)
    print("\nsurvivors:", file=out)
    for m in mutants:
        if m.result[0] == "survived":
            print(f"    {m.key}\n        {known.get(m.key, 'NOT EXPLAINED')}", file=out)
    return share


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--report", help="write the report here as well")
    parser.add_argument("--list", action="store_true", help="list the mutants and stop")
    parser.add_argument("--only", default="", help="only mutants whose line in the list contains this")
    parser.add_argument("--continue", action="store_true", dest="again",
                        help="keep what earlier runs have caught (cases have been added, or the run was interrupted)")
    options = parser.parse_args()
    os.chdir(pathlib.Path(__file__).resolve().parents[2])

    files = [File(path) for path in sorted(SOURCES.glob("*.cu*"))]
    chosen, known = choose(files), explanations()
    every = {m.key for f in files for r in f.regions for m in r.mutants}
    for key in known:
        if key not in every:
            sys.exit(f"{EXPLANATIONS} explains a mutant that does not exist: {key}")
    if options.list:
        for m in chosen:
            print(f"{m.number:>4} {m.key}")
        return
    begin = time.time()
    build(files, options.jobs)
    chosen = [m for m in chosen if options.only in m.key]
    results = json.loads(RESULTS.read_text()) if options.again and RESULTS.exists() else {}
    for m in chosen:
        m.result = results.get(m.key)
    left = [m for m in chosen if not m.result or m.result[0] == "survived"]
    left.sort(key=lambda m: m.region.file.startswith("attention"))  # what takes longest comes last
    print(f"built in {time.time() - begin:.0f} s; {len(chosen)} mutants, {len(left)} to run", flush=True)
    names = list(dict.fromkeys(m.region.file for m in chosen))
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        work = pool.map(lambda m: test(m, known), left)
        for done, (m, m.result) in enumerate(zip(left, work), 1):
            results[m.key] = m.result
            write(RESULTS, json.dumps(results, indent=0))
            how = " in ".join(m.result) if m.result[1] else "SURVIVED"
            print(f"[{done}/{len(left)}] {how}: {m.number} {m.key}", flush=True)
    print(flush=True)
    outputs = [sys.stdout] + ([open(options.report, "w")] if options.report else [])
    for out in outputs:
        print(f"$ make mutate\n{datetime.date.today()}, {len(chosen)} mutants, {len(left)} of them run in {(time.time() - begin) / 60:.0f} minutes\n", file=out)
        share = report(names, chosen, known, out)
    unexplained = [m for m in chosen if m.result[0] == "survived" and m.key not in known]
    stale = [m for m in chosen if m.result[0] != "survived" and m.key in known]
    for m in stale:
        print(f"explained, but caught: {m.key}")
    print(f"{100 * share:.1f} % caught, {len(unexplained)} survivors without an explanation")
    sys.exit(share < LEAST_CAUGHT or bool(unexplained) or bool(stale))


main()
