# SPDX-License-Identifier: Apache-2.0
"""CPUs of one's own on cgroup v2: by a partition where the kernel makes one, else by sets."""
import contextlib
import os
import signal
import subprocess
import time

import pytest

import cgroups
from processes import keepers, kill, kill_at_once, ours, supervisors, wait_until
from test_strict import (  # noqa: F401
    ALL, ONLINE, allowed, cpus, members, neighbour, own_group, parent, refusal, set_cpus, strict,
    wait_for_cpus)
from world import LOW_LEVEL, escra_tool


def _has_partitions():
    """Whether the kernel makes one below a group that is none: since Linux 6.7."""
    release = os.uname().release.split(".")
    return (int(release[0]), int(release[1].split("-")[0])) >= (6, 7)


pytestmark = pytest.mark.skipif(
    cgroups.VERSION == 1 or not cgroups.has_cpuset(), reason="cgroup v2 has no cpuset here")
with_partitions = pytest.mark.skipif(
    cgroups.VERSION == 1 or not _has_partitions(), reason="the kernel has no such partitions")
ROOT = "/"


def written(container_or_path):
    """cpuset.cpus, which is empty for a group that follows the one above."""
    return cgroups.read(own_group(container_or_path), "cpuset.cpus")


def partition(container):
    """What its group is, or the scope, where crun has made a group in that."""
    return cgroups.read(container.cgroup, "cpuset.cpus.partition")


def exclusive(path):
    return cgroups.read(path, "cpuset.cpus.exclusive")


def wait_for_partition(container, wanted="root"):
    wait_until(lambda: partition(container) == wanted, 2, f"a partition that is {wanted}")


def sets_below(path):
    """The sets that are written below a group, for who wants to know what is in the way."""
    names = ("cpuset.cpus", "cpuset.cpus.exclusive", "cpuset.cpus.partition")
    found = {}
    for group, _, _ in os.walk(cgroups.directory(path)):
        with contextlib.suppress(OSError):
            found[group] = [cgroups.read(group[len(cgroups.ROOT):], name) for name in names]
    return {group: sets for group, sets in found.items() if sets != ["", "", "member"]}


@pytest.fixture(autouse=True)
def no_cpu_is_lost(world):
    """Behind each test everybody may use all CPUs again."""
    before = sets_below(ROOT)
    yield
    assert world.sweep() == []

    def all_have_all():
        groups = [ROOT] + ["/" + name for name in os.listdir(cgroups.ROOT)]
        for group in groups:
            # ENODEV: removed between open and read.
            with contextlib.suppress(OSError):
                if cpus(group) != set(ONLINE):
                    return False
        return True

    wait_until(all_have_all, 2, "all CPUs for everybody")
    if _has_partitions():
        # A set that stays here refuses the next operator's partition.
        assert sets_below(ROOT) == before


@with_partitions
def test_the_kernel_fences_who_has_no_set_of_its_own(strict, neighbour, parent):
    others = [neighbour(), neighbour(cgroup=f"{parent}/other")]
    made = strict(cgroup=f"{parent}/strict").started()
    wait_for_partition(made)
    shared = set(ONLINE) - cpus(made)
    later = neighbour(cgroup=f"{parent}/later")
    for other in (*others, later):
        assert cpus(other) == allowed(other.pid) == shared and written(other) == ""
    assert cpus(ROOT) == shared
    assert members(exclusive(parent)) == cpus(made)
    made.call("delete", "--force")
    for other in (*others, later):
        wait_for_cpus(other, ONLINE)
        assert written(other) == ""
    wait_until(lambda: exclusive(parent) == "", 2, "no exclusive CPUs above")


@with_partitions
def test_who_is_in_the_root_group_keeps_off_too(strict, world):
    """Daemons of a host without systemd are; cgroup v1 cannot fence them."""
    sleeper = world.spawn(subprocess.Popen(
        ["sleep", "1000"], preexec_fn=lambda: cgroups.join("", ("cpuset",))))
    assert cgroups.membership(sleeper.pid)[""] == "/" and allowed(sleeper.pid) == set(ONLINE)
    made = strict().started()
    wait_for_partition(made)
    assert allowed(sleeper.pid) == set(ONLINE) - cpus(made)


