# SPDX-License-Identifier: Apache-2.0
"""Every write of a quota is a full refill; what is used stays within the limit all the same."""
import os
import random
import threading
import time

import pytest

import cgroups

PERIOD, LIMIT = 0.25, 0.4
CPUS = os.cpu_count()
TICK = 0.004  # HZ=250, as Debian builds its kernels.


def cpu_time(cgroup):
    """CPU time used so far, in seconds."""
    if cgroups.VERSION == 1:
        return int(cgroups.read(cgroup, "cpuacct.usage", "cpuacct")) / 1e9
    with open(os.path.join(cgroups.directory(cgroup), "cpu.stat")) as file:
        return int(next(line for line in file if line.startswith("usage_usec")).split()[1]) / 1e6


class Meter:
    """Reads a container's use every millisecond or so."""

    def __init__(self, cgroup):
        self.cgroup, self.samples, self._stop = cgroup, [], threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._stop.wait(0.001):
            # Read before the clock: the use is never younger than its moment.
            used = cpu_time(self.cgroup)
            self.samples.append((time.monotonic(), used))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def excess(self, limit):
        """The most by which use was above `limit` x T, over all windows of all lengths.

        As a bucket that use fills and the limit drains: one pass instead of all pairs.
        """
        level = most = 0
        for (before, used), (now, more) in zip(self.samples, self.samples[1:]):
            level = max(0, level + (more - used) - limit * (now - before))
            most = max(most, level)
        return most


@pytest.mark.parametrize("law", ["headroom"])
def test_raise_after_raise_uses_no_more_than_the_limit_and_one_periods_worth(
        container, escra, world, law):
    """Bursts of two threads at random for 30 s, with a floor so high that raises are small."""
    if CPUS != 2:
        pytest.skip("the bound is worked out for two CPUs")
    config = world.path("law.json")
    with open(config, "w") as file:
        file.write('{"law": "%s"}' % law)
    made = container(
        {"io.escra.cpu.min": "320m", "io.escra.cpu.max": "400m"}, quota=80_000, period=250_000,
        runtime=escra.using("--escra-config", config)).started()
    made.supervisor()
    assert made.states()[0]["law"] == law
    # Whoever burns all the time is at the ceiling, and nothing has to be raised.
    dice = random.Random(4)
    began = time.monotonic()
    with Meter(made.cgroup) as meter:
        while time.monotonic() - began < 30:
            made.work(2)
            time.sleep(dice.uniform(0.1, 0.5))
            made.rest()
            time.sleep(dice.uniform(0.9, 1.2))
    raises = [entry for entry in made.record() if entry.after > entry.before]
    assert len(raises) >= 10, "a load that is not raised shows nothing"
    # What the kernel itself allows at the seam of two periods. Each CPU may overrun by a tick and
    # keep 1 ms, and its use is counted at its tick.
    allowed = 2 * LIMIT * PERIOD * (1 - LIMIT / CPUS) + CPUS * (2 * TICK + 0.001)
    assert meter.excess(LIMIT) <= allowed
