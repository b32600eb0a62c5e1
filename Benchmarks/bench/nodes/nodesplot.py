# SPDX-License-Identifier: Apache-2.0
"""What two nodes have of one limit, and what they use of it, over time."""
from ..svg import GREY, WIDTH, document

PANEL, LEFT, RIGHT, TOP, GAP = 150, 48, 16, 34, 50
COLOURS = ("#3b82c4", "#d9622b")


def _panel(title, curves, limit, seconds, top):
    most = limit * 1.7

    def x(second):
        return LEFT + (WIDTH - LEFT - RIGHT) * second / seconds

    def y(cpus):
        return top + PANEL - PANEL * min(cpus, most) / most

    base = y(0)
    parts = [f'<text x="{LEFT}" y="{top - 10}" font-weight="bold">{title}</text>']
    for curve, colour in zip(curves, COLOURS):
        use = f"M{x(curve[0][0]):.1f},{base:.1f}"
        share = f"M{x(0):.1f},{y(curve[0][1]):.1f}"
        for moment, quota, used in curve:
            use += f"L{x(moment):.1f},{y(used):.1f}"
            share += f"H{x(moment):.1f}V{y(quota):.1f}"
        use += f"L{x(curve[-1][0]):.1f},{base:.1f}Z"
        parts += [
            f'<path d="{use}" fill="{colour}" fill-opacity="0.3"/>',
            f'<path d="{share}" fill="none" stroke="{colour}" stroke-width="1.6"/>']
    total = f"M{x(0):.1f},{y(sum(curve[0][1] for curve in curves)):.1f}"
    for first, second in zip(*curves):
        total += f"H{x(first[0]):.1f}V{y(first[1] + second[1]):.1f}"
    parts += [
        f'<path d="{total}" fill="none" stroke="{GREY}" stroke-width="1.2"/>',
        f'<path d="M{LEFT},{y(limit):.1f}H{WIDTH - RIGHT}" stroke="{GREY}" '
        'stroke-dasharray="5 4"/>',
        f'<path d="M{LEFT},{top}V{base}H{WIDTH - RIGHT}" fill="none" stroke="{GREY}"/>']
    for cpus in (0, limit / 2, limit):
        parts.append(
            f'<text x="{LEFT - 6}" y="{y(cpus) + 4:.1f}" text-anchor="end">{cpus:g}</text>')
    for second in range(0, seconds + 1, 5):
        parts.append(
            f'<text x="{x(second):.1f}" y="{base + 16:.1f}" text-anchor="middle">{second}</text>')
    return parts


def draw(panels, limit, seconds):
    """The picture of several (title, [curve of each node]), a curve being (second, share, use)."""
    height, parts = TOP + len(panels) * (PANEL + GAP) + 14, []
    for index, (title, curves) in enumerate(panels):
        parts += _panel(title, curves, limit, seconds, TOP + index * (PANEL + GAP))
    y = height - 10
    for x, colour, label in (
            (LEFT, COLOURS[0], "node 1: limit (line) and use"),
            (LEFT + 210, COLOURS[1], "node 2"), (LEFT + 300, GREY, "sum of both limits")):
        parts.append(
            f'<rect x="{x}" y="{y - 10}" width="14" height="10" fill="{colour}"/>'
            f'<text x="{x + 20}" y="{y}">{label}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{y}" text-anchor="end">seconds; dashed: the limit '
                 'of the application</text>')
    return document("One limit of two nodes while load moves between them", height, parts)
