# SPDX-License-Identifier: Apache-2.0
"""Latency by percentile."""
import math

from .figures import percentile
from .svg import GREY, WIDTH, document

PANEL, LEFT, RIGHT, TOP, GAP = 170, 56, 24, 30, 56
LOW, HIGH = 0.03, 30  # milliseconds
PERCENTS = (0, 50, 90, 99, 99.9)
COLOURS = {"alone": GREY, "standard": "#d9622b", "strict": "#3b82c4"}


def _x(percent):
    """Each nine has the same width."""
    return LEFT + (WIDTH - LEFT - RIGHT) * -math.log10(1 - percent / 100) / 3


def _y(milliseconds, top):
    share = math.log(milliseconds / LOW) / math.log(HIGH / LOW)
    return top + PANEL - PANEL * min(1, max(0, share))


def _panel(title, curves, top):
    base = top + PANEL
    parts = [
        f'<text x="{LEFT}" y="{top - 10}" font-weight="bold">{title}</text>',
        f'<path d="M{LEFT},{top}V{base}H{WIDTH - RIGHT}" fill="none" stroke="{GREY}"/>',
    ]
    for value in (0.1, 1, 10):
        y = _y(value, top)
        parts.append(
            f'<path d="M{LEFT},{y:.1f}H{WIDTH - RIGHT}" stroke="{GREY}" stroke-opacity="0.25"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g} ms</text>')
    for percent in PERCENTS:
        parts.append(
            f'<text x="{_x(percent):.1f}" y="{base + 16}" text-anchor="middle">'
            f'p{percent:g}</text>')
    for name, samples in curves:
        points = [100 - 100 * 10 ** (-step / 20) for step in range(61)]
        line = "L".join(
            f"{_x(percent):.1f},{_y(percentile(samples, percent) / 1e6, top):.1f}"
            for percent in points)
        parts.append(f'<path d="M{line}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>')
    return parts


def draw(panels):
    """The picture of several (title, curves), a curve being (name, samples in nanoseconds)."""
    height = TOP + len(panels) * (PANEL + GAP) + 10
    parts = []
    for index, (title, curves) in enumerate(panels):
        parts += _panel(title, curves, TOP + index * (PANEL + GAP))
    for index, (name, colour) in enumerate(COLOURS.items()):
        x, y = LEFT + index * 110, height - 10
        parts.append(
            f'<rect x="{x}" y="{y - 10}" width="14" height="10" fill="{colour}"/>'
            f'<text x="{x + 20}" y="{y}">{name}</text>')
    parts.append(
        f'<text x="{WIDTH - RIGHT}" y="{height - 10}" text-anchor="end">overslept by, of all '
        "wake-ups</text>")
    return document(
        "How late a sleeper is woken up: alone, under standard and under strict", height, parts)
