# SPDX-License-Identifier: Apache-2.0
"""A group of ours around a container's own: shares of a CPU, parents, groups nested in it."""
import contextlib
import json
import os
import subprocess
import time

import pytest

import cgroups
import driver
from processes import PATIENCE, ours, wait_until
from test_two_groups import groups_of_ours
from world import IS_CRUN, escra_tool, without_time

pytestmark = pytest.mark.skipif(cgroups.VERSION == 1, reason="two groups need cgroup v2")
by_itself = pytest.mark.skipif(driver.IS_SYSTEMD, reason="systemd makes the groups here")

FLOOR = 5_000
MIB = 1 << 20
# For how long shares are measured.
SECONDS = 5


def usage(container):
    """The CPU time of a container's own group, in microseconds."""
    lines = cgroups.read(container.cgroup, "cpu.stat").splitlines()
    return int(dict(line.split() for line in lines)["usage_usec"])


def ratio(pair):
    """How much more CPU time the second of two gets."""
    before = [usage(each) for each in pair]
    time.sleep(SECONDS)
    first, second = (usage(each) - begun for each, begun in zip(pair, before))
    return second / first


def test_siblings_share_a_cpu_by_their_weights(container, plain, escra):
    """As under the plain runtime, also after an update of the weights."""

    def shared(runtime, policy):
        pair = []
        for shares in (256, 1024):
            made = container(runtime=runtime, policy=policy, quota=100_000)
            made.bundle.config["linux"]["resources"]["cpu"]["shares"] = shares
            made.bundle.write()
            pair.append(made.started())
            made.do("busybox taskset 1 sh -c 'while :; do :; done' &")
        for each in pair:
            if policy:
                each.supervisor()
            assert (cgroups.outer(each.cgroup) != cgroups.located(each.cgroup)) == bool(policy)
        # They have settled: what is idle at first is raised.
        time.sleep(2)
        found = [ratio(pair)]
        for each, shares in zip(pair, (2048, 512)):
            each.call("update", "--cpu-share", str(shares))
        time.sleep(2)
        found.append(ratio(pair))
        for each in pair:
            each.call("delete", "--force")
        return found

    expected, found = shared(plain, None), shared(escra, "reactive")
    print(f"second of two: {expected} under the plain runtime, {found} under ours")
    assert 3 < expected[0] < 5 and 1 / 5 < expected[1] < 1 / 3
    for wanted, got in zip(expected, found):
        assert 0.85 < got / wanted < 1.15, (expected, found)


@contextlib.contextmanager
def nested(container, depth):
    """Has a container's processes in a group so many levels below its own, as its init may do."""
    top = cgroups.located(container.cgroup)
    path = top + "".join(f"/level{number}" for number in range(1, depth + 1))
    os.makedirs(cgroups.directory(path))
    for pid in cgroups.processes(top):
        cgroups.write(path, "cgroup.procs", pid)
    above = top
    for number in range(1, depth + 1):
        cgroups.write(above, "cgroup.subtree_control", "+cpu +memory")
        above += f"/level{number}"
    assert cgroups.own_limit(path) == (None, 100_000)
    yield
    container.call("delete", "--force")
    wait_until(lambda: not groups_of_ours(container), 4, "no group is left")


@pytest.mark.parametrize("depth", [6, 7, 8])
def test_demand_in_nested_groups_is_detected(container, depth):
    """The hooks look at 8 levels, and our group is one; further below they see a throttle alone."""
    if not json.loads(escra_tool("doctor", "--json"))["source"].startswith("bpf"):
        pytest.skip("this kernel takes no BPF programs")
    made = container({"io.escra.cpu.max": "1"}, quota=50_000).started()
    made.supervisor()
    wait_until(lambda: made.states()[0]["source"].startswith("bpf"), 4, "the hooks are loaded")
    with nested(made, depth):
        made.wait_for_quota(lambda quota: quota == FLOOR, 5, "down to the floor")

        def counted():
            [report] = [one for one in json.loads(escra_tool("ps", "--json"))
                        if one["id"] == made.id]
            return report["cpu"]["counters"]

        before = counted()
        made.work()
        made.wait_for_quota(lambda quota: quota > 60_000, 5, "up to what one loop uses")
        wait_until(lambda: counted()["raises"] > before["raises"], 3, "the raises are counted")
        grown = {name: counted()[name] - before[name] for name in ("predictions", "throttles")}
        print(f"depth {depth}: {grown}")
        # Level 0 is the task's own group, and the container's own is below ours.
        assert (grown["predictions"] > 0) == (depth + 1 < 8)


@pytest.mark.parametrize("depth", [6, 8])
def test_memory_in_nested_groups_grows(container, depth):
    """The limit rises ahead of what is charged far below, and the kernel kills nothing."""
    made = container({"io.escra.memory.max": "256Mi"})
    made.bundle.give_memory(256 * MIB)
    made.started()
    made.supervisor()
    with nested(made, depth):
        wait_until(lambda: cgroups.memory_limit(made.cgroup) < 64 * MIB, 10, "memory is given back")
        made.fill(150)
        wait_until(lambda: cgroups.memory_limit(made.cgroup) > 150 * MIB, 10, "memory is raised")
        time.sleep(0.5 * PATIENCE)
        events = cgroups.read(made.cgroup, "memory.events").splitlines()
        assert "oom_kill 0" in events and made.status == "running"


@by_itself
@pytest.mark.parametrize("quota", [20_000, None])
@pytest.mark.parametrize("how", ["threaded", "busy"])
def test_a_parent_that_hands_no_controllers_down(container, plain, escra, world, how, quota):
    """One group and one sentence with crun; runc refuses, and says the same without us."""
    above, name = world.cgroup(), world.name()
    parent = above + "/parent"
    world.groups.append(parent)

    def outcome(runtime, policy):
        """What create says, whether it succeeds, and what becomes of the parent."""
        os.mkdir(cgroups.directory(above) + "/parent")
        if how == "threaded":
            cgroups.write(parent, "cgroup.type", "threaded")
        else:
            # A group with processes hands down no memory controller (cgroups(7)).
            busy = world.spawn(subprocess.Popen(["sleep", "1000"]))
            cgroups.write(parent, "cgroup.procs", busy.pid)
        made = container(
            {"io.escra.cpu.max": "1"} if policy else {}, runtime=runtime, policy=policy,
            quota=quota, cgroup=f"{parent}/{name}")
        said = made.pid_file + ".said"
        with open(said, "wb") as stderr:
            code = made.create(stderr=stderr).wait(20 * PATIENCE)
        with open(said) as stderr:
            found = (code, without_time(stderr.read()), cgroups.read(parent, "cgroup.type"),
                     cgroups.read(parent, "cgroup.subtree_control"))
        if code == 0 and policy:
            made.supervisor()
            [state] = made.states()
            assert "inner" not in state and "use the CPU and memory" in state["oneGroup"]
            said = json.loads(escra_tool("explain", "--json", made.id))["sentences"]
            assert sum("no cgroup of ours is around its own" in line for line in said) == 1
        if code == 0:
            assert cgroups.membership(made.pid)[""] == f"{parent}/{name}"
            made.call("delete", "--force")
        wait_until(lambda: not groups_of_ours(made) and not ours(), 4, "nothing of ours is left")
        cgroups.remove(parent)
        return found

    expected = outcome(plain, None)
    assert (expected[0] == 0) == IS_CRUN
    assert outcome(escra, "reactive") == expected
