# SPDX-License-Identifier: Apache-2.0
"""What a sampler outside sees of an application's limits while others end or overwrite ours.

ESCRA_ROUNDS=20 makes the figures that are published; they are printed (pytest -s).
"""
import os
import random
import statistics
import subprocess
import time

import pytest

import cgroups
import driver
from applications import Sampler
from processes import PATIENCE, kill, wait_until

ROUNDS = int(os.environ.get("ESCRA_ROUNDS", "3"))
# The CPU limit of the application, in CPUs.
LIMIT = 1.0
MIB = 1 << 20
by_systemd = pytest.mark.skipif(not driver.IS_SYSTEMD, reason="systemd makes no groups here")


@pytest.fixture
def loaded(container):
    """An application of three members of which two work; its members."""
    made = []
    for _ in range(3):
        each = container(
            {"io.escra.app": "shop", "io.escra.app.cpu": "1", "io.escra.app.memory": "192Mi"},
            quota=30_000)
        each.bundle.give_memory(48 * MIB)
        made.append(each.started())
    for each in made:
        each.supervisor()
    for each in made[:2]:
        each.work(2)
    wait_until(lambda: sum(each.quota for each in made) >= 80_000, 6, "they share their limit")
    return made


def sampler(made):
    """Looks at what all of them may have, in parts of the application's limits."""
    return Sampler(made, LIMIT, 192 * MIB)


def tell(what, sums):
    """Prints the figures of a resource each."""
    for name, found in (("cpu", sums.cpu), ("memory", sums.memory)):
        print(
            f"{what}: {ROUNDS} rounds, {found['count']} sums of {name}, at most "
            f"{found['gap'] * 1000:.0f} ms apart, most {found['most']:.3f} of the limit, "
            f"{len(found['above'])} times above, "
            f"{max(found['above'], default=0) * 1000:.0f} ms at most")


def seen(made):
    """The most that the kernel would ever let them have together: their own groups' limits."""
    return sum(
        (cgroups.own_limit(each.cgroup)[0] or float("inf")) / 100_000 for each in made)


def test_supervisors_die_under_load(loaded):
    """The next one finds the limits as they were; the sum is never above the application's."""
    with sampler(loaded) as sums:
        for _ in range(ROUNDS):
            victim = random.choice(loaded)
            kill(victim.supervisor(5))
            victim.supervisor(5)
    tell("supervisors killed", sums)
    assert sums.cpu["most"] <= 1 + 1e-9
    if not driver.IS_SYSTEMD:
        # systemd writes the slice's memory.max when a supervisor's scope is started.
        assert sums.memory["most"] <= 1 + 1e-9


@by_systemd
def test_systemd_writes_under_load(loaded):
    """Reloaded, and made to apply what it knows: no CPU too much, memory for at most 100 ms."""
    most = max(LIMIT, seen(loaded))
    with sampler(loaded) as sums:
        for _ in range(ROUNDS):
            subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=60 * PATIENCE)
            subprocess.run(
                ["systemd-run", "--quiet", "--wait", "true"], check=True, timeout=60 * PATIENCE)
            driver.apply_again(os.path.basename(os.path.dirname(loaded[0].cgroup)))
    tell("systemd reloaded", sums)
    assert sums.cpu["most"] <= 1 + 1e-9 and sums.cpu["most"] <= most / LIMIT
    assert max(sums.memory["above"], default=0) <= 0.1 * PATIENCE


def test_what_a_create_and_a_delete_cost(container, plain, escra):
    """In alternation: the plain runtime, a policy with one group, and with two; printed."""
    memory = {"io.escra.memory.max": "64Mi"}
    ways = {
        "plain runtime": (plain, None, {}),
        "one group": (escra, "reactive", {**memory, "io.escra.visible": "current"}),
        "two groups": (escra, "reactive", memory)}
    took = {way: {"create": [], "delete": []} for way in ways}
    for _ in range(ROUNDS):
        for way, (runtime, policy, annotations) in ways.items():
            made = container(annotations, runtime=runtime, policy=policy)
            made.bundle.give_memory(64 * MIB)
            moments = [time.monotonic()]
            assert made.create().wait(60) == 0
            moments.append(time.monotonic())
            made.call("delete", "--force")
            moments.append(time.monotonic())
            took[way]["create"].append(moments[1] - moments[0])
            took[way]["delete"].append(moments[2] - moments[1])
    base = {verb: statistics.median(values) for verb, values in took["plain runtime"].items()}
    for way, verbs in took.items():
        for verb, values in verbs.items():
            middle = statistics.median(values)
            print(
                f"{way}, {verb}: {middle * 1000:.1f} ms, {middle / base[verb]:.2f} of the plain "
                f"runtime, {ROUNDS} times")
