# SPDX-License-Identifier: Apache-2.0
"""CPUs of one's own: a strict container has them, everybody else keeps off."""
import contextlib
import fcntl
import json
import os
import shutil
import signal
import time

import pytest

import cgroups
import driver
from processes import RUN, keepers, kill, kill_at_once, locked, ours, supervisors, wait_until
from world import IS_CRUN, Runtime

pytestmark = [
    pytest.mark.alone, pytest.mark.skipif(not cgroups.has_cpuset(), reason="strict needs cpusets")]

ONLINE = sorted(os.sched_getaffinity(0))
ALL = f"0-{ONLINE[-1]}" if len(ONLINE) > 1 else "0"
# A CPU that is not there.
NOWHERE = str(ONLINE[-1] + 6)


def members(text):
    """The CPUs of a list as the kernel writes it."""
    found = set()
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            found |= set(range(int(first), int(last or first) + 1))
    return found


def own_group(container_or_path):
    """The group that a container's processes are in, or one that is given by its path."""
    return cgroups.inner(getattr(container_or_path, "cgroup", container_or_path))


def cpus(container_or_path):
    return members(cgroups.cpus(own_group(container_or_path)))


def set_cpus(container, text):
    cgroups.write(container.cgroup, "cpuset.cpus", text, "cpuset")


def remembered(container):
    """The CPUs that runc will write next; crun remembers no update."""
    if IS_CRUN:
        return cpus(container)
    with open(os.path.join(container.runtime.globals[1], container.id, "state.json")) as file:
        return members(json.load(file)["config"]["cgroups"]["cpuset_cpus"])


def allowed(pid):
    """The CPUs that every thread of a process may run on, together."""
    found = set()
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status") as file:
            line = next(line for line in file if line.startswith("Cpus_allowed_list"))
        found |= members(line.split(":")[1])
    return found


@pytest.fixture
def strict(container):
    """Makes strict containers that reserve CPUs; not yet created."""

    def make(reserved=1, cpuset=None, **options):
        if reserved:
            options.update(quota=int(reserved * 100_000), period=100_000)
        made = container(policy="strict", **{"quota": None, "period": None, **options})
        if cpuset is not None:
            made.bundle.config["linux"]["resources"].setdefault("cpu", {})["cpus"] = cpuset
            made.bundle.write()
        return made

    return make


@pytest.fixture
def neighbour(container, plain):
    """Makes containers of plain runc, running."""

    def make(cpuset=None, **options):
        made = container(runtime=plain, policy=None, quota=None, period=None, **options)
        if cpuset is not None:
            made.bundle.config["linux"]["resources"]["cpu"] = {"cpus": cpuset}
            made.bundle.write()
        return made.started()

    return make


def refusal(container):
    """The one sentence with which a create fails; nothing is left of it."""
    result = container.runtime(
        "create", "--bundle", container.bundle.path, "--pid-file", container.pid_file,
        container.id)
    assert result.code == 1 and result.out == ""
    assert not cgroups.exists(container.cgroup) and container.states() == []
    return result.err


def wait_for_cpus(container, wanted, seconds=2):
    def has():
        return cpus(container) == set(wanted)

    wait_until(has, seconds, f"the CPUs {wanted}")


# --- what it gets

def test_it_has_a_cpu_of_its_own_and_no_quota_at_its_first_instruction(strict):
    made = strict(args=["sh", "-c", "grep Cpus_allowed_list /proc/self/status; sleep 60"])
    original = made.bundle.identity()
    reading, writing = os.pipe()
    assert made.create("--detach", verb="run", stdout=writing).wait(20) == 0
    os.close(writing)
    with os.fdopen(reading) as said:
        seen = members(said.readline().split(":")[1])
    assert len(seen) == 1 and cpus(made) == seen == allowed(made.pid)
    assert cgroups.limit(made.cgroup)[0] is None
    made.supervisor()
    assert made.bundle.is_original(original)


def test_the_boot_cpu_is_left_to_the_others(strict):
    assert 0 not in cpus(strict().started())


def test_a_declared_set_is_what_it_gets(strict):
    made = strict(reserved=None, cpuset="0").started()
    assert cpus(made) == {0}


def test_of_a_declared_set_it_gets_as_many_as_it_declares(strict):
    made = strict(reserved=1, cpuset=ALL).started()
    assert len(cpus(made)) == 1


