# SPDX-License-Identifier: Apache-2.0
"""Somebody changes the limit: through the runtime, or by hand."""
import contextlib
import fcntl
import json
import os
import re
import signal
import threading
import time

import pytest

import cgroups
import driver
from processes import PATIENCE, keepers, kill, ours, supervisors, wait_until
from world import IS_CRUN, Sampler, escra_tool, without_time

FLOOR = 5_000


def resources(quota=None, period=None, memory=None):
    cpu = {name: value for name, value in (("quota", quota), ("period", period)) if value}
    return json.dumps({
        **({"cpu": cpu} if cpu else {}), **({"memory": {"limit": memory}} if memory else {})})


def idle(container, *args, **options):
    """A container that has come to rest at the floor."""
    made = container(*args, **options).started()
    made.supervisor()
    made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")
    return made


def base(container):
    def is_taken():
        """The supervisor has seen what was written into the container's own group."""
        [state] = container.states()
        quotas = cgroups.own_limit(container.cgroup)[0], state.get("innerQuota")
        return "inner" not in state or str(quotas[0] or None) == str(quotas[1])

    if cgroups.outer(container.cgroup) != container.cgroup and supervisors(container.id):
        # What it writes down comes after what it writes.
        time.sleep(0.05 * PATIENCE)
        wait_until(is_taken, 1)
    [state] = container.states()
    quota = state.get("declaredQuota")
    return (quota and int(quota)), int(state["declaredPeriod"])


def was_told(container):
    """Whether its supervisor heard of the update by us, not by seeing a strange value."""
    update = 7  # As in the record.
    return update in rules(container) and not was_surprised(container)


def was_surprised(container):
    """Whether its supervisor saw a strange value."""
    news = 9
    return news in rules(container)


def rules(container):
    return [entry.rule for entry in container.record()]


def is_remembered(container, least, most):
    """Whether runc knows what it wrote last; crun remembers no update."""
    return IS_CRUN or least <= container.first_quota <= most


# How engines write it, and what comes on stdin or in the file FILE.
FORMS = [
    pytest.param(["--resources", "-"], True, marks=pytest.mark.v2),
    (["--resources=-"], True), (["-r", "-"], True),
    (["-resources=-"], True), (["-r=-"], True),
    (["--resources", "FILE"], False), (["--resources=FILE"], False), (["-r", "FILE"], False),
]


def skip_what_crun_does_not_read(flags):
    """Go takes one dash for two, and "=" behind one letter."""
    if IS_CRUN and any(re.match("-[a-z]+=|-[a-z]{2}", flag) for flag in flags):
        pytest.skip("crun reads flags as getopt does")


@pytest.mark.parametrize("flags, is_stdin", FORMS, ids=lambda value: " ".join(value)
                         if isinstance(value, list) else "")
def test_an_update_becomes_the_base(container, world, flags, is_stdin):
    """In each form; the kernel's value stays within the new bounds, runc knows what it wrote."""
    skip_what_crun_does_not_read(flags)
    made = container().started()
    made.supervisor()
    text = resources(60_000, 100_000)
    file = world.path("resources.json")
    with open(file, "w") as out:
        out.write(text)
    flags = [flag.replace("FILE", file) for flag in flags]
    with Sampler(made) as sampler:
        made.call("update", *flags, input=text.encode() if is_stdin else None)
        assert base(made) == (60_000, 100_000) and was_told(made)
        made.work(2)
        made.wait_for_quota(lambda quota: quota == 60_000, 4, "up to the new ceiling")
        time.sleep(0.2)
    assert FLOOR <= min(sampler.quotas) and max(sampler.quotas) <= 60_000
    assert is_remembered(made, FLOOR, 60_000)
    with open(file) as unchanged:
        assert unchanged.read() == text


@pytest.mark.parametrize("flags", [
    ["--cpu-quota", "60000"], ["--cpu-quota=60000"], ["-cpu-quota=60000"],
    ["--cpu-quota", "1", "--cpu-quota", "60000"],
    ["--cpu-quota", "60000", "--cpu-period", "100000"], ["--pids-limit=99", "--cpu-quota=60000"],
])
def test_an_update_by_flags_becomes_the_base(container, world, flags):
    """What a person at a shell writes."""
    skip_what_crun_does_not_read(flags)
    made = container().started()
    made.supervisor()
    made.call("update", *flags)
    assert base(made) == (60_000, 100_000) and was_told(made)
    made.work(2)
    made.wait_for_quota(lambda quota: quota == 60_000, 4, "up to the new ceiling")
    assert is_remembered(made, FLOOR, 60_000)


