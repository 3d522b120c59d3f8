"""Finds the pieces of a kernel file in which a mistake can be planted: statements, conditions, values."""
import re

from mutations import Region


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
        code = re.sub(r"^#ifdef __CUDACC__$.*?^#(else|endif)$", blank, self.text, flags=re.S | re.M)  # what only nvcc sees
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
        head = re.sub(r"__launch_bounds__\((?:[^()]|\([^()]*\))*\)|template <[^\n]*>\n|requires\([^()\n]*\)", " ", head)
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
        elif re.match(r"\*?[\w:.]+(<[\w:, ]+>)?((\[[^=;]*?\]|->\w+|\.\w+|\([^=]*?\))*) [-+*/&|^]?=\s|\*reinterpret_cast", text) \
                or re.match(r"[\w:.]+(<[\w:, <>]+>)?\(.*\);$", text, re.S):
            self.region(start, end, "statement", function, kernel)
        else:
            self.declaration(start, end - 1, function, kernel)

    def declaration(self, start, end, function, kernel):
        for a, b in split(self.clean, ",", start, end):
            value = re.search(r"\s=\s", self.clean[a:b])
            if value:
                self.region(a + value.end(), b, "value", function, kernel)

    def code(self):
        out, at = [], 0
        for r in sorted(self.regions, key=lambda r: r.start):
            assert r.start >= at, f"{r.file}: pieces overlap at {r.original}"
            out += [self.text[at:r.start], r.code()]
            at = r.end
        return "".join(out) + self.text[at:]
