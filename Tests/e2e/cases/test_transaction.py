# SPDX-License-Identifier: Apache-2.0
"""An update is one transaction: the runtime and the supervisor both have it, or neither."""
import json
import os
import signal
import subprocess
import time

import pytest

import cgroups
import driver
from processes import RUN, keepers, kill, ours, supervisors, wait_until
from test_update import base, rules, was_surprised
from world import IS_CRUN, LOW_LEVEL, Sampler, escra_tool

UPDATE = 7  # As in the record.
V1 = pytest.mark.skipif(cgroups.VERSION != 1, reason="only cgroup v1 refuses these")

# The kernel refuses these when the runtime has written the quota already: on cgroup v1 less memory
# than is used, and CPUs that are not there; cgroup v2 takes both, and refuses what is no list.
CPUS = "4094" if cgroups.VERSION == 1 else "x"
REFUSED = [
    ["--cpu-quota", "30000",
     *(["--memory", "4096"] if cgroups.VERSION == 1 else ["--cpuset-cpus", CPUS])],
    ["--cpu-quota", "30000", "--cpu-period", "50000", "--cpuset-cpus", CPUS],
    ["--resources", "-"],
]
DOCUMENT = json.dumps({"cpu": {"quota": 30_000, "cpus": CPUS}}).encode()


def refused(made, flags):
    result = made.runtime(
        "update", *flags, made.id, input=DOCUMENT if flags[-1] == "-" else None)
    assert result.code == 1, result


def left_by_runtime():
    """The quota of a container that is not ours to change: on cgroup v2 runtimes leave theirs."""
    return 20_000 if cgroups.VERSION == 1 or driver.IS_SYSTEMD else 30_000


def works_up_to(made, quota):
    """It has all that it declares, and no more."""
    made.work(2)
    made.wait_for_quota(lambda found: found == quota, 4, "up to what it declares")


@pytest.mark.parametrize("flags", REFUSED, ids=" ".join)
def test_what_the_runtime_refuses_changes_nothing(container, flags):
    made = container().started()
    made.supervisor()
    refused(made, flags)
    if cgroups.VERSION == 2 and not driver.IS_SYSTEMD:
        # The runtime leaves the quota that it wrote in the container's own group, as without us.
        wait_until(lambda: base(made) == cgroups.own_limit(made.cgroup), 2, "what the group has")
        return
    assert base(made) == (20_000, 100_000)
    assert UPDATE not in rules(made) and not was_surprised(made)
    works_up_to(made, 20_000)
    [state] = made.states()
    assert not any(name.startswith("update") for name in state)


@pytest.mark.parametrize("flags", REFUSED[1:], ids=" ".join)
def test_what_the_runtime_refuses_changes_no_memory_limit(container, flags):
    """The limit that the runtime knows is an old one, which it writes again when it has failed."""
    made = container({"io.escra.memory.max": "512Mi"})
    made.bundle.give_memory(64 << 20)
    made.started().supervisor()
    made.fill(100)
    wait_until(
        lambda: cgroups.memory_limit(made.cgroup) > 100 << 20, 4, "more than it declares")
    made.call("update", "--cpu-quota", "25000")
    made.do("rm /tmp/file")
    document = json.dumps({
        "cpu": {"quota": 30_000, "cpus": CPUS},
        "memory": {"limit": 256 << 20, "swap": 256 << 20}})
    result = made.runtime(
        "update", *flags, made.id, input=document.encode() if flags[-1] == "-" else None)
    assert result.code == 1, result
    assert base(made) == (25_000, 100_000) or cgroups.VERSION == 2
    assert made.states()[0]["declaredMemory"] == str(64 << 20)


