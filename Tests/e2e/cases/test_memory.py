# SPDX-License-Identifier: Apache-2.0
"""A memory limit that was a guess grows before it kills, and what is not used is given back."""
import contextlib
import json
import os
import signal
import subprocess
import time

import pytest

import bpf
import cgroups
import driver
import kernel
from processes import PATIENCE, is_at_rest, kill, supervisors, wait_until
from test_update import alone  # noqa: F401 (a fixture)
from world import LOW_LEVEL, escra_tool

pytestmark = pytest.mark.v2
only_v2 = pytest.mark.skipif(cgroups.VERSION != 2, reason="only cgroup v2 has memory.high")
with_own_cpus = pytest.mark.skipif(
    not cgroups.has_cpuset() or os.cpu_count() < 2, reason="strict needs cpusets, and two CPUs")

PRESSURE = "/proc/pressure/memory"
MIB = 1 << 20
DECLARED = 64
MEMORY_DRIFT = 43  # As in the record.
# What a limit may be above the use of who rests: a rung and a head, and what is not worth a write;
# on v2 the room above the line as well.
MARGIN = 32 if cgroups.VERSION == 1 else 56

# What a container does, in Python. Where a case is not about speed it touches 2 MiB in 1 ms: cgroup
# v1 kills where the machine does not run the supervisor for some milliseconds ("What it cannot
# protect from" of docs/memory.md).
LIBRARY = """
import ctypes, mmap, os, sys, time
MIB = 1 << 20
def rush(size, step=None):
    pages = mmap.mmap(-1, size * MIB)
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    for place in range(0, size, step or size):
        ctypes.memset(start + place * MIB, 1, min(step or size, size - place) * MIB)
        if step:
            time.sleep(0.001)
    return pages
def touch(size):
    return rush(size, 2)
def write(size):
    with open("/mnt/file", "wb", buffering=0) as file:
        for _ in range(size * 16):
            assert file.write(bytes(65536)) == 65536
def fill(size):
    made = {}
    while len(made) < size * 5000:
        made[len(made)] = str(len(made)) * 8
    return made
def hear():
    return sys.stdin.readline().strip()
"""

DEMANDS = {
    "pages touched at full speed": "kept = rush(512)",
    "64 KiB writes to a tmpfs": "write(512)",
    "a dictionary": "kept = fill(512)",
    "pages touched by two threads": """
import threading
threads = [threading.Thread(target=rush, args=(256,)) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
""",
}

# What is quick enough to outrun who reads the use now and then.
FAST = {
    "pages touched": "kept = rush(420)",
    "pages touched by four threads": """
import threading
threads = [threading.Thread(target=lambda: kept.append(rush(105))) for _ in range(4)]
kept = []
for thread in threads: thread.start()
for thread in threads: thread.join()
""",
    "writes to a tmpfs": "write(420)",
}


def rootfs(world):
    """A file system in which the host's interpreter runs."""
    made = os.path.join(world.directory, "rootfs")
    if not os.path.isdir(made):
        for name in ("usr", "proc", "dev", "sys", "tmp", "mnt", world.directory[1:]):
            os.makedirs(os.path.join(made, name))
        for name in ("bin", "lib", "lib64"):
            os.symlink("usr/" + name, os.path.join(made, name))
    return made