def test_who_has_a_set_of_its_own_is_narrowed_and_let_back(strict, neighbour):
    """With crun and systemd the scope is, and the group that is all of it follows."""
    other = neighbour(cpuset=ALL)
    made = strict().started()
    wait_for_cpus(other, set(ONLINE) - cpus(made))
    assert members(cgroups.read(other.cgroup, "cpuset.cpus")).isdisjoint(cpus(made))
    made.call("delete", "--force")
    wait_until(lambda: cgroups.read(other.cgroup, "cpuset.cpus") == ALL, 2, "the set it declared")
    assert cpus(other) == set(ONLINE)


@with_partitions
@pytest.mark.parametrize("how", ["a set that is written", "a container", "its very CPU"])
def test_who_breaks_the_partition_is_put_off_and_no_cpu_is_lost(strict, neighbour, how):
    other = neighbour()
    made = strict().started()
    made.supervisor()
    wait_for_partition(made)
    own = cpus(made)
    for _ in range(3):
        if how == "a container":
            intruder = neighbour(cpuset=ALL)
        else:
            intruder = other
            set_cpus(other, ALL if "written" in how else str(min(own)))
        wait_for_cpus(intruder, set(ONLINE) - own)
        wait_for_partition(made)
        assert cpus(made) == allowed(made.pid) == own
    made.call("delete", "--force")
    wait_until(lambda: cpus(ROOT) == set(ONLINE), 2, "no CPU lost")


@with_partitions
def test_explain_says_that_it_is_a_partition(strict):
    made = strict().started()
    made.supervisor()
    wait_until(
        lambda: "its cgroup is a partition" in escra_tool("explain", made.id), 2, "the sentence")


@with_partitions
def test_a_partition_that_somebody_undoes_is_made_again(strict):
    made = strict().started()
    made.supervisor()
    wait_for_partition(made)
    cgroups.write(made.cgroup, "cpuset.cpus.partition", "member")
    wait_for_partition(made)


@with_partitions
def test_an_intruder_while_nobody_looks_is_put_off_by_the_next_supervisor(strict, neighbour):
    other = neighbour()
    made = strict().started()
    first = made.supervisor()
    wait_for_partition(made)
    os.kill(first, signal.SIGSTOP)
    set_cpus(other, ALL)
    assert partition(made).startswith("root invalid")
    kill(first)
    wait_until(lambda: supervisors(made.id) not in ([], [first]), 2, "another supervisor")
    wait_for_partition(made)
    wait_for_cpus(other, set(ONLINE) - cpus(made))


@with_partitions
def test_what_is_above_is_cleared_up_after_everything_died_at_once(strict, neighbour, parent):
    neighbour(cgroup=f"{parent}/other")
    made = strict(cgroup=f"{parent}/strict").started()
    supervisor = made.supervisor()
    wait_for_partition(made)
    kill_at_once(supervisor, *keepers(), made.pid)
    wait_until(lambda: not ours(), 2)
    assert exclusive(parent) != ""
    made.call("delete", "--force")
    wait_until(lambda: exclusive(parent) == "", 2, "no exclusive CPUs above")


@with_partitions
def test_one_that_is_given_up_is_no_partition_any_more(strict, neighbour, parent):
    neighbour(cgroup=f"{parent}/other")
    made = strict(cgroup=f"{parent}/strict").started()
    wait_for_partition(made)
    for _ in range(3):
        pid = made.supervisor()
        kill(pid)
        wait_until(lambda: pid not in supervisors(made.id), 2)
    wait_for_partition(made, "member")
    wait_until(lambda: exclusive(parent) == exclusive(made.cgroup) == "", 2)
    wait_until(lambda: not supervisors(made.id), 2, "nothing supervises it")


