# SPDX-License-Identifier: Apache-2.0
"""The scheduler tells of a limit before it is hit: one set of BPF programs for the whole host."""
import contextlib
import json
import os
import time

import pytest

import bpf
import cgroups
from processes import PATIENCE, keepers, kill, locked, ours, supervisors, wait_until
from world import escra_tool

FLOOR = 5_000


@pytest.fixture(scope="module", autouse=True)
def hooks():
    """Only where the kernel takes the programs; what is there otherwise is another file's."""
    diagnosis = json.loads(escra_tool("doctor", "--json"))
    if not diagnosis["source"].startswith("bpf"):
        pytest.skip("this kernel takes no BPF programs: " + json.dumps(diagnosis["findings"][0]))
    return diagnosis


def counters(made):
    """What the supervisors of a container have counted."""
    [report] = [one for one in json.loads(escra_tool("ps", "--json")) if one["id"] == made.id]
    return report["cpu"]["counters"]


def groups_of(*containers):
    """What the programs know containers by: some have two groups."""
    return sorted(
        os.stat(cgroups.directory(path)).st_ino
        for made in containers
        for path in {
            made.cgroup, cgroups.inner(made.cgroup), cgroups.moving(made.cgroup)})


def at_rest(container, **options):
    """A container that has gone to its floor."""
    made = container({"io.escra.cpu.max": "1"}, **options).started()
    made.supervisor()
    made.wait_for_quota(lambda quota: quota == FLOOR, 5, "down to the floor")
    return made


@pytest.mark.v2
def test_the_scheduler_tells_of_a_limit_that_runs_out(container, hooks):
    made = at_rest(container)
    [state] = made.states()
    assert state["source"].startswith(hooks["source"]) and "perf" not in state["source"]
    assert set(groups_of(made)) <= set(bpf.keys(bpf.identity()["groups"]))
    made.work()
    made.wait_for_quota(lambda quota: quota > 60_000, 4, "up to what one loop uses")
    counted = wait_until(lambda: counters(made), 2, "what happened is counted")
    assert counted["raises"] >= 1 and counted["returns"] >= 1
    assert "a BPF program in the scheduler" in escra_tool("explain", made.id)


def test_containers_that_start_at_once_share_the_programs_which_go_with_the_last(container):
    made = [container({"io.escra.cpu.max": "1"}) for _ in range(3)]
    for process in [each.create() for each in made]:
        assert process.wait(20 * PATIENCE) == 0
    for each in made:
        each.call("start")
        each.supervisor()
    # Who would have to wait for the first one's verifying for too long comes later.
    wait_until(
        lambda: all(each.states()[0]["source"].startswith("bpf") for each in made), 4,
        "all hear by the programs")
    found = bpf.identity()
    assert all(bpf.exists(program) for program in found["programs"])
    assert bpf.keys(found["groups"]) == groups_of(*made)
    assert len(bpf.keys(found["rings"])) == len(made)
    for each in made:
        each.call("delete", "--force")
    wait_until(
        lambda: not any(bpf.exists(program) for program in found["programs"]), 4,
        "the programs are gone")
    wait_until(lambda: bpf.identity() is None and not keepers(), 4, "and what named them")


@pytest.mark.v2
def test_who_comes_after_a_killed_supervisor_hears_by_the_same_programs(container):
    other = at_rest(container)
    made = at_rest(container)
    before = bpf.identity()
    pid = made.supervisor()
    kill(pid)
    wait_until(lambda: supervisors(made.id) not in ([], [pid]), 4, "another supervisor")
    made.supervisor()
    assert bpf.identity() == before
    made.work()
    made.wait_for_quota(lambda quota: quota > FLOOR, 2, "up when it works")
    assert other.quota == FLOOR


def test_the_last_supervisor_killed_leaves_no_program_and_the_next_loads_them(container):
    made = at_rest(container)
    before = bpf.identity()["programs"]
    kill(made.supervisor())
    wait_until(lambda: not any(map(bpf.exists, before)), 2, "the kernel has let go of them")
    after = wait_until(
        lambda: (found := bpf.identity()) and found["programs"] != before and found, 4,
        "others are loaded")["programs"]
    assert all(map(bpf.exists, after)) and not set(before) & set(after)
    made.work()
    made.wait_for_quota(lambda quota: quota > FLOOR, 2, "up when it works")


def test_what_a_container_that_ended_leaves_in_the_maps_is_swept_away(container):
    stays, goes = at_rest(container), at_rest(container)
    maps = bpf.identity()
    assert bpf.keys(maps["groups"]) == groups_of(stays, goes)
    goes.call("delete", "--force")
    wait_until(lambda: bpf.keys(maps["groups"]) == groups_of(stays), 4, "one group is left")
    wait_until(lambda: len(bpf.keys(maps["rings"])) == 1, 4, "and one ring")
    stays.work()
    stays.wait_for_quota(lambda quota: quota > FLOOR, 2, "up when it works")


