# SPDX-License-Identifier: Apache-2.0
"""The limit follows the use, within its bounds, from the first instruction on."""
import json
import os
import time

import pytest

import cgroups
import kernel
from processes import (
    PATIENCE, RUN, arguments, keepers, kill, kill_at_once, ours, status, supervisors, switches,
    wait_until)
from world import PREFIX, Sampler, escra_tool

FLOOR = 5_000  # 50m of a period of 100 ms


@pytest.mark.v2
def test_the_limit_goes_up_within_a_second_of_work_and_to_the_floor_when_idle(container):
    """Twice: the first time from the declared limit, the second time from the floor."""
    made = container({"io.escra.cpu.max": "1"}).started()
    made.supervisor()
    for start in (20_000, FLOOR):
        made.work()
        made.wait_for_quota(lambda quota: quota > start, 1, f"up from {start}")
        made.wait_for_quota(lambda quota: quota > 60_000, 4, "on to what one loop uses")
        made.rest()
        made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")


def test_the_limit_never_leaves_its_bounds(container):
    """Looked at every 10 ms, with a load that wants more than it may have."""
    made = container({"io.escra.cpu.min": "100m", "io.escra.cpu.max": "600m"})
    assert made.create().wait(20) == 0
    with Sampler(made) as sampler:
        made.call("start")
        for _ in range(2):
            made.work(2)
            made.wait_for_quota(lambda quota: quota == 60_000, 4, "up to the ceiling")
            made.rest()
            made.wait_for_quota(lambda quota: quota == 10_000, 4, "down to the floor")
    assert min(sampler.quotas) == 10_000 and max(sampler.quotas) == 60_000
    assert len(sampler.quotas) > 100


def test_the_declared_limit_is_the_ceiling_where_nothing_is_said(container):
    """reactive alone never gives more than was declared."""
    made = container().started()
    with Sampler(made) as sampler:
        made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")
        made.work(2)
        made.wait_for_quota(lambda quota: quota == 20_000, 2, "up to the declared limit")
        time.sleep(0.5)
    assert max(sampler.quotas) == 20_000


def test_another_period_is_kept(container):
    """25 ms of 50 ms declared; the floor of 50m is 2.5 ms there."""
    made = container({"io.escra.cpu.max": "1"}, quota=25_000, period=50_000).started()
    made.wait_for_quota(lambda quota: quota == 2_500, 4, "down to the floor")
    made.work()
    made.wait_for_quota(lambda quota: quota > 25_000, 4, "up beyond the declared limit")
    assert cgroups.limit(made.cgroup)[1] == 50_000


@pytest.mark.v2
def test_a_burst_outlives_every_write_of_the_limit(container):
    """Linux before 6.10 divides it by 1000 when cpu.max is written; a lower quota hides it."""
    made = container({"io.escra.cpu.max": "1"}, quota=50_000)
    made.bundle.config["linux"]["resources"]["cpu"]["burst"] = 40_000
    made.bundle.write()
    made.started()
    name = "cpu.cfs_burst_us" if cgroups.VERSION == 1 else "cpu.max.burst"
    own = cgroups.inner(made.cgroup)
    if cgroups.read(own, name) == "0":
        # runc before 1.2 does not know of it.
        made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")
        cgroups.set_quota(own, 60_000)
        cgroups.write(own, name, 40_000)
    own = cgroups.moving(made.cgroup)
    for _ in range(2):
        made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")
        wait_until(lambda: cgroups.read(own, name) == str(FLOOR), 1, "no more than the quota")
        made.work()
        made.wait_for_quota(lambda quota: quota > 60_000, 4, "up")
        wait_until(lambda: cgroups.read(own, name) == "40000", 1, "the burst is back")
        made.rest()


def test_a_container_that_declares_nothing_starts_with_the_node(container):
    """It starts unlimited or with all CPUs, falls to the floor when idle, and rises again."""
    made = container(quota=None, period=None)
    assert made.create().wait(20) == 0
    assert made.quota in (None, os.cpu_count() * 100_000)
    made.call("start")
    made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")
    made.work()
    made.wait_for_quota(lambda quota: quota > 50_000, 2, "up")


# A first limit that differs from the declared one, and what holds at the first instruction.
CLAMPED = [
    ({"io.escra.cpu.max": "500m"}, 150_000, 50_000),
    ({"io.escra.cpu.max": "300m"}, None, 30_000),
    ({"io.escra.cpu.min": "400m", "io.escra.cpu.max": "1"}, 20_000, 40_000),
]


