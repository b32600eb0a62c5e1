# SPDX-License-Identifier: Apache-2.0
"""What our pictures have in common: SVG written by hand, readable on light and on dark pages."""

WIDTH, GREY = 860, "#808890"
LEFT, RIGHT = 48, 16


class Axes:
    """A panel of amounts over seconds, with what is drawn in it."""

    def __init__(self, title, top, height, seconds, most):
        self.top, self.height, self.seconds, self.most = top, height, seconds, most
        self.base = self.y(0)
        self.parts = [f'<text x="{LEFT}" y="{top - 10}" font-weight="bold">{title}</text>']

    def x(self, second):
        return LEFT + (WIDTH - LEFT - RIGHT) * second / self.seconds

    def y(self, amount):
        return self.top + self.height - self.height * min(amount, self.most) / self.most

    def draw(self, path, style):
        self.parts.append(f'<path d="{path}" {style}/>')

    def area(self, points):
        """The path around what is below (second, amount)."""
        line = "".join(f"L{self.x(second):.1f},{self.y(amount):.1f}" for second, amount in points)
        return (f"M{self.x(points[0][0]):.1f},{self.base:.1f}{line}"
                f"L{self.x(points[-1][0]):.1f},{self.base:.1f}Z")

    def steps(self, points, to_end=False):
        """The path of a limit that changes at each (second, amount)."""
        line = "".join(f"H{self.x(second):.1f}V{self.y(amount):.1f}" for second, amount in points)
        start = f"M{self.x(0):.1f},{self.y(points[0][1]):.1f}"
        return start + line + (f"H{self.x(self.seconds):.1f}" if to_end else "")

    def below(self, steps):
        """The path around what is below a limit."""
        return f"{steps}V{self.base:.1f}H{self.x(0):.1f}Z"

    def level(self, amount, dashes):
        self.draw(f"M{LEFT},{self.y(amount):.1f}H{WIDTH - RIGHT}",
                  f'stroke="{GREY}" stroke-dasharray="{dashes}"')

    def finish(self, amounts, every):
        """Draws the axes, and returns the panel."""
        self.draw(f"M{LEFT},{self.top}V{self.base:.1f}H{WIDTH - RIGHT}",
                  f'fill="none" stroke="{GREY}"')
        for amount in amounts:
            self.parts.append(f'<text x="{LEFT - 6}" y="{self.y(amount) + 4:.1f}" '
                              f'text-anchor="end">{amount:.3g}</text>')
        for second in range(0, self.seconds + 1, every):
            self.parts.append(f'<text x="{self.x(second):.1f}" y="{self.base + 16:.1f}" '
                              f'text-anchor="middle">{second}</text>')
        return self.parts


def legend(y, entries, note):
    """The line below the panels: (x, colour, opacity or nothing, label), a note at the right."""
    parts = []
    for x, colour, opacity, label in entries:
        pale = f' fill-opacity="{opacity}"' if opacity else ""
        parts.append(f'<rect x="{x}" y="{y - 10}" width="14" height="10" fill="{colour}"{pale}/>'
                     f'<text x="{x + 20}" y="{y}">{label}</text>')
    return parts + [f'<text x="{WIDTH - RIGHT}" y="{y}" text-anchor="end">{note}</text>']


def document(title, height, parts):
    """The text of a picture."""
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12" '
        f'fill="{GREY}">',
        "<!-- SPDX-License-Identifier: Apache-2.0; drawn by Benchmarks/run -->",
        f"<title>{title}</title>", *parts, "</svg>"]) + "\n"
