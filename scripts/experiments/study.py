"""A study: what a TOML file describes, as the settings that are trained.

    name = "smoke"               # of its folder in runs/; without it the name of the file
    baseline = "full"            # the arm that the report compares the others with
    seeds = [1, 2, 3]            # a sweep takes the first; the best setting of each arm is then run with all
    threads = 1                  # CPU threads of a run
    spectrum-from = 400          # the report has the rank of what the weights changed by since this checkpoint

    [common]                     # options of train_relora that all runs share, named as in its --help
    max-steps = 1000
    targets = ["attn.c_attn", "mlp.c_fc"]       # a list is joined by commas; true and false are for flags

    [axes.size.small]            # an axis, a value of it, and its options: every arm is run at every combination
    layers = 2

    [arms.full]
    mode = "full"
    sweep = { lr = [1e-3, 2e-3] }               # a matrix: all combinations are run

    [arms.relora]
    mode = "relora"
    rank = 8
    sweep = { lr = [1e-3, 2e-3], alpha = [8, 16] }

    [arms.zero]
    like = "relora"              # begins with the options and the sweep of that arm; an option given here ends its sweep
    reset = "zero"
    at = { size = ["small"] }    # only there

Options of an axis are stronger than common ones, those of an arm stronger than both. Paths are written from the root of the
repository.
"""
import dataclasses
import difflib
import hashlib
import itertools
import json
import pathlib
import re
import tomllib

from refusal import Refusal

KEYS = {"name": str, "baseline": str, "seeds": list, "threads": int, "spectrum-from": int,
        "common": dict, "axes": dict, "arms": dict}
RUNNERS_OWN = {"out": "the runner names the folders", "config": "write its options here", "resume": "the runner resumes",
               "resume-from": "the runner resumes", "branch-from": "a run begins anew or is resumed",
               "stop-after-minutes": "a run ends at its last update", "seed": "use the study's `seeds`",
               "threads": "use the study's `threads`", "gpus": "a run has one GPU", "ranks": "a run is one process",
               "export": "every run exports its model", "dry-run": "nothing would be trained",
               "print-schedule": "nothing would be trained", "help": "it is no option of a run",
               "version": "it is no option of a run"}
NAME = re.compile(r"[A-Za-z0-9_.+]+(-[A-Za-z0-9_.+]+)*")


def text_of(value):
    """An option's value as the command line has it."""
    if isinstance(value, list):
        return ",".join(map(text_of, value))
    return repr(value) if isinstance(value, float) else str(value)


@dataclasses.dataclass(frozen=True)
class Run:
    name: str
    seed: int
    options: dict
    setting: "Setting" = dataclasses.field(repr=False)

    def arguments(self):
        return [text for option, value in self.options.items()
                for text in ([f"--{option}"] if value is True else [f"--{option}", text_of(value)])]


@dataclasses.dataclass(frozen=True)
class Setting:
    """An arm at a point of the axes, with one value for each option that is swept."""
    arm: str
    point: dict
    swept: dict
    options: dict

    def run(self, seed):
        options = dict(self.options, seed=seed)
        key = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:8]
        parts = [self.arm, *self.point.values(), *(f"{option}{text_of(value)}" for option, value in self.swept.items()),
                 f"s{seed}"]
        name = re.sub(r"[^A-Za-z0-9_.+-]+", "_", "-".join(parts))[:150]
        return Run(f"{name}-{key}", seed, options, self)


@dataclasses.dataclass(frozen=True)
class Group:
    """All settings of an arm at a point: the best is chosen among them."""
    arm: str
    point: dict
    settings: list

    def first_runs(self, seeds):
        """The runs that the choice is made from; with nothing to choose all seeds at once."""
        return [setting.run(seed) for setting in self.settings for seed in (seeds[:1] if len(self.settings) > 1 else seeds)]

    def all_seeds(self, setting, seeds):
        return [setting.run(seed) for seed in seeds]

    def number_of_runs(self, seeds):
        return len(self.settings) + len(seeds) - 1