@pytest.mark.parametrize("reserved, cpuset, words", [
    (1.5, None, ["whole CPUs", "1500m", "1 or 2"]),
    (0.25, None, ["whole CPUs", "250m", "declare 1"]),
    (None, None, ["declares none", "whole CPUs"]),
    (None, "nonsense", ["nonsense", "no list of CPUs"]),
    (None, "0-9999", ["0-9999", "no list of CPUs"]),
    (len(ONLINE), None, [str(len(ONLINE)), "shared"]),
    (None, ALL, ["shared"]),
    (None, NOWHERE, [NOWHERE]),
])
def test_what_it_cannot_have_is_refused_in_one_sentence(strict, reserved, cpuset, words):
    sentence = refusal(strict(reserved=reserved, cpuset=cpuset))
    assert all(word in sentence for word in words), sentence
    assert sentence.count("\n") == 1


def test_a_second_one_is_told_who_holds_the_cpu(strict):
    first = strict(reserved=len(ONLINE) - 1).started()
    sentence = refusal(strict())
    assert first.id in sentence
    first.call("delete", "--force")
    wait_until(lambda: not ours(), 2, "the end of the first one's supervisor")
    strict().started()


def test_reserved_cpus_are_given_to_nobody(strict, world, escra):
    config = world.path("config.json")
    with open(config, "w") as file:
        json.dump({"reservedCPUs": f"1-{ONLINE[-1]}"}, file)
    with_config = escra.using("--escra-config", config)
    made = strict()
    made.runtime = with_config
    made.started()
    assert cpus(made) == {0}
    other = strict(reserved=None, cpuset="1")
    other.runtime = with_config
    assert "reserved" in refusal(other)


def test_it_starts_whatever_cpu_its_caller_is_bound_to(strict):
    made = strict()
    process = made.create(preexec_fn=lambda: os.sched_setaffinity(0, {0}))
    assert process.wait(20) == 0
    assert allowed(made.pid) == cpus(made) == {ONLINE[-1]}


# --- the others

def test_who_was_there_keeps_off(strict, neighbour):
    other = neighbour()
    made = strict().started()
    assert cpus(other) == allowed(other.pid) == set(ONLINE) - cpus(made)


def test_who_comes_later_keeps_off(strict, neighbour, container):
    made = strict().started()
    for other in (neighbour(), container().started(), neighbour(cpuset=ALL)):
        wait_for_cpus(other, set(ONLINE) - cpus(made))
        assert allowed(other.pid).isdisjoint(cpus(made))


def test_who_declared_the_cpu_that_is_taken_gets_the_shared_ones(strict, neighbour):
    made = strict().started()
    own = cpus(made)
    other = neighbour(cpuset=str(min(own)))
    wait_for_cpus(other, set(ONLINE) - own)
    made.call("delete", "--force")
    wait_for_cpus(other, own)


def test_who_takes_the_cpu_by_hand_is_put_off_again(strict, neighbour):
    other = neighbour()
    made = strict().started()
    set_cpus(other, ALL)
    # The kernel may keep it off already, and cgroup v2 loses the CPU where all end before the rest.
    wait_until(
        lambda: members(cgroups.read(other.cgroup, "cpuset.cpus", "cpuset"))
        == set(ONLINE) - cpus(made), 2, "a set of its own without it")
    wait_for_cpus(other, set(ONLINE) - cpus(made))


@pytest.fixture
def parent(world):
    """A group for containers; it goes after the test."""
    if driver.IS_SYSTEMD:
        pytest.skip("systemd's driver takes a slice and no path")
    path = "/" + world.name()
    world.groups.append(path)
    return path


def test_a_group_without_processes_stays_wide(strict, neighbour, parent):
    """Engines make containers in theirs, with sets of their own, which must not fail."""
    other = neighbour(cgroup=f"{parent}/first")
    made = strict(cgroup=f"{parent}/strict").started()
    if cgroups.VERSION == 1:
        assert cpus(parent) == set(ONLINE)
    else:
        # A partition takes its CPUs from there; nobody has written a set.
        assert cgroups.read(parent, "cpuset.cpus") == ""
    later = neighbour(cgroup=f"{parent}/second", cpuset=ALL)
    for each in (other, later):
        wait_for_cpus(each, set(ONLINE) - cpus(made))


@pytest.mark.skipif(
    cgroups.VERSION == 2, reason="a group with processes has none with sets in it on cgroup v2")