def test_a_file_that_names_what_is_gone_is_believed_by_nobody(container):
    """A crash of everything at once leaves one; the numbers may be somebody else's by now."""
    os.makedirs(bpf.DIRECTORY, exist_ok=True)
    first = at_rest(container)
    [name] = os.listdir(bpf.DIRECTORY)
    good = bpf.identity()["programs"]
    with open(os.path.join(bpf.DIRECTORY, name), "w") as file:
        file.write("4294967 4294968 0 4294969 1\n")
    second = at_rest(container)
    assert second.states()[0]["source"].startswith("bpf")
    assert bpf.identity()["programs"] != good and all(map(bpf.exists, good))
    for made in (first, second):
        made.work()
        made.wait_for_quota(lambda quota: quota > FLOOR, 2, "up when it works")


def test_what_runs_in_a_group_below_the_containers_is_the_containers(container):
    """An init system in a container makes groups of its own."""
    made = at_rest(container)
    if cgroups.VERSION == 2:
        pytest.skip("v2 has no group with processes both in it and below it")
    below = made.cgroup + "/below"
    os.mkdir(cgroups.directory(below))
    try:
        made.work()
        made.wait_for_quota(lambda quota: quota > FLOOR, 2, "up when it works")
        for pid in cgroups.processes(made.cgroup):
            if pid != made.pid:
                cgroups.write(below, "cgroup.procs", pid)
        made.rest()
        made.wait_for_quota(lambda quota: quota == FLOOR, 5, "down to the floor")
        cgroups.write(below, "cgroup.procs", made.pid)
        made.work()
        made.wait_for_quota(lambda quota: quota > FLOOR, 2, "up when that group works")
    finally:
        made.call("delete", "--force")
        wait_until(lambda: not cgroups.exists(made.cgroup), 2, "it is gone")


def test_the_throttle_of_a_group_above_is_told_apart(container, world):
    """Two containers that want more than the group around both may have."""
    parent = world.parent(30_000)
    made = [container(quota=30_000, cgroup=f"{parent}/{name}").started() for name in "ab"]
    for each in made:
        each.supervisor()
        each.work(2)
    wait_until(
        lambda: sum(counters(each)["ancestorThrottles"] for each in made) > 0, 5,
        "a throttle of the group above")
    for each in made:
        assert each.quota <= 30_000
        each.call("delete", "--force")


def test_not_one_throttle_of_the_kernels_is_missed(container):
    """Under observe nobody lifts them, and so the kernel counts them, too."""
    made = container(policy="observe").started()
    made.supervisor()
    made.work(2)
    time.sleep(2 * PATIENCE)
    # A loop that sleeps is throttled by waking, where the kernel does that.
    made.do("while :; do i=0; while [ $i -lt 9000 ]; do i=$((i+1)); done; sleep 0.01; done &")
    time.sleep(2 * PATIENCE)
    # Not paused: runc gives up on tasks that are throttled whenever it looks.
    made.do("kill $b $!; wait")
    wait_until(lambda: len(cgroups.processes(made.cgroup)) == 1, 4, "they have ended")
    time.sleep(0.3 * PATIENCE)
    kernels = sum(
        int(dict(line.split() for line in cgroups.read(group, "cpu.stat").splitlines())[
            "nr_throttled"])
        for group in {made.cgroup, cgroups.outer(made.cgroup)})
    seen = counters(made)["throttles"]
    assert kernels >= 20 and kernels <= seen + 1, (kernels, seen)


@contextlib.contextmanager
def at_work():
    """Holds the lock of who is at work on the hooks."""
    os.makedirs(bpf.DIRECTORY, exist_ok=True)
    with locked(bpf.DIRECTORY):
        yield


@pytest.mark.parametrize("memory", [{}, {"io.escra.memory.max": "64Mi"}], ids=["cpu", "memory"])
def test_who_cannot_wait_for_the_hooks_goes_over_to_them_later(container, hooks, memory):
    """A container whose memory is minded may be growing already; any other waits five seconds."""
    with at_work():
        made = container({"io.escra.cpu.max": "1", **memory}).started()
        # On these the machine's speed has no bearing: not times PATIENCE.
        time.sleep(0 if memory else 6)
        pid = made.supervisor()
        assert made.states()[0]["source"].startswith(("perf", "sampling"))
        made.work()
        made.wait_for_quota(lambda quota: quota > 60_000, 4, "up to what one loop uses")
        made.rest()
    wait_until(lambda: made.states()[0]["source"].startswith("bpf"), 4, "it hears by the hooks")
    assert memory_source(made) == (hooks["memorySource"] if memory else None)
    assert bpf.keys(bpf.identity()["groups"]) == groups_of(made)
    made.wait_for_quota(lambda quota: quota == FLOOR, 5, "down to the floor")
    made.work()
    made.wait_for_quota(lambda quota: quota > 60_000, 4, "up again")
    assert counters(made)["raises"] >= 2 and made.supervisor() == pid


def loaders():
    """Pids of those who make hooks ready."""
    return sorted(ours("escra-hooks"))