@pytest.mark.v2
@pytest.mark.parametrize("annotations, declared, first", CLAMPED)
@pytest.mark.parametrize("verb", ["create", "run"])
def test_the_first_limit_holds_at_the_first_instruction(
        container, world, annotations, declared, first, verb):
    """Seen by a hook of runc's, which runs before the container does; then all is as it was."""
    made = container(annotations, quota=declared, period=100_000)
    hook, seen = world.path("hook"), world.path("seen")
    with open(hook, "w") as file:
        parent, name = os.path.split(os.path.dirname(cgroups.quota_file(made.cgroup)))
        file.write(f"#!/bin/sh\ncat {cgroups.quota_file(made.cgroup)} >{seen} && exit\n"
                   f"cd {parent}/*escra*/{name} && cat cpu.max ../cpu.max >{seen}\n")
    os.chmod(hook, 0o755)
    made.bundle.config["hooks"] = {"createRuntime": [{"path": hook}]}
    before = made.bundle.write().identity()
    process = world.spawn(made.create(verb=verb))
    if verb == "create":
        assert process.wait(20) == 0
    wait_until(lambda: os.path.exists(made.pid_file), 5, "the container is there")
    with open(seen) as file:
        lines = [line.split() for line in file]
    assert min(int(words[0]) for words in lines if words[0] != "max") == first
    wait_until(lambda: made.bundle.is_original(before), 1, "config.json is the original again")
    if cgroups.outer(made.cgroup) == made.cgroup:
        assert made.first_quota == first


def test_config_json_is_not_touched_where_the_first_limit_is_the_declared_one(container):
    """No edit, so no second name of it either: the change time stays."""
    made = container({"io.escra.cpu.max": "1"})
    before, changed = made.bundle.identity(), os.stat(made.bundle.file).st_ctime_ns
    made.started().supervisor()
    assert made.bundle.is_original(before)
    assert os.stat(made.bundle.file).st_ctime_ns == changed


@pytest.fixture
def sleeping(world, escra):
    """escra-runc in front of a low-level runtime that reads nothing and waits."""
    program, config = world.path("sleeping"), world.path("sleeping.json")
    with open(program, "w") as file:
        file.write("#!/bin/sh\nexec sleep 60\n")
    os.chmod(program, 0o755)
    with open(config, "w") as file:
        json.dump({"runtimes": [program]}, file)
    return escra.using("--escra-config", config)


def edited(container, world, runtime):
    """A container whose config.json is edited, and whose runtime will never read it."""
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000, runtime=runtime)
    before = made.bundle.identity()
    process = world.spawn(made.create())
    wait_until(
        lambda: arguments(process.pid)[:1] == ["sleep"], 5, "the low-level runtime is at work")
    with open(made.bundle.file) as file:
        assert json.load(file)["linux"]["resources"]["cpu"]["quota"] == 30_000
    return made, process, before


def test_a_runtime_that_dies_before_reading_leaves_the_original(container, world, sleeping):
    """Its supervisor puts config.json back within a second."""
    made, process, before = edited(container, world, sleeping)
    process.kill()
    process.wait()
    wait_until(lambda: made.bundle.is_original(before), 1, "config.json is the original again")
    wait_until(lambda: not ours(), 2, "supervisor and keeper have ended")


def test_a_supervisor_that_dies_while_config_json_is_edited_is_stood_in_for(
        container, world, sleeping):
    """The keeper sees the death; runtime and supervisor are killed together."""
    made, process, before = edited(container, world, sleeping)
    wait_until(keepers, 1, "the keeper lives")
    time.sleep(0.1)
    kill(process.pid, *supervisors(made.id))
    process.wait()
    wait_until(lambda: made.bundle.is_original(before), 1.5, "config.json is the original again")


def test_with_everything_killed_the_next_create_finds_the_original(
        container, world, sleeping, escra):
    """Runtime, supervisor and keeper in one go; the next create heals the bundle first."""
    made, process, before = edited(container, world, sleeping)
    wait_until(keepers, 1, "the keeper lives")
    # In one go: each of them would bring the other back.
    kill_at_once(*keepers(), *supervisors(), process.pid)
    process.wait()
    wait_until(lambda: not ours(), 1, "nobody of ours lives")
    assert not made.bundle.is_original(before), "nobody was left to put it back"
    made.runtime = escra
    made.started()
    wait_until(lambda: made.bundle.is_original(before), 1, "config.json is the original again")
    made.supervisor()
    assert made.quota <= 30_000
    assert made.states()[0]["declaredQuota"] == "150000", "the edit is nobody's declaration"


