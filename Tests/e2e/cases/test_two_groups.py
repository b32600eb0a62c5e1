# SPDX-License-Identifier: Apache-2.0
"""The group of ours around a container's own: its limit moves, the container's own stays."""
import glob
import hashlib
import json
import os
import time

import pytest

import cgroups
import driver
from processes import RUN, keepers, kill, ours, wait_until
from world import Sampler, escra_tool

pytestmark = pytest.mark.skipif(cgroups.VERSION == 1, reason="two groups need cgroup v2")
by_systemd = pytest.mark.skipif(not driver.IS_SYSTEMD, reason="systemd makes no groups here")
by_itself = pytest.mark.skipif(driver.IS_SYSTEMD, reason="systemd makes the groups here")

FLOOR = 5_000
MIB = 1 << 20


def outer_of(container):
    """Where the group around a container's own is to be."""
    root = container.runtime.globals[1]
    name = "escra" + hashlib.sha256(f"{root}\0{container.id}".encode()).hexdigest()
    parent = os.path.dirname(container.cgroup)
    if driver.IS_SYSTEMD:
        name = f"{os.path.basename(parent).removesuffix('.slice')}-{name}.slice"
    return os.path.join(parent, name)


def own(container, name):
    """A file of the container's own group."""
    return cgroups.read(
        os.path.join(outer_of(container), os.path.basename(container.cgroup)), name)


def around(container, name):
    """The same file of the group around it."""
    return cgroups.read(outer_of(container), name)


def groups_of_ours(container):
    parent = cgroups.directory(os.path.dirname(container.cgroup))
    return list(filter(cgroups.OUTER.fullmatch, os.listdir(parent)))


def settle_without_us(container):
    """Nothing of ours is left, neither the group around the container's own nor its note."""
    wait_until(lambda: not os.path.exists(cgroups.directory(outer_of(container))), 4,
               "the group around the container's own is gone")
    wait_until(lambda: not ours() and not glob.glob(RUN + "/groups/*"), 4, "nothing is left")


@pytest.mark.v2
def test_the_limit_moves_around_the_one_that_programs_see(container):
    """Idle, busy and idle again: what is declared is what is seen; all goes with the container."""
    made = container({"io.escra.memory.max": "256Mi"})
    made.bundle.give_memory(256 * MIB)
    before = made.bundle.write().identity()
    made.started()
    assert made.bundle.is_original(before)
    made.supervisor()
    for _ in range(2):
        wait_until(lambda: around(made, "cpu.max") == f"{FLOOR} 100000", 4, "down to the floor")
        assert own(made, "cpu.max") == "20000 100000"
        made.work(2)
        wait_until(lambda: around(made, "cpu.max") == "max 100000", 4, "up to what is declared")
        made.rest()
    wait_until(lambda: around(made, "memory.max") != "max", 10, "memory is given back")
    assert own(made, "memory.max") == str(256 * MIB) and own(made, "memory.high") == "max"
    made.call("delete", "--force")
    settle_without_us(made)


@pytest.mark.v2
@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_maximum_above_the_declared_limit_is_what_programs_see(container, world, verb):
    """It starts with what it declares, in the group around its own, at its first instruction."""
    made = container({"io.escra.cpu.max": "1", "io.escra.memory.max": "256Mi"})
    made.bundle.give_memory(128 * MIB)
    hook, seen = world.path("hook"), world.path("seen")
    group = cgroups.directory(outer_of(made))
    with open(hook, "w") as file:
        file.write(
            f"#!/bin/sh\ncd {group}\ncat cpu.max memory.max */cpu.max */memory.max >{seen}\n")
    os.chmod(hook, 0o755)
    made.bundle.config["hooks"] = {"createRuntime": [{"path": hook}]}
    made.bundle.write()
    process = world.spawn(made.create(verb=verb))
    if verb == "create":
        assert process.wait(60) == 0
    wait_until(lambda: os.path.exists(made.pid_file), 5, "the container is there")
    with open(seen) as file:
        assert file.read().split("\n")[:4] == [
            "20000 100000", str(128 * MIB), "100000 100000", str(256 * MIB)]


