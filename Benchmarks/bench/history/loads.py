# SPDX-License-Identifier: Apache-2.0
"""Loads of one thread that are the same each time, and containers of ours that remember them."""
import glob
import json
import os
import random
import struct
import subprocess
import time

from ..container import Failure

MS = 1_000_000
SECOND = 1000 * MS


def _every(interval, work, seconds, jitter=0.0, seed=1):
    """Requests of so much work, each interval; both vary by a part of it."""
    draw, moment, found = random.Random(seed), 0.05 * SECOND, []
    while moment < (seconds - 0.3) * SECOND:
        found.append((int(moment), int(work * draw.uniform(1 - jitter, 1 + jitter)), 0))
        moment += interval * draw.uniform(1 - jitter, 1 + jitter)
    return found


def _random(rate, work, seconds, seed):
    """Requests at random, each of a random size."""
    draw, moment, found = random.Random(seed), 0.05 * SECOND, []
    while moment < (seconds - 0.3) * SECOND:
        found.append((int(moment), max(100_000, int(draw.expovariate(1 / work))), 0))
        moment += draw.expovariate(rate) * SECOND
    return found


def loads(seconds):
    """Schedules for the player, by what they are called."""
    return {
        "30 ms each second": _every(SECOND, 30 * MS, seconds, 0.3, 1),
        "200 ms each 2.5 s": _every(2500 * MS, 200 * MS, seconds, 0.3, 2),
        "3 ms, 100 a second": _random(100, 3 * MS, seconds, 3),
        "random, 40 ms twice a second": _random(2, 40 * MS, seconds, 4),
        "6 ms each 10 ms": _every(10 * MS, 6 * MS, seconds),
        "100 ms each 500 ms": _every(500 * MS, 100 * MS, seconds, 0.1, 6),
        "2 s each 5 s": _every(5000 * MS, 2000 * MS, seconds, 0.1, 7),
        "15 ms each 120 ms": _every(120 * MS, 15 * MS, seconds, 0.2, 8),
    }


def play(shop, container, schedule, seconds):
    """Plays it; how long each request took from its arrival, in nanoseconds."""
    start = container.started = time.monotonic_ns() + 100 * MS
    shop.go(container, start)
    shop.sleep(seconds, container.id)
    with open(os.path.join(container.shared, "times"), "rb") as file:
        times = list(struct.iter_unpack("=2q", file.read()))
    return [done - start - arrival
            for (_, done), (arrival, _, _) in zip(times, schedule) if done]


class Memory:
    """A history of the run's own, and the tool on it."""

    def __init__(self, shop):
        self.shop = shop
        # When the load began, since the beginning of its trace.
        self.begun = 0
        self.operator = {"history": {"directory": os.path.join(shop.path, "history")}}
        self.config = shop.operator_config({"history": dict(self.operator["history"])})
        self.escra = os.path.join(os.path.dirname(shop.original), "escra")

    def tool(self, *arguments):
        done = subprocess.run(
            [self.escra, *arguments, "--as", "json"], capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"escra {' '.join(arguments)}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def _trace_begins(self):
        """When the newest trace does, on the wall clock: in the header of its first block."""
        traces = glob.glob(os.path.join(self.operator["history"]["directory"], "*", "trace-*"))
        with open(max(traces, key=os.path.getmtime), "rb") as file:
            return struct.unpack("<2Q", file.read(16))[1]

    def drawing(self, profile):
        """What was demanded, what is recommended and what the law holds, over time: an SVG."""
        return subprocess.run(
            [self.escra, "replay", profile, "--config", self.config, "--as", "svg"],
            capture_output=True, text=True, check=True).stdout

    def observe(self, profile, schedule, seconds):
        """Plays a load without a limit and remembers it; how long each request took."""
        made = self.shop.player(
            profile, schedule, {"io.escra.policy": "observe", "io.escra.profile": profile,
                                "io.escra.record": "trace"}, operator=self.operator, quietly=True)
        made.start()
        made.supervisor
        time.sleep(0.3)
        found = play(self.shop, made, schedule, seconds)
        wall = time.time_ns() - time.monotonic_ns()
        used = made.group.used()
        made.stop()
        deadline = time.monotonic() + 5
        while True:
            try:
                told = self.tool("recommend", profile, "--config", self.config)
                self.begun = made.started + wall - self._trace_begins()
                return found, used, told
            except Failure:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
