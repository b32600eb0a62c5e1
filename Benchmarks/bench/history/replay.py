# SPDX-License-Identifier: Apache-2.0
"""What a replay says of a static limit, and what the kernel does under it."""
import os
import threading
import time

from . import tracefile
from ..figures import median, verdict
from .loads import MS, Memory, loads, play
from ..report import Result

NAME = "replay"
FACTORS = (1.15, 1.6, 2.2, 3.0)  # of the mean use
SECONDS = 10
PERIOD = 100_000_000
GOAL_THROTTLED, GOAL_SLACK, GOAL_DAY = 0.05, 0.03, 1.0


class Phase(threading.Thread):
    """Looks when periods of a group end, for two seconds' worth of them."""

    def __init__(self, group):
        super().__init__(daemon=True)
        self.group = group
        self.least, self.moment, self.is_over = PERIOD, 0, False

    def run(self):
        looked, periods, seen = time.monotonic_ns(), self.group.periods(), 0
        while seen < 20 and not self.is_over:
            time.sleep(0.0002)
            now, found = time.monotonic_ns(), self.group.periods()
            if found != periods:
                seen += 1
                if now - looked < self.least:
                    self.least, self.moment = now - looked, (now + looked) // 2
            looked, periods = now, found

    def stop(self):
        self.is_over = True
        self.join()
        return self.moment


def reality(shop, name, schedule, limit, seconds):
    """Throttled time and what was left over of a limit, in seconds of CPU time; for how long, and
    when a period of the kernel's ended, since the load began."""
    made = shop.player(f"static{len(name)}", schedule, cpu=limit, quietly=True)
    made.start()
    time.sleep(0.3)
    before = made.group.throttled()[0], made.group.used()
    phase = Phase(made.group)
    phase.start()
    began = time.monotonic()
    # As long as the trace: under a small limit there is work left at the end.
    play(shop, made, schedule, seconds + 0.3)
    spent = time.monotonic() - began
    throttled, used = made.group.throttled()[0] - before[0], made.group.used() - before[1]
    moment = phase.stop() - made.started
    made.stop()
    return throttled, limit * spent - used, spent, moment


def days(shop, memory, result):
    """How long it takes to replay a day."""
    for title, pattern in tracefile.PATTERNS.items():
        path = os.path.join(shop.path, "day.trace")
        tracefile.write(path, pattern, 24 * 3600)
        took = []
        for _ in range(3):
            began = time.monotonic()
            memory.tool("replay", path, "--static", "500m")
            took.append(time.monotonic() - began)
        each = median(took) / 2
        result.notes.append(
            f"24 hours of {title}: {each:.2f} s for one candidate, of two in one call; "
            + verdict(each, GOAL_DAY, f"<= {GOAL_DAY:g} s"))
        result.figures[f"day of {title}"] = took


def run(shop, quick):
    seconds = 6 if quick else SECONDS
    memory = Memory(shop)
    result = Result(
        NAME, "A replay against the kernel",
        ["load", "limit, CPUs", "throttled: kernel", "replay", "off by", "any phase",
         "slack: kernel", "replay", "off by", "goal"],
        [f"Loads of one thread, {seconds} s each, traced without a limit under observe and then "
         "played again under runc with each static limit. Throttled time and slack are parts of "
         "the time that was played; what they are off by is a part of the kernel's figure where "
         "that is more than a fiftieth of the time, and of a fiftieth where it is less.",
         "A replay is told when the kernel's periods began, which is a random moment for each "
         "group; \"any phase\" is what it is off by without that."])
    chosen = list(loads(seconds).items())
    only = os.environ.get("ESCRA_BENCH_LOADS")
    if only:
        chosen = [chosen[int(number)] for number in only.split(",")]
    found = []
    for number, (name, schedule) in enumerate(chosen):
        _, used, _ = memory.observe(f"load{number}", schedule, seconds + 0.3)
        average = used / seconds
        for factor in FACTORS if not quick else FACTORS[:2]:
            limit = min(1.0, max(0.03, round(average * factor, 2)))
            throttled, slack, spent, moment = reality(shop, name, schedule, limit, seconds)
            command = ["replay", f"load{number}", "--config", memory.config, "--static",
                       f"{limit * 1000:.0f}m"]
            phase = (moment + memory.begun) % PERIOD / MS
            told = memory.tool(*command, "--phase", f"{phase:.1f}")
            row = told["candidates"][-1]
            kernel = throttled / spent, slack / spent
            # The replay goes on for as long as the container was there.
            model = row["throttledSeconds"] / spent, limit - (
                limit - row["meanSlack"]) * told["seconds"] / spent
            mean = memory.tool(*command)["candidates"][-1]["throttledSeconds"] / spent
            off = [abs(one - other) / max(one, 0.02) for one, other in zip(kernel, model)]
            unknown = abs(kernel[0] - mean) / max(kernel[0], 0.02)
            result.add(
                name, f"{limit:.2f}", f"{kernel[0]:.3f}", f"{model[0]:.3f}", f"{off[0]:.1%}",
                f"{unknown:.1%}", f"{kernel[1]:.3f}", f"{model[1]:.3f}", f"{off[1]:.1%}",
                "; ".join((verdict(off[0], GOAL_THROTTLED, "5 %"),
                           verdict(off[1], GOAL_SLACK, "3 %"))))
            found.append((off[0], off[1], unknown))
            result.figures[f"{name} at {limit:.2f}"] = [*kernel, *model, mean, phase]
    close = [sum(row[index] <= goal for row in found) for index, goal in (
        (0, GOAL_THROTTLED), (1, GOAL_SLACK), (2, GOAL_THROTTLED))]
    result.notes.append(
        f"Of {len(found)} limits throttled time is within 5 % for {close[0]}, without the phase "
        f"for {close[2]}; slack is within 3 % for {close[1]}.")
    days(shop, memory, result)
    return result