@pytest.mark.v2
def test_an_update_is_the_engines_business(container):
    """The low-level runtime writes the container's own group; ours follows, within bounds."""
    made = container().started()
    made.supervisor()
    with Sampler(made) as sampler:
        made.call("update", "--cpu-quota", "60000")
        assert own(made, "cpu.max") == "60000 100000"
        wait_until(lambda: made.states()[0]["declaredQuota"] == "60000", 2, "it is declared")
        made.work(2)
        wait_until(lambda: around(made, "cpu.max") == "max 100000", 4, "up to what is declared")
        made.call("update", "--cpu-quota", "30000")
        time.sleep(0.5)
        made.rest()
        wait_until(lambda: around(made, "cpu.max") == f"{FLOOR} 100000", 4, "down to the floor")
    assert max(sampler.quotas) <= 60_000
    assert own(made, "cpu.max") == "30000 100000"
    if not driver.IS_SYSTEMD:  # Which is asked first, and takes it.
        made.call("update", "--cpu-quota", "1", code=1)
        assert own(made, "cpu.max") == "30000 100000"


def test_a_maximum_outlives_updates(container):
    """What an engine writes is declared; the container's own group is raised again."""
    made = container({"io.escra.cpu.max": "600m"}).started()
    made.supervisor()
    assert own(made, "cpu.max") == "60000 100000"
    made.call("update", "--cpu-quota", "30000")
    wait_until(lambda: made.states()[0]["declaredQuota"] == "30000", 2, "it is declared")
    wait_until(lambda: own(made, "cpu.max") == "60000 100000", 2, "the maximum again")
    made.call("update", "--cpu-quota", "90000")
    wait_until(lambda: made.states()[0]["declaredQuota"] == "90000", 2, "it is declared")
    assert own(made, "cpu.max") == "90000 100000"
    made.work(2)
    wait_until(lambda: around(made, "cpu.max") == "60000 100000", 4, "up to the maximum")


def seen(container, name):
    """A file of the group that the processes are in: crun makes one below a scope."""
    group = os.path.join(outer_of(container), os.path.basename(container.cgroup))
    return cgroups.read(cgroups.inner(group), name)


def test_programs_see_the_maximum_after_updates(container):
    """Also in the group that crun makes below the scope."""
    made = container({"io.escra.cpu.max": "600m", "io.escra.memory.max": "256Mi"})
    made.bundle.give_memory(64 * MIB)
    made.started()
    made.supervisor()
    for quota, size in ((30_000, 96), (40_000, 80)):
        size = size * MIB
        made.call("update", "--cpu-quota", str(quota), "--memory", str(size),
                  "--memory-swap", str(size))
        wait_until(lambda: made.states()[0]["declaredQuota"] == str(quota), 2, "it is declared")
        wait_until(lambda: made.states()[0]["declaredMemory"] == str(size), 2, "it is declared")
        wait_until(lambda: seen(made, "cpu.max") == "60000 100000", 2, "the maximum again")
        wait_until(lambda: seen(made, "memory.max") == str(256 * MIB), 2, "the maximum again")


@pytest.mark.parametrize("most", ["max", "app"])
def test_an_update_to_the_very_limit_that_programs_see_is_declared(container, most):
    """The runtime writes what is there already."""
    annotations = {f"io.escra.{most}.cpu": "600m", f"io.escra.{most}.memory": "256Mi",
                   "io.escra.app": "shop"}
    if most == "max":
        annotations = {"io.escra.cpu.max": "600m", "io.escra.memory.max": "256Mi"}
    made = container(annotations)
    made.bundle.give_memory(64 * MIB)
    made.started()
    made.supervisor()
    size = str(256 * MIB)
    wait_until(lambda: own(made, "cpu.max") == "60000 100000", 2, "its application's")
    made.call("update", "--cpu-quota", "60000", "--memory", size, "--memory-swap", size)
    wait_until(lambda: made.states()[0]["declaredQuota"] == "60000", 2, "it is declared")
    wait_until(lambda: made.states()[0]["declaredMemory"] == size, 2, "it is declared")
    made.call("update", "--cpu-share", "512")
    assert own(made, "cpu.max") == "60000 100000"
    assert made.states()[0]["declaredQuota"] == "60000"
    made.call("update", "--cpu-quota", "20000")
    wait_until(lambda: made.states()[0]["declaredQuota"] == "20000", 2, "it is declared")


