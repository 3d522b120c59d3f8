"""The mistakes that can be made in a piece of source: what is replaced by what, and the code that chooses at run time."""
import re

# (pattern, replacements, always): `always` for mistakes that are peculiar to GPUs; of the others a sample is taken.
# Operators have spaces around them, which tells them from template brackets, pointers and signs.
OPERATORS = [
    (r" < ", [" <= "], False), (r" <= ", [" < "], False), (r" > ", [" >= "], False), (r" >= ", [" > "], False),
    (r" == ", [" != "], False), (r" != ", [" == "], False), (r" && ", [" || "], False), (r" \|\| ", [" && "], False),
    (r" \+ ", [" - "], False), (r" - ", [" + "], False), (r" \* ", [" + "], False), (r" / ", [" * "], False),
    (r" % ", [" / "], False), (r" << ", [" >> "], False), (r" >> ", [" << "], False), (r" & ", [" | "], False),
    (r" \| ", [" & "], False), (r" \+= ", [" -= "], False), (r" -= ", [" += "], False), (r" &= ", [" |= "], False),
    (r"(?<!\bfrom)(?<!\bkeys)(?<!\bscores)(?<!\btile)(?<!\bto) \+= ", [" = "], False),  # not of a pointer
    (r"\bmin\(", ["max("], False), (r"\bfmaxf\(", ["fminf("], False),
    (r"\baccumulate\b", ["false", "true"], False), (r"\bexists\b", ["true"], False),
    (r"(?<!\.)\bscale\b", ["(2.0f * scale)"], False),
    (r"\bstd::min\b", ["std::max"], False), (r"\bstd::max\b", ["std::min"], False),
    (r"\bgpu::div_ceil\(", ["mutation::div_floor("], False),
    (r"(?<![\w:.\[])(?:\w+(?:<[^<>]*>)?::)*k[A-Z]\w*(?:<HS>)?(?![\w<(:])", [r"(\g<0> / 2)"], False),  # a size
    (r"(?<![\w.])\d+\.\d+f\b", [r"(\g<0> * 1.01f + 0.001f)"], False),
    (r"(?<![\w.<\[])(?<!e-)[1-9]\d*u?\b(?![.>])", [r"(\g<0> + 1)"], False),
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
SYNCHRONISATION = re.compile(r"__sync(threads|warp)\(\);|gpu::cp_async_(wait<0>|commit)\(\);|CUDA_CHECK\((?s:.*)\);|"
                             r"gpu::(named_barrier|mbarrier|wgmma|fence)_[a-z_]+(<\d>)?\((?s:.*)\);|own\.give_back\(.*\);")


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
