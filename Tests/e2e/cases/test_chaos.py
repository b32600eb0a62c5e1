# SPDX-License-Identifier: Apache-2.0
"""Applications keep their limit at every instant, whoever of them dies or is stopped.

By two checks that know nothing of the negotiation: a program that reads the kernel's files every 10
ms, and a replay of what supervisors wrote down. `make chaos` plays for five minutes.
"""
import os
import subprocess
import time

import pytest

import cgroups
from chaos import APPS, Chaos, Checker
from limitrecords import replay
from processes import PATIENCE, files_of_ours, ours, supervisors, wait_until

SEED = int(os.environ.get("ESCRA_SEED") or time.time_ns() % 1_000_000)
SECONDS = float(os.environ.get("ESCRA_CHAOS_SECONDS") or 20)
# Emulated CPUs are too slow for many.
CONTAINERS = int(os.environ.get("ESCRA_CHAOS_CONTAINERS") or (12 if PATIENCE == 1 else 4))
APPLICATIONS = int(os.environ.get("ESCRA_CHAOS_APPS") or (3 if PATIENCE == 1 else 1))
CPUS = 0.12  # an application's: machine and supervisors need what is left
MEMORY = 64  # MiB of an application


@pytest.fixture
def chaos(container):
    plays = []

    def play(*arguments):
        plays.append(Chaos(SEED, container, *arguments))
        return plays[-1]

    yield play
    for each in plays:
        each.close()


@pytest.fixture
def pair(world):
    """Two groups that somebody sleeps in, and who checks that they have no more than one CPU."""
    checker = Checker()
    checker.tell(application="pair", cpu=1.0)
    groups = [world.cgroup(), world.cgroup()]
    for number, group in enumerate(groups):
        cgroups.set_quota(group, 50_000)
        world.spawn(subprocess.Popen(
            ["sleep", "1000"], preexec_fn=lambda: cgroups.join(group, ("cpu",))))
        checker.tell(watch="pair", id=f"member-{number}", cgroup=group)
    yield checker, groups
    if checker.process.poll() is None:
        checker.process.kill()
    checker.process.wait()


def hand_over(groups, order):
    """Moves 20 ms to and fro for a while; order: who is written to first of giver and taker."""
    deadline = time.monotonic() + 1.5 * PATIENCE
    giver, taker = (groups[0], 30_000), (groups[1], 70_000)
    while time.monotonic() < deadline:
        for writes in ((giver, taker), ((taker[0], 50_000), (giver[0], 50_000))):
            for group, quota in order(writes):
                cgroups.set_quota(group, quota)
                time.sleep(0.015)


def test_the_checker_is_content_with_who_lowers_first(pair):
    checker, groups = pair
    hand_over(groups, lambda writes: writes)
    found = checker.end()
    assert found["broken"] == [] and found["samples"] > 50 and found["highest"]["cpu"] == 1


def test_the_checker_sees_who_raises_first(pair):
    checker, groups = pair
    hand_over(groups, reversed)
    found = checker.end()
    assert found["broken"] and found["highest"]["cpu"] == 1.2


def test_the_checker_sees_a_limit_that_is_taken_away(pair):
    checker, groups = pair
    time.sleep(0.2)
    cgroups.set_quota(groups[0], None)
    time.sleep(0.2)
    assert "inf of 1" in checker.end()["broken"][0][-1]


def test_the_checker_counts_what_was_used_above_the_limit(pair, world):
    """Two that may use half a CPU each, where the application has a quarter in all."""
    checker, groups = pair
    checker.tell(application="pair", cpu=0.25)
    for group in groups:
        controllers = ("cpu", "cpuacct") if cgroups.VERSION == 1 else ("cpu",)
        world.spawn(subprocess.Popen(
            ["sh", "-c", "while :; do :; done"],
            preexec_fn=lambda: cgroups.join(group, controllers)))
    time.sleep(2.5)
    found = checker.end()
    assert found["above"]["pair"]["2"] > found["allowance"]["pair"]


def test_the_replay_sees_a_raise_before_the_giver_has_lowered():
    first = [(1, "a", 0.5), (2, "b", 0.5)]
    assert replay(first + [(3, "a", 0.3), (4, "b", 0.7)], [(0, 1.0)]) == []
    assert len(replay(first + [(3, "b", 0.7), (4, "a", 0.3)], [(0, 1.0)])) == 1
    # The application was given more meanwhile.
    assert replay(first + [(3, "b", 0.7), (4, "a", 0.3)], [(0, 1.0), (3, 1.2)]) == []


def test_a_foreign_write_in_an_application_is_seen_by_the_checker(chaos):
    """The proof that the next test can fail, on the real thing."""
    play = chaos(2, 1, CPUS, None)
    for _ in range(2):
        assert play.create(play.applications[0]), play.refused
    made = play.applications[0].live[0]
    pid = made.supervisor()
    # Within milliseconds it would be put right.
    play.signals.stop(pid, lambda: pid in supervisors(made.id), 0)
    cgroups.set_quota(cgroups.moving(made.cgroup), int(CPUS * 150_000))
    time.sleep(0.1)
    play.signals.resume(everybody=True)
    found = play.finish()
    assert found["broken"], found


def test_no_death_takes_an_application_above_its_limit_and_nothing_is_left(chaos):
    print(f"\nESCRA_SEED={SEED}: {CONTAINERS} containers, {APPLICATIONS} applications, {SECONDS} s")
    play = chaos(CONTAINERS, APPLICATIONS, CPUS, MEMORY)
    for application in play.applications:
        for _ in range(CONTAINERS // APPLICATIONS):
            assert play.create(application), play.refused
    play.run(SECONDS)
    play.settle()
    play.prove_whole()
    found = play.finish()
    above = {
        name: max(windows.values()) for name, windows in found["above"].items()}
    print(f"{play.counts}\nrefused: {dict(play.reasons)}\n"
          f"{found['samples']} samples and {found['discarded']} that moved, the latest"
          f" {found['latest'] * 1000:.0f} ms late; highest sum of limits {found['highest']}; "
          f"{found['entries']} writes replayed, {found['lost']} lost; use above the limit at most "
          f"{max(above.values()):.3f} s")
    for check in ("broken", "replayed"):
        assert not found[check], "\n".join([f"ESCRA_SEED={SEED}, {check}:", *found[check]])
    assert found["samples"] > 10 * SECONDS * APPLICATIONS
    assert found["entries"] > 10 * APPLICATIONS
    for name, seconds in above.items():
        assert seconds <= found["allowance"][name], (name, found["above"][name])
    wait_until(lambda: not ours() and not files_of_ours(), 5, "nothing of ours is left")
    assert not os.path.isdir(APPS) or os.listdir(APPS) == []