@pytest.mark.v2
def test_the_weights_are_carried(container):
    """Siblings are compared by the weights of our groups."""
    made = container()
    made.bundle.config["linux"]["resources"]["cpu"]["shares"] = 256
    made.bundle.write()
    made.started()
    made.supervisor()
    wait_until(lambda: around(made, "cpu.weight") == own(made, "cpu.weight"), 2, "as it began")
    made.call("update", "--cpu-share", "4096")
    wait_until(lambda: around(made, "cpu.weight") == own(made, "cpu.weight"), 2, "as updated")
    made.call("update", "--memory-reservation", str(16 * MIB))
    assert own(made, "memory.low") == str(16 * MIB)
    wait_until(lambda: around(made, "memory.low") == str(16 * MIB), 2, "its protection, too")


def test_memory_is_a_line_where_programs_can_read_the_groups_above(container):
    """Without a cgroup namespace: what is above the line is reclaimed and slowed down."""
    made = container({"io.escra.memory.max": "256Mi"})
    linux = made.bundle.config["linux"]
    linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] != "cgroup"]
    made.bundle.give_memory(128 * MIB)
    made.started()
    made.supervisor()

    def line():
        text = around(made, "memory.high")
        return float("inf") if text == "max" else int(text)

    wait_until(lambda: line() < 64 * MIB, 10, "down to what is used")
    assert around(made, "memory.max") == "max" and own(made, "memory.max") == str(256 * MIB)
    [seen] = json.loads(escra_tool("ps", "--json"))
    assert seen["memory"]["limit"] == line() and seen["memory"]["visible"] == 256 * MIB
    before = line()
    made.fill(100)
    wait_until(lambda: line() >= 100 * MIB, 10, "up as it grows")
    cgroups.write(outer_of(made), "memory.high", "max")
    wait_until(lambda: line() < 256 * MIB, 3, "it is written again")
    cgroups.write(outer_of(made), "memory.max", str(200 * MIB))
    wait_until(lambda: around(made, "memory.max") == "max", 3, "and no limit")
    kill(made.supervisor())
    made.supervisor(5)
    assert around(made, "memory.max") == "max" and line() < 256 * MIB and before < line()
    escra_tool("release", made.id)
    assert around(made, "memory.max") == str(128 * MIB) and line() == float("inf")


def test_another_process_resets_our_group(container):
    """Meanwhile the container's own limit holds."""
    made = container().started()
    made.supervisor()
    wait_until(lambda: around(made, "cpu.max") == f"{FLOOR} 100000", 4, "down to the floor")
    cgroups.set_quota(outer_of(made), None)
    wait_until(lambda: around(made, "cpu.max") == f"{FLOOR} 100000", 3, "it is written again")
    assert made.states()[0]["declaredQuota"] == "20000"


@pytest.mark.v2
def test_released_and_adopted(container):
    """Without us it has what it declares, and what an update says; then it moves again."""
    made = container({"io.escra.cpu.max": "1"}).started()
    made.supervisor()
    wait_until(lambda: around(made, "cpu.max") == f"{FLOOR} 100000", 4, "down to the floor")
    escra_tool("release", made.id)
    assert around(made, "cpu.max") == "20000 100000" and own(made, "cpu.max") == "100000 100000"
    made.call("update", "--cpu-quota", "50000")
    assert around(made, "cpu.max") == "max 100000" and own(made, "cpu.max") == "50000 100000"
    escra_tool("adopt", made.id)
    made.supervisor()
    wait_until(lambda: around(made, "cpu.max") == f"{FLOOR} 100000", 4, "down to the floor")
    made.call("delete", "--force")
    settle_without_us(made)


def test_the_supervisor_dies(container):
    """The next one goes on in the same two groups."""
    made = container().started()
    kill(made.supervisor())
    made.call("update", "--cpu-quota", "40000")
    made.supervisor(5)
    wait_until(lambda: made.states()[0]["declaredQuota"] == "40000", 4, "it is declared")
    wait_until(lambda: around(made, "cpu.max") == f"{FLOOR} 100000", 4, "down to the floor")


@pytest.mark.v2
def test_removal_waits_for_the_container_and_needs_no_keeper(container):
    """One that has ended keeps its group until it is deleted, also while no keeper lives."""
    made = container().started()
    made.supervisor()
    made.do("exit")
    wait_until(lambda: made.status == "stopped", 4, "it has ended")
    wait_until(lambda: not made.states(), 4, "its instance is gone")
    assert os.path.isdir(cgroups.directory(outer_of(made)))
    kill(*keepers())
    made.call("delete")
    settle_without_us(made)