def test_a_refused_update_that_nobody_supervised_is_not_the_next_ones_base(container):
    made = container().started()
    made.supervisor()
    kill(*keepers(), signal=signal.SIGSTOP)
    kill(made.supervisor())
    wait_until(lambda: not supervisors(made.id), 2, "it is dead")
    try:
        refused(made, REFUSED[0])
        assert base(made) == (20_000, 100_000)
        refused(made, REFUSED[1])
        made.call("update", "--cpu-quota", "30000")
        # In two groups an update is between the runtime and the kernel until a supervisor looks.
        if cgroups.outer(made.cgroup) == made.cgroup:
            assert base(made) == (30_000, 100_000)
    finally:
        kill(*keepers(), signal=signal.SIGCONT)
    made.supervisor(4)
    wait_until(lambda: base(made) == (30_000, 100_000), 2, "what it declares")
    works_up_to(made, 30_000)


def test_a_refused_update_of_a_released_container_is_not_what_it_declares(container):
    made = container().started()
    made.supervisor()
    escra_tool("release", made.id)
    refused(made, REFUSED[1])
    assert base(made) == (20_000, 100_000) and made.quota == left_by_runtime()


def test_a_refused_update_of_an_observed_container_is_not_its_base(container):
    made = container(policy="observe").started()
    made.supervisor()
    refused(made, REFUSED[0])
    assert base(made) == (20_000, 100_000) and made.quota == left_by_runtime()


def patient_runtime(world, escra, delay):
    """escra-runc over a low-level runtime that takes its time before it begins."""
    beneath = world.path("slow-runc")
    with open(beneath, "w") as file:
        file.write(f"#!/bin/sh\ncase \" $* \" in *' update '*) sleep {delay};; esac\n"
                   f"exec {LOW_LEVEL} \"$@\"\n")
    os.chmod(beneath, 0o755)
    config = world.path("config.json")
    with open(config, "w") as file:
        json.dump({"runtimes": [beneath]}, file)
    return escra.using("--escra-config", config)


def begun(made):
    """Begins an update that takes a while; it is noted when this returns."""
    process = made.runtime.start("update", "--cpu-quota", "30000", made.id)
    wait_until(lambda: "updatePeriod" in made.states()[0], 2, "it is noted")
    return process


def test_the_supervisor_that_comes_meanwhile_carries_an_update_on(container, world, escra):
    made = container(runtime=patient_runtime(world, escra, 1)).started()
    first = made.supervisor()
    process = begun(made)
    assert base(made) == (20_000, 100_000)
    kill(first)
    assert process.wait(10) == 0
    wait_until(lambda: base(made) == (30_000, 100_000), 2, "it is the base")
    assert made.supervisor() != first and not was_surprised(made)
    assert "updatePeriod" not in made.states()[0]


def test_an_update_that_is_killed_before_the_runtime_writes_is_none(container, world, escra):
    made = container(runtime=patient_runtime(world, escra, 5)).started()
    made.supervisor()
    process = begun(made)
    process.kill()
    process.wait()
    wait_until(lambda: "updatePeriod" not in made.states()[0], 3, "it is settled")
    assert base(made) == (20_000, 100_000) and UPDATE not in rules(made)
    works_up_to(made, 20_000)


def test_an_update_that_is_killed_after_the_runtime_wrote_is_the_base(container, world, escra):
    made = container().started()
    made.supervisor()
    slow = patient_runtime(world, escra, 5)
    made.runtime = slow
    process = begun(made)
    cgroups.set_quota(made.cgroup, 30_000)
    process.kill()
    process.wait()
    wait_until(lambda: base(made) == (30_000, 100_000), 3, "it is the base")


def test_updates_wait_for_each_other(container, world, escra):
    made = container(runtime=patient_runtime(world, escra, 0.5)).started()
    made.supervisor()
    first = begun(made)
    made.call("update", "--cpu-quota", "40000")
    assert first.wait(10) == 0
    assert base(made) == (40_000, 100_000)


