# SPDX-License-Identifier: Apache-2.0
"""The way out: a container is given back to runc alone, and runs on."""
import json
import os
import random
import signal
import subprocess
import time

import pytest

import cgroups
from applications import Sums, members, room
from processes import PATIENCE, is_alive, keepers, kill, ours, supervisors, wait_until
from test_application import member, memory_limit, memory_member  # noqa: F401
from test_strict import ONLINE, cpus, neighbour, strict  # noqa: F401
from world import ESCRA, escra_tool

pytestmark = pytest.mark.v2
MIB = 1 << 20
FLOOR = 5_000


def row(made):
    """What escra ps says of a container."""
    return next(one for one in json.loads(escra_tool("ps", "--json")) if one["id"] == made.id)


def stage(made):
    """How far its release has come, as it is written down; None where it is none."""
    try:
        with open(os.path.join(made.states()[0]["directory"], "released")) as file:
            return file.read()
    except FileNotFoundError:
        return None


def mark(made, text="asked"):
    """What a tool that is killed there leaves."""
    with open(os.path.join(made.states()[0]["directory"], "released"), "w") as file:
        file.write(text)


def is_released(made, quota):
    return (
        not supervisors(made.id) and made.quota == quota and stage(made) == "done"
        and row(made)["released"])


def stays(condition, what, seconds=0.5):
    """Fails when it does not hold for a while."""
    deadline = time.monotonic() + seconds * PATIENCE
    while time.monotonic() < deadline:
        assert condition(), f"no more: {what}"
        time.sleep(0.005)


def at_rest(made):
    made.started().supervisor()
    made.wait_for_quota(lambda quota: quota == FLOOR, 6, "down to the floor")
    return made


def test_released_it_has_what_it_declared_and_nobody_supervises_it(container):
    """Whatever is called for it; and at its end nothing is left."""
    made = at_rest(container())
    pid = made.pid
    said = escra_tool("release", made.id)
    assert made.id in said and "0.20 cores" in said
    assert is_released(made, 20_000)
    assert "(released)" in escra_tool("ps") and "escra adopt" in escra_tool("explain", made.id)
    [keeper] = keepers()
    kill(keeper)
    wait_until(lambda: not ours(), 2, "nobody of ours lives")
    for verb in ("state", "ps"):
        made.call(verb)
    wait_until(keepers, 2, "somebody who forgets it when it ends")
    stays(lambda: not supervisors(), "nobody supervises it")
    assert is_released(made, 20_000) and made.pid == pid and is_alive(pid)
    made.call("delete", "--force")


def test_one_that_ends_by_itself_is_forgotten(container):
    """Nobody has to call delete."""
    made = at_rest(container())
    escra_tool("release", made.id)
    made.do("exit")
    wait_until(lambda: not made.states(), 4, "it is forgotten")
    if cgroups.outer(made.cgroup) != made.cgroup:
        # The keeper waits until the container's own group is removed from ours.
        made.call("delete")
    wait_until(lambda: not ours(), 4, "nothing is left of it")


def test_adopt_undoes_it(container):
    """From what it has then; the beginning of an id will do."""
    made = at_rest(container({"io.escra.cpu.max": "600m"}))
    escra_tool("release", made.id)
    assert made.id in escra_tool("adopt", made.id)
    assert made.supervisor() and stage(made) is None
    made.wait_for_quota(lambda quota: quota == FLOOR, 6, "down to the floor again")
    made.work(2)
    made.wait_for_quota(lambda quota: quota == 60_000, 6, "up to the ceiling")
    assert row(made)["released"] is False


def test_adopt_starts_a_keeper_where_none_lives(container):
    """The tool is another program than the runtime."""
    made = at_rest(container())
    escra_tool("release", made.id)
    kill(*keepers())
    wait_until(lambda: not ours(), 2, "nobody of ours lives")
    escra_tool("adopt", made.id)
    assert made.supervisor() and len(keepers()) == 1


def test_a_stopped_supervisor_is_no_obstacle(container):
    """It would not answer."""
    made = at_rest(container())
    stopped = made.supervisor()
    kill(stopped, signal=signal.SIGSTOP)
    escra_tool("release", made.id)
    assert not is_alive(stopped) and is_released(made, 20_000)


def test_nor_is_a_dead_one(container):
    """Nor that nobody is there who would replace it."""
    made = at_rest(container())
    pids = ours()
    kill(*pids)
    wait_until(lambda: not any(map(is_alive, pids)), 2, "none of them lives")
    escra_tool("release", made.id)
    assert is_released(made, 20_000)