def test_groups_inside_a_container_keep_off_and_come_back(strict, neighbour):
    other = neighbour()
    inner = cgroups.directory(other.cgroup, "cpuset") + "/inner"
    os.mkdir(inner)
    try:
        for name in ("cpuset.cpus", "cpuset.mems"):
            with open(os.path.join(inner, name), "w") as file:
                file.write(cgroups.read(other.cgroup, name, "cpuset"))
        made = strict().started()
        later = cgroups.directory(other.cgroup, "cpuset") + "/later"
        os.mkdir(later)
        with open(later + "/cpuset.cpus", "w") as file:
            file.write(cgroups.read(other.cgroup, "cpuset.cpus", "cpuset"))
        assert cpus(other.cgroup + "/inner").isdisjoint(cpus(made))
        time.sleep(0.1)
        made.call("delete", "--force")
        for path in (other.cgroup, other.cgroup + "/inner", other.cgroup + "/later"):
            wait_for_cpus(path, ONLINE)
        os.rmdir(later)
    finally:
        os.rmdir(inner)


def test_our_own_processes_keep_off(strict, container):
    reactive = container().started()
    reactive.supervisor()
    made = strict().started()
    made.supervisor()
    own = cpus(made)

    def keep_off():
        return len(ours()) == 3 and all(allowed(pid).isdisjoint(own) for pid in ours())

    wait_until(keep_off, 2, "supervisors and keeper on shared CPUs")
    made.call("delete", "--force")
    wait_until(
        lambda: all(allowed(pid) == set(ONLINE) for pid in ours()), 2, "all CPUs for them again")


# --- the end, however it comes

def ends(made):
    return {
        "delete": lambda: made.call("delete", "--force"),
        "its own": lambda: made.do("exit"),
        "a kill": lambda: os.kill(made.pid, signal.SIGKILL),
    }


@pytest.mark.parametrize("how", ["delete", "its own", "a kill"])
def test_all_are_let_back_when_it_ends(strict, neighbour, how):
    other, bound = neighbour(), neighbour(cpuset="0")
    made = strict().started()
    made.supervisor()
    wait_for_cpus(other, set(ONLINE) - cpus(made))
    ends(made)[how]()
    wait_for_cpus(other, ONLINE)
    assert cpus(bound) == {0}
    wait_until(lambda: not ours(), 2, "the end of its supervisor")
    assert os.listdir(RUN + "/cpus") == []


def test_a_create_that_fails_lets_all_back(strict, neighbour):
    other = neighbour()
    made = strict(args=["/no/such/program"])
    original = made.bundle.identity()
    assert made.create().wait(20) == 1
    wait_for_cpus(other, ONLINE)
    wait_until(lambda: not ours() and made.bundle.is_original(original), 2)


def test_a_new_supervisor_goes_on(strict, neighbour):
    other = neighbour()
    made = strict().started()
    first = made.supervisor()
    kill(first)
    wait_until(lambda: supervisors(made.id) not in ([], [first]), 2, "another supervisor")
    made.supervisor()
    later = neighbour()
    for each in (other, later):
        wait_for_cpus(each, set(ONLINE) - cpus(made))
    made.call("delete", "--force")
    for each in (other, later):
        wait_for_cpus(each, ONLINE)


def test_all_are_let_back_when_everything_of_it_dies_at_once(strict, neighbour):
    """Supervisor, keeper and container: the engine's delete brings back who clears up."""
    other = neighbour()
    made = strict().started()
    kill_at_once(made.supervisor(), *keepers(), made.pid)
    wait_until(lambda: not ours(), 2)
    made.call("delete", "--force")
    wait_for_cpus(other, ONLINE)
    wait_until(lambda: not ours(), 2, "the end of everything of ours")


def test_the_next_strict_one_clears_up_after_one_that_nobody_deleted(strict, neighbour):
    other = neighbour()
    made = strict().started()
    kill_at_once(made.supervisor(), *keepers(), made.pid)
    wait_until(lambda: not ours() and not cgroups.processes(made.cgroup), 2)
    second = strict().started()
    assert cpus(other).isdisjoint(cpus(second))
    second.call("delete", "--force")
    wait_for_cpus(other, ONLINE)


def test_after_three_crashes_in_a_row_it_shares_its_cpus(strict, neighbour):
    other = neighbour()
    made = strict().started()
    for _ in range(3):
        pid = made.supervisor()
        kill(pid)
        wait_until(lambda: pid not in supervisors(made.id), 2)
    wait_for_cpus(other, ONLINE)
    wait_until(lambda: not supervisors(made.id), 2)
    assert made.status == "running"


# --- a registry that was damaged