class Study:
    def __init__(self, path, known):
        """`known` maps every option of the program to whether it is a flag."""
        self.path, self.known = pathlib.Path(path), known
        try:
            file = tomllib.loads(self.path.read_text(encoding="utf-8"))
        except OSError as error:
            raise Refusal(f"{path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Refusal(f"{path}: is not TOML: {error}") from error
        for key, value in file.items():
            self._known(key, KEYS, "", "key of a study")
            if not isinstance(value, KEYS[key]) or isinstance(value, bool):
                self._refuse(f"{key} is {value!r}", f"it should be a {KEYS[key].__name__}".replace("dict", "table"))
        self.name = file.get("name", self.path.stem)
        self._named(self.name, "name")
        self.threads = file.get("threads", 1)
        if self.threads < 1:
            self._refuse(f"threads is {self.threads}", "it should be at least 1")
        self.seeds = file.get("seeds", [1])
        if not self.seeds or len(set(map(repr, self.seeds))) < len(self.seeds) or any(type(s) is not int for s in self.seeds):
            self._refuse(f"seeds is {self.seeds}", "it should list whole numbers, each once")
        self.spectrum_from = file.get("spectrum-from")
        common = self._options(file.get("common", {}), "common")
        self.axes = self._axes(file.get("axes", {}))
        self._arms = file.get("arms", {})
        if not self._arms:
            self._refuse("there are no arms", "a study has one [arms.NAME] at least")
        arms = {name: self._arm(name, ()) for name in self._arms}
        self.baseline = file.get("baseline", "full" if "full" in arms else next(iter(arms)))
        self._known(self.baseline, arms, "baseline: ", "arm")
        self.groups = list(self._groups(common, arms))

    def _refuse(self, what, right):
        raise Refusal(f"{self.path}: {what}; {right}")

    def _known(self, name, names, place, what):
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            self._refuse(f"{place}'{name}' is no {what}",
                         f"did you mean '{close[0]}'?" if close else
                         "there are " + ", ".join(names) if len(names) < 20 else "./train_relora --help lists them")

    def _named(self, name, place):
        if not NAME.fullmatch(name):
            self._refuse(f"{place} '{name}'", "a name has letters, digits and any of _ . + and single -")

    def _value(self, option, value, place):
        flag = self.known[option]
        texts = value if isinstance(value, list) else [value]
        if flag != isinstance(value, bool) or not texts or any(not isinstance(v, (str, int, float)) for v in texts):
            self._refuse(f"{place}.{option} is {value!r}", "it should be true or false" if flag else
                         "it should be a text, a number or a list of them")
        return value

    def _option(self, option, place):
        if option in RUNNERS_OWN:
            self._refuse(f"{place}: '{option}' can't be given", RUNNERS_OWN[option])
        self._known(option, self.known, f"{place}: ", "option of train_relora")

    def _options(self, table, place):
        for option, value in table.items():
            self._option(option, place)
            self._value(option, value, place)
        return table

    def _axes(self, table):
        for axis, values in table.items():
            self._named(axis, "axis")
            if not isinstance(values, dict) or not values or not all(isinstance(v, dict) for v in values.values()):
                self._refuse(f"axes.{axis} is {values!r}", f"it should have a table [axes.{axis}.VALUE] for each value")
            for value, options in values.items():
                self._named(value, f"axes.{axis}")
                self._options(options, f"axes.{axis}.{value}")
        return table

    def _arm(self, name, seen):
        """Options, sweep and the values of axes at which the arm is run; those of the arm that it is like come first."""
        place = f"arms.{name}"
        self._named(name, "arm")
        if not isinstance(self._arms[name], dict):
            self._refuse(f"{place} is {self._arms[name]!r}", "it should be a table")
        own = dict(self._arms[name])
        like, sweep, at = own.pop("like", None), own.pop("sweep", {}), own.pop("at", {})
        options, swept, where = {}, {}, {}
        if like is not None:
            self._known(like, self._arms, f"{place}.like: ", "arm")
            if like in (*seen, name):
                self._refuse(f"{place}.like is '{like}'", "arms can't be like each other in a circle")
            options, swept, where = self._arm(like, (*seen, name))
        self._options(own, place)
        if not isinstance(sweep, dict):
            self._refuse(f"{place}.sweep is {sweep!r}", "it should be a table, e.g. { lr = [1e-3, 2e-3] }")
        for option, values in sweep.items():
            self._option(option, f"{place}.sweep")
            if option in own:
                self._refuse(f"{place}: {option} is both swept and given", "one of them is enough")
            if not isinstance(values, list) or not values or len(set(map(repr, values))) < len(values):
                self._refuse(f"{place}.sweep.{option} is {values!r}", "it should list values, each once")
            for value in values:
                self._value(option, value, f"{place}.sweep")
        if not isinstance(at, dict):
            self._refuse(f"{place}.at is {at!r}", 'it should be a table, e.g. { size = ["small"] }')
        for axis, values in at.items():
            self._known(axis, self.axes, f"{place}.at: ", "axis")
            if not isinstance(values, list) or not values:
                self._refuse(f"{place}.at.{axis} is {values!r}", f"it should list some of {', '.join(self.axes[axis])}")
            for value in values:
                self._known(value, self.axes[axis], f"{place}.at.{axis}: ", f"value of the axis {axis}")
        swept = {option: values for option, values in swept.items() if option not in own}
        options = {option: value for option, value in options.items() if option not in sweep}
        return {**options, **own}, {**swept, **sweep}, {**where, **at}

    def _groups(self, common, arms):
        for values in itertools.product(*self.axes.values()):
            point = dict(zip(self.axes, values))
            of_point = dict(common)
            for axis, value in point.items():
                of_point.update(self.axes[axis][value])
            for arm, (options, sweep, at) in arms.items():
                if any(point[axis] not in values for axis, values in at.items()):
                    continue
                settings = []
                for combination in itertools.product(*sweep.values()):
                    swept = dict(zip(sweep, combination))
                    merged = {**of_point, **options, **swept, "threads": self.threads}
                    settings.append(Setting(arm, point, swept, {o: v for o, v in merged.items() if v is not False}))
                for needed in ("train-data", "val-data"):
                    if needed not in settings[0].options:
                        self._refuse(f"arms.{arm} has no {needed}", "[common] or an axis should give it")
                yield Group(arm, point, settings)

    def point_text(self, point):
        return ", ".join(f"{axis} {value}" for axis, value in point.items()) or "all runs"