def test_all_are_released_at_once(container, plain):
    """Also who only observes; nobody else is touched."""
    made = [at_rest(container()), container(policy="observe").started()]
    other = container(runtime=plain, policy=None).started()
    for each in made:
        each.supervisor()
    said = escra_tool("release", "--all").splitlines()
    assert len(said) == 2
    assert all(is_released(each, 20_000) for each in made) and other.status == "running"
    assert "was already released" in escra_tool("release", made[0].id)
    assert len(escra_tool("adopt", "--all").splitlines()) == 2
    assert sorted(each.supervisor() for each in made) == supervisors()
    assert "No container is released" in escra_tool("adopt", "--all")


def test_a_member_leaves_its_application(member):
    """The others may have what it held; no moment's sum is more than the application's limit."""
    asked = {"io.escra.app.cpu": "600m"}
    one, two = (member(asked, quota=30_000).started() for _ in range(2))
    for each in (one, two):
        each.supervisor()
    one.work(2)
    one.wait_for_quota(lambda quota: quota >= 50_000, 6, "nearly all")
    escra_tool("release", one.id)
    assert is_released(one, 30_000) and len(members("shop")) == 1
    two.work(2)
    two.wait_for_quota(lambda quota: quota == 60_000, 6, "all of it")
    assert one.quota == 30_000, "its limit is its own"
    escra_tool("adopt", one.id)
    assert len(members("shop")) == 2
    with Sums(one, two) as sums:
        one.wait_for_quota(lambda quota: quota >= 25_000, 6, "its fair share")
        one.rest()
        two.wait_for_quota(lambda quota: quota >= 50_000, 6, "nearly all")
    assert sums.most <= 0.6 + 1e-9


def test_the_last_member_takes_the_application_along(container):
    """Released together they leave no directory; adopted together they are one again."""
    made = [container({"io.escra.app": "shop"}).started() for _ in range(2)]
    for each in made:
        each.supervisor()
    escra_tool("release", "--all")
    assert room("shop") is None and all(is_released(each, 20_000) for each in made)
    escra_tool("adopt", "--all")
    assert len(members("shop")) == 2
    made[0].work(2)
    made[0].wait_for_quota(lambda quota: quota >= 30_000, 6, "what the other does not need")


