# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to a container, its supervisor or its keeper: life goes on, nothing is left.

What is left behind is looked at after each test of the suite, by the fixture `world`.
"""
import os
import signal
import time

import pytest

import cgroups
import kernel
from processes import (
    MANY, PATIENCE, RUN, is_alive, keepers, kill, ours, supervisors, wait_until)
from world import IS_CRUN, Sampler, without_time

FLOOR = 5_000


def gone(container):
    """Nothing of ours is left of a container; nobody has called for it to go."""
    wait_until(lambda: not supervisors(container.id), 3, "its supervisor has left")
    wait_until(lambda: container.states() == [], 1, "its state is removed")
    assert not cgroups.exists(container.cgroup)


def remove_what_crun_leaves(container):
    """crun alone leaves the group of a container that it refuses."""
    if IS_CRUN and cgroups.exists(container.cgroup):
        cgroups.remove(container.cgroup)


def wait_for_floor(container):
    container.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")


def wait_for_keeper():
    [keeper] = wait_until(keepers, 2, "the keeper lives")
    return keeper


@pytest.mark.v2
def test_a_whole_life(container):
    """create, start, exec, pause, resume, kill, delete; the limit follows until the end."""
    made = container({"io.escra.cpu.max": "1"})
    assert made.create().wait(20) == 0
    assert made.status == "created"
    made.call("start")
    assert made.status == "running"
    assert made.runtime("exec", made.id, "sh", "-c", "echo hello; exit 5")[:2] == (5, "hello\n")
    made.call("pause")
    assert made.status == "paused"
    made.call("resume")
    made.work()
    made.wait_for_quota(lambda quota: quota > 20_000, 2, "up")
    assert made.runtime("kill", made.id, "KILL").code == 0
    wait_until(lambda: made.status == "stopped", 3)
    made.call("delete")
    gone(made)


def test_work_of_an_exec_raises_the_limit(container):
    """It is in the container's cgroup, and counts."""
    made = container({"io.escra.cpu.max": "1"}).started()
    made.supervisor()
    wait_for_floor(made)
    process = made.runtime.start("exec", made.id, "sh", "-c", "while :; do :; done")
    made.wait_for_quota(lambda quota: quota > 20_000, 2, "up")
    assert made.runtime("delete", "--force", made.id).code == 0
    assert process.wait(5) != 0
    gone(made)


def test_a_restart_with_the_same_id_is_another_container(container, world):
    """Twenty times, as docker restart does it: the next create comes at once."""
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000)
    before = made.bundle.identity()
    inits, slowest = set(), 0
    for _ in range(20):
        made.started()
        pid = made.pid
        inits.add(pid)
        deleted = None
        for call in (["kill", made.id, "KILL"], ["delete", made.id], ["delete", "-f", made.id]):
            if call[0] == "delete" and deleted is None:
                wait_until(lambda: not is_alive(pid), 3, "init is dead")
                deleted = time.monotonic()
            assert made.runtime(*call).code == 0, call
        slowest = max(slowest, time.monotonic() - deleted)
    made.started()
    new = made.supervisor()
    wait_until(lambda: supervisors() == [new], 2, "one supervisor, that of the last one")
    assert [state["init"].split("@")[0] for state in made.states()] == [str(made.pid)]
    assert made.pid not in inits and slowest < 0.5 * PATIENCE
    wait_for_floor(made)
    assert made.bundle.is_original(before)


def test_delete_force_of_a_running_container(container):
    """Busy, its supervisor about to write."""
    made = container({"io.escra.cpu.max": "1"}).started()
    made.supervisor()
    made.work(2)
    made.call("delete", "--force")
    gone(made)


def test_a_delete_by_runc_itself_is_noticed(container, plain):
    """Nobody has to call us."""
    made = container().started()
    made.supervisor()
    assert plain("delete", "--force", made.id).code == 0
    gone(made)


@pytest.mark.v2
def test_a_killed_supervisor_is_replaced(container):
    """Within a second; limits stay valid meanwhile, and what was known is known."""
    made = container({"io.escra.cpu.max": "600m"}).started()
    old = made.supervisor()
    wait_for_keeper()
    made.call("update", "--cpu-quota", "30000")
    made.work(2)
    made.wait_for_quota(lambda quota: quota == 60_000, 4, "up to the ceiling")
    with Sampler(made) as sampler:
        last = made.record()[-1].sequence
        kill(old)
        wait_until(lambda: supervisors(made.id) not in ([], [old]), 1, "another supervisor")
        new = made.supervisor()
        made.rest()
        wait_for_floor(made)
    assert new != old and FLOOR <= min(sampler.quotas) and max(sampler.quotas) <= 60_000
    assert made.record()[-1].sequence > last
    assert made.states()[0]["declaredQuota"] == "30000"