@with_partitions
@pytest.mark.skipif(len(ONLINE) < 4, reason="two strict containers that share need four CPUs")
def test_two_of_them_are_partitions_side_by_side(strict, neighbour, parent):
    first = strict(cgroup=f"{parent}/first").started()
    second = strict(cgroup=f"{parent}/second").started()
    third = strict().started()
    other = neighbour(cgroup=f"{parent}/other")
    own = [cpus(made) for made in (first, second, third)]
    for made in (first, second, third):
        wait_for_partition(made)
    assert sum(len(each) for each in own) == len(set().union(*own)) == 3
    wait_for_cpus(other, set(ONLINE) - set().union(*own))
    first.call("delete", "--force")
    wait_for_cpus(other, set(ONLINE) - own[1] - own[2])
    assert partition(second) == partition(third) == "root"
    wait_until(lambda: members(exclusive(parent)) == own[1], 2)


@with_partitions
def test_an_update_moves_the_partition(strict, neighbour, parent):
    other = neighbour(cgroup=f"{parent}/other")
    made = strict(cgroup=f"{parent}/strict").started()
    made.supervisor()
    wait_for_partition(made)
    for cpu in (0, ONLINE[-1]):
        made.call("update", "--cpuset-cpus", str(cpu))
        wait_for_partition(made)
        assert cpus(made) == {cpu} and members(exclusive(parent)) == {cpu}
        wait_for_cpus(other, set(ONLINE) - {cpu})


@with_partitions
def test_an_operators_partition_stays_his(strict, neighbour, world):
    """Its CPU is neither to be had nor given back when a strict container ends."""
    path = world.cgroup()
    cpu = str(ONLINE[-1])
    cgroups.write(path, "cpuset.cpus.exclusive", cpu)
    cgroups.write(path, "cpuset.cpus.partition", "root")
    assert cgroups.read(path, "cpuset.cpus.partition") == "root", sets_below(ROOT)
    other = neighbour()
    if len(ONLINE) > 2:
        made = strict().started()
        wait_for_partition(made)
        assert cpus(made).isdisjoint({ONLINE[-1]})
        wait_for_cpus(other, set(ONLINE) - {ONLINE[-1]} - cpus(made))
        made.call("delete", "--force")
    else:
        assert f"{cpu} by a partition that is not ours" in refusal(strict())
    wait_for_cpus(other, set(ONLINE) - {ONLINE[-1]})
    assert cgroups.read(path, "cpuset.cpus.partition") == "root" and exclusive(path) == cpu


@pytest.mark.skipif(_has_partitions(), reason="the kernel has partitions")
def test_where_there_are_no_partitions_all_beside_it_get_a_set(strict, neighbour, parent):
    other, inner = neighbour(), neighbour(cgroup=f"{parent}/other")
    made = strict().started()
    shared = set(ONLINE) - cpus(made)
    for each in (other, inner, neighbour()):
        wait_for_cpus(each, shared)
    assert members(written(parent)) == shared and written(inner) == ""
    made.call("delete", "--force")
    for each in (other, inner):
        wait_for_cpus(each, ONLINE)


@pytest.mark.skipif(
    len(ONLINE) < 8 or not os.path.isdir("/sys/devices/system/node/node1"),
    reason="a machine of several nodes and of cores with two threads is needed")
def test_it_gets_whole_cores_of_one_node_and_that_nodes_memory(strict, neighbour):
    other = neighbour()
    made = strict(reserved=4)
    made.bundle.config["linux"]["resources"]["memory"] = {"limit": 32 << 20}
    made.bundle.write()
    made.started()
    with open("/sys/devices/system/node/node1/cpulist") as file:
        assert cpus(made) == members(file.read())
    assert cgroups.read(made.cgroup, "cpuset.mems.effective") == "1"
    wait_for_cpus(other, set(ONLINE) - cpus(made))
    half = strict(reserved=2).started()
    with open(f"/sys/devices/system/cpu/cpu{min(cpus(half))}/topology/core_cpus_list") as file:
        assert cpus(half) == members(file.read())