def test_adopt_of_one_for_whom_there_is_no_room_says_so(container):
    """It stays released, with what it declares."""
    asked = {"io.escra.app": "shop", "io.escra.cpu.min": "150m", "io.escra.app.cpu": "400m"}
    one, two = (container(asked).started() for _ in range(2))
    for each in (one, two):
        each.supervisor()
    escra_tool("release", one.id)

    def is_alone():
        said = subprocess.run([ESCRA, "app", "set", "shop", "--cpu", "200m"], capture_output=True)
        return said.returncode == 0

    wait_until(is_alone, 2, "its minimum is nobody's")
    done = subprocess.run([ESCRA, "adopt", one.id], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and one.id in done.stderr and "room" in done.stderr
    assert is_released(one, 20_000) and len(members("shop")) == 1


def test_a_members_memory_is_its_own_and_then_shared_again(member, memory_member):  # noqa: F811
    """It comes back with what it uses; what is in force never is more than both declare."""
    one, two = memory_member(128), memory_member(128)
    for each in (one, two):
        each.started().supervisor()
    one.fill(40)
    for each in (one, two):
        wait_until(lambda: memory_limit(each) < 90, 8, "what it does not need is given back")
    said = escra_tool("release", one.id)
    assert "128Mi" in said and memory_limit(one) == 128 and len(members("shop")) == 1
    two.fill(100)
    wait_until(lambda: memory_limit(two) >= 100, 4, "all that it declares")
    assert memory_limit(two) <= 128
    escra_tool("adopt", one.id)
    assert one.supervisor() and len(members("shop")) == 2
    assert 40 <= memory_limit(one) <= 128 and memory_limit(one) + memory_limit(two) <= 256
    one.fill(110)
    wait_until(lambda: memory_limit(one) >= 110, 4, "it grows")
    assert memory_limit(one) + memory_limit(two) <= 256 and one.status == "running"


def memory(made):
    return cgroups.memory_limit(cgroups.inner(made.cgroup))


def test_an_adopted_container_gets_none_of_the_operators_cpus(strict, world, escra):  # noqa: F811
    """Where the runtime is called with another config the tool has to be, too."""
    path = world.path("operator.json")
    with open(path, "w") as file:
        json.dump({"reservedCPUs": str(max(ONLINE))}, file)
    flags = ["--escra-config", path]
    made = strict(runtime=escra.using(*flags)).started()
    made.supervisor()
    escra_tool("release", made.id)
    done = subprocess.run(
        [ESCRA, "adopt", "--escra-config", path + ".not", made.id], capture_output=True, text=True,
        timeout=60)
    assert done.returncode == 1 and path + ".not (ENOENT)" in done.stderr
    escra_tool("adopt", *flags, made.id)
    made.supervisor(4)
    wait_until(lambda: len(cpus(made)) == 1, 2, "CPUs of its own")
    assert max(ONLINE) not in cpus(made)


def test_a_broken_config_keeps_nobody_from_adopting_who_needs_nothing_of_it(container, world):
    """Only CPUs of one's own are a matter of the config."""
    path = world.path("operator.json")
    with open(path, "w") as file:
        file.write("{")
    made = at_rest(container())
    escra_tool("release", made.id)
    escra_tool("adopt", "--escra-config", path, made.id)
    assert made.supervisor()


def test_memory_that_is_in_use_is_not_taken_away(container):
    """A limit below the use is refused, or would kill: the sentence says what is in force."""
    made = container({"io.escra.memory.max": "256Mi"})
    made.bundle.give_memory(64 * MIB)
    made.started().supervisor()
    made.do("dd if=/dev/zero of=/tmp/file bs=65536 count=2048")
    wait_until(lambda: memory(made) >= 128 * MIB, 4, "grown")
    said = escra_tool("release", made.id)
    assert "memory limit stays at" in said and "64Mi" in said
    assert memory(made) >= 128 * MIB and made.status == "running"
    # What the low-level runtime writes at an update is what is in force, but for what is asked.
    made.call("update", "--cpu-quota", "30000", "--cpu-period", "100000")
    assert made.quota == 30_000 and memory(made) >= 128 * MIB
    made.do(": >/tmp/file")
    wait_until(
        lambda: made.runtime(
            "update", "--memory", str(64 * MIB), "--memory-swap", str(64 * MIB), made.id
        ).code == 0, 4, "less is in use")
    assert memory(made) == 64 * MIB and made.quota == 30_000 and not supervisors()


def test_an_update_of_a_released_container_is_runcs(container):
    """What is not asked for stays as it is, whatever the supervisor had begun with."""
    made = at_rest(container({"io.escra.cpu.min": "50m", "io.escra.cpu.max": "100m"}))
    escra_tool("release", made.id)
    assert made.quota == 20_000
    made.call("update", "--pids-limit", "100")
    assert made.quota == 20_000
    made.call("update", "--cpu-quota", "15000")
    assert made.quota == 15_000 and not supervisors()
    escra_tool("adopt", made.id)
    assert row(made)["cpu"]["declared"] == pytest.approx(0.15)


@pytest.mark.skipif(not cgroups.has_cpuset(), reason="strict needs cpusets")
def test_a_strict_container_shares_its_cpus_and_takes_them_again(strict, neighbour):  # noqa: F811
    """It has its declared quota meanwhile."""
    other = neighbour()
    made = strict().started()
    made.supervisor()
    own = cpus(made)
    wait_until(lambda: cpus(other) and not cpus(other) & own, 2, "the neighbour keeps off")
    said = escra_tool("release", made.id)
    assert "with other containers" in said
    assert is_released(made, 100_000)
    everything = cpus("/") if cgroups.VERSION == 1 else own | cpus(other) | cpus(made)
    assert cpus(made) == everything
    if cgroups.VERSION == 1:
        assert cpus(other) == everything
    assert row(made)["cpu"]["ownCPUs"] is None
    made.call("update", "--pids-limit", "100")
    assert cpus(made) == everything and made.quota == 100_000
    next_one = strict(len(ONLINE) - 1).started()
    next_one.supervisor()
    wait_until(lambda: not cpus(made) & cpus(next_one), 2, "a neighbour like any other")
    done = subprocess.run([ESCRA, "adopt", made.id], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and made.id in done.stderr, "there is no CPU left for it"
    assert is_released(made, 100_000)
    next_one.call("delete", "--force")
    wait_until(lambda: cpus(made) == everything, 4, "it has them again")
    escra_tool("adopt", made.id)
    made.wait_for_quota(lambda quota: quota in (None, -1), 4, "no quota")
    assert len(cpus(made)) == 1
    wait_until(lambda: cpus(other) and not cpus(other) & cpus(made), 2, "the neighbour keeps off")


def test_what_a_tool_that_died_has_begun_is_finished(container):
    """Decided and no more: whoever comes by next gives everything back."""
    made = at_rest(container())
    mark(made)
    stays(lambda: supervisors(made.id), "until it is ended it is supervised", 0.3)
    kill(made.supervisor())
    wait_until(lambda: is_released(made, 20_000), 4, "it is released")
    # The same where nobody is left but the next call.
    escra_tool("adopt", made.id)
    made.wait_for_quota(lambda quota: quota == FLOOR, 6, "down to the floor again")
    mark(made)
    pids = ours()
    kill(*pids)
    wait_until(lambda: not any(map(is_alive, pids)), 2, "none of them lives")
    made.call("state")
    wait_until(lambda: is_released(made, 20_000), 4, "it is released")


def test_a_member_whose_adoption_was_not_finished_is_released_again(container):
    """It had the least by then, and a place in its application."""
    made = [container({"io.escra.app": "shop"}).started() for _ in range(2)]
    for each in made:
        each.supervisor()
    escra_tool("release", made[0].id)
    cgroups.set_quota(made[0].cgroup, FLOOR)
    mark(made[0])
    kill(*keepers())
    wait_until(lambda: not keepers(), 2, "no keeper lives")
    made[0].call("state")
    wait_until(lambda: is_released(made[0], 20_000), 4, "it is released")
    assert len(members("shop")) == 1


def is_consistent(made, quota):
    """Supervised, or released with all that it declares."""
    if stage(made) is None:
        return len(supervisors(made.id)) == 1
    return stage(made) == "done" and not supervisors(made.id) and made.quota == quota


def test_a_tool_that_is_killed_at_any_moment_leaves_nothing_half_done(container):
    """The next call for the container brings whoever finishes it; the sum is kept by the others."""
    asked = {"io.escra.app": "shop", "io.escra.app.cpu": "500m"}
    made, other = (container(asked).started() for _ in range(2))
    for each in (made, other):
        each.supervisor()
    other.work(2)
    randomly = random.Random(7)
    with Sums(other) as sums:
        for _ in range(30):
            verb = "adopt" if stage(made) else "release"
            tool = subprocess.Popen(
                [ESCRA, verb, made.id], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(randomly.random() * 0.03 * PATIENCE)
            kill(tool.pid)
            tool.wait()
            if stage(made) == "asked" and supervisors(made.id):
                kill(*supervisors(made.id))
            made.call("state")
            wait_until(lambda: is_consistent(made, 20_000), 5, "it is one or the other")
            assert made.status == "running"
    assert sums.most <= 0.5 + 1e-9
    if stage(made):
        escra_tool("adopt", made.id)
    with Sums(made, other) as sums:
        assert made.supervisor() and len(members("shop")) == 2
        made.work(2)
        made.wait_for_quota(lambda quota: quota >= 24_000, 6, "its fair share")
        other.rest()
        made.wait_for_quota(lambda quota: quota >= 40_000, 6, "what the other does not need")
    assert sums.most <= 0.5 + 1e-9


def test_two_tools_at_once_come_to_one_end(container):
    """Whoever is second finds it done, or undone."""
    made = at_rest(container())
    for _ in range(5):
        for verbs in (("release", "release"), ("adopt", "adopt"), ("release", "adopt")):
            tools = [
                subprocess.Popen([ESCRA, verb, made.id], stdout=subprocess.DEVNULL)
                for verb in verbs]
            assert all(tool.wait(30) in (0, 1) for tool in tools)
            wait_until(lambda: is_consistent(made, 20_000), 5, "it is one or the other")
        if stage(made):
            escra_tool("adopt", made.id)


@pytest.mark.parametrize("verb", ["release", "adopt"])
def test_an_unknown_container_is_one_sentence(verb):
    """What, which, and what to do."""
    done = subprocess.run(
        [ESCRA, verb, "no-such-container"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert '"no-such-container"' in done.stderr and "escra ps" in done.stderr


@pytest.mark.parametrize("words", [[], ["one", "--all"]])
@pytest.mark.parametrize("verb", ["release", "adopt"])
def test_a_container_or_all_of_them_has_to_be_named(verb, words):
    """And not both."""
    done = subprocess.run([ESCRA, verb, *words], capture_output=True, text=True, timeout=10)
    assert done.returncode == 64 and "--all" in done.stderr


def test_all_of_nothing_is_fine():
    """Nothing to do is no failure."""
    assert "No container is supervised" in escra_tool("release", "--all")
    assert "No container is released" in escra_tool("adopt", "--all")
