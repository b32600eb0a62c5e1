# SPDX-License-Identifier: Apache-2.0
"""cgroup v1: the memory limit moves in a group of ours, and programs see the declared one."""
import glob
import os
import time

import pytest

import cgroups
from processes import RUN, keepers, kill, ours, wait_until
from test_two_groups import outer_of
from world import escra_tool

pytestmark = pytest.mark.skipif(
    cgroups.VERSION == 2 or "memory" not in cgroups.HIERARCHIES, reason="this is about cgroup v1")

MIB = 1 << 20


def own(made):
    """The limit of the container's own group in MiB: what programs read."""
    return int(cgroups.read(made.cgroup, "memory.limit_in_bytes", "memory")) // MIB


def around(made):
    """The limit that moves, in MiB."""
    outer = cgroups.outer(made.cgroup)
    return int(cgroups.read(outer, "memory.limit_in_bytes", "memory")) // MIB


def groups_of_ours(container):
    """The groups around a container's own: those of others come and go beside it."""
    paths = [mount + outer_of(container) for mount in cgroups.mounts()]
    return [path for path in paths if os.path.exists(path)]


@pytest.fixture
def made(container):
    """A container that declares 256 MiB, which move."""
    made = container({"io.escra.memory.max": "256Mi"})
    made.bundle.give_memory(256 * MIB)
    made.bundle.write()
    return made


def test_the_limit_moves_around_the_one_that_programs_see(made):
    before = made.bundle.identity()
    made.started().supervisor()
    assert made.bundle.is_original(before)
    wait_until(lambda: around(made) < 64, 10, "memory is given back")
    assert own(made) == 256 and groups_of_ours(made)
    assert made.states()[0]["declaredMemory"] == str(256 * MIB)
    made.fill(128)
    wait_until(lambda: around(made) > 128, 10, "there is more")
    assert own(made) == 256
    made.call("delete", "--force")
    wait_until(lambda: not groups_of_ours(made) and not ours(), 6, "nothing is left")
    assert not glob.glob(RUN + "/groups/*")


def test_an_update_is_the_engines_business(made):
    """runc writes the container's own group; ours follows, and its CPU limit stays ours."""
    made.started().supervisor()
    wait_until(lambda: around(made) < 64, 10, "memory is given back")
    made.call("update", "--memory", str(128 * MIB))
    assert own(made) == 256  # The annotation allows more, and so it was raised again.
    wait_until(lambda: made.states()[0]["declaredMemory"] == str(128 * MIB), 3, "it is declared")
    made.call("update", "--memory", str(512 * MIB), "--memory-swap", str(512 * MIB))
    wait_until(lambda: made.states()[0]["declaredMemory"] == str(512 * MIB), 3, "it is declared")
    assert own(made) == 512
    made.call("update", "--cpu-quota", "30000")
    wait_until(lambda: made.states()[0]["declaredQuota"] == "30000", 3, "the CPU limit, too")
    assert own(made) == 512


def test_released_and_adopted(made):
    """Without us it has what it declares; then its limit moves again."""
    made.started().supervisor()
    wait_until(lambda: around(made) < 64, 10, "memory is given back")
    escra_tool("release", made.id)
    assert around(made) == 256 and own(made) == 256
    escra_tool("adopt", made.id)
    made.supervisor()
    wait_until(lambda: around(made) < 64, 10, "memory is given back")


def test_the_shares_are_carried(made):
    """Siblings are compared by the shares of our groups."""
    made.bundle.config["linux"]["resources"]["cpu"]["shares"] = 256
    made.bundle.write()
    made.started().supervisor()
    outer = cgroups.outer(made.cgroup)
    assert cgroups.read(outer, "cpu.shares") == "256"
    made.call("update", "--cpu-share", "4096")
    wait_until(lambda: cgroups.read(outer, "cpu.shares") == "4096", 3, "as updated")


def test_a_member_sees_its_applications_limit(container):
    one, two = (container({
        "io.escra.app": "shop", "io.escra.app.memory": "512Mi"}) for _ in range(2))
    for each in (one, two):
        each.bundle.give_memory(128 * MIB)
        each.bundle.write()
        each.started().supervisor()
        assert own(each) == 512
    wait_until(lambda: around(one) + around(two) < 128, 10, "memory is given back")
    escra_tool("app", "set", "shop", "--memory", "1Gi")
    wait_until(lambda: own(one) == own(two) == 1024, 3, "they see more")
    one.fill(700)
    wait_until(lambda: around(one) > 700, 10, "there is more")


def test_without_a_keeper_the_next_call_removes_the_group(made):
    made.started().supervisor()
    made.do("exit")
    wait_until(lambda: made.status == "stopped" and not made.states(), 6, "it has ended")
    kill(*keepers())
    made.call("delete")
    wait_until(lambda: not groups_of_ours(made) and not ours(), 6, "nothing is left")


def test_as_before_where_it_is_asked_for(container):
    """io.escra.visible: current has one group, whose limit programs see move."""
    made = container({"io.escra.memory.max": "256Mi", "io.escra.visible": "current"}, quota=200_000)
    made.bundle.give_memory(256 * MIB)
    made.bundle.write()
    made.started().supervisor()
    wait_until(lambda: own(made) < 64, 10, "memory is given back")
    assert not groups_of_ours(made)
    made.wait_for_quota(lambda quota: quota == 5_000, 6, "down to the floor")


@pytest.mark.parametrize("declared, least", [
    (200_000, 101_000), (150_000, 101_000), (90_000, 5_000)])
def test_programs_count_as_many_cpus_as_are_declared(container, declared, least):
    """Those that round up: the limit stays above the CPUs before the last one."""
    made = container(quota=declared).started()
    made.supervisor()
    made.wait_for_quota(lambda quota: quota == least, 6, "down to the least")
    made.call("update", "--cpu-quota", "50000")
    made.wait_for_quota(lambda quota: quota == 5_000, 6, "down to the floor")
    time.sleep(0.2)
    assert made.quota == 5_000
