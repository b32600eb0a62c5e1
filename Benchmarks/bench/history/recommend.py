# SPDX-License-Identifier: Apache-2.0
"""How work fares under the limits that recommenders give, ours among them."""
import os
import time

from . import recommenders
from ..figures import percentile, verdict
from .loads import MS, Memory, loads, play
from ..report import Result
from ..workshop import TOP

NAME = "recommend"
HISTORY = 7200  # seconds that peers are fed with
LOADS = ("30 ms each second", "200 ms each 2.5 s", "3 ms, 100 a second")
GOAL = 1.05
DRAWN = 1  # of the loads, with its recommendation over time


def measured(shop, schedule, limit, seconds):
    """How long requests took under a static limit, and what of the limit was left over, in CPUs."""
    made = shop.player("recommended", schedule, cpu=limit, quietly=True)
    made.start()
    time.sleep(0.3)
    used, began = made.group.used(), time.monotonic()
    found = play(shop, made, schedule, seconds)
    slack = limit - (made.group.used() - used) / (time.monotonic() - began)
    made.stop()
    # What was never answered took longer than all that was.
    return found + [float("inf")] * (len(schedule) - len(found)), slack


def _ms(value):
    return f"{value / MS:.1f} ms" if value != float("inf") else "not answered"


def run(shop, quick):
    seconds = 6 if quick else 15
    memory = Memory(shop)
    result = Result(
        NAME, "Work under the limits that recommenders give",
        ["load", "recommender", "limit, CPUs", "p50", "p99", "slack, CPUs", "goal"],
        [f"Loads of one thread, {seconds} s under each static limit, in runc. Ours saw such a run "
         "under observe; the others are fed with two hours of the same load, at their own "
         "intervals. VPA and Koordinator recommend requests: as limits they are what a user makes "
         "of them who wants requests and limits to be equal.",
         "The last row of a load is no static limit: what the policy reactive would have held on "
         "average."])
    drawn = os.path.join(TOP, "docs/history-recommendation.svg")
    for number, name in enumerate(LOADS):
        schedule, history = loads(seconds)[name], loads(HISTORY)[name]
        free, used, told = memory.observe(f"peer{number}", schedule, seconds + 0.3)
        before = percentile(free, 99)
        if number == DRAWN:
            result.drawings = {drawn: memory.drawing(f"peer{number}")}
        result.add(name, "no limit", "-", _ms(percentile(free, 50)), _ms(before), "-", "")
        limits = {title: rule(history, HISTORY) for title, rule in recommenders.RULES.items()}
        limits["escra recommend"] = told["cpu"]["limit"]["target"]
        for title, limit in limits.items():
            limit = max(0.01, round(limit, 3))
            took, slack = measured(shop, schedule, limit, seconds)
            p99 = percentile(took, 99)
            is_ours = title == "escra recommend"
            result.add(
                name, title, f"{limit:.3f}", _ms(percentile(took, 50)), _ms(p99), f"{slack:.3f}",
                verdict(p99 / before, GOAL, f"p99 <= {GOAL} x no limit") if is_ours else "")
            result.figures[f"{name}, {title}"] = {
                "limit": limit, "slack": slack,
                "answers_ns": [value for value in took if value != float("inf")]}
        result.add(name, "escra, reactive", f"{told['cpu']['reactiveHolds']:.3f} on average", "-",
                   "-", f"{told['cpu']['reactiveHolds'] - used / (seconds + 0.6):.3f}", "")
    return result
