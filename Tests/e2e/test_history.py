# SPDX-License-Identifier: Apache-2.0
"""What is remembered of containers: records, recommendations, replays, predictions."""
import glob
import json
import os
import subprocess
import time

import pytest

from processes import PATIENCE, supervisors, wait_until
from world import ESCRA, escra_tool

MIB = 1 << 20


class History:
    """The operator's config with a history, and the tool on it."""

    def __init__(self, world, **more):
        self.directory = world.path("history/below")
        self.config = world.path("escra.json")
        self.settings(**more)

    def settings(self, **more):
        with open(self.config, "w") as file:
            json.dump({"history": {"directory": self.directory, **more}}, file)

    def tool(self, command, *arguments, code=0):
        return escra_tool(*command.split(), "--config", self.config, *arguments, code=code)

    def runs(self, name):
        """The runs of a profile; none where it has no history yet."""
        done = subprocess.run(
            [ESCRA, "history", name, "--json", "--config", self.config, "--last", "1000"],
            capture_output=True, text=True, timeout=10 * PATIENCE)
        return json.loads(done.stdout) if done.returncode == 0 else []

    def files(self, name="[0-9]*"):
        return sorted(glob.glob(os.path.join(self.directory, "*", name)))


@pytest.fixture
def history(world):
    return History(world)


@pytest.fixture
def remembered(history, container, escra):
    """Makes containers that have a profile."""

    def make(profile="web", policy="reactive", annotations=None, **options):
        asked = {"io.escra.profile": profile} if profile else {}
        return container(
            {**asked, **(annotations or {})}, policy=policy,
            runtime=escra.using("--escra-config", history.config), **options)

    return make


def ended(made, history, profile="web", runs=1):
    """Ends a container and waits for its record."""
    made.close()
    wait_until(lambda: made.status == "stopped", 4, "the container ends")
    made.call("delete")
    return wait_until(
        lambda: len(found := [run for run in history.runs(profile) if run["isFinal"]]) >= runs
        and found, 4, "a record of the run")


@pytest.mark.v2
@pytest.mark.parametrize("policy", ["reactive", "observe"])
def test_a_run_leaves_a_record(history, remembered, policy):
    """Of what it used, of its memory's peak, and of its limits; observe, too."""
    made = remembered(policy=policy, quota=50_000, annotations={"io.escra.cpu.max": "1"})
    made.bundle.give_memory(128 * MIB)
    made.started().supervisor()
    made.work(1)
    time.sleep(1)
    made.fill(40)
    made.rest()
    time.sleep(0.5)
    [run] = ended(made, history)
    assert run["policy"] == policy and run["declaredCPU"] == 0.5
    assert run["declaredMemory"] == 128 * MIB
    assert 0.3 < run["cpuSeconds"] < 3 and run["seconds"] >= run["busySeconds"] > 0.5
    assert 40 * MIB <= run["memoryPeak"] <= 128 * MIB
    assert sum(bucket["count"] for bucket in run["busyPeriods"]) >= 5
    assert run["bursts"] and run["memorySeconds"] and run["cpuPeak"] > 0.3
    assert run["raises"] > 0 and run["kills"] == 0
    assert len(history.files()) == 1 and os.path.getsize(history.files()[0]) == 1024


def test_a_container_without_a_profile_leaves_nothing(history, remembered):
    """And neither does one whose operator keeps no history."""
    made = remembered(profile=None).started()
    made.supervisor()
    made.runtime("kill", made.id, "KILL")
    wait_until(lambda: not supervisors(made.id), 4, "the supervisor ends")
    assert not os.path.exists(history.directory)
    with open(history.config, "w") as file:
        json.dump({}, file)
    made = remembered().started()
    made.supervisor()
    made.runtime("kill", made.id, "KILL")
    wait_until(lambda: not supervisors(made.id), 4, "the supervisor ends")
    assert not os.path.exists(history.directory)


def test_a_live_container_is_recommended_for(history, remembered):
    """From a snapshot that its supervisor writes when it is asked."""
    made = remembered(policy="observe", quota=100_000).started()
    made.supervisor()
    made.work(1)
    time.sleep(1.5)
    text = history.tool("recommend --as json", made.id, "--live")
    told = json.loads(text)
    assert told["cpu"]["limit"]["target"] >= 0.8 and told["confidence"]["runs"] == 1
    [run] = history.runs("web")
    assert not run["isFinal"]
    made.rest()
    [run] = ended(made, history)
    assert run["isFinal"], "the record of the end takes the place of the snapshot"