@pytest.fixture
def crowded():
    """A file system of 256 KiB for what is ours, and a function that fills it."""
    wait_until(lambda: not ours(), 4, "none of ours lives")
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "escra", RUN], check=True)

    def fill():
        with open(RUN + "/fill", "wb", buffering=0) as file:
            while True:
                try:
                    file.write(b"x" * 4096)
                except OSError:
                    return

    yield fill
    if os.path.exists(RUN + "/fill"):
        os.unlink(RUN + "/fill")
    subprocess.run(["umount", "--lazy", RUN], check=True)


def test_on_a_full_file_system_an_update_is_noted_and_outlives_the_supervisor(container, crowded):
    made = container().started()
    first = made.supervisor()
    crowded()
    made.call("update", "--cpu-quota", "30000")
    assert base(made) == (30_000, 100_000)
    kill(first)
    wait_until(lambda: supervisors(made.id) not in ([], [first]), 4, "another supervisor")
    made.supervisor(4)
    works_up_to(made, 30_000)
    made.call("delete", "--force")
    wait_until(lambda: not ours(), 4, "none of ours lives")


def test_an_update_that_cannot_be_noted_is_refused(container, crowded):
    made = container({"io.escra.visible": "current"}).started()
    made.supervisor()
    crowded()
    [state] = made.states()
    os.unlink(state["directory"] + "/.spare.state")
    # The place that it leaves.
    crowded()
    result = made.runtime("update", "--cpu-quota", "30000", made.id)
    assert result.code == 1 and "ENOSPC" in result.err, result
    assert base(made) == (20_000, 100_000) and made.quota <= 20_000
    made.call("delete", "--force")
    wait_until(lambda: not ours(), 4, "none of ours lives")


@V1
@pytest.mark.skipif(driver.IS_SYSTEMD or IS_CRUN, reason="runc writes quota and period one by one")
def test_quota_and_period_below_a_limited_parent(container, world):
    """For a moment 3000 of 100000 µs are in force, which nobody asked for."""
    parent = world.parent(quota=50_000)
    made = container(cgroup=parent + "/" + world.name(), quota=None, period=None).started()
    made.supervisor()
    for _ in range(4):
        made.call("update", "--cpu-quota", "50000", "--cpu-period", "100000")
        assert base(made) == (50_000, 100_000)
        made.call("update", "--cpu-period", "10000", "--cpu-quota", "3000")
        assert base(made) == (3_000, 10_000)
    assert not was_surprised(made)


@V1
@pytest.mark.parametrize("most", [None, "300m"])
def test_an_update_above_the_parents_limit_ends_as_without_us(
        container, plain, world, most):
    parent = world.parent(quota=50_000)
    annotations = {"io.escra.cpu.max": most} if most else {}
    made = container(annotations, cgroup=parent + "/" + world.name()).started()
    made.supervisor()
    results = [
        runtime("update", "--cpu-quota", "60000", made.id) for runtime in (plain, made.runtime)]
    assert [result.code for result in results] == [1, 1]
    assert base(made) == (20_000, 100_000)
    made.call("update", "--cpu-quota", "50000")
    assert base(made) == (50_000, 100_000)


@pytest.mark.parametrize("quota, period", [(500, 1_000), (999, 100_000), (None, 500)])
@pytest.mark.parametrize("annotations", [{}, {"io.escra.app": "shop"}])
def test_a_limit_that_the_kernel_refuses_is_refused(
        container, plain, bundle, annotations, quota, period):
    """And not rounded to one that it takes, which may be twice as much."""
    made = container(annotations, quota=quota, period=period)
    alone = container(runtime=plain, policy=None, quota=quota, period=period)
    codes = [each.create().wait(20) for each in (made, alone)]
    assert codes[0] == codes[1] != 0


def test_an_update_right_after_the_start_leaves_the_first_seconds(container):
    made = container().started()
    made.supervisor()
    with Sampler(made) as sampler:
        made.call("update", "--cpu-quota", "20000", "--cpu-period", "100000")
        time.sleep(0.8)
    assert min(sampler.quotas) == 20_000
