# SPDX-License-Identifier: Apache-2.0
"""The share that a node has of an application which spans nodes, without an engine or an agent:
the broker keeps it, and the moment at which it is over."""
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from applications import Sums, broker, room
from processes import wait_until
from world import REPOSITORY

LIMIT, MINIMUM, VALIDITY = 800_000_000, 200_000_000, 4.0


class Agent:
    """A program that gives the application a share as long as it runs."""

    def __init__(self, directory, limit=LIMIT, minimum=MINIMUM, validity=VALIDITY):
        program = os.path.join(REPOSITORY, "Tests/e2e/support/fakeagent.py")
        self.process = subprocess.Popen(
            [sys.executable, program, directory, str(limit), str(minimum), str(validity)],
            stdout=subprocess.PIPE, text=True)
        self.answers = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.answers.append([int(word) for word in line.split()])

    @property
    def demand(self):
        """In force, wanted, in use, declared, floors, explicit."""
        return self.answers[-1][2:8] if self.answers else None

    def end(self):
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def agents():
    made = []

    def make(*arguments, **options):
        made.append(Agent(*arguments, **options))
        return made[-1]

    yield make
    for agent in made:
        agent.end()


@pytest.fixture
def members(container):
    """Two members of an application that spans nodes; the first one works."""
    made = []
    for _ in range(2):
        each = container(
            {"io.escra.app": "shop", "io.escra.app.scope": "cluster", "io.escra.app.cpu": "2"},
            quota=10_000)
        each.bundle.config["linux"]["resources"].setdefault("cpu", {})["shares"] = 262_144
        each.bundle.write()
        made.append(each.started())
    for each in made:
        each.supervisor()
    return made


def quotas(members):
    return sum(each.quota for each in members)


@pytest.mark.v2
def test_without_an_agent_it_has_what_its_members_declare(members):
    one, two = members
    one.work(4)
    one.wait_for_quota(lambda quota: quota >= 14_000, 8, "what both declare, but for a floor")
    with Sums(one, two) as sums:
        time.sleep(0.5)
    assert sums.most <= 0.2 + 1e-9


@pytest.mark.v2
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_broker_comes_down_by_itself_when_the_agent_is_silent(members, agents, end):
    one, two = members
    agent = agents(room("shop"))
    one.work(4)
    one.wait_for_quota(lambda quota: quota >= 70_000, 8, "the share, but for a floor")
    assert quotas(members) <= LIMIT // 10_000
    wait_until(lambda: agent.demand, 2, "the agent is told")
    assert agent.demand[3] == 200_000_000 and agent.demand[5] == 2_000_000_000
    begin = time.monotonic()
    agent.process.send_signal(end)
    time.sleep(1)
    assert one.quota >= 70_000, "it holds until the deadline"
    wait_until(
        lambda: quotas(members) <= MINIMUM // 10_000, VALIDITY + 1 - 1, "down to the minimum")
    assert time.monotonic() - begin < VALIDITY


@pytest.mark.v2
def test_so_does_the_next_broker(members, agents):
    """The agent and the broker are killed in the moment of holding the most."""
    one, two = members
    agent = agents(room("shop"))
    one.work(4)
    one.wait_for_quota(lambda quota: quota >= 70_000, 8, "the share, but for a floor")
    begin = time.monotonic()
    os.kill(broker("shop"), signal.SIGKILL)
    agent.end()
    wait_until(lambda: quotas(members) <= MINIMUM // 10_000, VALIDITY, "down to the minimum")
    assert time.monotonic() - begin < VALIDITY


@pytest.mark.v2
def test_no_annotation_of_a_newcomer_lifts_a_share(members, agents, container):
    agent = agents(room("shop"))
    one, two = members
    one.work(4)
    one.wait_for_quota(lambda quota: quota >= 70_000, 8, "the share, but for a floor")
    three = container(
        {"io.escra.app": "shop", "io.escra.app.scope": "cluster", "io.escra.app.cpu": "3"},
        quota=10_000)
    with Sums(one, two, three) as sums:
        three.started().supervisor()
        wait_until(lambda: agent.demand[5] == 3_000_000_000, 4, "the agent is told")
        time.sleep(0.5)
    assert sums.most <= LIMIT / 1e9 + 1e-9


@pytest.mark.v2
def test_the_agent_hears_of_a_need_without_asking(members, agents):
    agent = agents(room("shop"), limit=MINIMUM)
    wait_until(lambda: agent.demand and agent.demand[0] <= MINIMUM, 4, "the share is in force")
    assert agent.demand[1] <= MINIMUM
    members[0].work(4)
    wait_until(lambda: agent.demand[1] > MINIMUM, 4, "more is wanted than there is")
    members[0].rest()
    wait_until(lambda: agent.demand[1] <= MINIMUM, 6, "and not any more")
