# SPDX-License-Identifier: Apache-2.0
"""What is parked at its memory limit is woken, or killed as without us, whoever of us dies.

`ESCRA_ROUNDS=200` does as many rounds.
"""
import json
import os
import random
import signal
import time

import pytest

import cgroups
from processes import keepers, kill, supervisors, wait_until
from test_memory import MIB, guest, kills, limit, usage  # noqa: F401 (guest is a fixture)

pytestmark = pytest.mark.skipif(
    cgroups.VERSION != 1, reason="only cgroup v1 has memory.oom_control")

ROUNDS = int(os.environ.get("ESCRA_ROUNDS", "8"))

# Children allocate; one that is killed is not the container's end.
ALLOCATOR = """
while True:
    word = hear()
    if not word: break
    if os.fork() == 0:
        open("/proc/self/oom_score_adj", "w").write("1000")
        kept = touch(int(word))
        print("touched", file=open("/mnt/touched", "w"))
        time.sleep(3600)
"""


@pytest.fixture
def netted(world, escra, guest):  # noqa: F811
    """Makes containers whose net is on."""

    def make(script, annotations=None, **options):
        path = world.path("operator.json")
        with open(path, "w") as file:
            json.dump({"memoryNet": "on"}, file)
        runtime = escra.using("--escra-config", path)
        return guest(
            script, annotations or {"io.escra.memory.max": "1Gi"}, runtime=runtime, **options)

    return make


def control(made, word):
    lines = cgroups.read(made.cgroup, "memory.oom_control", "memory").splitlines()
    return int(dict(line.split() for line in lines)[word])


def on(made):
    return control(made, "oom_kill_disable") == 1


def parked(made):
    return control(made, "under_oom") == 1


def remove(made):
    """By a call of ours: where both supervisor and keeper are dead it is what heals."""
    made.close()
    made.call("delete", "--force")


def stop(pid):
    kill(pid, signal=signal.SIGSTOP)


def test_the_net_is_on_once_somebody_guards_it(netted):
    made = netted("hear()").started()
    made.supervisor()
    wait_until(lambda: on(made), 3, "the net")


def test_without_the_operators_word_there_is_none(guest):  # noqa: F811
    made = guest("hear()", {"io.escra.memory.max": "1Gi"}).started()
    made.supervisor()
    time.sleep(1)
    assert not on(made)


@pytest.mark.parametrize("asked", [
    {"io.escra.memory.max": "1Gi"}, {"io.escra.app": "shop", "io.escra.app.memory": "512Mi"}],
    ids=["alone", "as a member"])
def test_what_hit_the_limit_is_parked_and_goes_on(netted, asked):
    """A member for as long as it takes its application to say what it may have."""
    made = netted("hear()\nkept = touch(200)\nhear()", asked).started()
    pid = made.supervisor()
    wait_until(lambda: on(made), 3, "the net")
    stop(pid)
    made.do("touch")
    wait_until(lambda: parked(made), 5, "a task that waits")
    kill(pid, signal=signal.SIGCONT)
    wait_until(lambda: usage(made) > 200 * MIB, 5, "200 MiB in use")
    assert kills(made) == 0


def test_where_its_application_has_no_more_the_kernel_kills(netted):
    made = netted(
        "hear()\nkept = touch(200)", {"io.escra.app": "shop", "io.escra.app.memory": "96Mi"})
    made.started()
    made.supervisor()
    wait_until(lambda: on(made), 3, "the net")
    made.do("touch")
    wait_until(lambda: made.status == "stopped", 5, "killed")


def test_where_nothing_more_is_to_be_had_the_kernel_kills(netted, guest, plain):  # noqa: F811
    script = "kept = touch(512)"
    alone = guest(script, policy=None, runtime=plain).create(verb="run").wait(30)
    ours = netted(script, {"io.escra.memory.max": "128Mi"}).create(verb="run").wait(30)
    assert ours == alone == 137


@pytest.mark.parametrize("declared", (True, False))
def test_the_containers_own_setting_keeps_its_meaning(netted, declared):
    made = netted("hear()")
    made.bundle.config["linux"]["resources"]["memory"]["disableOOMKiller"] = declared
    made.bundle.write()
    made.started()
    first = made.supervisor()
    time.sleep(1)
    kill(first)
    wait_until(lambda: supervisors(made.id) not in ([], [first]), 5, "another supervisor")
    kill(*supervisors(made.id))
    kill(*keepers())
    time.sleep(0.5)
    assert on(made) == declared
    remove(made)


def deaths(made):
    """Who is to die, and when after the other: alone, or both 50 ms and more apart."""
    who = [supervisors(made.id)[:1], keepers()[:1]]
    random.shuffle(who)
    return who[:random.choice((1, 2))]


def test_nobody_is_left_hanging_by_deaths_at_any_moment(netted):
    made, waited = None, 0
    for number in range(ROUNDS):
        # Three deaths of a supervisor in a row are the end of its supervision: a new one each time.
        if made:
            remove(made)
        made = netted(ALLOCATOR)
        made.started()
        pid = made.supervisor()
        wait_until(lambda: on(made), 5, "the net")
        # In every other round somebody waits for certain, however slow the machine.
        is_certain = number % 2 == 0
        if is_certain or random.random() < 0.4:
            # Who does not look for a while lets tasks run into the limit.
            stop(pid)
        made.do("200")
        if is_certain:
            wait_until(lambda: parked(made), 10, "somebody parked")
        time.sleep(random.uniform(0, 0.3))
        waited += parked(made)
        for index, victims in enumerate(deaths(made)):
            if index:
                time.sleep(random.uniform(0.05, 0.2))
            kill(*victims)
            # Who was stopped and lives is let go on: it was late, and is not dead.
            kill(pid, signal=signal.SIGCONT)
        wait_until(lambda: not parked(made), 1, f"nobody parked, in round {number}")
        time.sleep(0.1)
        assert not (parked(made) and usage(made) >= limit(made) - MIB)
    remove(made)
    # Else it was a test of nothing.
    assert waited >= ROUNDS // 4
