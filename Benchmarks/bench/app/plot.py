# SPDX-License-Identifier: Apache-2.0
"""An application's limits and use over time, a panel for each way to limit it."""
from ..plot import GAP, LIMIT, PANEL, SLACK, TOP, USE
from ..svg import LEFT, Axes, document, legend

HEIGHT = PANEL * 2 // 3


def _panel(title, curve, seconds, top, most):
    axes = Axes(title, top, HEIGHT, seconds, 1.15 * most)
    limited = [(moment, limit) for moment, limit, _ in curve if limit is not None]
    line = axes.steps(limited, to_end=True) if limited else None
    if line:
        axes.draw(axes.below(line), f'fill="{SLACK}" fill-opacity="0.13"')
    axes.draw(axes.area([(moment, used) for moment, _, used in curve]),
              f'fill="{USE}" fill-opacity="0.75"')
    if line:
        axes.draw(line, f'fill="none" stroke="{LIMIT}" stroke-width="1.8"')
    axes.level(most, "4")
    return axes.finish((0, most / 2, most), 2)


def draw(panels, seconds, most, unit):
    """The picture of several (title, curve), a curve being (second, limit or None, use) in a unit;
    most: what the application may have in all."""
    parts = []
    for index, (title, curve) in enumerate(panels):
        parts += _panel(title, curve, seconds, TOP + index * (HEIGHT + GAP), most)
    height = TOP + len(panels) * (HEIGHT + GAP) + 14
    parts += legend(height - 10, (
        (LEFT, USE, 0.75, f"{unit} used"), (LEFT + 110, LIMIT, 1, "sum of the limits"),
        (LEFT + 260, SLACK, 0.13, "reserved and not used")),
        "seconds; dashed: what the application may have")
    return document(
        f"The limits of an application of four containers, and its use, in {unit}", height, parts)