@pytest.mark.v2
def test_a_create_that_fails_leaves_nothing(container):
    """The low-level runtime refuses; what was made for it goes."""
    made = container()
    made.bundle.config["process"]["args"] = ["/nothing/there"]
    before = made.bundle.write().identity()
    assert made.create().wait(60) != 0
    settle_without_us(made)
    wait_until(lambda: made.bundle.is_original(before), 2, "config.json is the original")


def test_again_and_again_by_the_same_name(container):
    """Each time in a group of its own with limits of its own."""
    made = container()
    for _ in range(3):
        made.started()
        made.supervisor()
        wait_until(lambda: around(made, "cpu.max") == f"{FLOOR} 100000", 4, "down to the floor")
        made.call("delete", "--force")
    settle_without_us(made)


@pytest.mark.parametrize("how", ["missing", "relative"])
def test_two_groups_where_the_runtime_chooses_the_place(container, plain, world, how):
    """Its own group is in one of ours, in the group in which the plain runtime makes it."""
    if how == "relative" and driver.IS_SYSTEMD:
        pytest.skip("the runtimes refuse it")

    def place(made):
        linux = made.bundle.config["linux"]
        del linux["cgroupsPath"]
        if how == "relative":
            linux["cgroupsPath"] = f"{made.id}-group/own"
        before = made.bundle.write().identity()
        made.started()
        wait_until(lambda: made.bundle.is_original(before), 2, "config.json is the original")
        made.cgroup = cgroups.membership(made.pid)[""].removesuffix("/container")
        return os.path.split(made.cgroup)

    parent, name = place(container(runtime=plain, policy=None))
    made = container()
    outer, own_name = place(made)
    made.supervisor()
    if how == "missing":
        assert os.path.dirname(outer) == parent and len(own_name) == len(name)
    else:
        assert os.path.dirname(outer) == f"{os.path.dirname(parent)}/{made.id}-group".replace(
            "//", "/")
        world.groups += [parent, os.path.dirname(outer)]
    assert cgroups.OUTER.fullmatch(os.path.basename(outer))
    wait_until(lambda: cgroups.read(outer, "cpu.max") == f"{FLOOR} 100000", 4, "down to the floor")
    assert cgroups.read(made.cgroup, "cpu.max") == "20000 100000"
    made.call("delete", "--force")
    wait_until(lambda: not os.path.exists(cgroups.directory(outer)), 4, "the outer group is gone")


@by_itself
def test_one_group_where_its_own_is_there_already(container, world):
    """And a sentence."""
    made = container()
    path = made.cgroup
    cgroups.make(path)
    world.groups.append(path)
    made.bundle.write()
    made.started()
    made.supervisor()
    assert not groups_of_ours(made)
    [state] = made.states()
    assert "inner" not in state and state["oneGroup"]
    said = json.loads(escra_tool("explain", "--json", made.id))["sentences"]
    assert any("no cgroup of ours is around its own" in line for line in said)


@by_itself
def test_a_strangers_group_of_our_name_is_left_alone(container, world):
    """It is neither used nor written nor removed."""
    made = container()
    cgroups.make(outer_of(made) + "/stranger")
    world.groups += [outer_of(made), outer_of(made) + "/stranger"]
    made.started()
    made.supervisor()
    made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")
    assert around(made, "cpu.max") == "max 100000"
    made.call("delete", "--force")
    wait_until(lambda: not ours(), 4, "the keeper has ended")
    assert os.path.isdir(cgroups.directory(outer_of(made) + "/stranger"))


def test_a_pause_is_seen(container):
    """The container's own group is frozen; a frozen container is not taken for an idle one."""
    made = container().started()
    made.supervisor()
    made.work(2)
    wait_until(lambda: around(made, "cpu.max") == "max 100000", 4, "up to what is declared")
    made.call("pause")
    time.sleep(3)
    assert around(made, "cpu.max") == "max 100000"
    made.call("resume")


def test_kills_are_counted(container):
    """The kernel kills at the limit of the container's own group; the record has it."""
    made = container({"io.escra.memory.max": "64Mi"})
    made.bundle.give_memory(64 * MIB)
    made.started()
    made.supervisor()
    made.fill(128)
    kill_ = 40  # As in the record.
    wait_until(lambda: kill_ in [entry.rule for entry in made.record()], 10, "a kill is recorded")