@pytest.mark.v2
def test_a_smaller_update_lowers_the_ceiling_at_once(container):
    """A busy container must not keep what it has."""
    made = container(quota=60_000).started()
    made.supervisor()
    made.work(2)
    made.wait_for_quota(lambda quota: quota == 60_000, 4, "up to the ceiling")
    made.call("update", "--cpu-quota", "30000")
    assert made.quota <= 30_000
    with Sampler(made) as sampler:
        time.sleep(1)
    assert max(sampler.quotas) <= 30_000


def test_an_update_of_the_period_keeps_bounds_in_cores(container):
    """100 ms to 50 ms: the floor of 50m is 2.5 ms then."""
    made = idle(container)
    made.call("update", "--cpu-period", "50000", "--cpu-quota", "10000")
    assert base(made) == (10_000, 50_000)
    assert cgroups.limit(made.cgroup)[1] == 50_000
    made.wait_for_quota(lambda quota: quota == 2_500, 4, "down to the floor")
    made.work()
    made.wait_for_quota(lambda quota: quota == 10_000, 4, "up to the ceiling")


def test_an_update_of_the_quota_keeps_the_period(container):
    """crun alone would go back to 100 ms."""
    made = container(quota=25_000, period=50_000).started()
    made.supervisor()
    made.call("update", "--cpu-quota", "20000")
    assert base(made) == (20_000, 50_000) and was_told(made)
    assert cgroups.limit(made.cgroup)[1] == 50_000


@pytest.mark.skipif(IS_CRUN, reason="crun reads bytes alone")
@pytest.mark.parametrize("size, read", [
    ("256MiB", 256 << 20), ("0.5g", 512 << 20), ("131072 kb", 128 << 20), ("268435456", 256 << 20)])
def test_sizes_are_read_as_runc_reads_them(container, size, read):
    made = container({"io.escra.memory.max": "1Gi"})
    made.bundle.give_memory(64 << 20)
    made.started().supervisor()
    made.call("update", "--memory", size, "--memory-swap", size)
    wait_until(lambda: made.states()[0]["declaredMemory"] == str(read), 1, "what it declares")


@pytest.mark.parametrize("policy", ["reactive", "strict"])
def test_what_an_update_declares_of_memory_that_does_not_move_is_shown(container, policy):
    made = container({"io.escra.policy": policy}, quota=100_000)
    made.bundle.give_memory(64 << 20)
    made.started().supervisor()
    made.call("update", "--memory", str(256 << 20), "--memory-swap", str(256 << 20))
    [told] = [one for one in json.loads(escra_tool("ps", "--json")) if one["id"] == made.id]
    assert told["memory"]["declared"] == told["memory"]["limit"] == 256 << 20


# Declared are 256 MiB of memory, 512 with swap.
SWAPS = [
    [["--memory", "-1", "--memory-swap", "-1"]], [["--memory", "-1"]], [["--memory-swap", "-1"]],
    [["--memory", "128m"]], [["--memory", "384m"]], [["--memory", "512m"]], [["--memory", "600m"]],
    [["--memory-swap", "640m"]], [["--memory-swap", "128m"]],
    [["--memory", "600m", "--memory-swap", "640m"]],
    [["--memory", "128m", "--memory-swap", "128m"]],
    [["--memory", "384m", "--memory-swap", "-1"]], [["--memory", "-1", "--memory-swap", "640m"]],
    [["--memory-swap", "-1"], ["--memory", "384m"]],
    [["--memory", "-1"], ["--memory", "384m", "--memory-swap", "400m"], ["--memory", "300m"]],
    [["--cpu-quota", "30000"], ["--memory", "300m"], ["--kernel-memory", "64m"]],
]


