# SPDX-License-Identifier: Apache-2.0
"""What language runtimes see of their limits is what they see under the plain runtime, at any time.

scripts/deps-runtimes builds the programs that ask them, from runtimes/. All of them idle at once,
in containers of the plain runtime and of ours, whose limits move; the cases read their reports.
"""
import json
import os
import shutil
import time

import pytest

import cgroups
from processes import PATIENCE, wait_until
from world import PATH, REPOSITORY

SOURCES = os.path.join(REPOSITORY, "Tests/e2e/support/runtimes")
BUILT = os.path.join(REPOSITORY, ".build/runtimes")
# Those of scripts/deps-runtimes --jdks, where they were asked for.
JDKS = os.path.join(REPOSITORY, ".build/jdk")

MIB = 1 << 20
PERIOD = 100_000
CPUS = min(3, os.cpu_count())
# Go counts no less than two, so it tells something where there are more.
CPUS_UPDATED = CPUS + 1 if os.cpu_count() > CPUS else CPUS - 1
MEMORY, MEMORY_UPDATED = 1024 * MIB, 1536 * MIB


def which(name):
    """A program of this machine's, which containers find at the same place."""
    path = shutil.which(name, path=PATH)
    return os.path.realpath(path) if path else name


# The command of each, and the file without which it cannot run.
REPORT = ["-XshowSettings:system", "-cp", "/built", "Report"]
PROGRAMS = {
    "c": (["/built/report-c"], f"{BUILT}/report-c"),
    "dotnet": (["/built/report-dotnet", "/built/dotnet"], f"{BUILT}/report-dotnet"),
    "go": (["/built/report-go"], f"{BUILT}/report-go"),
    "java": ([which("java"), *REPORT], f"{BUILT}/Report.class"),
    **{f"java{version}": ([f"/jdk/{version}/java", *REPORT], f"{JDKS}/{version}/java")
       for version in ("21", "25") if os.path.exists(f"{JDKS}/{version}/java")},
    "node": ([which("node"), "/sources/report.js"], which("node")),
    "python": ([which("python3"), "/sources/report.py"], which("python3")),
}
PHASES = {
    "start": "at the start",
    "late": "created, and started 4 s later",
    "idle": "after 10 s of idling",
    "entry": "begun by the entry point after 10 s of idling",
    "exec": "begun by exec while idle",
    "updated": "after an update",
    "updated-exec": "begun by exec after an update, while idle",
}


def missing(program):
    """What a program lacks on this machine, as a sentence; None if it can run."""
    command, needed = PROGRAMS[program]
    for path in (needed, command[0]):
        if not path.startswith(("/built/", "/jdk/")) and not os.path.exists(path):
            return (f"{program} needs {os.path.basename(path)}: run scripts/deps-runtimes, which "
                    "builds it or names the package to install")
    return None


def report(text):
    """The reports in what a program wrote, and what it wrote beside them, without the quota on v1.

    There the limit of the one group moves, within what is the same count of CPUs.
    """
    lines = text.splitlines()
    reports = [json.loads(line) for line in lines if line.startswith("{")]
    beside = [line.strip() for line in lines if line.strip() and not line.startswith("{")]
    if cgroups.VERSION == 1:
        beside = [line for line in beside if not line.startswith("CPU Quota:")]
        for each in reports:
            each.pop("quota", None)
            each.pop("cpu/cpu.cfs_quota_us", None)
    return reports, beside


