# SPDX-License-Identifier: Apache-2.0
"""A write of a quota is a full refill of it: what the books are for, on the real kernel."""
import os
import subprocess
import time

import pytest

import cgroups
from world import REPOSITORY

LIMIT, PERIOD = 50_000, 100_000
HAMMER = os.path.join(REPOSITORY, ".build", "release", "hammer")
# What a CPU overruns by and what a reading lags, at the longest tick there is: 100 a second.
LATE = 2 * 0.010 * os.cpu_count()


def used(path):
    """CPU time that a group has used, in seconds."""
    if cgroups.VERSION == 1:
        return int(cgroups.read(path, "cpuacct.usage", "cpuacct")) / 1e9
    [usec] = [line.split()[1] for line in cgroups.read(path, "cpu.stat").splitlines()
              if line.startswith("usage_usec")]
    return int(usec) / 1e6


def greatest_excess(path, process, rate):
    """The most that was used above a rate of CPUs, in any window while a process runs."""
    start = used(path), time.monotonic()
    least = 0
    greatest = 0
    while process.poll() is None:
        before = time.monotonic()
        use = used(path)
        after = time.monotonic()
        # Each window is taken as long as it can have been, so that a late look proves nothing.
        greatest = max(greatest, use - start[0] - rate * (after - start[1]) - least)
        least = min(least, use - start[0] - rate * (before - start[1]))
        time.sleep(0.004)
    return greatest, (used(path) - start[0]) / (time.monotonic() - start[1])


@pytest.fixture
def hammered(container):
    """Two threads that want everything, then nothing, and a quota written every millisecond."""
    made = container(policy=None, quota=LIMIT).started()
    # Whatever else runs here: what it does not get is to be the limit's doing.
    share = ("cpu.shares", 262_144) if cgroups.VERSION == 1 else ("cpu.weight", 10_000)
    cgroups.write(made.cgroup, *share)
    # While they rest the books fill up again, and allow writes to which the threads then come back.
    burst = "while :; do timeout 0.3 sh -c 'while :; do :; done'; sleep 0.2; done &"
    made.do(burst + burst)

    def hammer(seconds, *options):
        usage = ["cpuacct.usage", "cpuacct"] if cgroups.VERSION == 1 else ["cpu.stat"]
        process = subprocess.Popen([
            HAMMER, cgroups.directory(made.cgroup),
            os.path.join(cgroups.directory(made.cgroup, *usage[1:]), usage[0]), str(LIMIT),
            str(PERIOD), str(seconds), *options], stdout=subprocess.PIPE, text=True)
        greatest, rate = greatest_excess(made.cgroup, process, LIMIT / PERIOD)
        asked, written = map(int, process.stdout.read().split())
        assert process.wait() == 0
        return greatest, rate, asked, written

    return hammer


def depth():
    """What the limit may be exceeded by in a window: two quotas in one go, at a period's seam."""
    quota = LIMIT / 1e6
    return max(quota, 2 * quota * (1 - LIMIT / PERIOD / os.cpu_count()))


def test_half_a_minute_of_writes_gives_no_more_than_the_limit(hammered):
    greatest, rate, asked, written = hammered(30)
    assert greatest <= depth() + LATE, (greatest, rate, asked, written)
    # It is no limit that keeps away what is due, nor a test that hardly writes.
    assert 0.7 * LIMIT / PERIOD <= rate and asked >= 3000 and written >= 30


def test_without_the_books_the_same_writes_break_the_limit(hammered):
    greatest, rate, _, _ = hammered(3, "--without-books")
    assert greatest > 3 * (depth() + LATE) and rate > 1.5 * LIMIT / PERIOD