def test_a_create_waits_for_the_end_of_anothers_edit(container, world, sleeping, escra):
    """However long that takes: what stands in config.json is not what was declared."""
    made, process, before = edited(container, world, sleeping)
    other = container(bundle_=made.bundle, runtime=escra)
    creating = world.spawn(other.create())
    time.sleep(1.5)
    assert creating.poll() is None
    process.kill()
    process.wait()
    assert creating.wait(20 * PATIENCE) == 0
    assert other.states()[0]["declaredQuota"] == "150000", "the edit is nobody's declaration"
    assert other.first_quota == 30_000
    wait_until(lambda: made.bundle.is_original(before), 1, "config.json is the original again")


def test_a_create_is_refused_where_anothers_edit_does_not_end(container, world, sleeping, escra):
    """Rather than started with a limit that is another container's."""
    made, process, before = edited(container, world, sleeping)
    result = escra("create", "--bundle", made.bundle.path, world.name(), timeout=30)
    assert result.code == 1 and "is being edited by another escra-runc" in result.err
    process.kill()
    process.wait()
    wait_until(lambda: made.bundle.is_original(before), 1, "config.json is the original again")


def test_a_wrapper_killed_at_any_moment_leaves_the_original(container, world, escra):
    """Thirty kills, spread over the whole of a create.

    Before the supervisor has started, only the next create can remove the lock of the edit.
    """
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000)
    world.groups.append(made.cgroup)  # What a killed runc leaves is runc's.
    before = made.bundle.identity()
    for attempt in range(30):
        process = made.create()
        time.sleep(attempt * 0.001)
        process.kill()
        process.wait()
        wait_until(
            lambda: made.bundle.is_original(before, lock=True), 1.5,
            f"the original, attempt {attempt}")
        escra("delete", "--force", made.id)
        wait_until(lambda: not supervisors(made.id), 3, "its supervisor has left")
    made.started().supervisor()
    wait_until(lambda: made.bundle.is_original(before), 1.5, "the lock of the edit is gone")


@pytest.fixture
def read_only(world):
    """Makes a bundle's file system read-only, in the suite's own mount namespace."""
    mounted = []

    def make(bundle):
        kernel.bind_read_only(bundle.path)
        mounted.append(bundle.path)

    yield make
    for path in mounted:
        kernel.unmount(path)


def test_a_read_only_bundle_starts_with_its_declared_limits(container, read_only, world):
    """Where an edit would be needed; one sentence on stderr, none in the log, exit 0."""
    # Its keeper lives already, and has to be told of the next container.
    container().started().supervisor()
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000)
    read_only(made.bundle)
    with open(world.path("stderr"), "w+") as errors:
        process = made.create(stderr=errors)
        assert process.wait(20) == 0
        errors.seek(0)
        sentence = errors.read()
    assert sentence.startswith("escra-runc: the container starts with its declared limits")
    assert "(EROFS)" in sentence and sentence.count("\n") == 1
    assert made.quota == 150_000
    assert not supervisors(made.id)
    # It is seen until it ends, and can be taken over meanwhile.
    found = wait_until(
        lambda: [state for state in made.states() if "init" in state], 4, "its init is found")
    assert "(EROFS)" in found[0]["unsupervised"] and "(unsupervised)" in escra_tool("ps")
    escra_tool("adopt", made.id)
    made.supervisor(4)
    wait_until(lambda: not any("unsupervised" in state for state in made.states()), 1)


def test_a_read_only_bundle_is_supervised_where_no_edit_is_needed(container, read_only):
    """Nothing of ours is written into a bundle but the edit."""
    made = container({"io.escra.cpu.max": "1"})
    read_only(made.bundle)
    made.started().supervisor()
    made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")


@pytest.fixture
def full_run():
    """No inode is left for a supervisor's socket: it ends before it is ready."""
    # The file system's own, containers/, the container's, the instance's, its state.
    kernel.mount("tmpfs", RUN, "tmpfs", 0, "mode=700,nr_inodes=5")
    yield
    kernel.unmount(RUN)


def test_a_supervisor_that_never_is_ready_leaves_the_container_as_declared(
        container, full_run, world):
    """It starts, with one sentence on stderr, and nothing of ours is left behind."""
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000)
    before = made.bundle.identity()
    with open(world.path("stderr"), "w+") as errors:
        assert made.create(stderr=errors).wait(20) == 0
        errors.seek(0)
        sentence = errors.read()
    assert "starts with its declared limits, unsupervised" in sentence
    assert "ended before it was ready" in sentence and sentence.count("\n") == 1
    assert made.quota == 150_000
    assert made.bundle.is_original(before)
    wait_until(lambda: not supervisors(made.id) and made.states() == [], 2, "nothing is left")


