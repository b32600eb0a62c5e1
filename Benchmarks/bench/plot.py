# SPDX-License-Identifier: Apache-2.0
"""Limit and use over time."""
from .svg import GREY, WIDTH, document

PANEL, LEFT, RIGHT, TOP, GAP = 150, 48, 16, 30, 46
CEILING = 1.1  # CPUs at the top of a panel
USE, LIMIT, SLACK = "#3b82c4", "#d9622b", "#d9622b"


def _panel(title, curve, seconds, top):
    def x(second):
        return LEFT + (WIDTH - LEFT - RIGHT) * second / seconds

    def y(cpus):
        return top + PANEL - PANEL * min(cpus, CEILING) / CEILING

    base = y(0)
    use = f"M{x(curve[0][0]):.1f},{base:.1f}"
    limit = f"M{x(0):.1f},{y(curve[0][1]):.1f}"
    for moment, quota, used in curve:
        use += f"L{x(moment):.1f},{y(used):.1f}"
        limit += f"H{x(moment):.1f}V{y(quota):.1f}"
    use += f"L{x(curve[-1][0]):.1f},{base:.1f}Z"
    limit += f"H{x(seconds):.1f}"
    under = f"{limit}V{base:.1f}H{x(0):.1f}Z"
    parts = [
        f'<text x="{LEFT}" y="{top - 10}" font-weight="bold">{title}</text>',
        f'<path d="{under}" fill="{SLACK}" fill-opacity="0.13"/>',
        f'<path d="{use}" fill="{USE}" fill-opacity="0.75"/>',
        f'<path d="{limit}" fill="none" stroke="{LIMIT}" stroke-width="1.8"/>',
        f'<path d="M{LEFT},{top}V{base}H{WIDTH - RIGHT}" fill="none" stroke="{GREY}"/>',
    ]
    for cpus in (0, 0.5, 1):
        parts.append(
            f'<text x="{LEFT - 6}" y="{y(cpus) + 4:.1f}" text-anchor="end">{cpus:g}</text>')
    for second in range(0, seconds + 1, 5):
        parts.append(
            f'<text x="{x(second):.1f}" y="{base + 16:.1f}" text-anchor="middle">{second}</text>')
    return parts


def draw(panels, seconds):
    """The picture of several (title, curve), a curve being (second, limit, use) in CPUs."""
    height = TOP + len(panels) * (PANEL + GAP) + 14
    parts = []
    for index, (title, curve) in enumerate(panels):
        parts += _panel(title, curve, seconds, TOP + index * (PANEL + GAP))
    y = height - 10
    for x, colour, opacity, label in (
        (LEFT, USE, 0.75, "CPUs used"), (LEFT + 110, LIMIT, 1, "limit"),
        (LEFT + 190, SLACK, 0.13, "reserved and not used")):
        parts.append(
            f'<rect x="{x}" y="{y - 10}" width="14" height="10" fill="{colour}" '
            f'fill-opacity="{opacity}"/><text x="{x + 20}" y="{y}">{label}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{y}" text-anchor="end">seconds</text>')
    return document(
        "The CPU limit of a container and its use, static and reactive", height, parts)
