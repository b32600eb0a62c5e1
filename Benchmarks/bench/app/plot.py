# SPDX-License-Identifier: Apache-2.0
"""An application's limits and use over time, a panel for each way to limit it."""
from ..plot import GAP, LEFT, LIMIT, PANEL, RIGHT, SLACK, TOP, USE
from ..svg import GREY, WIDTH, document

HEIGHT = PANEL * 2 // 3


def _panel(title, curve, seconds, top, most):
    ceiling = 1.15 * most

    def x(second):
        return LEFT + (WIDTH - LEFT - RIGHT) * second / seconds

    def y(amount):
        return top + HEIGHT - HEIGHT * min(amount, ceiling) / ceiling

    base = y(0)
    parts = [f'<text x="{LEFT}" y="{top - 10}" font-weight="bold">{title}</text>']
    use = f"M{x(curve[0][0]):.1f},{base:.1f}" + "".join(
        f"L{x(moment):.1f},{y(used):.1f}" for moment, _, used in curve)
    use += f"L{x(curve[-1][0]):.1f},{base:.1f}Z"
    limited = [(moment, limit) for moment, limit, _ in curve if limit is not None]
    if limited:
        line = f"M{x(0):.1f},{y(limited[0][1]):.1f}" + "".join(
            f"H{x(moment):.1f}V{y(limit):.1f}" for moment, limit in limited) + f"H{x(seconds):.1f}"
        parts.append(
            f'<path d="{line}V{base:.1f}H{x(0):.1f}Z" fill="{SLACK}" fill-opacity="0.13"/>')
    parts.append(f'<path d="{use}" fill="{USE}" fill-opacity="0.75"/>')
    if limited:
        parts.append(f'<path d="{line}" fill="none" stroke="{LIMIT}" stroke-width="1.8"/>')
    parts += [
        f'<path d="M{LEFT},{y(most):.1f}H{WIDTH - RIGHT}" stroke="{GREY}" stroke-dasharray="4"/>',
        f'<path d="M{LEFT},{top}V{base:.1f}H{WIDTH - RIGHT}" fill="none" stroke="{GREY}"/>']
    for amount in (0, most / 2, most):
        parts.append(
            f'<text x="{LEFT - 6}" y="{y(amount) + 4:.1f}" text-anchor="end">{amount:.3g}</text>')
    for second in range(0, seconds + 1, 2):
        parts.append(
            f'<text x="{x(second):.1f}" y="{base + 16:.1f}" text-anchor="middle">{second}</text>')
    return parts


def draw(panels, seconds, most, unit):
    """The picture of several (title, curve), a curve being (second, limit or None, use) in a unit;
    most: what the application may have in all."""
    parts = []
    for index, (title, curve) in enumerate(panels):
        parts += _panel(title, curve, seconds, TOP + index * (HEIGHT + GAP), most)
    height = TOP + len(panels) * (HEIGHT + GAP) + 14
    y = height - 10
    for x, colour, opacity, label in (
        (LEFT, USE, 0.75, f"{unit} used"), (LEFT + 110, LIMIT, 1, "sum of the limits"),
        (LEFT + 260, SLACK, 0.13, "reserved and not used")):
        parts.append(
            f'<rect x="{x}" y="{y - 10}" width="14" height="10" fill="{colour}" '
            f'fill-opacity="{opacity}"/><text x="{x + 20}" y="{y}">{label}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{y}" text-anchor="end">seconds; dashed: what the '
                 "application may have</text>")
    return document(
        f"The limits of an application of four containers, and its use, in {unit}", height, parts)