def test_a_container_with_groups_of_its_own_stays_supervised(container):
    """systemd and Docker in Docker move everything into groups below the container's."""
    if cgroups.VERSION == 1:
        pytest.skip("only v2 forbids processes in a group that has others below it")
    made = container({"io.escra.cpu.max": "1"}).started()
    old = made.supervisor()
    wait_for_keeper()
    below = cgroups.inner(made.cgroup) + "/init"
    os.mkdir(cgroups.directory(below))
    cgroups.write(below, "cgroup.procs", made.pid)
    made.work()
    made.wait_for_quota(lambda quota: quota > 20_000, 2, "up")
    kill(old)
    wait_until(lambda: supervisors(made.id) not in ([], [old]), 1, "another supervisor")
    made.supervisor()
    made.rest()
    wait_for_floor(made)
    made.work()
    made.wait_for_quota(lambda quota: quota > 20_000, 2, "up")


def test_a_killed_supervisor_of_an_idle_container_is_replaced(container):
    """The keeper wakes by itself; and the container is heard when it wakes."""
    made = container({"io.escra.cpu.max": "1"}).started()
    old = made.supervisor()
    wait_for_floor(made)
    wait_for_keeper()
    kill(old)
    wait_until(lambda: supervisors(made.id) not in ([], [old]), 1, "another supervisor")
    made.supervisor()
    assert made.quota == FLOOR
    made.work()
    made.wait_for_quota(lambda quota: quota > 20_000, 1.5, "up")


@pytest.mark.v2
def test_a_killed_keeper_is_back_at_the_next_call(container):
    """Supervisors work on meanwhile."""
    made = container({"io.escra.cpu.max": "1"}).started()
    made.supervisor()
    keeper = wait_for_keeper()
    kill(keeper)
    # It holds its lock until then, and has no name any more for a while.
    wait_until(lambda: not is_alive(keeper), 2, "it is dead")
    made.work()
    made.wait_for_quota(lambda quota: quota > 20_000, 2, "up")
    assert keepers() == []
    assert made.status == "running"
    assert wait_for_keeper() != keeper


def test_keeper_and_supervisor_killed_are_back_at_the_next_call(container):
    """Whatever call comes first about that container."""
    for verb in (["state"], ["exec"], ["update"]):
        made = container({"io.escra.cpu.max": "1"}).started()
        old = made.supervisor()
        kill(wait_for_keeper(), old)
        wait_until(lambda: not ours(), 1, "both are dead")
        quota = made.quota
        time.sleep(0.1)
        assert made.quota == quota
        if verb == ["exec"]:
            assert made.runtime("exec", made.id, "true").code == 0
        elif verb == ["update"]:
            made.call("update", "--pids-limit", "50")
        else:
            made.call(*verb)
        wait_until(lambda: supervisors(made.id) not in ([], [old]), 1, "another supervisor")
        made.supervisor()
        made.work()
        made.wait_for_quota(lambda quota: quota > 20_000, 2, "up")
        made.call("delete", "--force")
        gone(made)


def test_keeper_and_supervisor_killed_and_the_container_deleted(container, plain):
    """The worst order: nobody sees the end; the next container of anybody clears up."""
    made = container().started()
    kill(wait_for_keeper(), made.supervisor())
    wait_until(lambda: not ours(), 1, "both are dead")
    made.call("delete", "--force")
    other = container().started()
    other.supervisor()
    gone(made)


def test_a_supervisor_that_dies_three_times_in_a_row_is_given_up(container):
    """The container has its declared limit back, and runs."""
    made = container({"io.escra.cpu.max": "1"}).started()
    made.supervisor()
    wait_for_keeper()
    wait_for_floor(made)
    killed = set()
    for _ in range(3):
        # What it has just forked is called as it is, until it is another program.
        pid = made.supervisor()
        killed.add(pid)
        kill(pid)
        wait_until(lambda: not is_alive(pid), 2, "it is dead")
    made.wait_for_quota(lambda quota: quota == 20_000, 2, "the declared limit")
    wait_until(lambda: any("unsupervised" in state for state in made.states()), 1, "it is given up")
    assert supervisors(made.id) == [] and len(killed) == 3
    assert made.status == "running"
    time.sleep(0.3)
    assert supervisors(made.id) == [] and made.quota == 20_000
    made.call("delete", "--force")
    wait_until(lambda: made.states() == [], 2, "the keeper has forgotten it")


