# SPDX-License-Identifier: Apache-2.0
"""How a supervisor behaves: it holds nobody up, and has nothing that it does not need."""
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest

import cgroups
import driver
import kernel
from processes import (
    PATIENCE, RUN, arguments, descriptors, is_alive, is_at_rest, keepers, kill, ours,
    read_to_the_end, status, supervisors, switches, wait_until)
from world import IS_CRUN, escra_tool

# A supervisor that holds a pipe of the caller's makes it wait for 2 to 12 seconds, or for as long
# as the container lives.
NO_DELAY = 1.0 * PATIENCE


def timed_to_the_end_of_file(runtime, *arguments):
    """How long a caller waits that reads stdout and stderr to their ends."""
    before = time.monotonic()
    process = subprocess.Popen(
        runtime.command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=runtime.env)
    process.communicate(timeout=30)
    assert process.returncode == 0
    return time.monotonic() - before


def test_create_and_start_end_as_soon_as_with_runc_alone(container, plain, bundle, world):
    """The caller's pipes are closed when runc and the container let go of them, no later."""
    times = {}
    for runtime in ("plain", "escra"):
        # The container closes what it inherits, so that only a helper could hold it.
        made = container(args=["sh", "-c", "exec >/dev/null 2>&1; sleep 60"])
        made.runtime = plain if runtime == "plain" else made.runtime
        with open(os.devnull, "w") as null:
            before = time.monotonic()
            reading, writing = os.pipe()
            process = made.create(stdout=writing, stderr=writing)
            os.close(writing)
            assert process.wait(30) == 0
            times[runtime, "create"] = time.monotonic() - before
        before = time.monotonic()
        made.call("start", timeout=30)
        read_to_the_end(reading, 20)
        times[runtime, "start"] = time.monotonic() - before
        for verb in ("state", "pause", "resume", "ps"):
            times[runtime, verb] = timed_to_the_end_of_file(made.runtime, verb, made.id)
    made.supervisor()
    for verb in ("create", "start", "state", "pause", "resume", "ps"):
        assert times["escra", verb] < times["plain", verb] + NO_DELAY, (verb, times)


def test_a_caller_of_start_that_reads_to_the_end_of_file_is_not_held_up(container):
    """Also when `start` has to bring a keeper back to life."""
    made = container()
    assert made.create().wait(20) == 0
    made.supervisor()
    [keeper] = wait_until(keepers, 2, "the keeper lives")
    kill(keeper)
    # Until it is dead it holds its lock, and whoever looks takes it for alive.
    wait_until(lambda: not is_alive(keeper), 2, "it is dead")
    assert timed_to_the_end_of_file(made.runtime, "start", made.id) < NO_DELAY
    wait_until(keepers, 2, "another keeper lives")


def test_nothing_is_inherited(container, world):
    """Of descriptors, directory, umask, environment, signals, session: only what is named."""
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000)
    reading, writing = os.pipe()

    def arrange():
        os.dup2(writing, 77)
        os.chdir(world.directory)
        os.umask(0)
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(world.path("listener"))
        listener.listen()
        listener.set_inheritable(True)
        with open(world.path("output"), "w") as output:
            process = made.create(
                preexec_fn=arrange, close_fds=False, stdout=output, stderr=output)
        assert process.wait(20) == 0
    os.close(writing)
    pid = made.supervisor()
    if IS_CRUN:
        # Its init has all that its caller has until it executes.
        made.call("start")
    # The container's init has no such pipe either, or this would be about runc.
    assert read_to_the_end(reading, 2) == b"", "nobody holds the caller's pipe any more"
    wait_until(keepers, 2, "the keeper lives")
    for helper in (pid, *keepers()):
        found = descriptors(helper)
        assert [found[number] for number in (0, 1, 2)] == ["/dev/null"] * 3
        for target in list(found.values())[3:]:
            assert world.directory not in target, found
            assert "pipe:" not in target, found
        fields = status(helper)
        assert fields["Umask"] == "0077"
        # A real-time signal is the supervisor's own: perf events queue it.
        assert int(fields["SigBlk"], 16) & (1 << 31) - 1 == 0
        ignored = {n for n in range(1, 32) if int(fields["SigIgn"], 16) >> n - 1 & 1}
        assert ignored == {signal.SIGHUP, signal.SIGPIPE}
        with open(f"/proc/{helper}/environ", "rb") as file:
            assert file.read() == b""
        assert os.getsid(helper) not in (os.getsid(0), os.getsid(made.pid))
        assert os.getpgid(helper) != os.getpgid(0)


