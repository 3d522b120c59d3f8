"""Figures as SVG: curves over axes with round ticks, and histograms. Each is a text that a browser shows."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 40, 50
COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#bcbd22", "#7f7f7f")
DASHES = ("", "6 3", "2 3", "8 3 2 3")


def ticks(low, high, about=6):
    """Round numbers from low to high."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


class Axes:
    """Places of numbers within the frame; an x axis may be logarithmic."""

    def __init__(self, x_range, y_range, x_label, y_label, title, log_x=False):
        self.log_x = log_x
        self.x0, self.x1 = map(self._scaled, x_range)
        self.y0, self.y1 = y_range
        self.x1 += self.x1 == self.x0
        self.y1 += self.y1 == self.y0
        self.parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
                      f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
                      f'<clipPath id="frame"><rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" '
                      f'height="{HEIGHT - TOP - BOTTOM}"/></clipPath>']
        middle = (LEFT + WIDTH - RIGHT) / 2
        self.text(middle, TOP - 16, title, size=14)
        self.text(middle, HEIGHT - 12, x_label)
        self.parts.append(f'<text transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
                          f'{escape(y_label)}</text>')
        if log_x:
            # Half a decade at least is between two of them.
            places = [(10.0 ** i, f"1e{i}") for i in range(math.ceil(self.x0), math.floor(self.x1) + 1)]
        else:
            places = [(x, f"{x:g}") for x in ticks(self.x0, self.x1)]
        for x, label in places:
            self.parts.append(f'<path d="M{self.x(x):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e5e5e5"/>')
            self.text(self.x(x), HEIGHT - BOTTOM + 16, label)
        for y in ticks(self.y0, self.y1):
            self.parts.append(f'<path d="M{LEFT} {self.y(y):.1f}H{WIDTH - RIGHT}" stroke="#e5e5e5"/>')
            self.text(LEFT - 6, self.y(y) + 4, f"{y:g}", anchor="end")
        self.parts.append(f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}" '
                          'fill="none" stroke="#888"/>')

    def _scaled(self, x):
        return math.log10(x) if self.log_x else x

    def x(self, value):
        return LEFT + (self._scaled(value) - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, value):
        return HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)

    def text(self, x, y, text, anchor="middle", size=12):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>')

    def legend(self, number, name):
        y, x = TOP + 8 + 18 * number, WIDTH - RIGHT + 10
        self.parts.append(f'<path d="M{x} {y}h22" {style(number)}/>')
        self.text(x + 28, y + 4, name, anchor="start")

    def done(self):
        return "\n".join(self.parts) + "\n</svg>\n"


def style(number):
    dash = DASHES[number // len(COLORS) % len(DASHES)]
    line = f'fill="none" stroke-width="2" stroke="{COLORS[number % len(COLORS)]}"'
    return line + (f' stroke-dasharray="{dash}"' if dash else "")


def curves(named, x_label, y_label, title):
    """`named` maps a name to its points. The frame leaves out what curves do in their first fifth, which is a steep fall."""
    points = [point for line in named.values() for point in line]
    end = max(x for x, _ in points)
    shown = [y for line in named.values() for x, y in line if x >= 0.2 * end] or [y for _, y in points]
    margin = 0.04 * (max(shown) - min(shown)) or 0.1
    axes = Axes((0, end), (min(shown) - margin, max(shown) + margin), x_label, y_label, title)
    for number, (name, line) in enumerate(named.items()):
        path = " ".join(f"{axes.x(x):.1f} {axes.y(y):.1f}" for x, y in line)
        axes.parts.append(f'<path d="M{path}" clip-path="url(#frame)" {style(number)}/>')
        axes.legend(number, name)
    return axes.done()


def histogram(values, x_label, title, bins=40):
    """How many of the values, which are above zero, lie in each of the bins, that are equally wide in the logarithm."""
    low, high = math.log10(min(values)), math.log10(max(values))
    width = (high - low) / bins or 1.0
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int((math.log10(value) - low) / width))] += 1
    axes = Axes((10.0 ** low, 10.0 ** (low + bins * width)), (0, max(counts) * 1.05), x_label, "number", title, log_x=True)
    for i, count in enumerate(counts):
        left, right = (axes.x(10.0 ** (low + width * j)) for j in (i, i + 1))
        axes.parts.append(f'<rect x="{left:.1f}" y="{axes.y(count):.1f}" width="{right - left:.1f}" '
                          f'height="{axes.y(0) - axes.y(count):.1f}" fill="{COLORS[0]}"/>')
    return axes.done()