def test_nobody_makes_hooks_ready_for_who_has_gone(container):
    with at_work():
        made = container({"io.escra.cpu.max": "1", "io.escra.memory.max": "64Mi"}).started()
        made.supervisor()
        assert loaders()
        made.call("delete", "--force")
        wait_until(lambda: not loaders(), 4, "nobody waits for the lock any more")
    assert bpf.identity() is None


def test_what_names_the_hooks_goes_with_the_last_however_long_somebody_is_at_work(container):
    made = at_rest(container)
    assert bpf.identity()
    with at_work():
        made.call("delete", "--force")
        # It waits five seconds for the lock, on any machine.
        wait_until(lambda: not supervisors(made.id), 10, "the supervisor has ended")
    wait_until(lambda: bpf.identity() is None and not keepers(), 4, "and what named them")


def memory_source(made):
    """By what the container's supervisor hears of its memory."""
    return made.states()[0].get("memorySource")


def test_the_program_that_minds_memory_is_there_while_somebody_needs_it(container, hooks):
    """And nobody else on the machine pays for it. cgroup v1 has no use for it."""
    asked = {"io.escra.cpu.max": "1", "io.escra.memory.max": "64Mi"}
    other = at_rest(container)
    before = bpf.identity()
    assert before["memory"] is None and not before["refused"]
    made = [container(asked).started() for _ in range(2)]
    for each in made:
        each.supervisor()
        wait_until(lambda: memory_source(each) == hooks["memorySource"], 4, "the best there is")
    found = bpf.identity()
    assert {**found, "memory": None} == before
    assert memory_source(other) is None
    if cgroups.VERSION == 1:
        assert memory_source(made[0]) == "thresholds" and found["memory"] is None
        return
    memory = found["memory"]
    assert memory_source(made[0]) == "bpf" and bpf.exists(memory)
    # Who comes after a supervisor that was killed hears by it, too.
    pid = made[0].supervisor()
    kill(pid)
    wait_until(lambda: supervisors(made[0].id) not in ([], [pid]), 4, "another supervisor")
    made[0].supervisor()
    wait_until(lambda: memory_source(made[0]) == "bpf", 4, "it hears by the same program")
    assert bpf.identity() == found
    for each in made:
        each.call("delete", "--force")
    wait_until(lambda: not bpf.exists(memory), 4, "nobody needs it any more")
    assert all(map(bpf.exists, before["programs"]))
    wait_until(
        lambda: bpf.keys(before["groups"]) == groups_of(other), 4, "what they left is swept away")
    wait_until(lambda: len(bpf.keys(before["rings"])) == 1, 4, "and their rings")
    again = container(asked).started()
    again.supervisor()
    wait_until(lambda: memory_source(again) == "bpf", 4, "another one")
    found = bpf.identity()
    assert found["memory"] not in (None, memory) and {**found, "memory": None} == before
    again.call("delete", "--force")
    other.call("delete", "--force")
    wait_until(
        lambda: not any(map(bpf.exists, [*found["programs"], found["memory"]])), 4,
        "the programs are gone")


def test_the_operator_may_have_it_sample(container, escra, world):
    config = world.path("sampling.json")
    with open(config, "w") as file:
        json.dump({"hooks": "sampling"}, file)
    made = container(
        {"io.escra.cpu.max": "1", "io.escra.memory.max": "64Mi"},
        runtime=escra.using("--escra-config", config))
    made.started().supervisor()
    assert made.states()[0]["source"].startswith(("perf, sampling", "sampling"))
    assert memory_source(made) == ("thresholds" if cgroups.VERSION == 1 else "events, sampling")
    assert bpf.identity() is None
    made.work()
    made.wait_for_quota(lambda quota: quota > 60_000, 4, "up to what one loop uses")


def test_what_was_counted_outlives_a_supervisor(container):
    made = at_rest(container)
    made.work()
    made.wait_for_quota(lambda quota: quota > FLOOR, 2, "up when it works")
    made.rest()
    made.wait_for_quota(lambda quota: quota == FLOOR, 5, "down to the floor")
    time.sleep(0.2)
    before = counters(made)
    pid = made.supervisor()
    kill(pid)
    wait_until(lambda: supervisors(made.id) not in ([], [pid]), 4, "another supervisor")
    made.supervisor()
    made.work()
    made.wait_for_quota(lambda quota: quota > FLOOR, 2, "up when it works")
    wait_until(lambda: counters(made)["raises"] > before["raises"], 2, "and on it counts")


def test_the_doctor_tries_everything_and_says_what_follows(hooks):
    names = [finding["name"] for finding in hooks["findings"]]
    assert names[0] == "tp_btf/sched_stat_runtime" and "fanotify" in names
    text = escra_tool("doctor")
    assert "The CPU demand of a new container is detected by: bpf" in text
    for finding in hooks["findings"]:
        assert finding["works"] == (finding["failure"] is None)
        assert finding["name"] in text