@pytest.mark.v2
def test_the_supervisor_has_given_everything_up(container):
    """No capability, no way to new ones, a seccomp filter, its own directory as root directory."""
    made = container().started()
    pid = made.supervisor()
    wait_until(lambda: status(pid)["Seccomp"] == "2", 1, "the filter is there")
    fields = status(pid)
    for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert int(fields[name], 16) == 0, name
    assert fields["NoNewPrivs"] == "1"
    assert fields["Threads"] == "1"
    assert os.path.samefile(f"/proc/{pid}/root", made.states()[0]["directory"])
    assert os.readlink(f"/proc/{pid}/cwd") == os.readlink(f"/proc/{pid}/root")


def test_the_keeper_has_only_what_it_may_need(container):
    """DAC_OVERRIDE, SYS_CHROOT, SYS_ADMIN, SYS_NICE, SYS_RESOURCE, PERFMON and BPF."""
    container().started().supervisor()
    wait_until(keepers, 2, "the keeper lives")
    [keeper] = keepers()
    allowed = sum(1 << number for number in (1, 18, 21, 23, 24, 38, 39))
    wait_until(
        lambda: int(status(keeper)["CapEff"], 16) & ~allowed == 0, 1, "the rest is given up")


def priority(pid):
    """When the scheduler lets a process in."""
    return (
        os.sched_getscheduler(pid), os.sched_getparam(pid).sched_priority,
        os.getpriority(os.PRIO_PROCESS, pid))


