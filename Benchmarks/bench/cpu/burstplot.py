# SPDX-License-Identifier: Apache-2.0
"""How long bursts take: from the 10th to the 90th percentile, the median, and the 99th."""
import math

from ..figures import percentile
from ..svg import GREY, WIDTH, document

ROW, LEFT, RIGHT, TOP, GAP = 26, 236, 64, 34, 50
LOW, HIGH = 12, 500  # milliseconds
TICKS = (15, 20, 30, 50, 100, 200, 300, 500)
OURS, OTHERS, BUSY = "#3b82c4", "#d9622b", 0.4


def _x(milliseconds):
    share = math.log(milliseconds / LOW) / math.log(HIGH / LOW)
    return LEFT + (WIDTH - LEFT - RIGHT) * min(1, max(0, share))


def _bar(samples, y, colour, opacity):
    p10, p50, p90, p99 = (_x(percentile(samples, p) / 1e6) for p in (10, 50, 90, 99))
    return (
        f'<g stroke="{colour}" fill="{colour}" opacity="{opacity}">'
        f'<path d="M{p50:.1f},{y:.1f}H{p99:.1f}" stroke-width="1.5"/>'
        f'<path d="M{p99:.1f},{y - 4:.1f}V{y + 4:.1f}" stroke-width="1.5"/>'
        f'<path d="M{p10:.1f},{y:.1f}H{max(p90, p10 + 1):.1f}" stroke-width="5"/>'
        f'<circle cx="{p50:.1f}" cy="{y:.1f}" r="4.5" stroke="none"/></g>')


def _panel(title, rows, top):
    base = top + ROW * len(rows)
    parts = [f'<text x="{LEFT}" y="{top - 12}" font-weight="bold">{title}</text>']
    for value in TICKS:
        x = _x(value)
        parts.append(
            f'<path d="M{x:.1f},{top}V{base}" stroke="{GREY}" stroke-opacity="0.25"/>'
            f'<text x="{x:.1f}" y="{base + 16}" text-anchor="middle">{value}</text>')
    parts.append(
        f'<path d="M{LEFT},{top}V{base}H{WIDTH - RIGHT}" fill="none" stroke="{GREY}"/>'
        f'<text x="{WIDTH - RIGHT + 12}" y="{base + 16}">ms</text>')
    for index, (name, situations) in enumerate(rows):
        y = top + ROW * (index + 0.5)
        colour = OURS if name.startswith("escra-runc") else OTHERS
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{name}</text>')
        for place, samples in enumerate(situations):
            parts.append(_bar(samples, y - 5 + 10 * place, colour, BUSY if place else 1))
        parts.append(
            f'<text x="{WIDTH - RIGHT + 12}" y="{y + 4:.1f}">'
            f'{percentile(situations[0], 50) / 1e6:.1f}</text>')
    return parts


def draw(panels):
    """The picture of several (title, rows), a row being (name, [samples in nanoseconds, the same
    beside somebody else's work])."""
    height, parts = TOP, []
    for title, rows in panels:
        parts += _panel(title, rows, height)
        height += ROW * len(rows) + GAP + 10
    y = height - 12
    parts.append(
        f'<text x="{LEFT}" y="{y}">dot p50 (number at the right), bar p10 to p90, tick p99; pale: '
        "the other CPU busy</text>")
    return document(
        "How long 30 ms of CPU take in a container that declares 10 ms in 100 ms", height, parts)
