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
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

from pieces import File
from run import BUILD, modes, test

SOURCES = pathlib.Path("src/kernels/cuda")
RESULTS = BUILD / "results.json"
EXPLANATIONS = pathlib.Path("test/cuda_on_cpu/mutants/mutants.txt")
LEAST_CAUGHT = 0.95

# How many mutants of a function are taken, besides those that always are.
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
T plain_add(T* p, std::type_identity_t<T> v) {
    const T before = *p;
    *p += v;
    return before;
}
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
    write(BUILD / "mutation.h", CHOICE)
    subprocess.run(["make", f"-j{jobs}", "mutated-kernel-tests"], check=True, stdout=subprocess.DEVNULL)


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
    first = [m.result[1] for m in mutants]
    print("\ncaught first in mode:", ", ".join(f"{m.name} {first.count(m.name)}" for m in modes()), file=out)
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
    os.chdir(pathlib.Path(__file__).resolve().parents[3])

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
        print(f"$ make test-mutants\n{datetime.date.today()}, {len(chosen)} mutants, {len(left)} of them run in {(time.time() - begin) / 60:.0f} minutes\n", file=out)
        share = report(names, chosen, known, out)
    unexplained = [m for m in chosen if m.result[0] == "survived" and m.key not in known]
    stale = [m for m in chosen if m.result[0] != "survived" and m.key in known]
    for m in stale:
        print(f"explained, but caught: {m.key}")
    print(f"{100 * share:.1f} % caught, {len(unexplained)} survivors without an explanation")
    sys.exit(share < LEAST_CAUGHT or bool(unexplained) or bool(stale))


main()
