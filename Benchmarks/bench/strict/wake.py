# SPDX-License-Identifier: Apache-2.0
"""How late a sleeper in a container that reserves a CPU is woken up, beside busy neighbours."""
import os
import time

from .. import latencyplot
from ..figures import median, milliseconds, percentile, verdict, with_interval
from ..report import Result
from .scene import ALONE, BESIDE, Case, Scene, judged, middle, paired
from ..workshop import TOP

NAME = "strict-wake"
MS = 1_000_000
GOAL = 1.3
PERCENTS = (50, 99, 100)
PLOT = os.path.join(TOP, "docs", "strict-wakes-in-time.svg")
SLEEPERS = (("sleeps 1 ms, works 1 ms", MS), ("sleeps 1 ms", 0))


def run(shop, quick):
    rounds, seconds = (1, 1) if quick else (5, 4)
    scene = Scene(shop, quick)
    result = Result(
        NAME, "A sleeper in a container that reserves one CPU is woken up",
        ["sleeper, overslept by", "p50", "p99", "max", "p99 to standard", "p99 to alone",
         "target CPUs", "neighbours' CPUs", "host idle CPUs", "goal"],
        [f"{rounds} rounds of {seconds} s each, all cases in turns; medians over the rounds. "
         "Ratios are of the same round: median (smallest, largest).",
         scene.cast(),
         "From the moment asked for to the return of clock_nanosleep(2), in a program of ours in "
         "the container. Standard is runc; alone is standard without neighbours."])

    def work(target):
        shop.go(target, time.monotonic_ns())
        return shop.answer(target, 10 * seconds)

    for title, busy in SLEEPERS:
        found = scene.play(
            [ALONE, *BESIDE], rounds, ["wake", MS, busy, seconds * 1000 * MS], work,
            f"strict: {title}")
        late = {
            case: [[percentile(samples, p) for p in PERCENTS] for samples, _ in runs]
            for case, runs in found.items()}
        p99 = {case: [each[1] for each in rows] for case, rows in late.items()}
        for case, runs in found.items():
            alone, peer = paired(p99, ALONE, case), paired(p99, case.standard, case)
            result.add(
                f"{title}: {case.title}",
                *[milliseconds(median([each[i] for each in late[case]]))
                  for i in range(len(PERCENTS))],
                with_interval(peer.ratios, 3) if case.is_strict else "",
                with_interval(alone.ratios) if case != ALONE else "",
                *[middle(runs, who) for who in ("target", "neighbours", "idle")],
                judged(runs + found[ALONE], verdict(
                    alone.median_ratio, GOAL, f"<= {GOAL} x alone")) if case.is_strict else "")
            result.figures[f"{title}: {case.title}"] = {
                "p50_p99_max_ns": late[case], "samples": [len(samples) for samples, _ in runs],
                "p99_to_alone": alone.published(), "p99_to_standard": peer.published(),
                "cpus": [vars(shares) for _, shares in runs]}
        if busy:
            pooled = {
                case: sorted(sample for samples, _ in runs for sample in samples)
                for case, runs in found.items()}
    result.notes.append(scene.note())
    result.drawing = latencyplot.draw([
        (f"{SLEEPERS[0][0]}, beside {neighbours} neighbours",
         [("alone", pooled[ALONE]),
          *((policy, pooled[Case(policy, neighbours)]) for policy in ("standard", "strict"))])
        for neighbours in ("capped", "burstable")])
    result.drawing_path = PLOT
    return result