# --- memory that moves

def outer_of(container):
    """The group of ours around the container's own."""
    found = cgroups.outer(container.cgroup)
    assert found != container.cgroup, "it has one group"
    return found


def with_memory(container, declared=128 << 20, most="256Mi"):
    """A strict container whose memory limit moves; not yet created."""
    made = container(
        {"io.escra.memory.max": most}, policy="strict", quota=100_000, period=100_000)
    made.bundle.give_memory(declared)
    return made


def test_memory_moves_around_the_limit_that_programs_see(container, neighbour):
    """The CPUs are those of the container's own group; the group around it has none of its own."""
    other = neighbour()
    made = with_memory(container).started()
    made.supervisor()
    outer = outer_of(made)
    wait_for_cpus(other, set(ONLINE) - cpus(made))
    assert cpus(made) == allowed(made.pid) and len(cpus(made)) == 1
    if _has_partitions():
        wait_for_partition(made)
        assert members(exclusive(outer)) == cpus(made)
    wait_until(lambda: cgroups.memory_limit(made.cgroup) < 128 << 20, 10, "memory is released")
    assert cgroups.read(made.cgroup, "memory.max") == str(256 << 20)
    assert [cgroups.limit(each)[0] for each in (made.cgroup, outer)] == [None, None]
    assert "the limit that moves is that of the cgroup around" in escra_tool("explain", made.id)
    made.call("delete", "--force")
    wait_for_cpus(other, ONLINE)
    wait_until(lambda: not os.path.exists(cgroups.directory(outer)), 4, "the outer group is gone")


def test_an_update_of_memory_that_moves_is_the_engines_business(container):
    """The runtime writes the container's own group; the supervisor takes that as declared."""
    made = with_memory(container).started()
    made.supervisor()
    outer, before = outer_of(made), cpus(made)
    made.call("update", "--memory", str(192 << 20), "--memory-swap", str(192 << 20))
    wait_until(lambda: made.states()[0]["declaredMemory"] == str(192 << 20), 2, "it is declared")
    wait_until(
        lambda: cgroups.read(made.cgroup, "memory.max") == str(256 << 20), 2, "the maximum again")
    made.call("update", "--cpu-share", "4096")
    weight = cgroups.read(made.cgroup, "cpu.weight")
    wait_until(lambda: cgroups.read(outer, "cpu.weight") == weight, 2, "the weight as updated")
    assert cpus(made) == before and cgroups.limit(made.cgroup)[0] is None


def test_its_memory_moves_on_after_release_and_adoption(container, neighbour):
    """Released, its own group has what it declares."""
    other = neighbour()
    made = with_memory(container).started()
    made.supervisor()
    outer = outer_of(made)
    escra_tool("release", made.id)
    assert cgroups.read(outer, "cpu.max") == "max 100000"
    assert cgroups.limit(made.cgroup) == (100_000, 100_000)
    assert cgroups.memory_limit(made.cgroup) == 128 << 20
    wait_for_cpus(other, ONLINE)
    escra_tool("adopt", made.id)
    made.supervisor()
    wait_for_cpus(other, set(ONLINE) - cpus(made))
    wait_until(lambda: cgroups.limit(made.cgroup)[0] is None, 2, "no quota")
    wait_until(lambda: cgroups.memory_limit(made.cgroup) < 128 << 20, 10, "memory is released")


def test_the_next_supervisor_goes_on_in_both_groups(container, neighbour):
    other = neighbour()
    made = with_memory(container).started()
    before = cpus(made)
    kill(made.supervisor())
    made.supervisor(5)
    wait_until(lambda: cgroups.memory_limit(made.cgroup) < 128 << 20, 10, "memory is released")
    assert cpus(made) == before
    wait_for_cpus(other, set(ONLINE) - before)


# --- systemd