@pytest.mark.parametrize("updates", SWAPS, ids=lambda updates: ", ".join(map(" ".join, updates)))
def test_what_may_be_swapped_is_what_it_is_without_us(container, plain, updates):
    """Whatever an update names of memory and swap, and whatever the runtime refuses."""
    seen = []
    for runtime in (plain, None):
        made = container({} if runtime else {"io.escra.memory.max": "2Gi"}, runtime=runtime,
                         policy=None if runtime else "reactive")
        made.bundle.config["linux"]["resources"]["memory"] = {"limit": 256 << 20, "swap": 512 << 20}
        made.bundle.write()
        made.started()
        directory = cgroups.directory(made.cgroup, "memory")
        if not os.path.exists(directory + "/memory.memsw.limit_in_bytes"):
            pytest.skip("cgroup v1 limits memory and swap together")
        if not runtime:
            made.supervisor()

        def swap():
            group = cgroups.outer(made.cgroup)
            numbers = [int(cgroups.read(group, f"memory.{name}limit_in_bytes", "memory"))
                       for name in ("memsw.", "")]
            return (numbers[0] - numbers[1]) >> 20 if numbers[0] < 1 << 60 else None

        codes = [made.runtime("update", *flags, made.id).code for flags in updates]
        if seen:
            # What the runtime refuses it may have written in part; under us it changes nothing.
            if any(codes) and cgroups.VERSION == 1:
                seen[0] = codes, 256
            wait_until(lambda: (codes, swap()) == seen[0], 2, lambda: (
                f"{seen[0]} as without us, not {(codes, swap())}"))
        seen.append((codes, swap()))


def test_an_update_of_memory_alone_leaves_the_base(container, world):
    """runc 1.1.5 writes every value that it knows with it; that is drift, and is written over."""
    made = idle(container)
    made.call("update", "--memory", str(256 << 20))
    assert base(made) == (20_000, 100_000)
    assert cgroups.memory_limit(made.cgroup) == 256 << 20
    made.wait_for_quota(lambda quota: quota == FLOOR, 3, "at the floor")


def test_an_explicit_ceiling_outlives_updates(container):
    """io.escra.cpu.max is not what is declared."""
    made = container({"io.escra.cpu.max": "600m"}).started()
    made.supervisor()
    made.call("update", "--cpu-quota", "30000")
    assert base(made) == (30_000, 100_000)
    made.work(2)
    made.wait_for_quota(lambda quota: quota == 60_000, 4, "up to the annotation's ceiling")


def test_an_update_that_runc_refuses_fails_as_without_us(container, plain, escra):
    """The words are runc's."""
    made = idle(container)
    for flags in (
            ["--cpu-quota", "x"], ["--cpu-period", "50000", "--cpu-quota", "x"], ["--memory", "x"],
            ["--memory", "64m", "--memory-swap", "32m"], ["--resources", "/nowhere"],
            ["--resources=-"]):
        data = b"{" if flags == ["--resources=-"] else None
        results = [
            runtime("update", *flags, made.id, input=data) for runtime in (plain, escra)]
        texts = [without_time(result.err) for result in results]
        assert results[0].code == results[1].code != 0 and texts[0] == texts[1]
    assert base(made) == (20_000, 100_000)


def test_an_update_of_an_observed_container_is_runcs_alone(container):
    """observe writes nothing, also not here; what is asked for is what the kernel gets."""
    made = container(policy="observe").started()
    made.supervisor()
    made.call("update", "--cpu-quota", "60000")
    # Asked for a scope, crun alone leaves that as it was and writes to its group below.
    group = made.cgroup + "/container" if IS_CRUN and driver.IS_SYSTEMD else made.cgroup
    assert cgroups.limit(group)[0] == 60_000
    wait_until(lambda: base(made) == (60_000, 100_000), 1, "the base")


@pytest.fixture
def alone():
    """Kills a container's supervisor, and no other takes its place as long as this lasts."""

    @contextlib.contextmanager
    def without_keeper(made):
        [pid] = keepers()
        kill(pid, signal=signal.SIGSTOP)
        try:
            kill(made.supervisor())
            wait_until(lambda: not supervisors(made.id), 2, "it is dead")
            yield
        finally:
            kill(pid, signal=signal.SIGCONT)
        made.supervisor(4)

    return without_keeper


def test_an_update_while_nobody_supervises_is_the_next_ones_base(container, alone):
    made = idle(container)
    with alone(made):
        made.call("update", "--cpu-quota", "60000")
        assert cgroups.own_limit(made.cgroup)[0] == 60_000
    assert base(made) == (60_000, 100_000)
    made.work(2)
    made.wait_for_quota(lambda quota: quota == 60_000, 4, "up to the new ceiling")