def test_a_container_whose_init_is_killed(container):
    """Then deleted, as an engine does when it hears of it."""
    made = container({"io.escra.cpu.max": "1"}).started()
    made.supervisor()
    made.work()
    kill(made.pid)
    wait_until(lambda: not supervisors(made.id), 3, "its supervisor has left")
    assert made.status == "stopped"
    made.call("delete")
    gone(made)


def test_a_member_outlives_init(container):
    """In a pid namespace shared with the host init is not the last to go."""
    made = container(args=["sh", "-c", "sleep 60 & exec sleep 60"])
    spaces = made.bundle.config["linux"]["namespaces"]
    made.bundle.config["linux"]["namespaces"] = [s for s in spaces if s["type"] != "pid"]
    made.bundle.write()
    made.started()
    made.supervisor()
    wait_until(lambda: len(cgroups.processes(made.cgroup)) == 2, 2, "both processes")
    [child] = cgroups.processes(made.cgroup) - {made.pid}
    kill(made.pid)
    wait_until(lambda: not is_alive(made.pid), 1, "init is dead")
    time.sleep(1.3)
    assert len(supervisors(made.id)) == 1
    kill(child)
    wait_until(lambda: not supervisors(made.id), 3, "its supervisor has left")


def test_a_bundle_can_be_used_again_without_the_annotation(container, escra, world):
    """And is, by then, an ordinary one."""
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000).started()
    made.supervisor()
    made.call("delete", "--force")
    gone(made)
    made.bundle.config["annotations"] = {}
    before = made.bundle.write().identity()
    again = container(bundle_=made.bundle).started()
    assert again.quota == 150_000 and ours() == {}
    assert again.bundle.is_original(before)
    again.call("delete", "--force")


@pytest.mark.parametrize("quota", [20_000, 150_000])
def test_a_create_that_fails_fails_as_without_us(container, plain, world, quota):
    """A program that is not there: runc's words, no matter whether config.json was edited."""
    seen = []
    for runtime in (plain, None):
        made = container({"io.escra.cpu.max": "1"}, quota=quota, args=["/no/such/program"])
        made.runtime = (runtime or made.runtime).using("--log", world.path("log"))
        before = made.bundle.identity()
        with open(world.path("output"), "w+") as output:
            process = made.create(stdout=output, stderr=output)
            # runc finds out at start in 1.1, at create in later ones.
            codes = [process.wait(20)]
            if codes == [0]:
                result = made.runtime("start", made.id)
                codes += [result.code, result.err]
            output.seek(0)
            codes.append(output.read())
        wait_until(lambda: made.bundle.is_original(before), 1, "config.json is the original")
        made.runtime("delete", "--force", made.id)
        with open(world.path("log")) as log:
            codes.append(log.read())
        os.unlink(world.path("log"))
        seen.append(without_time(repr(codes)).replace(made.id, "ID"))
        gone(made)
    assert seen[0] == seen[1] and "no such file" in seen[0].lower()


def test_a_create_that_runc_refuses_after_the_edit_leaves_nothing(container):
    """An unknown namespace: config.json was edited, and no pid file ever comes."""
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000)
    made.bundle.config["linux"]["namespaces"].append({"type": "no-such-namespace"})
    before = made.bundle.write().identity()
    assert made.create().wait(20) == 1
    wait_until(lambda: made.bundle.is_original(before), 1, "config.json is the original")
    remove_what_crun_leaves(made)
    gone(made)


def test_a_second_create_of_the_same_id_fails_and_disturbs_nobody(container, plain):
    """The first one's supervisor stays, alone."""
    made = container().started()
    pid = made.supervisor()
    result = made.runtime("create", "--bundle", made.bundle.path, made.id)
    theirs = plain("create", "--bundle", made.bundle.path, made.id)
    assert result.code == theirs.code == 1
    assert without_time(result.err) == without_time(theirs.err)
    wait_until(lambda: supervisors(made.id) == [pid], 2, "one supervisor")
    wait_for_floor(made)
    assert len(made.states()) == 1