@pytest.fixture
def scope(strict, escra, world):
    """Makes strict containers in a scope that runc asks systemd for; not yet created."""

    def make(**options):
        made = strict(**options)
        made.runtime = escra.using("--systemd-cgroup")
        made.bundle.config["linux"]["cgroupsPath"] = f"system.slice:escra:{made.id}"
        made.bundle.write()
        made.cgroup = f"/system.slice/escra-{made.id}.scope"
        return made

    return make


has_systemd = pytest.mark.skipif(
    not os.path.isdir("/run/systemd/system"), reason="systemd does not run here")


@has_systemd
def test_in_a_scope_of_systemds_it_outlives_a_reload(scope, neighbour):
    other = neighbour()
    made = scope().started()
    made.supervisor()
    own = cpus(made)
    shared = set(ONLINE) - own
    assert len(own) == 1 and allowed(made.pid) == own
    wait_for_cpus(other, shared)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    subprocess.run(["systemd-run", "--quiet", "--wait", "true"], check=True)
    beside = ("/system.slice/systemd-journald.service", "/user.slice", "/init.scope", other)
    for path in beside:
        wait_for_cpus(path, shared)
    assert cpus(made) == allowed(made.pid) == own
    made.call("delete", "--force")
    for path in beside:
        wait_for_cpus(path, ONLINE)


@has_systemd
@with_partitions
def test_a_scope_is_a_partition_below_its_slice(scope):
    made = scope().started()
    made.supervisor()
    wait_for_partition(made)
    assert members(exclusive("/system.slice")) == cpus(made)
    made.call("delete", "--force")
    wait_until(lambda: exclusive("/system.slice") == "", 2, "no exclusive CPUs above")


@has_systemd
@with_partitions
def test_what_systemd_sets_meanwhile_breaks_no_partition(scope, world):
    """Another property of the scope, and CPUs of a service beside it, now and after a reload."""
    made = scope().started()
    made.supervisor()
    wait_for_partition(made)
    own = cpus(made)
    beside = f"{world.name()}.service"
    subprocess.run(
        ["systemd-run", "--quiet", "--collect", f"--unit={beside}", "sleep", "1000"], check=True)
    try:
        for words in (
                ["set-property", "--runtime", os.path.basename(made.cgroup), "CPUWeight=200"],
                ["set-property", "--runtime", beside, f"AllowedCPUs={ALL}"],
                ["daemon-reload"],
                ["set-property", "--runtime", beside, "CPUWeight=200"]):
            subprocess.run(["systemctl", *words], check=True)
            wait_for_cpus(f"/system.slice/{beside}", set(ONLINE) - own)
            wait_for_partition(made)
            assert cpus(made) == allowed(made.pid) == own
    finally:
        subprocess.run(["systemctl", "stop", beside], check=True)


@has_systemd
@with_partitions
def test_a_scope_that_the_runtime_names_itself_is_found(scope, neighbour):
    """Without a cgroupsPath runc and crun put their own names before the id."""
    other = neighbour()
    made = scope()
    del made.bundle.config["linux"]["cgroupsPath"]
    made.bundle.write()
    made.cgroup = f"/system.slice/{os.path.basename(LOW_LEVEL)}-{made.id}.scope"
    made.started().supervisor()
    wait_for_partition(made)
    wait_for_cpus(other, set(ONLINE) - cpus(made))
    made.call("delete", "--force")
    wait_for_cpus(other, ONLINE)


@with_partitions
def test_a_bystander_gets_no_set_however_often_somebody_breaks_the_partition(strict, neighbour):
    """The kernel would not let it be without one again, as long as it has processes."""
    intruder, bystander = neighbour(), neighbour()
    made = strict().started()
    made.supervisor()
    wait_for_partition(made)
    own, end = cpus(made), time.monotonic() + 3
    while time.monotonic() < end:
        set_cpus(intruder, ALL)
        # At once when it is back: the supervisor has not seen yet that nothing is left to do.
        again = time.monotonic() + 0.1
        while partition(made) != "root" and time.monotonic() < again:
            time.sleep(0.001)
    wait_for_cpus(intruder, set(ONLINE) - own)
    wait_for_partition(made)
    assert written(bystander) == ""