@pytest.mark.parametrize("damage", ["lost", "torn"])
@pytest.mark.parametrize("case", ["known", "forgotten", "over"])
def test_what_the_others_had_is_found_again(strict, neighbour, damage, case):
    """By the supervisor that remembers it, or by its successor from the low-level runtime's state,
    who may come when the container is over already."""
    other, bound = neighbour(), neighbour(cpuset=ALL)
    made = strict().started()
    pid = made.supervisor()
    wait_for_cpus(bound, set(ONLINE) - cpus(made))
    file = RUN + "/cpus/neighbours"
    torn = "0 x"

    def is_whole():
        with contextlib.suppress(FileNotFoundError), open(file) as registry:
            return not registry.read().startswith(torn)
        return False

    if damage == "lost":
        os.remove(file)
    else:
        with open(file, "r+") as out:
            out.write(torn)
    if case == "forgotten":
        kill(pid)
        wait_until(lambda: supervisors(made.id) not in ([], [pid]), 2)
        wait_until(is_whole, 2, "the registry written again")
    if case == "over":
        kill_at_once(pid, *keepers(), made.pid)
        wait_until(lambda: not ours(), 2)
    made.call("delete", "--force")
    for each in (other, bound):
        wait_for_cpus(each, ONLINE)


def test_a_supervisor_whose_files_somebody_removed_goes_on(strict, neighbour):
    other = neighbour()
    made = strict().started()
    made.supervisor()
    for name in ("cpus", "containers"):
        shutil.rmtree(f"{RUN}/{name}")
    later = neighbour()
    for each in (other, later):
        wait_for_cpus(each, set(ONLINE) - cpus(made))
    assert made.id in refusal(strict(reserved=len(ONLINE) - 1))
    made.call("delete", "--force")
    for each in (other, later):
        wait_for_cpus(each, ONLINE)


def test_one_of_ours_that_hangs_on_to_the_lock_is_ended(strict, neighbour):
    """Stopped in the middle of it, say; here it was made to take it by being traced."""
    other = neighbour()
    made = strict().started()
    pid = made.supervisor()
    # Whoever opens the directory anew has a lock of his own, so the child is called like ours.
    holder = os.fork()
    if holder == 0:
        with open("/proc/self/comm", "w") as file:
            file.write("escra-test")
        directory = os.open(RUN + "/cpus", os.O_RDONLY)
        fcntl.flock(directory, fcntl.LOCK_EX)
        signal.pause()
    try:
        wait_until(lambda: f" {holder} " in open("/proc/locks").read(), 2)
        later = neighbour()
        wait_for_cpus(later, set(ONLINE) - cpus(made), 4)
        assert os.waitpid(holder, 0)[1] == signal.SIGKILL
        assert supervisors(made.id) == [pid] and cpus(other).isdisjoint(cpus(made))
    finally:
        kill(holder)


def test_a_stranger_who_hangs_on_to_the_lock_is_named_and_left_alone(strict):
    strict().started().call("delete", "--force")
    wait_until(lambda: not ours(), 2)
    with locked(RUN + "/cpus"):
        assert f"process {os.getpid()} keeps locked" in refusal(strict())


@contextlib.contextmanager
def held_behind_the_claim(container, is_at_work):
    """Somebody takes the lock between a container's claim and its supervisor; gives his end."""
    ended, ending = os.pipe()
    holder = os.fork()
    if holder == 0:
        os.close(ending)
        while not any("cpus" in state for state in container.states()):
            pass
        directory = os.open(RUN + "/cpus", os.O_RDONLY)
        fcntl.flock(directory, fcntl.LOCK_EX)
        if is_at_work:
            start = time.monotonic()
            while time.monotonic() < start + 2.5:
                pass
        else:
            os.read(ended, 1)
        os._exit(0)
    os.close(ended)
    try:
        yield lambda: os.write(ending, b".")
    finally:
        os.close(ending)
        kill(holder)
        os.waitpid(holder, 0)


def test_a_fence_that_takes_its_time_is_waited_for(strict, neighbour):
    """As on a crowded machine, where the kernel is slow to make a partition."""
    other, made = neighbour(), strict()
    with held_behind_the_claim(made, is_at_work=True):
        start = time.monotonic()
        made.started()
        assert time.monotonic() - start > 2
    assert cpus(other).isdisjoint(cpus(made))
    made.call("delete", "--force")
    wait_for_cpus(other, ONLINE)


def test_one_that_cannot_be_fenced_leaves_nothing_however_long_the_lock_is_kept(strict, neighbour):
    other, made = neighbour(), strict()
    with held_behind_the_claim(made, is_at_work=False) as let_go:
        result = made.runtime(
            "create", "--bundle", made.bundle.path, "--pid-file", made.pid_file, made.id)
        assert result.code == 1 and "ended before it was ready" in result.err
        assert made.states() != []
        let_go()
        wait_until(lambda: not ours() and made.states() == [], 4, "nothing is left")
    assert cpus(other) == set(ONLINE) and not cgroups.exists(made.cgroup)


# --- update