@pytest.fixture
def guest(world, container, bundle):
    """Makes containers that run Python under a declared memory limit in MiB."""

    def make(script, annotations=None, declared=DECLARED, policy="reactive", cgroup=None, cpus=2,
             **options):
        asked = {"io.escra.policy": policy} if policy else {}
        made = bundle(
            {**asked, **(annotations or {})}, quota=cpus * 100_000, period=100_000,
            args=["/usr/bin/python3", "-c", LIBRARY + script], cgroup=cgroup)
        made.config["root"]["path"] = rootfs(world)
        # Whoever calls us may be spared by the OOM killer; what is started so spins at its limit.
        made.config["process"]["oomScoreAdj"] = 0
        if declared:
            limit = declared * MIB
            made.config["linux"]["resources"]["memory"] = {"limit": limit, "swap": limit}
        made.config["mounts"].append(
            {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs",
             "options": ["size=1g", "nosuid"]})
        made.config["mounts"] += [
            {"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]}
            for path in ("/usr", world.directory)]
        made.write()
        found = container(bundle_=made, **options)
        found.is_found_first = policy is not None
        return found

    return make


def read(made, old, new):
    """A file of the group whose limit moves, by its name on cgroup v1 and on v2."""
    name = old if cgroups.VERSION == 1 else new
    return cgroups.read(cgroups.moving(made.cgroup), name, "memory")


def limit(made):
    return cgroups.memory_limit(cgroups.inner(made.cgroup))


def line(made):
    text = read(made, None, "memory.high")
    return float("inf") if text == "max" else int(text)


def usage(made):
    return int(read(made, "memory.usage_in_bytes", "memory.current"))


def kills(made):
    lines = read(made, "memory.oom_control", "memory.events").splitlines()
    return int(dict(line.split() for line in lines)["oom_kill"])


def events(made):
    """How often the line was crossed, the limit met, and somebody killed, on cgroup v2."""
    text = cgroups.read(cgroups.moving(made.cgroup), "memory.events", "memory")
    counted = dict(line.split() for line in text.splitlines())
    return int(counted["high"]), int(counted["max"]), int(counted["oom_kill"])


def write_limit(made, size):
    """Writes a limit in MiB as a person would, in each group that has one."""
    for group in {made.cgroup, cgroups.inner(made.cgroup)}:
        for name in ("memory.memsw.limit_in_bytes", "memory.limit_in_bytes", "memory.max"):
            if os.path.exists(os.path.join(cgroups.directory(group, "memory"), name)):
                cgroups.write(group, name, size * MIB, "memory")


def bytes_read(made):
    with open(f"/proc/{made.pid}/io") as file:
        return int(next(line.split()[1] for line in file if line.startswith("rchar")))


def run(made):
    """The exit code of a container that runs to its end."""
    return made.create(verb="run").wait(60 * PATIENCE)


@pytest.mark.parametrize("demand", DEMANDS)
def test_a_limit_that_was_a_guess_grows_before_it_kills(guest, demand):
    """From when its supervisor has found it, which is before the start of what engines create."""
    made = guest("hear()\n" + DEMANDS[demand], {"io.escra.memory.max": "1Gi"})
    process = made.create(verb="run")
    made.supervisor()
    made.do("now")
    assert process.wait(60 * PATIENCE) == 0


@pytest.mark.parametrize("demand", DEMANDS)
def test_the_same_demand_fails_under_the_static_limit(guest, plain, demand):
    """Which shows that the test before can fail."""
    assert run(guest(DEMANDS[demand], policy=None, runtime=plain)) != 0


def test_what_asks_for_more_than_it_may_have_ends_as_without_us(guest, plain):
    demand = DEMANDS["pages touched at full speed"]
    alone = run(guest(demand, policy=None, runtime=plain))
    assert alone == 137
    assert run(guest(demand, {"io.escra.memory.max": "128Mi"})) == alone


def test_memory_is_left_alone_where_nothing_asks_for_it(guest):
    made = guest("hear()").started()
    made.supervisor()
    time.sleep(3)
    assert limit(made) == DECLARED * MIB


def test_a_refusal_and_the_kill_behind_it_are_told(guest):
    script = """
if os.fork() == 0:
    touch(512)
os.wait()
hear()
"""
    # Emulated, Python starts so slowly that without a floor slack would be given back meanwhile.
    bounds = {"io.escra.memory.min": "64Mi", "io.escra.memory.max": "128Mi"}
    made = guest(script, bounds).started()
    wait_until(lambda: kills(made) == 1, 10, "the kernel's kill")
    told = wait_until(
        lambda: (text := escra_tool("explain", made.id)) and "out of memory" in text and text, 3,
        "what happened")
    assert "stays at 128Mi of memory: it needs more, and this is its maximum" in told
    assert "raised 64Mi -> " in told
    assert "It gets at most 128Mi: io.escra.memory.max" in told


def test_what_is_freed_is_given_back_and_grown_again(guest):
    script = """
for size in (400, 300):
    kept = touch(size)
    hear()
    del kept
    hear()
"""
    made = guest(script, {"io.escra.memory.max": "1Gi"}).started()
    made.supervisor()
    for size in (400, 300):
        wait_until(lambda: usage(made) > size * MIB, 10, lambda: (
            f"{size} MiB in use, not {usage(made) >> 20} of {limit(made) >> 20}; "
            f"{kills(made)} kills"))
        wait_until(lambda: limit(made) > size * MIB, 1, "a limit above that")
        made.do("free")
        wait_until(
            lambda: limit(made) < usage(made) + MARGIN * MIB < 130 * MIB, 8, "slack given back")
        assert limit(made) >= usage(made)
        swap = cgroups.directory(
                cgroups.outer(made.cgroup), "memory") + "/memory.memsw.limit_in_bytes"
        if os.path.exists(swap):
            assert int(open(swap).read()) == limit(made)
        if cgroups.VERSION == 2:
            # systemd has another idea of what crun asks for, in the scope around it.
            assert cgroups.read(cgroups.inner(made.cgroup), "memory.swap.max") == "0"
            assert line(made) * 1.06 <= limit(made)
        made.do("again")
    assert kills(made) == 0 if cgroups.exists(made.cgroup) else True


def test_page_cache_is_no_need_and_hides_none(guest, world):
    path = os.path.join(world.directory, "cached")
    with open(path, "wb") as file:
        for _ in range(256):
            file.write(bytes(MIB))
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    script = f"""
hear()
with open({path!r}, "rb", buffering=0) as file:
    while file.read(MIB): pass
hear()
kept = touch(300)
hear()
"""
    made = guest(script, {"io.escra.memory.max": "1Gi"}).started()
    made.supervisor()
    made.do("read")
    wait_until(lambda: bytes_read(made) > 256 * MIB, 10, "all of it read")
    time.sleep(0.5)
    assert limit(made) <= 80 * MIB
    made.do("touch")
    wait_until(lambda: usage(made) > 300 * MIB, 10, "300 MiB in use")
    assert kills(made) == 0


READ = """
def read(path):
    with open(path, "rb", buffering=0) as file:
        while file.read(MIB): pass
"""
REFAULTS = 46  # As in the record.


@pytest.fixture
def cold(world):
    """Makes files of so many MiB that are not in memory."""
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", world.directory], capture_output=True, text=True).stdout
    if kind == "tmpfs\n":
        pytest.skip("the files of a tmpfs are nowhere but in memory; set TMPDIR")

    def make(size):
        path = os.path.join(world.directory, "cold")
        with open(path, "wb") as file:
            for _ in range(size):
                file.write(os.urandom(MIB))
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return path

    return make


def refaulted(made):
    """MiB of page cache that were dropped and read again."""
    lines = read(made, "memory.stat", "memory.stat").splitlines()
    return int(dict(line.split() for line in lines)["workingset_refault_file"]) * 4096 // MIB


def test_a_file_that_is_read_again_and_again_stays_in_memory(guest, cold):
    """What the kernel had to read again is demand; without a look at it each reading is one."""
    script = READ + f"hear()\nwhile True:\n    read({cold(128)!r})\n    time.sleep(0.1)"
    made = guest(script, {"io.escra.memory.max": "1Gi"}, declared=32).started()
    made.supervisor()
    made.do("read")
    wait_until(lambda: bytes_read(made) > 1024 * MIB, 20, "eight readings")
    assert refaulted(made) < 300 and limit(made) > 128 * MIB
    assert 1 <= [entry.rule for entry in made.record()].count(REFAULTS) <= 10
    assert "reads files again" in escra_tool("explain", "--last", "100", made.id)
    made.do("stop")


def test_a_file_that_never_fits_is_given_up(guest, cold):
    """Its reader gets all that there is for a moment, and less again while it goes on reading."""
    script = READ + f"hear()\nwhile True: read({cold(400)!r})"
    made = guest(script, {"io.escra.memory.max": "128Mi"}, declared=32).started()
    made.supervisor()
    made.do("read")
    wait_until(
        lambda: REFAULTS in [entry.rule for entry in made.record()], 20, "a raise")
    wait_until(lambda: limit(made) > 112 * MIB, 20, "all that there is")
    wait_until(lambda: limit(made) < 112 * MIB, 20, lambda: (
        "less again, not\n" + escra_tool("explain", "--last", "100", made.id)))
    before = [entry.rule for entry in made.record()].count(REFAULTS)
    assert before <= 10
    seen = bytes_read(made)
    wait_until(lambda: bytes_read(made) > seen + 1024 * MIB, 20, "five more readings")
    assert [entry.rule for entry in made.record()].count(REFAULTS) == before
    assert kills(made) == 0


def test_a_killed_supervisor_leaves_a_limit_that_holds_and_another_goes_on(guest):
    script = """
kept = []
for size in (200, 300):
    kept.append(touch(size))
    hear()
"""
    made = guest(script, {"io.escra.memory.max": "1Gi"}).started()
    first = made.supervisor()
    wait_until(lambda: usage(made) > 200 * MIB, 10, "200 MiB in use")
    # Stopped, it no longer moves the limit.
    kill(first, signal=signal.SIGSTOP)
    before = limit(made)
    kill(first)
    assert limit(made) == before
    # Until it has found the container nobody minds it: docs/memory.md says so.
    wait_until(
        lambda: all(int(state["supervisor"].partition("@")[0]) != first for state in made.states()),
        5, "another supervisor that has found it")
    assert limit(made) > 200 * MIB
    made.do("more")
    wait_until(lambda: usage(made) > 500 * MIB, 10, "500 MiB in use")
    assert kills(made) == 0


def test_a_container_without_a_declared_limit_gets_the_bound(guest):
    made = guest("hear()", {"io.escra.memory.max": "256Mi"}, declared=None).started()
    made.supervisor()
    wait_until(lambda: limit(made) <= 256 * MIB, 3, "the bound")


def test_somebody_elses_limit_is_the_new_base(guest):
    made = guest("hear()\nkept = touch(100)\nhear()", {"io.escra.memory.min": "16Mi"}).started()
    made.supervisor()
    write_limit(made, 200)
    made.do("touch")
    wait_until(lambda: usage(made) > 100 * MIB, 5, "100 MiB in use")

    def told():
        # Where all is slow the decision has left the newest ten by now.
        return escra_tool("explain", "--last", "100", made.id)

    wait_until(
        lambda: "another process wrote a new memory limit" in told(), 5,
        lambda: "the news, not\n" + told())
    wait_until(
        lambda: made.states()[0]["declaredMemory"] == str(200 * MIB), 2, "what it declares")
    assert kills(made) == 0


def test_observe_changes_nothing_and_says_what_it_would_do(guest):
    # Not lowered first, however long it takes to get there.
    asked = {"io.escra.memory.min": "64Mi", "io.escra.memory.max": "1Gi"}
    made = guest("kept = touch(54)\nhear()", asked, policy="observe").started()
    made.supervisor()
    wait_until(lambda: usage(made) > 50 * MIB, 5, "50 MiB in use")
    wait_until(
        lambda: "would have raised 64Mi" in escra_tool("explain", made.id), 5,
        lambda: "what it would do, not\n" + escra_tool("explain", made.id))
    assert limit(made) == DECLARED * MIB


def test_an_idle_container_wakes_nobody(guest):
    made = guest("hear()", {"io.escra.memory.max": "1Gi"}).started()
    pid = made.supervisor()
    wait_until(lambda: is_at_rest(pid, 2), 8, "its supervisor has nothing to do")


def test_an_update_of_something_else_takes_nothing_back(guest):
    """The low-level runtime writes the memory limit that it knows along with any other."""
    made = guest("kept = touch(300)\nhear()", {"io.escra.memory.max": "1Gi"}).started()
    made.supervisor()
    wait_until(lambda: usage(made) > 300 * MIB, 10, "300 MiB in use")
    made.call("update", "--pids-limit", "100")
    made.call("update", "--cpu-quota", "150000")
    assert limit(made) > 300 * MIB
    assert made.states()[0]["declaredMemory"] == str(DECLARED * MIB)
    assert kills(made) == 0


def apply_again(made):
    """Has systemd write what it knows of a container's scope."""
    if driver.IS_SYSTEMD:
        driver.apply_again(os.path.basename(os.path.dirname(cgroups.located(made.cgroup))))


@pytest.mark.parametrize("options", [
    pytest.param({}, id="reactive"),
    pytest.param({"policy": "strict", "cpus": 1}, id="strict", marks=with_own_cpus)])
@pytest.mark.parametrize("is_alone", [False, True], ids=["supervised", "alone"])
def test_an_update_below_what_is_used_kills_nothing(guest, alone, options, is_alone):
    """By its annotation it may exceed what it declares, and does already; so it does afterwards."""
    annotations = {"io.escra.memory.max": "1Gi"}
    made = guest("kept = touch(300)\nhear()", annotations, **options).started()
    made.supervisor()
    wait_until(lambda: usage(made) > 300 * MIB, 10, "300 MiB in use")
    with alone(made) if is_alone else contextlib.nullcontext():
        made.call("update", *memory_flags(200))
        apply_again(made)
    wait_until(
        lambda: made.states()[0]["declaredMemory"] == str(200 * MIB), 4, "what it declares")
    made.call("update", "--pids-limit", "100")
    apply_again(made)
    time.sleep(1)
    assert kills(made) == 0 and limit(made) > 300 * MIB
    if cgroups.VERSION == 2:
        assert cgroups.read(cgroups.inner(made.cgroup), "memory.max") == str(1024 * MIB)
    made.call("update", *memory_flags(400))
    wait_until(
        lambda: made.states()[0]["declaredMemory"] == str(400 * MIB), 4, "what it declares")
    assert limit(made) >= 400 * MIB and kills(made) == 0


def memory_flags(size):
    """What asks an update for so many MiB and no swap; crun takes no units."""
    size = str(size * MIB)
    return "--memory", size, "--memory-swap", size


def test_an_update_of_the_memory_limit_changes_the_base(guest):
    made = guest(
        "kept = touch(40)\nhear()\nkept = touch(150)\nhear()", {"io.escra.memory.min": "16Mi"})
    made.started()
    made.supervisor()
    wait_until(lambda: usage(made) > 40 * MIB, 10, "40 MiB in use")
    made.call("update", *memory_flags(256))
    # On cgroup v2 the supervisor sees the runtime's write, which is a moment later.
    wait_until(
        lambda: made.states()[0]["declaredMemory"] == str(256 * MIB), 2, "what it declares")
    assert limit(made) == 256 * MIB
    made.do("touch")
    wait_until(lambda: usage(made) > 150 * MIB, 10, "150 MiB in use")
    assert kills(made) == 0
    assert "It gets at most 256Mi: what it declared" in escra_tool("explain", made.id)


@pytest.mark.parametrize("options", [
    pytest.param({}, id="reactive"),
    pytest.param({"policy": "strict", "cpus": 1}, id="strict", marks=with_own_cpus)])
def test_an_update_while_nobody_supervises_is_the_next_ones_base(guest, alone, options):
    script = "hear()\nkept = touch(150)\nhear()"
    made = guest(script, {"io.escra.memory.min": "16Mi"}, **options).started()
    made.supervisor()
    with alone(made):
        made.call("update", *memory_flags(256))
    wait_until(
        lambda: made.states()[0]["declaredMemory"] == str(256 * MIB), 2, "what it declares")
    made.do("touch")
    wait_until(lambda: usage(made) > 150 * MIB, 10, "150 MiB in use")
    assert kills(made) == 0


@only_v2
def test_the_limit_has_its_room_above_the_line(guest):
    made = guest("hear()\nkept = touch(300)\nhear()", {"io.escra.memory.max": "1Gi"}).started()
    made.supervisor()
    wait_until(lambda: line(made) == (DECLARED - 16) * MIB, 3, "a line below what is declared")
    made.do("touch")
    wait_until(lambda: usage(made) > 300 * MIB, 10, "300 MiB in use")
    assert usage(made) < line(made)
    assert limit(made) >= line(made) * 1.19
    assert kills(made) == 0


@only_v2
@pytest.mark.parametrize("demand", FAST)
def test_who_was_quiet_is_told_of_before_the_line_is_crossed(guest, demand):
    if json.loads(escra_tool("doctor", "--json"))["memorySource"] != "bpf":
        pytest.skip("this kernel has no program say so before")
    made = guest(f"hear()\n{FAST[demand]}\nhear()", {"io.escra.memory.max": "1Gi"}).started()
    pid = made.supervisor()
    wait_until(lambda: made.states()[0]["memorySource"] == "bpf", 4, "the program")
    wait_until(lambda: is_at_rest(pid, 1), 8, "nobody looks any more")
    before = events(made)
    made.do("grow")
    wait_until(lambda: usage(made) > 420 * MIB, 20, "all of it in use")
    _, met, killed = (after - one for after, one in zip(events(made), before))
    group = os.stat(cgroups.directory(cgroups.moving(made.cgroup))).st_ino
    assert 0 < bpf.told_line(group) * os.sysconf("SC_PAGESIZE") <= line(made)
    # How often it was crossed all the same says how late a busy machine let the supervisor in.
    assert met == killed == 0
    # Killed while it still grows it would outlive its init, which runc's delete does not wait for.
    made.do("end")
    wait_until(lambda: not cgroups.processes(made.cgroup), 5, "its end")


@only_v2
def test_without_the_program_it_is_raised_when_that_is_seen(guest, escra, world):
    config = world.path("sampling.json")
    with open(config, "w") as file:
        json.dump({"hooks": "sampling"}, file)
    made = guest(
        f"hear()\n{FAST['writes to a tmpfs']}\nhear()", {"io.escra.memory.max": "1Gi"},
        runtime=escra.using("--escra-config", config)).started()
    made.supervisor()
    assert made.states()[0]["memorySource"] == "events, sampling"
    made.do("grow")
    wait_until(lambda: usage(made) > 420 * MIB, 20, "all of it in use")
    assert kills(made) == 0 and bpf.identity() is None
    assert "when it has crossed memory.high" in escra_tool("explain", made.id)


@only_v2
def test_at_the_most_it_may_have_nobody_is_slowed_down(guest):
    script = "kept = touch(110)\nhear()"
    made = guest(script, {"io.escra.memory.max": "128Mi"}).started()
    made.supervisor()
    wait_until(lambda: usage(made) > 110 * MIB, 10, "110 MiB in use")
    wait_until(lambda: limit(made) == 128 * MIB and line(made) > limit(made), 3, "no line")
    assert kills(made) == 0


@only_v2
def test_a_line_that_somebody_else_moves_comes_back(guest):
    made = guest("hear()", {"io.escra.memory.max": "1Gi"}).started()
    made.supervisor()
    before = wait_until(lambda: line(made) < limit(made) and line(made), 3, "a line")
    time.sleep(4 * PATIENCE)
    before = line(made)
    cgroups.write(cgroups.moving(made.cgroup), "memory.high", "max", "memory")
    wait_until(
        lambda: line(made) <= before, 3,
        lambda: f"{before}, not {line(made)} below {limit(made)}\n{escra_tool('explain', made.id)}")
    assert "another process had overwritten it" in escra_tool("explain", made.id)


def test_whose_supervisors_cannot_live_gets_what_it_declared(guest):
    """With more in use than that it keeps what it has, since less would be a kill."""
    script = "kept = touch(300)\nhear()\ndel kept\nhear()"
    made = guest(script, {"io.escra.memory.max": "1Gi"}).started()
    made.supervisor()
    wait_until(lambda: usage(made) > 300 * MIB, 10, "300 MiB in use")
    for _ in range(3):
        # Each as soon as it is there.
        kill(wait_until(lambda: supervisors(made.id), 5, "a supervisor")[0])
        wait_until(lambda: not supervisors(made.id), 1, "its end")
    wait_until(
        lambda: any("unsupervised" in state for state in made.states()), 10,
        "the keeper has given it up")
    assert limit(made) > 300 * MIB
    if cgroups.VERSION == 2:
        assert line(made) > limit(made)
    assert kills(made) == 0


def test_the_groups_above_bound_it(guest, world):
    parent = world.parent(memory=160 * MIB)
    script = "kept = touch(100)\nhear()"
    made = guest(script, {"io.escra.memory.max": "1Gi"}, cgroup=parent + "/" + world.name())
    made.started()
    made.supervisor()
    wait_until(lambda: usage(made) > 100 * MIB, 10, "100 MiB in use")
    assert limit(made) <= 160 * MIB
    assert kills(made) == 0


@with_own_cpus
def test_the_memory_of_a_strict_container_moves_where_that_is_asked_for(guest):
    script = "kept = touch(300)\nhear()\ndel kept\nhear()"
    made = guest(script, {"io.escra.memory.max": "1Gi"}, policy="strict", cpus=1).started()
    made.supervisor()
    wait_until(lambda: usage(made) > 300 * MIB, 10, "300 MiB in use")
    assert limit(made) > 300 * MIB
    made.call("update", "--pids-limit", "100")
    assert limit(made) > 300 * MIB
    made.do("free")
    wait_until(lambda: limit(made) < usage(made) + MARGIN * MIB < 130 * MIB, 8, "slack given back")
    assert kills(made) == 0


def test_nobody_grows_into_what_the_machine_is_to_keep(guest, escra, world):
    """The reserve is all of the machine's memory: there is nothing to be had."""
    path = world.path("operator.json")
    with open(path, "w") as file:
        json.dump({"hostMemoryReserve": 1 << 50}, file)
    made = guest(
        "kept = touch(512)", {"io.escra.memory.max": "1Gi"},
        runtime=escra.using("--escra-config", path))
    assert run(made) == 137


@pytest.fixture
def stalled(world):
    """Has it seem that all of the machine waits for memory, for some percent of the time."""
    if not os.path.exists(PRESSURE):
        pytest.skip("this kernel does not count for how long it is waited for memory")
    path = world.path("pressure")

    def write(percent):
        rest = "avg60=0.00 avg300=0.00 total=0"
        with open(path, "w") as file:
            file.write(f"some avg10={percent}.00 {rest}\nfull avg10={percent}.00 {rest}\n")

    write(0)
    kernel.mount(path, PRESSURE, None, kernel.MS_BIND)
    yield write
    kernel.unmount(PRESSURE)


@pytest.mark.parametrize("percent, code", [(2, 0), (50, 137)])
def test_nobody_grows_while_all_of_the_machine_waits_for_memory(
        guest, escra, world, stalled, percent, code):
    stalled(percent)
    path = world.path("operator.json")
    with open(path, "w") as file:
        json.dump({"hostMemoryReserve": MIB}, file)
    made = guest(
        "kept = touch(256)", {"io.escra.memory.max": "1Gi"},
        runtime=escra.using("--escra-config", path))
    assert run(made) == code


by_systemd = pytest.mark.skipif(
    not driver.IS_SYSTEMD or cgroups.VERSION != 2, reason="no systemd writes memory.max here")


def drifts(made):
    return [entry.rule for entry in made.record()].count(MEMORY_DRIFT)


def is_inside(made):
    """Whether systemd's scope is one around the container's own group, as crun has it."""
    return cgroups.inner(made.cgroup) != made.cgroup


def known_to_systemd(made):
    """What systemd writes whenever it looks at the container's scope, in MiB."""
    done = driver.systemctl("show", "-P", "MemoryMax", os.path.basename(made.cgroup))
    return int(done.stdout) // MIB


each_group_count = pytest.mark.parametrize("visible", ["declared", "current"])


@by_systemd
@each_group_count
def test_what_systemd_applies_again_kills_nobody(guest, visible):
    made = guest("kept = touch(300)\nhear()", {
        "io.escra.memory.max": "512Mi", "io.escra.visible": visible}).started()
    made.supervisor()
    assert known_to_systemd(made) == 512
    wait_until(lambda: usage(made) > 300 * MIB, 10, "300 MiB in use")
    wait_until(lambda: line(made) < limit(made) < 500 * MIB, 8, "slack given back")
    for _ in range(2):
        before = drifts(made)
        if is_inside(made):
            # What it is told is the most that the container may have: the scope is not in the way.
            cgroups.write(made.cgroup, "memory.max", "max", "memory")
        apply_again(made)
        if is_inside(made):
            wait_until(
                lambda: cgroups.read(made.cgroup, "memory.max", "memory") == str(512 * MIB), 3,
                "systemd's")
        else:
            wait_until(lambda: drifts(made) > before, 3, "what systemd wrote was written over")
        wait_until(lambda: line(made) < limit(made) < 500 * MIB, 5, "ours again")
    assert kills(made) == 0


@by_systemd
def test_in_one_group_it_starts_with_what_it_declares(guest):
    """Although the runtime writes the most that it may have, which systemd knows."""
    made = guest("hear()", {"io.escra.memory.max": "512Mi", "io.escra.visible": "current"})
    made.started().supervisor()
    wait_until(lambda: limit(made) <= DECLARED * MIB, 3, "what it declares")
    assert known_to_systemd(made) == 512
    assert made.states()[0]["declaredMemory"] == str(DECLARED * MIB)


@by_systemd
def test_a_member_in_one_group_has_no_more_than_systemd_knows(guest):
    """A write of systemd's is then no kill, and no more than what it declares or may have."""
    annotations = {
        "io.escra.app": "shop", "io.escra.app.memory": "512Mi", "io.escra.visible": "current"}
    made = guest("hear()\nkept = touch(100)\nhear()", {
        **annotations, "io.escra.memory.max": "160Mi"}).started()
    other = guest("hear()", annotations).started()
    made.supervisor()
    other.supervisor()
    assert (known_to_systemd(made), known_to_systemd(other)) == (160, DECLARED)
    made.do("touch")
    wait_until(lambda: usage(made) > 100 * MIB, 10, "100 MiB in use")
    driver.apply_again(os.path.basename(os.path.dirname(made.cgroup)))
    wait_until(lambda: limit(made) < 160 * MIB and limit(other) < DECLARED * MIB, 5, "ours again")
    assert kills(made) == 0


@by_systemd
@each_group_count
def test_what_an_operator_sets_by_systemctl_is_the_new_base(guest, visible):
    """Whichever group systemd writes it to; it bounds nobody to whom an annotation gives more."""
    made = guest("hear()\nkept = touch(400)\nhear()", {
        "io.escra.memory.max": "512Mi", "io.escra.visible": visible}).started()
    made.supervisor()
    unit = os.path.basename(made.cgroup)
    done = driver.systemctl("set-property", "--runtime", unit, "MemoryMax=200M")
    assert done.returncode == 0, done
    wait_until(
        lambda: made.states()[0]["declaredMemory"] == str(200 * MIB), 5, "what it declares")
    assert "another process wrote a new memory limit" in escra_tool("explain", made.id)
    made.do("touch")
    wait_until(lambda: usage(made) > 400 * MIB, 10, "400 MiB in use")
    assert kills(made) == 0


def test_a_pods_memory_limit_rises_with_its_containers(guest, world, escra):
    """Where the operator's ceiling says so; with the container it is what it was."""
    if driver.IS_SYSTEMD:
        pytest.skip("the same as where systemd makes no slices")
    top = world.cgroup()
    pod = f"{top}/kubepods/pod{world.name()}"
    cgroups.make(pod)
    world.groups += [f"{top}/kubepods", pod]
    cgroups.set_memory_limit(pod, DECLARED * MIB)

    def above():
        return cgroups.memory_limit(pod) - DECLARED * MIB

    config = world.path("config.json")
    with open(config, "w") as file:
        json.dump({"runtimes": [LOW_LEVEL], "ceiling": {"memory": "256Mi"}}, file)
    made = guest(
        "kept = touch(120)\nhear()\ndel kept\nhear()", {"io.escra.memory.max": "192Mi"},
        cgroup=pod + "/" + world.name(), runtime=escra.using("--escra-config", config)).started()
    made.supervisor()
    wait_until(lambda: usage(made) > 115 * MIB, 8, "more than the pod was made with")
    assert limit(made) - DECLARED * MIB <= above() <= limit(made) - DECLARED * MIB + MIB
    made.do("")
    wait_until(lambda: above() == 0, 10, "what is not used is the pod's no more")
    assert kills(made) == 0
    made.call("delete", "--force")
    wait_until(lambda: not supervisors(), 4, "nobody is left")
    assert above() == 0
