# SPDX-License-Identifier: Apache-2.0
"""What two nodes have of one limit, and what they use of it, over time."""
from ..svg import GREY, LEFT, Axes, document, legend

PANEL, TOP, GAP = 150, 34, 50
COLOURS = ("#3b82c4", "#d9622b")


def _panel(title, curves, limit, seconds, top):
    axes = Axes(title, top, PANEL, seconds, limit * 1.7)
    for curve, colour in zip(curves, COLOURS):
        axes.draw(axes.area([(moment, used) for moment, _, used in curve]),
                  f'fill="{colour}" fill-opacity="0.3"')
        axes.draw(axes.steps([(moment, share) for moment, share, _ in curve]),
                  f'fill="none" stroke="{colour}" stroke-width="1.6"')
    total = [(first[0], first[1] + second[1]) for first, second in zip(*curves)]
    axes.draw(axes.steps(total), f'fill="none" stroke="{GREY}" stroke-width="1.2"')
    axes.level(limit, "5 4")
    return axes.finish((0, limit / 2, limit), 5)


def draw(panels, limit, seconds):
    """The picture of several (title, [curve of each node]), a curve being (second, share, use)."""
    height, parts = TOP + len(panels) * (PANEL + GAP) + 14, []
    for index, (title, curves) in enumerate(panels):
        parts += _panel(title, curves, limit, seconds, TOP + index * (PANEL + GAP))
    parts += legend(height - 10, (
        (LEFT, COLOURS[0], None, "node 1: limit (line) and use"),
        (LEFT + 210, COLOURS[1], None, "node 2"), (LEFT + 300, GREY, None, "sum of both limits")),
        "seconds; dashed: the limit of the application")
    return document("One limit of two nodes while load moves between them", height, parts)