def test_a_successor_has_the_priority_of_the_first_one(container):
    """The keeper has kept what that takes, and the successor gives it up as the first one did."""
    made = container().started()
    first = made.supervisor()
    expected = priority(first)

    def follows(before):
        """Another supervisor with the priority of the first one."""
        found = supervisors(made.id)
        return len(found) == 1 and found != [before] and priority(found[0]) == expected and found[0]

    def has_no_capability(pid):
        fields = status(pid)
        return fields["Seccomp"] == "2" and not any(
            int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"))

    kill(first)
    second = wait_until(lambda: follows(first), 4, "a successor with the same priority")
    wait_until(lambda: has_no_capability(second), 2, "it has given everything up")
    made.supervisor()
    escra_tool("release", made.id)
    escra_tool("adopt", made.id)
    third = wait_until(lambda: follows(second), 4, "one that adopts it with the same priority")
    wait_until(lambda: has_no_capability(third), 2, "it has given everything up")


def test_the_keeper_may_have_as_many_files_open_as_anybody_lets_it(container):
    """It has a connection to each supervisor, and engines are content with 1024 files."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    made = container()
    assert made.create(
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))).wait(20) == 0
    made.supervisor()
    [keeper] = wait_until(keepers, 2, "the keeper lives")
    wait_until(
        lambda: resource.prlimit(keeper, resource.RLIMIT_NOFILE) == (most, most), 1,
        "its limit is the hard one")


def test_a_keeper_without_a_descriptor_to_spare_forgets_nobody(container):
    """It stays, does not work in vain, and hears of a death when it has room again."""
    made = [container().started() for _ in range(2)]
    pid = [each.supervisor() for each in made][0]
    [keeper] = wait_until(keepers, 2, "the keeper lives")
    wait_until(lambda: is_at_rest(keeper), 4, "the keeper has nothing to do")
    soft, hard = resource.prlimit(keeper, resource.RLIMIT_NOFILE)
    most = max(descriptors(keeper)) + 1
    resource.prlimit(keeper, resource.RLIMIT_NOFILE, (most, hard))
    directory = os.open(RUN + "/keeper", os.O_RDONLY)
    callers = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(9)]
    for caller in callers:
        caller.connect(f"/proc/self/fd/{directory}/socket")
    os.close(directory)
    wait_until(lambda: len(descriptors(keeper)) == most, 4, "no descriptor is left")
    kill(pid)
    wait_until(lambda: not is_alive(pid), 2, "the supervisor is dead")
    before = cpu_time(keeper)
    time.sleep(0.5)
    assert cpu_time(keeper) - before < 100_000_000, "nanoseconds in half a second"
    assert keepers() == [keeper] and not supervisors(made[0].id)
    resource.prlimit(keeper, resource.RLIMIT_NOFILE, (soft, hard))
    for caller in callers:
        caller.close()
    made[0].supervisor(4)
    assert keepers() == [keeper]


def test_a_keeper_that_cannot_fork_for_a_moment_gives_nobody_up(container, world):
    """A supervisor that could not be started has not died three times."""
    made = container().started()
    pid = made.supervisor()
    [keeper] = wait_until(keepers, 2, "the keeper lives")
    group = world.cgroup()
    os.makedirs(cgroups.directory(group, "pids"), exist_ok=True)
    cgroups.write(group, "pids.max", 1, "pids")
    before = cgroups.membership(keeper)["pids" if cgroups.VERSION == 1 else ""]
    # Or its scope is gone with it.
    world.spawn(subprocess.Popen(
        ["sleep", "1000"], preexec_fn=lambda: cgroups.write(before, "cgroup.procs", 0, "pids")))
    cgroups.write(group, "cgroup.procs", keeper, "pids")
    kill(pid)
    wait_until(lambda: not is_alive(pid), 2, "the supervisor is dead")
    time.sleep(0.5)
    is_given_up = not made.states()
    if not is_given_up:
        cgroups.write(before, "cgroup.procs", keeper, "pids")
    assert not is_given_up
    made.supervisor(4)


def test_a_member_whose_supervisors_died_gets_another_however_often_others_call(container):
    """Three deaths in a row are worth ten seconds of rest, and no look of the keeper's adds any."""
    made = container({"io.escra.app": "shop"}).started()
    made.supervisor()
    for _ in range(3):
        # In a row is within ten seconds, in which an emulated one gets ready hardly twice. One that
        # is not ready may leave a helper under its name for a moment, which is nobody to kill.
        pid = made.supervisor() if PATIENCE == 1 else wait_until(
            lambda: len(found := supervisors(made.id)) == 1 and found[0], 4, "there is one")
        kill(pid)
        wait_until(lambda: not is_alive(pid), 2, "it is dead")
    time.sleep(1)
    assert not supervisors(made.id), "nobody is started at once"
    deadline = time.monotonic() + 12 * PATIENCE
    while not supervisors(made.id):
        assert time.monotonic() < deadline, "nobody supervises it any more"
        container().started().call("delete", "--force")
        time.sleep(1)
    made.supervisor(4)


def test_files_are_for_their_owner_only(container):
    """Everything under /run/escra: directories 0700, files 0600."""
    made = container().started()
    made.supervisor()
    seen = 0
    for parent, directories, names in os.walk(RUN):
        for name in directories + names:
            mode = os.lstat(os.path.join(parent, name)).st_mode
            assert stat.S_IMODE(mode) & 0o077 == 0, name
            seen += 1
    assert seen >= 5


@pytest.mark.v2
def test_it_is_in_nobody_elses_cgroup(container, world):
    """Not in the container's, which is frozen and killed, and on v1 not in the caller's either."""
    caller = world.cgroup()
    made = container()
    assert made.create(preexec_fn=lambda: cgroups.join(caller)).wait(20) == 0
    pid = made.supervisor()
    wait_until(keepers, 2, "the keeper lives")
    for helper in (pid, *keepers()):
        groups = cgroups.membership(helper).values()
        assert made.cgroup not in groups
        if cgroups.VERSION == 1:
            assert set(groups) == {"/"}, groups
            assert helper not in cgroups.processes(caller)
    assert cgroups.processes(made.cgroup) == {made.pid}


@pytest.fixture
def no_systemd():
    """A machine that systemd does not run on, as the suite's own mount namespace shows it."""
    if driver.IS_SYSTEMD:
        pytest.skip("systemd makes the cgroups here")
    is_there = os.path.isdir("/run/systemd/system")
    if is_there:
        kernel.mount("tmpfs", "/run/systemd", "tmpfs")
    yield
    if is_there:
        kernel.unmount("/run/systemd")


@pytest.mark.v2
def test_without_systemd_it_is_in_no_hierarchys_cgroup_of_the_callers(
        container, world, no_systemd):
    """Nobody is there to make a scope: then the root is the place, on cgroup v2 as on v1."""
    caller = world.cgroup()
    made = container()
    assert made.create(preexec_fn=lambda: cgroups.join(caller)).wait(20) == 0
    pid = made.supervisor()
    wait_until(keepers, 2, "the keeper lives")
    for helper in (pid, *keepers()):
        wait_until(
            lambda: set(cgroups.membership(helper).values()) == {"/"}, 2, "it has left them")


def test_it_has_an_oom_score_of_its_own(container):
    """Whoever calls: a shim at -998 or somebody at +300; and the container gets neither."""

    def disliked():
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("300")

    made = container()
    assert made.create(preexec_fn=disliked).wait(20) == 0
    pid = made.supervisor()
    wait_until(keepers, 2, "the keeper lives")
    # Below what it once was takes CAP_SYS_RESOURCE, which a machine may have kept from its root.
    may = int(status(os.getpid())["CapEff"], 16) >> 24 & 1
    for helper in (pid, *keepers()):
        with open(f"/proc/{helper}/oom_score_adj") as file:
            assert file.read().strip() == ("-900" if may else "0")
    with open(f"/proc/{made.pid}/oom_score_adj") as file:
        assert file.read().strip() == "300"


def test_it_survives_its_caller_and_its_callers_process_group(container, world):
    """An engine that is killed, with everything that it has started."""
    made = container(args=["sleep", "60"])
    command = made.runtime.command(
        "create", "--bundle", made.bundle.path, "--pid-file", made.pid_file, made.id)
    engine = world.spawn(subprocess.Popen(
        [sys.executable, "-c",
         "import subprocess, sys, time; subprocess.run(sys.argv[1:]); time.sleep(60)", *command],
        start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
    pid = made.supervisor(5)
    os.killpg(engine.pid, signal.SIGHUP)
    os.killpg(engine.pid, signal.SIGTERM)
    os.killpg(engine.pid, signal.SIGKILL)
    engine.wait()
    assert not is_alive(engine.pid)
    # Not a matter of time: a signal that was sent is there. What follows it needs a moment.
    made.call("start")
    made.wait_for_quota(lambda quota: quota == 5_000, 4, "down to the floor")
    assert made.supervisor() == pid


def test_it_ends_by_itself_when_init_dies(container):
    """Nobody calls delete: after a crash of the engine nobody might."""
    made = container().started()
    pid = made.supervisor()
    wait_until(keepers, 2, "the keeper lives")
    os.kill(made.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), 2, "the supervisor has left")
    wait_until(lambda: not ours(), 2, "the keeper, too")
    assert made.states() == []
    made.call("delete")


def test_its_name_says_what_it_is(container):
    """In ps: the role, the container, the place of its state."""
    made = container().started()
    pid = made.supervisor()
    with open(f"/proc/{pid}/comm") as file:
        assert file.read() == "escra-super\n"
    role, id, directory = arguments(pid)[:3]
    assert (role, id) == ("escra-supervisor", made.id)
    # As it sees it itself: its root is the directory of all containers.
    assert made.states()[0]["directory"].endswith(directory)


def test_an_idle_supervisor_does_not_wake(container):
    """Once the limit is at the floor: no context switch in two seconds."""
    made = container().started()
    pid = made.supervisor()
    made.wait_for_quota(lambda quota: quota == 5_000, 4, "down to the floor")
    if made.states()[0]["source"].startswith("sampling"):
        pytest.skip("without an alarm it looks 20 times a second")
    wait_until(lambda: is_at_rest(pid), 4, "it has nothing to do")
    before = switches(pid)
    time.sleep(2)
    assert switches(pid) == before


def test_a_supervisor_that_rests_maps_little_of_its_program(container):
    """A process list shows what is mapped, and fifty idle supervisors are not to look large."""
    made = container().started()
    pid = made.supervisor()
    made.wait_for_quota(lambda quota: quota == 5_000, 4, "down to the floor")
    wait_until(lambda: is_at_rest(pid), 4, "it has nothing to do")
    assert mapped_program(pid) <= 512


def mapped_program(pid):
    """KiB of the read-only segment of its program in the memory of a process (proc(5), smaps)."""
    with open(f"/proc/{pid}/smaps") as file:
        lines = iter(file)
        assert any(" r-xp " in line and "escra-runc" in line for line in lines)
        return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


def test_a_hundred_calls_leave_no_descriptor_behind(container):
    """update connects, asks and hangs up; so does whoever connects and says nothing."""
    made = container().started()
    pid = made.supervisor()
    wait_until(keepers, 2, "the keeper lives")
    time.sleep(0.2)
    before = len(descriptors(pid))
    path = os.path.join(made.states()[0]["directory"], "socket")
    directory = os.open(os.path.dirname(path), os.O_RDONLY)
    for number in range(100):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            # A socket's address has 108 bytes; the way through /proc is short.
            client.connect(f"/proc/self/fd/{directory}/socket")
            if number % 2:
                client.send(os.urandom(number))
    os.close(directory)
    for _ in range(5):
        made.call("update", "--cpu-quota", "20000")
    wait_until(lambda: len(descriptors(pid)) == before, 2, "the same descriptors as before")
    assert made.supervisor() == pid


@pytest.fixture
def no_inotify():
    """All inotify and fanotify instances are taken: a host with many containers comes to that."""
    before = {}
    for name in ("inotify/max_user_instances", "fanotify/max_user_groups"):
        path = "/proc/sys/fs/" + name
        if os.path.exists(path):
            with open(path) as file:
                before[path] = file.read()

    def write(values):
        for path, value in values.items():
            with open(path, "w") as file:
                file.write(value)

    write(dict.fromkeys(before, "0"))
    yield lambda: write(before)
    write(before)


def test_a_host_without_inotify_to_spare_has_supervision_all_the_same(container, no_inotify):
    made = container().started()
    made.supervisor()
    [state] = made.states()
    assert state["source"].endswith("no inotify")
    no_inotify()
    made.work(2)
    made.wait_for_quota(lambda quota: quota == 20_000, 4, "up to its ceiling")
    # A look at the use is a look at the limit.
    cgroups.set_quota(made.cgroup, 15_000)
    made.wait_for_quota(lambda quota: quota != 20_000 and quota <= 15_000, 4, "the new base")


# The keeper.

def cpu_time(pid):
    """Nanoseconds that a process has run."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0])


def test_a_stopped_supervisor_is_replaced_when_its_container_works(container):
    """The kernel tells the keeper that tasks wait, those that a limit throttles, too."""
    if not os.path.exists("/proc/pressure/cpu"):
        pytest.skip("the kernel has no PSI")
    made = container().started()
    stopped = made.supervisor()
    made.wait_for_quota(lambda quota: quota == 5_000, 6, "down to the floor")
    kill(stopped, signal=signal.SIGSTOP)
    made.work(2)
    wait_until(lambda: not is_alive(stopped), 6, "it is ended")
    made.supervisor(2)
    made.wait_for_quota(lambda quota: quota >= 18_000, 6, "what it declares")


def test_one_create_costs_the_keeper_what_it_is_about(container):
    """Not more beside thirty applications than alone."""
    made = [
        container({"io.escra.app": f"app{number}"}).started() for number in range(30 // PATIENCE)]
    for each in made:
        each.supervisor(4)
    [keeper] = keepers()
    costs = []
    for number in range(3):
        time.sleep(1.2)  # What has ended is swept away a second later.
        before = cpu_time(keeper)
        container({"io.escra.app": f"one{number}"}).started().supervisor(4)
        costs.append(cpu_time(keeper) - before)
    assert min(costs) <= 3_000_000 * PATIENCE, costs


def test_connections_that_nobody_can_take_keep_no_process_busy(container):
    """Of a broker, the keeper and a container alone, where a caller has few descriptors."""
    few = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 128))}
    alone, member = container(), container({"io.escra.app": "a"})
    for each in (alone, member):
        del each.bundle.config["process"]["rlimits"]
        each.bundle.write()
        each.started(**few)
    pids = [alone.supervisor(), member.supervisor(), *wait_until(keepers, 2, "the keeper lives")]
    for pid in pids:
        with open(f"/proc/{pid}/limits") as file:
            line = next(line for line in file if line.startswith("Max open files"))
        assert line.split()[3:5] == ["128", "128"], "it may open as many as it ever may"
    [directory] = os.listdir(RUN + "/apps")
    sockets = [
        RUN + f"/apps/{directory}/socket", RUN + "/keeper/socket",
        alone.states()[0]["directory"] + "/socket"]
    callers = []
    for path in sockets:
        for _ in range(150):
            callers.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            callers[-1].setblocking(False)
            try:
                callers[-1].connect(path)
            except BlockingIOError:
                break
    time.sleep(0.1)
    before = [cpu_time(pid) for pid in pids]
    time.sleep(0.5)
    assert max(cpu_time(pid) - old for pid, old in zip(pids, before)) < 100_000_000
    for caller in callers:
        caller.close()
    assert all(map(is_alive, pids))
    # And they listen again.
    alone.call("update", "--cpu-quota", "30000")
    assert escra_tool("app", "show", "a")
