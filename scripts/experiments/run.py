#!/usr/bin/env python3
"""Runs a study of train_relora: arms, each with its sweep, seeds, sizes; and reports what came of it.

    scripts/experiments/run.py STUDY.toml             trains what is not yet trained; again after any interruption
    scripts/experiments/run.py STUDY.toml --plan      lists the runs that are known by now, and trains nothing
    scripts/experiments/run.py STUDY.toml --report    writes report.md and figures into the study's folder

Runs lie in runs/NAME/, where NAME is the study's, each in a folder of its own. A run's name ends with a hash of its options: a
study whose options are changed trains anew what they change, and keeps the rest. The exit code is 0 if all runs are done, 1 if
some failed or were interrupted, 2 for bad input, and 128 and the signal's number after a signal, which lets the runs on their
way save a checkpoint first. Python's standard library only. The study's format:

"""
import argparse
import pathlib
import sys

import jobs
import study as study_module
from refusal import Parser, Refusal, at_least_one
from report import write_report
from store import Store
from study import Study
from trainer import ROOT, Trainer


def listed(study, store):
    """The plan as text: a run a line with its state and command."""
    lines = []
    for group in study.groups:
        for run in group.first_runs(study.seeds):
            row = store.row(run.name)
            lines.append(f"{row['state'] if row else 'planned':<12} {run.name}: {' '.join(run.arguments())}")
        if len(group.settings) > 1 and len(study.seeds) > 1:
            lines.append(f"{'later':<12} the best of {group.arm} at {study.point_text(group.point)}, "
                         f"seeds {', '.join(map(str, study.seeds[1:]))}")
    return "\n".join(lines)


def main():
    parser = Parser(prog="run.py", description=__doc__ + study_module.__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", metavar="STUDY.toml")
    parser.add_argument("--binary", default=ROOT / "train_relora", help="default: train_relora of this repository")
    parser.add_argument("--runs", type=pathlib.Path, help="the study's folder (default: runs/NAME in the repository)")
    parser.add_argument("--jobs", type=at_least_one,
                        help="runs at a time (default: one per GPU, or CPUs over the study's threads)")
    parser.add_argument("--retry", action="store_true", help="run again what has failed")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--plan", action="store_true", help="list the runs, and train nothing")
    what.add_argument("--report", action="store_true", help="write the report of what is trained by now, and train nothing")
    args = parser.parse_args()
    try:
        trainer = Trainer(args.binary)
        study = Study(args.study, trainer.options)
        folder = (args.runs or ROOT / "runs" / study.name).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if args.plan:
            print(listed(study, Store(folder)))
            return 0
        if args.report:
            print(write_report(study, Store(folder), trainer, folder))
            return 0
        held = jobs.lock(folder)
        with held:
            return jobs.Jobs(study, Store(folder), trainer, folder, jobs.environments(study, args.jobs), args.retry).go()
    except (Refusal, OSError) as refusal:
        print(f"run.py: {refusal}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