def test_an_update_when_all_of_ours_are_dead_reaches_who_comes_next(container):
    made = idle(container)
    kill(*ours())
    wait_until(lambda: not ours(), 2, "none lives")
    made.call("update", "--cpu-quota", "60000")
    made.supervisor(4)
    # It is told, or finds it written down; both are no news.
    wait_until(lambda: base(made) == (60_000, 100_000), 2, "the new base")
    assert not was_surprised(made)
    made.work(2)
    made.wait_for_quota(lambda quota: quota == 60_000, 4, "up to the new ceiling")


def test_an_update_brings_back_who_was_still_dying_when_it_began(container):
    """A killed process is rid of its files last: the keeper's lock is there till then."""
    made = idle(container)
    kill(*ours())
    wait_until(lambda: not ours(), 2, "none lives")
    lock = os.open("/run/escra/keeper", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    release = threading.Timer(0.1, os.close, [lock])
    release.start()
    made.call("update", "--cpu-quota", "60000")
    release.join()
    made.supervisor(4)
    # It is told, finds it written down, or sees it written.
    wait_until(lambda: base(made) == (60_000, 100_000), 2, "the new base")


def test_an_update_while_nobody_supervises_leaves_its_application_what_it_has(container, alone):
    """More is for that to grant, once somebody can ask."""
    made = [container({"io.escra.app": "shop"}, quota=30_000).started() for _ in range(2)]
    for each in made:
        each.supervisor()
    one, other = made
    other.work(2)
    other.wait_for_quota(lambda quota: quota >= 50_000, 6, "all but what the other needs")
    with alone(one):
        one.call("update", "--cpu-quota", "50000")
        assert one.quota + other.quota <= 60_000
    other.wait_for_quota(lambda quota: quota > 60_000, 6, "more than both declared before")
    assert one.quota + other.quota <= 80_000


@pytest.mark.v2
def test_a_new_value_by_hand_is_news(container):
    """It becomes the base, within 100 ms of being written, and the ceiling with it."""
    made = idle(container)
    cgroups.set_quota(made.cgroup, 70_000)
    wait_until(lambda: base(made) == (70_000, 100_000), 0.3, "it is the base")
    made.work(2)
    made.wait_for_quota(lambda quota: quota == 70_000, 4, "up to the new ceiling")
    made.rest()
    made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")


def test_explain_names_who_wrote_by_hand(container):
    """By fanotify, where it is to be had; the name of a process is at most 15 bytes long."""
    made = idle(container)
    cgroups.set_quota(made.cgroup, 70_000)
    wait_until(lambda: base(made) == (70_000, 100_000), 0.3, "it is the base")
    with open("/proc/self/comm") as file:
        own = file.read().rstrip("\n")[:14]
    assert f"{own} wrote a new limit" in escra_tool("explain", made.id)


def test_a_former_value_by_hand_is_news_when_another_was_the_base(container):
    """Who writes by hand has no memory, and means it."""
    made = idle(container)
    for quota in (70_000, 20_000):
        cgroups.set_quota(made.cgroup, quota)
        wait_until(lambda: base(made) == (quota, 100_000), 0.3, "it is the base")
        made.wait_for_quota(lambda found: found == FLOOR, 4, "down to the floor")


@pytest.mark.v2
def test_an_old_value_by_hand_is_drift(container):
    """The declared value again, as systemd writes it after a reload: ours is back soon."""
    made = idle(container)
    cgroups.set_quota(made.cgroup, 20_000)
    made.wait_for_quota(lambda quota: quota == FLOOR, 1.5, "ours again")
    assert base(made) == (20_000, 100_000)


def test_drift_is_not_fought_in_a_loop(container):
    """Somebody writes ten times a second: we write over it at most once a second."""
    made = idle(container)
    corrections, deadline = 0, time.monotonic() + 5
    while time.monotonic() < deadline:
        corrections += cgroups.own_limit(cgroups.outer(made.cgroup))[0] == FLOOR
        cgroups.set_quota(cgroups.outer(made.cgroup), 20_000)
        time.sleep(0.1)
    made.wait_for_quota(lambda quota: quota == FLOOR, 1.5, "ours in the end")
    # The first look finds the floor before anything was written.
    assert 4 <= corrections - 1 <= 6, corrections