class Subject:
    """One program under one runtime: a container that lives, and one that is started late."""

    def __init__(self, world, make, runtime, program, namespace):
        self.program, self.command = program, " ".join(PROGRAMS[program][0])
        self.out = world.path(f"out-{runtime!r}-{program}")
        self.is_ours = runtime.program.endswith("escra-runc")
        self.reports = {}
        os.makedirs(self.out)
        os.mkfifo(self.out + "/poke")
        annotations = {"io.escra.memory.max": str(MEMORY)} if self.is_ours else {}

        def made(*arguments):
            container = make(
                annotations, runtime, policy="reactive" if self.is_ours else None,
                quota=CPUS * PERIOD, period=PERIOD, args=list(arguments) or None)
            furnish(container.bundle, world, self.out, namespace)
            return container

        self.container = made()
        self.late = made("sh", "-c", self.once("late"))

    def once(self, phase):
        """A line for a shell that has the program report once."""
        return (f"{self.command} </dev/null >/out/.{phase} 2>&1; "
                f"mv /out/.{phase} /out/{phase}")

    def start(self):
        assert self.late.create().wait(20 * PATIENCE) == 0
        self.container.started()
        # Opened for both, or each would wait for the other.
        self.poking = open(self.out + "/poke", "r+b", buffering=0)
        self.container.do(f"{self.command} </out/poke >/out/resident 2>&1 &")

    def resident(self, number):
        """Waits until the program that lives has reported so often; keeps the last report."""

        def reported():
            try:
                with open(self.out + "/resident") as file:
                    reports, beside = report(file.read().rpartition("\n")[0])
            except FileNotFoundError:
                return None
            return len(reports) >= number and (reports[-1], beside)

        return wait_until(reported, 30, lambda: f"{self.program} reports: {self.said('resident')}")

    def poke(self):
        self.poking.write(b"\n")

    def executing(self, phase):
        return self.container.runtime.start("exec", self.container.id, "sh", "-c", self.once(phase))

    def written(self, phase):
        """Waits for the report of a program that reports once."""
        wait_until(lambda: os.path.exists(f"{self.out}/{phase}"), 30,
                   lambda: f"{self.program} reports: {self.said('.' + phase)}")
        [found], beside = report(self.said(phase))
        return found, beside

    def said(self, name):
        try:
            with open(f"{self.out}/{name}") as file:
                return file.read()
        except FileNotFoundError:
            return "nothing"

    def wait_to_move(self, container, cpus):
        """Waits until the limits are less than what is declared; returns both."""
        # On v1 a container counts the CPUs of the limit that moves.
        least = (cpus - 1) * PERIOD if cgroups.VERSION == 1 else 0
        seen = []

        def moved():
            seen[:] = [cgroups.limit(container.cgroup)[0], cgroups.moving_memory(container.cgroup)]
            return seen[0] is not None and least < seen[0] < cpus * PERIOD

        wait_until(moved, 5, lambda: f"the CPU limit moves: {seen}")
        wait_until(lambda: moved() and seen[1] < MEMORY, 10, lambda: f"memory moves: {seen}")
        return tuple(seen)

    def end(self):
        self.poking.close()
        for each in (self.container, self.late):
            each.call("delete", "--force")


def furnish(bundle, world, out, namespace):
    """Gives a container this machine's programs, read-only, and a place for reports."""
    bundle.give_memory(MEMORY)
    root = world.path("rootfs")
    if not os.path.isdir(root):
        for name in ("usr", "etc", "proc", "dev", "sys", "tmp", "out", "built", "sources", "jdk"):
            os.makedirs(os.path.join(root, name))
        for name in ("bin", "lib", "lib64", "sbin"):
            if os.path.islink("/" + name):
                os.symlink("usr/" + name, os.path.join(root, name))
    for path in (BUILT, JDKS):
        os.makedirs(path, exist_ok=True)
    bundle.config["root"]["path"] = root
    for source, target, how in (
            ("/usr", "/usr", "ro"), ("/etc", "/etc", "ro"), (BUILT, "/built", "ro"),
            (JDKS, "/jdk", "ro"), (SOURCES, "/sources", "ro"), (out, "/out", "rw")):
        bundle.config["mounts"].append({
            "source": source, "destination": target, "type": "bind", "options": ["rbind", how]})
    if namespace == "host":
        bundle.config["linux"]["namespaces"] = [
            each for each in bundle.config["linux"]["namespaces"] if each["type"] != "cgroup"]
    bundle.write()