@pytest.mark.v2
def test_an_attached_run(container, world):
    """Output and exit code are the container's; the supervisor comes and goes with it."""
    made = container(
        {"io.escra.cpu.max": "1"}, args=["sh", "-c", "echo out; read x; echo err >&2; exit 6"])
    with open(world.path("out"), "w+") as out, open(world.path("err"), "w+") as err:
        process = world.spawn(made.create(verb="run", stdout=out, stderr=err))
        made.supervisor()
        made.do("go")
        assert process.wait(5) == 6
        out.seek(0)
        err.seek(0)
        assert (out.read(), err.read()) == ("out\n", "err\n")
    gone(made)


def test_an_attached_run_without_a_pid_file(container, world, escra):
    """As a person at a shell calls it: we give it one of ours."""
    made = container(args=["sleep", "60"])
    process = world.spawn(escra.start("run", "--bundle", made.bundle.path, made.id))
    made.supervisor()
    wait_for_floor(made)
    assert escra("kill", made.id, "KILL").code == 0
    assert process.wait(5) == 137
    gone(made)


@pytest.mark.parametrize("flags", [["--detach"], ["-d"], ["--no-subreaper", "-d"]])
def test_a_detached_run(container, flags):
    """It returns, the container lives."""
    made = container({"io.escra.cpu.max": "1"})
    assert made.create(*flags, verb="run").wait(20) == 0
    made.supervisor()
    made.work()
    made.wait_for_quota(lambda quota: quota > 20_000, 2, "up")
    made.call("delete", "--force")
    gone(made)


def test_a_run_that_is_over_at_once(container):
    """Thirty times: the supervisor may find nothing but the end."""
    for _ in range(30):
        made = container({"io.escra.cpu.max": "300m"}, quota=150_000, args=["true"])
        before = made.bundle.identity()
        assert made.create(verb="run").wait(20) == 0
        wait_until(lambda: made.bundle.is_original(before), 1, "config.json is the original")
        gone(made)


def test_a_restore_without_an_image_fails_as_without_us(container, plain, world):
    """The words are runc's; and nothing of ours waits for what will never be."""
    seen = []
    # A container each: crun takes one that it could not restore for one that is there.
    for runtime in (None, plain):
        made = container({"io.escra.cpu.max": "1"}, runtime=runtime)
        done = made.runtime(
            "restore", "--image-path", world.path("nowhere"), "--bundle", made.bundle.path,
            "--detach", made.id)
        assert done.code == 1
        seen.append(without_time(done.err).replace(made.id, "ID"))
        remove_what_crun_leaves(made)
        gone(made)
    assert seen[0] == seen[1]


def test_many_containers_at_once(container):
    """Created, supervised and deleted all at the same time."""
    many = [container({"io.escra.cpu.max": "300m"}, quota=150_000) for _ in range(MANY)]
    originals = [made.bundle.identity() for made in many]
    for process in [made.create() for made in many]:
        assert process.wait(60) == 0
    for process in [made.runtime.start("start", made.id) for made in many]:
        assert process.wait(60) == 0
    pids = {made.supervisor(5) for made in many}
    assert len(pids) == MANY and len(keepers()) == 1
    for made, original in zip(many, originals):
        wait_until(lambda: made.bundle.is_original(original), 1, "the original")
        made.wait_for_quota(lambda quota: quota == FLOOR, 6, "down to the floor")
    for process in [made.runtime.start("delete", "--force", made.id) for made in many]:
        assert process.wait(60) == 0
    for made in many:
        gone(made)
    wait_until(lambda: not ours(), 2, "the keeper has ended")


def test_two_containers_from_one_bundle_at_once(container, world):
    """The second edit waits for the first to be undone; each sees the original."""
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000)
    del made.bundle.config["linux"]["cgroupsPath"]
    before = made.bundle.write().identity()
    # One after the other, and the last of them waits for 10 s at the most.
    many = [container(bundle_=made.bundle) for _ in range(4 if PATIENCE == 1 else 2)]
    for process in [one.create() for one in many]:
        assert process.wait(20) == 0
    wait_until(lambda: made.bundle.is_original(before), 1, "config.json is the original")
    for one in many:
        assert one.first_quota == 30_000
        one.supervisor()
        assert one.states()[0]["declaredQuota"] == "150000", "the edit is nobody's declaration"


