"""The report of a study: Markdown tables and SVG figures, from the store alone (spectra from the checkpoints).

Everything is computed from runs that are done. "Best" is the setting of an arm with the lowest validation loss with the first
seed, and all figures of an arm are those of its best setting over the seeds, unless a column says otherwise.
"""
import dataclasses
import json
import math
import statistics

import spectrum
import svg
from refusal import Refusal
from store import best_of

LEGEND = """
Validation loss is the last one of a run, as mean and sample standard deviation over n seeds. *Ratio* is the mean over that of
`{baseline}`. *Train s* is what the updates of one run took, the sum of tokens / tokens_per_s, as a mean over seeds: no
validation, checkpoint or merge is in it. Runs that shared a machine slowed each other down. *Memory* is what `--dry-run` plans,
in MiB: of the larger phase, and of the last. *All train s* and *all CPU s* are what all runs of the arm took, its sweep and
failed ones included; processor time of a process that was killed together with the runner is missing.
The best setting was chosen by a run that is one of the n, which favours arms with a wider sweep.
"""
EQUAL_TIME = """
*At equal time:* the fastest arm of a table ends after T seconds of training, by the mean of its seeds. Each run's validation
losses are interpolated linearly in its own seconds at T; the column is their mean. An arm that is cut off there has not
finished its schedule of the rate. *At equal memory:* the loss of `{baseline}` with the memory that this arm has in its last
phase, and the arm's loss over it. It is interpolated linearly in the logarithm of memory between two values of the axis `size`
with otherwise the same axes; "-" where the memory is outside of those that `{baseline}` was trained with.
"""
SWEEP = """
One run a row, with the first seed. *At the edge* names options whose best value is the smallest or the largest of those tried:
a better one may lie beyond.
"""


@dataclasses.dataclass
class Result:
    """An arm at a point of the axes; `runs` are the done ones of its best setting, a store's row each."""
    group: object
    best: object
    runs: list
    everything: list  # all runs of the arm at the point
    mean: float | None
    deviation: float | None
    seconds: float | None
    memory: dict


def results_of(study, store):
    results = []
    for group in study.groups:
        best = best_of(store, group, study.seeds)
        if best is None:
            # Without a run of the first seed there is no choice; an arm without a sweep has none to make.
            best = group.settings[0] if len(group.settings) == 1 else None
        wanted = group.all_seeds(best, study.seeds) if best else []
        runs = [row for run in wanted if (row := store.row(run.name)) and row["state"] == "done"]
        names = {run.name for setting in group.settings for run in group.all_seeds(setting, study.seeds)}
        everything = [row for name in sorted(names) if (row := store.row(name))]
        losses = [row["val_loss"] for row in runs]
        results.append(Result(
            group, best, runs, everything, statistics.fmean(losses) if losses else None,
            statistics.stdev(losses) if len(losses) > 1 else None,
            statistics.fmean(row["train_seconds"] for row in runs) if runs else None,
            json.loads(runs[0]["plan"] or "{}").get("memory", {}) if runs else {}))
    return results


def markdown(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


def three_digits(value):
    return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def interpolated(points, x):
    """Linear between points that are sorted by x; None outside."""
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        if x0 <= x <= x1:
            return y0 if x1 == x0 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return None


def options_text(options):
    return ", ".join(f"{option} {value}" for option, value in options.items()) or "none"


def edges(group, best):
    """Swept options, of two values or more, whose best value is the least or the greatest."""
    found = []
    for option, value in best.swept.items():
        values = {setting.swept[option] for setting in group.settings}
        if len(values) > 1 and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values) and \
                value in (min(values), max(values)):
            found.append(option)
    return found


def baseline_at(results, baseline, point):
    return next((r for r in results if r.group.arm == baseline and r.group.point == point), None)


def loss_at(store, runs, seconds):
    """Mean over the runs of their validation loss at that time; None if one of them has none by then."""
    losses = []
    for row in runs:
        points = [(line["seconds"], line["val_loss"]) for line in store.validations(row["name"])]
        if points and points[-1][0] <= seconds:
            losses.append(points[-1][1])
        else:
            losses.append(interpolated(points, seconds))
    return statistics.fmean(losses) if losses and None not in losses else None


