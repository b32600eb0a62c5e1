# SPDX-License-Identifier: Apache-2.0
"""Limit and use over time."""
from .svg import LEFT, Axes, document, legend

PANEL, TOP, GAP = 150, 30, 46
CEILING = 1.1  # CPUs at the top of a panel
USE, LIMIT, SLACK = "#3b82c4", "#d9622b", "#d9622b"


def _panel(title, curve, seconds, top):
    axes = Axes(title, top, PANEL, seconds, CEILING)
    limit = axes.steps([(moment, quota) for moment, quota, _ in curve], to_end=True)
    axes.draw(axes.below(limit), f'fill="{SLACK}" fill-opacity="0.13"')
    axes.draw(axes.area([(moment, used) for moment, _, used in curve]),
              f'fill="{USE}" fill-opacity="0.75"')
    axes.draw(limit, f'fill="none" stroke="{LIMIT}" stroke-width="1.8"')
    return axes.finish((0, 0.5, 1), 5)


def draw(panels, seconds):
    """The picture of several (title, curve), a curve being (second, limit, use) in CPUs."""
    height = TOP + len(panels) * (PANEL + GAP) + 14
    parts = []
    for index, (title, curve) in enumerate(panels):
        parts += _panel(title, curve, seconds, TOP + index * (PANEL + GAP))
    parts += legend(height - 10, (
        (LEFT, USE, 0.75, "CPUs used"), (LEFT + 110, LIMIT, 1, "limit"),
        (LEFT + 190, SLACK, 0.13, "reserved and not used")), "seconds")
    return document(
        "The CPU limit of a container and its use, static and reactive", height, parts)
