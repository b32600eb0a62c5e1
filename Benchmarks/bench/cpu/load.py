# SPDX-License-Identifier: Apache-2.0
"""The same load under different limits: what is reserved and not used, and what is throttled."""
import os
import random
import time

from .. import cgroups, plot
from ..container import Failure
from ..figures import milliseconds, percentile, summary
from ..supervisors.idle import wakeups
from ..report import Result
from ..workshop import TOP

NAME = "load"
MS = 1_000_000
SECONDS, QUICK_SECONDS = 26, 10
PLOT = os.path.join(TOP, "docs", "limit-follows-use.svg")


def schedule(seed, seconds):
    """Idle, bursts, idle, a steady 0.3 CPU, idle. Seeded: the same for each limit."""
    draw = random.Random(seed)
    requests = []

    def at(share):
        return int(share * seconds * 1000)

    moment = at(0.1) * MS
    while moment < at(0.45) * MS:
        # 30 to 250 ms of CPU, 0.3 CPU on average.
        requests.append((moment, draw.randrange(30, 250) * MS, 0))
        moment += int(draw.expovariate(1 / 450) * MS) + 20 * MS
    bursts = len(requests)
    requests += [(moment * MS, 3 * MS, 0) for moment in range(at(0.6), at(0.87), 10)]
    return requests, bursts


class Trace:
    """What the sampler saw of one container: (ns, quota in us, use in ns)."""

    def __init__(self, samples, start, seconds, period, cpus):
        self.samples = [
            ((moment - start) / 1e9, cpus if quota < 0 else quota / period, use / 1e9)
            for moment, quota, use in samples if start <= moment <= start + seconds * 10**9]

    def reserved(self):
        """The limit integrated over time: core-seconds."""
        pairs = zip(self.samples, self.samples[1:])
        return sum(limit * (after - moment) for (moment, limit, _), (after, _, _) in pairs)

    def used(self):
        return self.samples[-1][2] - self.samples[0][2]

    def curve(self, step=0.1):
        """(seconds, limit, use) a step: the limit as it was last, the use as a mean."""
        points, last = [], self.samples[0]
        for sample in self.samples[1:]:
            if sample[0] - last[0] >= step:
                points.append((sample[0], sample[1], (sample[2] - last[2]) / (sample[0] - last[0])))
                last = sample
        return points


class Kind:
    def __init__(self, title, cpu, annotations=None):
        self.title, self.cpu, self.annotations = title, cpu, annotations
        self.slack, self.throttled, self.periods, self.used = 0.0, 0.0, 0, 0.0
        self.bursts, self.small = [], []
        self.supervisor_ns, self.supervisor_wakes = 0, 0
        self.curve = None


def play(shop, kind, seed, seconds, text):
    requests, bursts = schedule(seed, seconds)
    player = shop.player("load", requests, kind.annotations, kind.cpu).start()
    # The silence before a start: the reactive one goes to its floor, as a service at night does.
    shop.sleep(2.5, text)
    group = player.group
    supervisor = player.supervisor if kind.annotations else None
    sampler = shop.start_helper("sample", 10000, group.quota_file, group.usage_file)
    before = wakeups(supervisor) if supervisor else (0, 0)
    throttled, periods = group.throttled()
    start = time.monotonic_ns() + 100 * MS
    shop.go(player, start)
    shop.sleep(seconds + 0.2, text)
    sampler.terminate()
    samples = [tuple(map(int, line.split())) for line in sampler.stdout if line.count(" ") == 2]
    sampler.wait()
    shop.helpers.remove(sampler)

    trace = Trace(samples, start, seconds, group.period(), cgroups.online_cpus())
    times = shop.times(player)
    if not all(done for _, done in times):
        raise Failure(f"load: {kind.title} did not finish its load in {seconds} s; the machine "
                      "is too busy")
    answers = [
        done - (start + arrival) for (_, done), (arrival, _, _) in zip(times, requests)]
    kind.bursts += answers[:bursts]
    kind.small += answers[bursts:]
    kind.slack += trace.reserved() - trace.used()
    kind.used += trace.used()
    now, now_periods = group.throttled()
    kind.throttled += now - throttled
    kind.periods += now_periods - periods
    if supervisor:
        after = wakeups(supervisor)
        kind.supervisor_wakes += after[0] - before[0]
        kind.supervisor_ns += after[1] - before[1]
    if kind.curve is None:
        kind.curve = trace.curve()
    player.stop()


def run(shop, quick):
    reactive = {"io.escra.policy": "reactive", "io.escra.cpu.max": "1"}
    kinds = [
        Kind("runc, static 0.5 (1x)", 0.5), Kind("runc, static 0.75 (1.5x)", 0.75),
        Kind("reactive, 0.5 declared, at most 1", 0.5, reactive),
        # What the reactive one may grow to, held all the time.
        Kind("runc, static 1 (2x)", 1), Kind("runc, no limit", None)]
    seconds = QUICK_SECONDS if quick else SECONDS
    # A quick look has the two that matter, once.
    rounds, played = ((1,), [kinds[0], kinds[2]]) if quick else ((1, 2), kinds)
    for seed in rounds:
        for kind in played:
            play(shop, kind, seed, seconds, f"load: {kind.title}, round {seed} of {len(rounds)}")

    result = Result(
        NAME, "The same load under different limits",
        ["limit", "slack, core-s", "throttled s", "throttled periods", "bursts done p50", "p99",
         "steady p50", "p99", "supervisor CPU", "wake-ups"],
        [f"{len(rounds)} x {seconds} s in turns, seeds {', '.join(map(str, rounds))}: idle, bursts "
         "of 30-250 ms of CPU, idle, 0.3 CPU in steady requests of 3 ms, idle; one thread, "
         f"{played[0].used:.1f} core-seconds in all.",
         "Slack is the limit integrated over time, minus the use; without a limit it is the "
         "machine's CPUs that nobody can count on. Done: from arrival to the last of its work, "
         "waiting behind earlier ones included.",
         f"{len(played[0].bursts)} bursts: their p99 is their maximum."])
    for kind in played:
        result.add(
            kind.title, f"{kind.slack:.1f}", f"{kind.throttled:.2f}", kind.periods,
            *[milliseconds(percentile(kind.bursts, p), 0) for p in (50, 99)],
            *[milliseconds(percentile(kind.small, p), 1) for p in (50, 99)],
            milliseconds(kind.supervisor_ns, 0) if kind.annotations else "-",
            kind.supervisor_wakes if kind.annotations else "-")
        result.figures[kind.title] = {
            "slack_core_seconds": round(kind.slack, 3), "used_core_seconds": round(kind.used, 3),
            "throttled_seconds": round(kind.throttled, 4), "throttled_periods": kind.periods,
            "bursts_ns": summary(kind.bursts), "steady_ns": summary(kind.small),
            "supervisor_cpu_ns": kind.supervisor_ns, "supervisor_wakeups": kind.supervisor_wakes}
    result.drawing = plot.draw([(kind.title, kind.curve) for kind in (kinds[0], kinds[2])], seconds)
    result.drawing_path = PLOT
    return result