def test_the_operator_may_refuse_what_cannot_be_supervised(container, read_only, escra, world):
    """onFailure: refuse turns the same case into an error."""
    config = world.path("refuse.json")
    with open(config, "w") as file:
        json.dump({"onFailure": "refuse"}, file)
    log = world.path("log")
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000)
    read_only(made.bundle)
    result = escra.using("--escra-config", config, "--log", log)(
        "create", "--bundle", made.bundle.path, made.id)
    assert result.code == 1 and "onFailure is refuse" in result.err
    with open(log) as file:
        assert json.loads(file.read())["msg"] == result.err.strip()
    assert not cgroups.exists(made.cgroup)


def test_without_an_alarm_it_looks_twenty_times_a_second_and_keeps_half(
        container, no_unified, escra, world):
    """Where no cgroup of the container's own has perf events, and no hook is wanted."""
    config = world.path("sampling.json")
    with open(config, "w") as file:
        json.dump({"hooks": "sampling"}, file)
    made = container(
        {"io.escra.cpu.max": "1"}, runtime=escra.using("--escra-config", config)).started()
    pid = made.supervisor()
    assert made.states()[0]["source"] == "sampling"
    half = made.quota // 2
    made.wait_for_quota(lambda quota: quota == half, 4, "down to half of what it declared")
    before, began = switches(pid), time.monotonic()
    time.sleep(2)
    rate = (switches(pid) - before) / (time.monotonic() - began)
    assert 5 < rate < 25
    made.work()
    made.wait_for_quota(lambda quota: quota > 2 * half, 2, "up when it works")


def test_observe_writes_nothing_and_records_what_it_would_do(container):
    """Not one write to the quota, seen by inotify; decisions are in the record, not applied."""
    made = container({"io.escra.cpu.max": "1"}, policy="observe").started()
    made.supervisor()
    watch = kernel.Watch(cgroups.quota_file(made.cgroup))
    with Sampler(made) as sampler:
        made.work()
        wait_until(
            lambda: any(entry.after > entry.before for entry in made.record()), 2,
            "it would raise the limit")
        made.rest()
        wait_until(
            lambda: made.record()[-1].after == FLOOR * 1000, 4, "it would lower it to the floor")
    assert watch.writes() == 0
    watch.close()
    assert set(sampler.quotas) == {20_000}
    assert not any(entry.applied for entry in made.record())


@pytest.mark.v2
def test_a_paused_container_keeps_its_limit(container):
    """Frozen is not idle: nothing moves for as long as an idle one takes to the floor."""
    made = container({"io.escra.cpu.max": "1"}).started()
    made.supervisor()
    made.work()
    made.wait_for_quota(lambda quota: quota > 50_000, 4, "up")
    made.call("pause")
    time.sleep(0.3)
    held = made.quota
    with Sampler(made) as sampler:
        time.sleep(3.5)
    assert set(sampler.quotas) == {held}
    made.call("resume")
    made.rest()
    made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")


def test_a_parent_with_less_is_the_ceiling_and_nobody_complains(container, world):
    """cgroup v1 refuses a child above its parent; v2 takes it, and it is of no use."""
    parent = world.parent(30_000)
    made = container({"io.escra.cpu.max": "1"}, cgroup=f"{parent}/{PREFIX}x")
    with open(world.path("stderr"), "w+") as errors:
        process = made.create(stderr=errors)
        assert process.wait(20) == 0
        errors.seek(0)
        assert errors.read() == ""
    with Sampler(made) as sampler:
        made.call("start")
        made.supervisor()
        made.work(2)
        made.wait_for_quota(lambda quota: quota == 30_000, 3, "up to the parent's limit")
        time.sleep(1)
    assert max(sampler.quotas) == 30_000
    made.rest()
    made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")
    assert cgroups.limit(parent)[0] == 30_000, "an ancestor is never changed"


def test_a_parent_below_the_minimum_does_not_keep_a_container_from_starting(container, world):
    """runc alone starts it with what it declares; so do we."""
    parent = world.parent(30_000)
    made = container(
        {"io.escra.cpu.min": "500m", "io.escra.cpu.max": "1"}, cgroup=f"{parent}/{PREFIX}x")
    made.started()
    assert made.quota <= 30_000 or cgroups.VERSION == 2


def test_the_callers_cpus_are_not_the_containers(container):
    """Since Linux 6.2 a mask outlives every change of a cpuset: it is reset under a policy."""
    if os.cpu_count() < 2:
        pytest.skip("needs two CPUs")

    def pinned():
        os.sched_setaffinity(0, {0})

    made = container()
    assert made.create(preexec_fn=pinned).wait(20) == 0
    everything = status(1)["Cpus_allowed_list"]
    assert status(made.pid)["Cpus_allowed_list"] == everything
    made.call("start")
    out = made.runtime(
        "exec", made.id, "grep", "Cpus_allowed_list", "/proc/self/status", preexec_fn=pinned).out
    assert out.split()[-1] == everything