def measure(subjects):
    """Leads all of them through all phases at once, and leaves what they reported in each."""
    ours = [each for each in subjects if each.is_ours]
    for each in subjects:
        each.start()
    created = time.monotonic()
    for each in subjects:
        each.reports["start"] = each.resident(1)
    idle = time.monotonic()
    time.sleep(max(0, created + 4 - time.monotonic()))
    for each in ours:
        each.late_moved = each.wait_to_move(each.late, CPUS)
    for each in subjects:
        each.late.call("start")
    for each in subjects:
        each.reports["late"] = each.written("late")
    time.sleep(max(0, idle + 10 - time.monotonic()))
    for each in ours:
        each.moved = each.wait_to_move(each.container, CPUS)
    for each in subjects:
        each.poke()
        each.container.do(each.once("entry"))
        each.executing("exec")
    for each in subjects:
        each.reports["idle"] = each.resident(2)
        each.reports["entry"] = each.written("entry")
        each.reports["exec"] = each.written("exec")
    for each in subjects:
        each.container.call(
            "update", "--cpu-quota", str(CPUS_UPDATED * PERIOD), "--memory", str(MEMORY_UPDATED),
            "--memory-swap", str(MEMORY_UPDATED))
    for each in ours:
        each.wait_to_move(each.container, CPUS_UPDATED)
    for each in subjects:
        each.poke()
        each.executing("updated-exec")
    for each in subjects:
        each.reports["updated"] = each.resident(3)
        each.reports["updated-exec"] = each.written("updated-exec")
        each.end()


@pytest.fixture
def both(request, shared, namespace, program):
    """One program under the plain runtime and under ours, led through all phases.

    The first case leads all programs that any case asks for, at once.
    """
    if namespace == "host" and cgroups.VERSION == 1:
        pytest.skip("only cgroup v2 has containers without a cgroup namespace of their own")
    if said := missing(program):
        pytest.skip(said)
    key = ("runtimes", namespace)
    if key not in shared:
        shared[key] = None
        params = [getattr(getattr(item, "callspec", None), "params", {})
                  for item in request.session.items]
        programs = {each["program"] for each in params if each.get("namespace") == namespace}
        world, make, plain, escra = map(
            request.getfixturevalue, ("world", "container", "plain", "escra"))
        subjects = [
            Subject(world, make, runtime, each, namespace)
            for each in sorted(programs) if not missing(each) for runtime in (plain, escra)]
        measure(subjects)
        shared[key] = {(each.is_ours, each.program): each for each in subjects}
    if shared[key] is None:
        pytest.fail("the programs could not be led through all phases: the first case says why")
    return shared[key][False, program], shared[key][True, program]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("namespace, program", [
    # Newer JVMs read the groups above the one that they are in, where they can see them.
    *[(namespace, program) for namespace in ("own", "host") for program in PROGRAMS]])
def test_a_program_sees_what_it_sees_under_the_plain_runtime(both, program, phase):
    """CPUs, memory, and what it makes of them, while another limit holds."""
    plain, ours = (each.reports[phase] for each in both)
    print(f"{program} {phase}: {json.dumps(plain[0])}; (us, bytes) before: {both[1].moved}")
    assert ours == plain, PHASES[phase]
    for moved in (both[1].moved, both[1].late_moved):
        assert moved[0] < CPUS * PERIOD and moved[1] < MEMORY


@pytest.mark.parametrize("namespace, program", [("own", "c")])
def test_the_plain_runtime_shows_what_is_declared(both):
    """Else two that are wrong would be equal."""
    plain, _ = both
    for phase, cpus, memory in (
            ("start", CPUS, MEMORY), ("exec", CPUS, MEMORY),
            ("updated", CPUS_UPDATED, MEMORY_UPDATED)):
        found, _ = plain.reports[phase]
        assert (found["cpus"], found["memory"]) == (cpus, str(memory)), phase


@pytest.mark.parametrize("namespace, program", [("own", "go")])
def test_go_reads_its_quota(both):
    """Else its cases say nothing; it counts no less than two CPUs."""
    for phase, cpus in (("start", CPUS), ("updated", CPUS_UPDATED)):
        found, _ = both[0].reports[phase]
        assert found["GOMAXPROCS"] == max(2, cpus), phase


@pytest.mark.parametrize(
    "namespace, program", [("own", name) for name in PROGRAMS if name.startswith("java")])
def test_a_pool_that_is_made_after_idling_is_as_wide(both):
    """A pool keeps the parallelism that it is made with."""
    for phase in ("idle", "entry", "exec"):
        for found, _ in (each.reports[phase] for each in both):
            assert found["newPool"] == CPUS and found["commonPool"] == max(1, CPUS - 1), phase