def test_an_update_moves_it_to_the_cpu_that_is_asked_for(strict, neighbour):
    other = neighbour()
    made = strict().started()
    made.supervisor()
    made.call("update", "--cpuset-cpus", "0")
    assert cpus(made) == {0}
    wait_for_cpus(other, set(ONLINE) - {0})
    later = neighbour()
    wait_for_cpus(later, set(ONLINE) - {0})
    assert remembered(made) == {0}
    made.call("delete", "--force")
    for each in (other, later):
        wait_for_cpus(each, ONLINE)


def test_a_pool_that_is_handed_to_all_containers_changes_nothing(strict):
    """A CPU manager does so; the container has declared how many of them it reserves."""
    made = strict().started()
    made.supervisor()
    before = cpus(made)
    made.call("update", "--cpuset-cpus", ALL)
    assert cpus(made) == before


@pytest.mark.parametrize("flags, words", [
    (["--cpu-quota", "150000", "--cpu-period", "100000"], ["whole CPUs", "1500m"]),
    (["--cpu-quota", str(100_000 * len(ONLINE))], ["shared"]),
    (["--cpuset-cpus", NOWHERE], [NOWHERE]),
    (["--cpuset-cpus", "x"], ["no list"]),
])
def test_an_update_that_cannot_be_granted_changes_nothing(strict, flags, words):
    made = strict().started()
    made.supervisor()
    before = cpus(made)
    result = made.call("update", *flags, code=1)
    assert all(word in result.err for word in words), result.err
    assert cpus(made) == before and cgroups.limit(made.cgroup)[0] is None


@pytest.mark.skipif(cgroups.VERSION != 1, reason="cgroup v2 takes a memory limit below the use")
@pytest.mark.skipif(len(ONLINE) < 2, reason="one CPU to move from, one to move to")
def test_it_has_its_cpus_back_when_the_runtime_refuses_the_rest(strict):
    made = strict().started()
    made.supervisor()
    before = cpus(made)
    [other] = set(ONLINE[:2]) - before
    [state] = made.states()
    made.call("update", "--cpuset-cpus", str(other), "--memory", "4096", code=1)
    wait_until(lambda: cpus(made) == before, 2, "the CPUs it had")
    [after] = made.states()
    names = ("cpus", "cpusAsked", "cpusAskedOf")
    assert [after.get(name) for name in names] == [state.get(name) for name in names]


@pytest.mark.parametrize("request_", [
    {"cpu": {"quota": 100_000, "period": 100_000}}, {"cpu": {"quota": -1}},
    {"memory": {"limit": 64 << 20}}, {"cpu": {"shares": 512}}, {"pids": {"limit": 100}},
], ids=str)
def test_an_update_keeps_its_cpus_and_brings_no_quota(strict, request_):
    made = strict().started()
    made.supervisor()
    before = cpus(made)
    made.call("update", "--resources", "-", input=json.dumps(request_).encode())
    assert cpus(made) == before and cgroups.limit(made.cgroup)[0] is None
    assert remembered(made) == before


def test_an_update_by_plain_runc_is_put_right(strict, plain, neighbour):
    other = neighbour()
    made = strict().started()
    made.supervisor()
    before = cpus(made)
    assert plain("update", "--cpuset-cpus", ALL, "--cpu-quota", "50000", made.id).code == 0
    wait_for_cpus(made, before)
    wait_until(lambda: cgroups.limit(made.cgroup)[0] is None, 2, "no quota")
    assert cpus(other).isdisjoint(before)


def test_a_set_that_somebody_writes_is_taken_where_it_can_be_had(strict, neighbour):
    other = neighbour()
    made = strict().started()
    made.supervisor()
    set_cpus(made, "0")
    wait_for_cpus(other, set(ONLINE) - {0})
    assert cpus(made) == {0}


def test_exec_runs_on_its_cpus(strict):
    made = strict().started()
    result = made.runtime(
        "exec", made.id, "grep", "Cpus_allowed_list", "/proc/self/status",
        preexec_fn=lambda: os.sched_setaffinity(0, {0}))
    assert result.code == 0 and members(result.out.split(":")[1]) == cpus(made)


def test_ps_and_explain_tell_of_its_cpus(strict):
    tool = Runtime(os.path.join(os.path.dirname(strict().runtime.program), "escra"))
    made = strict().started()
    made.supervisor()
    [seen] = json.loads(tool("ps", "--json").out)
    assert seen["policy"] == "strict" and members(seen["cpu"]["ownCPUs"]) == cpus(made)
    assert f"CPU {min(cpus(made))} is exclusive" in tool("explain", made.id).out