def test_a_stopped_supervisor_holds_nobody_up(container, plain, world):
    """SIGSTOP is the worst of silences: sockets accept, and nobody answers."""
    made = container().started()
    twin = container(policy=None, runtime=plain).started()
    pid = made.supervisor()
    wait_for_keeper()
    kill(pid, signal=signal.SIGSTOP)
    try:
        for verb, flags in (
                ("state", []), ("pause", []), ("resume", []), ("ps", []),
                ("update", ["--cpu-quota", "30000"]), ("update", ["--pids-limit", "9"])):
            times = [one.call(verb, *flags).seconds for one in (made, twin)]
            assert times[0] < times[1] + 0.7 * PATIENCE, (verb, times)
        # crun asked for a quota alone leaves the scope as it is.
        asked = cgroups.quota_file(cgroups.inner(made.cgroup))
        with open(asked) as file:
            written = file.read().split()[0]
        assert written == "30000", "nobody answered, so runc wrote what it was asked to"
        before = time.monotonic()
        assert made.runtime("exec", made.id, "true").code == 0
        assert made.runtime("kill", made.id, "KILL").code == 0
        wait_until(lambda: made.status == "stopped", 3)
        made.call("delete")
        assert time.monotonic() - before < 3 * PATIENCE
    finally:
        kill(pid, signal=signal.SIGCONT)
    gone(made)


def test_a_stopped_keeper_holds_nobody_up(container):
    """Nor does it keep a container from being supervised."""
    first = container().started()
    first.supervisor()
    keeper = wait_for_keeper()
    kill(keeper, signal=signal.SIGSTOP)
    try:
        second = container({"io.escra.cpu.max": "300m"}, quota=150_000)
        before = time.monotonic()
        second.started()
        assert time.monotonic() - before < 2 * PATIENCE
        second.supervisor(4)
        second.wait_for_quota(lambda quota: quota == FLOOR, 5, "down to the floor")
    finally:
        kill(keeper, signal=signal.SIGCONT)


@pytest.mark.parametrize("options, symbol", [("nr_inodes=1", "ENOSPC"), (None, "EROFS")])
def test_where_run_cannot_be_written_the_container_starts_as_declared(
        container, plain, options, symbol):
    """One sentence on stderr; and everything else works as if we were not there."""
    kernel.mount("tmpfs", RUN, "tmpfs", 0, options)
    try:
        if options is None:
            kernel.mount(None, RUN, None, kernel.MS_REMOUNT | kernel.MS_RDONLY)
        made = container({"io.escra.cpu.max": "300m"}, quota=150_000)
        before = made.bundle.identity()
        with open(os.devnull) as null, open(made.pid_file + ".stderr", "w+") as errors:
            process = made.create(stdin=null, stderr=errors)
            assert process.wait(20) == 0
            errors.seek(0)
            sentence = errors.read()
        assert sentence.startswith("escra-runc: the container starts with its declared limits")
        assert symbol in sentence and sentence.count("\n") == 1
        assert made.quota == 150_000 and made.bundle.is_original(before)
        made.call("update", "--cpu-quota", "140000")
        assert made.quota == 140_000
        made.call("delete", "--force")
        assert ours() == {}
    finally:
        kernel.unmount(RUN)


def test_rubbish_in_our_state_is_in_nobodys_way(container, plain):
    """Somebody wrote over the state file: calls go on, the next life is a new one."""
    made = container().started()
    pid = made.supervisor()
    [state] = made.states()
    kill(wait_for_keeper())
    kill(pid)
    with open(os.path.join(state["directory"], "state"), "w") as file:
        file.write("rubbish")
    assert made.status == "running"
    made.call("delete", "--force")
    made.started()
    made.supervisor()
    wait_for_floor(made)


@pytest.mark.v2
def test_a_group_of_the_same_path_is_another_one_after_a_crash(container):
    """The path may be another container's by then: what was recorded of it is its inode."""
    made = container().started()
    pid = made.supervisor()
    [keeper] = wait_until(keepers, 2, "the keeper lives")
    kill(keeper, signal=signal.SIGSTOP)
    try:
        kill(pid)
        wait_until(lambda: not is_alive(pid), 2, "it is dead")
        path = os.path.join(made.states()[0]["directory"], "state")
        with open(path) as file:
            lines = file.read().splitlines()
        with open(path, "w") as file:
            for line in lines:
                name, _, value = line.partition("=")
                file.write(f"{name}={int(value) + 1 if name == 'cpuInode' else value}\n")
        cgroups.set_quota(made.cgroup, 12_000)
    finally:
        kill(keeper, signal=signal.SIGCONT)
    wait_until(lambda: made.states() == [] and not supervisors(made.id), 4, "it is forgotten")
    assert made.quota == 12_000, "its limit is nobody's business"