def last_phase_memory(result):
    """--dry-run names the phases in their order."""
    return list(result.memory.values())[-1] if result.memory else None


def loss_at_memory(results, study, result):
    """The baseline's loss with the memory of this result's last phase, between its sizes."""
    others = {axis: value for axis, value in result.group.point.items() if axis != "size"}
    points = sorted((math.log(last_phase_memory(r)), r.mean) for r in results if r.group.arm == study.baseline and
                    r.mean is not None and last_phase_memory(r) and
                    {axis: value for axis, value in r.group.point.items() if axis != "size"} == others)
    memory = last_phase_memory(result)
    return interpolated(points, math.log(memory)) if memory else None


def main_table(study, results):
    rows = []
    for r in results:
        baseline = baseline_at(results, study.baseline, r.group.point)
        states = [row["state"] for row in r.everything]
        edge = edges(r.group, r.best) if r.best else []
        tuned = options_text(r.best.swept) if r.best else "no run is done"
        rows.append([
            r.group.arm, tuned + (f" (at the edge: {', '.join(edge)})" if edge else ""),
            number(r.mean, 4), number(r.deviation, 4), f"{len(r.runs)}",
            number(r.mean / baseline.mean if r.mean and baseline and baseline.mean else None, 4), three_digits(r.seconds),
            number(max(r.memory.values(), default=None), 1), number(last_phase_memory(r), 1),
            three_digits(sum(row["train_seconds"] or 0 for row in r.everything)),
            three_digits(sum(row["cpu_seconds"] for row in r.everything)),
            f"{states.count('done')}" + (f", {states.count('failed')} failed" if "failed" in states else "")])
    return markdown(["arm", "tuned options", "validation loss", "spread", "n", "ratio", "train s", "memory", "last phase",
                     "all train s", "all CPU s", "runs done"], rows)


def equal_table(study, store, all_results, results):
    done = [r for r in results if r.runs]
    end = min(r.seconds for r in done)
    at_time = {id(r): loss_at(store, r.runs, end) for r in done}
    baseline = baseline_at(done, study.baseline, done[0].group.point)
    of_baseline = at_time[id(baseline)] if baseline else None
    rows = []
    for r in done:
        loss, at_memory = at_time[id(r)], loss_at_memory(all_results, study, r)
        rows.append([r.group.arm, number(loss, 4), number(loss / of_baseline if loss and of_baseline else None, 4),
                     number(last_phase_memory(r), 1), number(at_memory, 4),
                     number(r.mean / at_memory if at_memory else None, 4)])
    return markdown(["arm", f"loss after {three_digits(end)} s", "ratio", "last phase", f"{study.baseline} with this memory",
                     "loss over it"], rows)


def sweep_table(study, store, results):
    rows = []
    for r in results:
        for setting in r.group.settings:
            row = store.row(setting.run(study.seeds[0]).name)
            best = setting is r.best
            edge = edges(r.group, setting) if best else []
            rows.append([r.group.arm, options_text(setting.swept), number(row["val_loss"] if row else None, 4),
                         row["state"] if row else "planned",
                         ("best" if best and len(r.group.settings) > 1 else "") +
                         (f", at the edge: {', '.join(edge)}" if edge else "")])
    return markdown(["arm", "options", "validation loss", "state", ""], rows)


