# SPDX-License-Identifier: Apache-2.0
"""Slack that is given back at the moment at which somebody grows again kills nobody.

`make shrink-race` races ten thousand times.
"""
import os
import subprocess

import pytest

import cgroups
from processes import PATIENCE
from world import REPOSITORY

pytestmark = pytest.mark.v2

RACE = os.path.join(REPOSITORY, ".build", "release", "shrink-race")
# Emulated, there is time for fewer.
ROUNDS = int(os.environ.get("ESCRA_SHRINKS", 1000 if PATIENCE == 1 else 300))
MIB = 1 << 20


@pytest.fixture
def race(world):
    """Races in a group of its own, until somebody was killed; returns what was counted."""
    path = world.path("cached")
    with open(path, "wb") as file:
        for _ in range(24):
            file.write(bytes(MIB))
        os.fsync(file.fileno())

    def run(rounds, *options):
        directory = cgroups.directory(world.cgroup(), "memory")
        seconds = 30 + rounds * PATIENCE // 5
        done = subprocess.run(
            [RACE, directory, str(rounds), str(seconds), path, *options], capture_output=True,
            text=True, timeout=2 * seconds, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        print(done.stdout)
        words = done.stdout.split()
        return dict(zip(words[::2], map(int, words[1::2])))

    return run


def test_who_grows_while_slack_is_given_back_is_not_killed(race, world):
    # Another suite's load may keep the supervisor out for longer than cgroup v1 gives it.
    world.machine.be_alone()
    counted = race(ROUNDS)
    assert counted["kills"] == 0, counted
    # Else it was a race of nobody's, or a protection that gives nothing back.
    assert counted["attempted"] == ROUNDS, counted
    assert counted["refused"] > 0 and counted["done"] >= ROUNDS // 2, counted


@pytest.mark.parametrize("way", ["--unchecked", "--to-the-use"])
def test_without_the_protection_the_same_race_kills(race, way):
    assert race(1000, way)["kills"] > 0