def figures(store, folder, stem, title, results):
    """Validation loss against updates and against seconds, means over seeds; returns Markdown that shows them."""
    of_step, of_time = {}, {}
    for r in results:
        by_step = {}
        for row in r.runs:
            for line in store.validations(row["name"]):
                by_step.setdefault(line["step"], []).append((line["seconds"], line["val_loss"]))
        whole = {step: lines for step, lines in sorted(by_step.items()) if len(lines) == len(r.runs)}
        if whole:
            means = [(step, *map(statistics.fmean, zip(*lines))) for step, lines in whole.items()]
            of_step[r.group.arm] = [(step, loss) for step, _, loss in means]
            of_time[r.group.arm] = [(seconds, loss) for _, seconds, loss in means]
    if not of_step:
        return ""
    shown = []
    for name, lines, label in (("updates", of_step, "updates"), ("seconds", of_time, "seconds of training")):
        file = f"{stem}-{name}.svg"
        (folder / file).write_text(svg.curves(lines, label, "validation loss", title), encoding="utf-8")
        shown.append(f"![validation loss against {name}]({file})")
    return "\n".join(shown)


def spectrum_table(study, trainer, folder, results):
    start, rows = study.spectrum_from, []
    for r in results:
        if not r.runs:
            continue
        row = r.runs[0]
        try:
            found = spectrum.spectra(trainer.path, folder / row["name"], start, row["max_steps"])
        except Refusal as refusal:
            rows.append([r.group.arm, "-", "-", "-", "-", str(refusal).removeprefix(f"{folder}/")])
            continue
        picture = f"spectrum-{row['name']}.svg"
        text = spectrum.histogram(found, f"{r.group.arm}, updates {start} to {row['max_steps']}")
        if text:
            (folder / picture).write_text(text, encoding="utf-8")
        bounds, total = [s.bound for s in found], sum(len(s.values) for s in found)
        small = sum(s.small for s in found)
        rows.append([r.group.arm, str(sum(s.rank for s in found)), "-" if None in bounds else str(sum(bounds)), str(total),
                     f"{small} ({100 * small / total:.1f} %)", f"[histogram]({picture})" if text else ""])
    return markdown(["arm", "rank, all linears", "at most cycles·r", "of", f"singular values below {spectrum.SMALL}", ""], rows)


def failures(store):
    rows = store.db.execute("SELECT name, state, message FROM runs WHERE in_study AND state IN ('failed', 'interrupted') "
                            "ORDER BY name").fetchall()
    return markdown(["run", "state", "it said"], [[r["name"], r["state"], (r["message"] or "").replace("|", "\\|")]
                                                  for r in rows]) if rows else ""


def write_report(study, store, trainer, folder):
    """Writes report.md and the figures into the study's folder; returns what to print."""
    store.begin()
    for group in study.groups:
        for run in group.first_runs(study.seeds):
            store.add(run)
        best = best_of(store, group, study.seeds)
        for run in group.all_seeds(best, study.seeds) if best else ():
            store.add(run)
    for row in store.db.execute("SELECT name FROM runs WHERE in_study").fetchall():
        store.collect(row["name"])
    everything = results_of(study, store)
    programs = store.db.execute("SELECT DISTINCT version, binary_sha256 FROM runs WHERE in_study AND version IS NOT NULL "
                                "ORDER BY 1, 2").fetchall()
    parts = [f"# {study.name}", "Trained by " + (", ".join(f"{p['version']} ({p['binary_sha256'][:12]})" for p in programs) or
                                                 "no program yet") + ".",
             LEGEND.strip().format(baseline=study.baseline), EQUAL_TIME.strip().format(baseline=study.baseline)]
    points = list({json.dumps(r.group.point): r.group.point for r in everything}.values())
    for point in points:
        results = [r for r in everything if r.group.point == point]
        title = study.point_text(point)
        parts += [f"## {title}", main_table(study, results)]
        if any(r.runs for r in results):
            parts += ["### At equal time and memory", equal_table(study, store, everything, results),
                      figures(store, folder, "-".join(["loss", *point.values()]), f"{study.name}: {title}", results)]
            if study.spectrum_from is not None:
                parts += [f"### Rank of the change since update {study.spectrum_from}, first seed",
                          spectrum_table(study, trainer, folder, results)]
        parts += ["### Sweep", SWEEP.strip(), sweep_table(study, store, results)]
    if failed := failures(store):
        parts += ["## Failed or interrupted", failed]
    path = folder / "report.md"
    path.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return f"report: {path}"
