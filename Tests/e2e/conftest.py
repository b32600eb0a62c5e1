# SPDX-License-Identifier: Apache-2.0
"""The end-to-end suite: real runc, real cgroups, the release binaries.

The suite has a mount namespace of its own with a /run of its own, so that it neither sees nor
disturbs containers of the machine it runs on, nor its engines. Every test ends with a check that
it left no process, no cgroup and no file.
"""
import contextlib
import glob
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

# What the cases share.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))

import cgroups
import comparison
import compatibility
import driver
import kernel
import processes
import through
from containerd import CONTAINERD, NAMESPACE, PARENT, PODS, Containerd
from images import busybox_archive
from pods import pause_archive
from processes import kill, ours, wait_until
from world import (
    ESCRA_RUNC, IS_CRUN, LOW_LEVEL, PREFIX, RUNC, SLICE, Bundle, Container, Runtime, base_config,
    make_rootfs)


def pytest_configure(config):
    if os.geteuid() != 0:
        pytest.exit("starting containers needs root; run: sudo make e2e", 2)
    for program, how in ((ESCRA_RUNC, "make build"), (LOW_LEVEL or "runc", "make deps")):
        if not os.access(program, os.X_OK):
            pytest.exit(f"{program} is missing; run: {how}", 2)
    config.addinivalue_line(
        "markers", "v2: says something of cgroups that is worth saying again of another machine")
    config.addinivalue_line(
        "markers", "alone: changes the whole machine, so that no other test may run meanwhile")
    config.pluginmanager.register(comparison)
    config.pluginmanager.register(compatibility)
    config.pluginmanager.register(through)
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        # pytest-xdist's own process: its workers run the cases, each in a world of its own.
        return
    # Whoever ends the suite early gets it swept up, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Whoever started us may be spared by the out-of-memory killer, as a machine's agent is;
    # containers without a word of their own about that inherit it.
    with open("/proc/self/oom_score_adj") as file:
        is_spared = int(file.read()) < 0
    if is_spared:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("0")
    kernel.unshare_mounts()
    # Not /run/escra alone: whatever engines are told, their shims and runtimes use /run, too.
    kernel.private_run()
    os.mkdir(processes.RUN, mode=0o700)
    # Engines write caches and locks there that no option moves; and tests a config of ours.
    for directory in ("/etc", "/var"):
        kernel.overlay(directory, f"/run/e2e{directory}")
    if IS_CRUN:
        os.makedirs("/etc/escra", exist_ok=True)
        with open("/etc/escra/config.json", "w") as file:
            json.dump({"runtimes": [LOW_LEVEL]}, file)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(nextitem):
    yield
    if not (nextitem and nextitem.get_closest_marker("alone")):
        processes.MachineLock.release()


def pytest_runtest_logreport(report):
    """Says what failed to who may run it again (scripts/e2e)."""
    path = os.environ.get("ESCRA_E2E_FAILED")
    if path and report.failed:
        with open(path, "a") as file:
            file.write(report.nodeid + "\n")


def empty(cgroup):
    """Kills what is in a cgroup, and waits a little: runc gives one up that does not empty at once.

    What is frozen on cgroup v1 does not die before it is thawed, which is the runtime's to do.
    """
    deadline = time.monotonic() + 0.5 * processes.PATIENCE
    while cgroup and (members := cgroups.processes(cgroup)) and time.monotonic() < deadline:
        kill(*members)
        time.sleep(0.01)


class World:
    """One test's directories, and the sweeping up behind it."""

    def __init__(self, shared, is_alone):
        self.shared = shared
        self.directory = tempfile.mkdtemp(prefix="escra-e2e-")
        self.root = os.path.join(self.directory, "root")
        self.children = []
        self.containers = []
        self.groups = []
        self.slices = []
        self.numbers = itertools.count(1)
        self.machine = processes.MachineLock.taken(is_alone)

    def path(self, name):
        return os.path.join(self.directory, name)

    def name(self):
        return f"{PREFIX}{next(self.shared['numbers'])}"

    def spawn(self, process):
        """Takes care of a process's end."""
        self.children.append(process)
        return process

    def cgroup(self, name=""):
        """Makes a cgroup for the test to use, and removes it afterwards."""
        path = f"/{self.name()}{name}"
        cgroups.make(path)
        self.groups.append(path)
        return path

    def parent(self, quota=None, memory=None):
        """Makes a cgroup for containers that has limits; a slice where systemd makes them.

        - quota: microseconds of CPU time in 100 ms
        - memory: bytes
        """
        if not driver.IS_SYSTEMD:
            path = self.cgroup()
            if quota:
                cgroups.set_quota(path, quota)
            if memory:
                cgroups.set_memory_limit(path, memory)
            return path
        name = self.name() + ".slice"
        limits = [f"CPUQuota={quota // 1000}%"] if quota else ["CPUWeight=100"]
        limits += [f"MemoryMax={memory}"] if memory else ["MemoryAccounting=yes"]
        # Asked for any of it, it turns the controllers on in every slice above.
        for words in (["start", name], ["set-property", "--runtime", name, *limits]):
            assert driver.systemctl(*words).returncode == 0
        self.slices.append(name)
        return driver.slice_path(name)

    def cgroups(self):
        """Those that no other test has to do with."""
        return [group for group in cgroups.of_ours(PREFIX) if group not in self.shared["groups"]]

    def sweep(self):
        """Ends everything, then returns what should have ended by itself."""
        for container in self.containers:
            container.close()
            empty(container.cgroup)
        left, said = [], ""
        roots = {self.root, *(c.runtime.globals[1] for c in self.containers)}
        for program, root in itertools.product({RUNC, LOW_LEVEL}, roots):
            listed = subprocess.run(
                [program, "--root", root, "list", "--quiet"], capture_output=True, text=True)
            for id in listed.stdout.split():
                said += subprocess.run(
                    [program, "--root", root, "delete", "--force", id], capture_output=True,
                    text=True, timeout=20 * processes.PATIENCE).stderr
        for process in self.children:
            if process.poll() is None:
                process.kill()
            process.wait()
        for name in self.slices:
            left += driver.end_slice(name)
        if driver.IS_SYSTEMD:
            # A scope without processes is systemd's to remove, which has other things to do.
            with contextlib.suppress(AssertionError):
                wait_until(lambda: set(self.cgroups()) <= set(self.groups), 0.5)
        # A group around a container's own is the keeper's to remove, behind the runtime.
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not set(filter(cgroups.OUTER.search, self.cgroups())) - set(
                self.groups), 2)
        groups = self.cgroups()
        for group in groups:
            cgroups.remove(group)
        groups = [group for group in groups if group not in self.groups]
        left += [f"cgroup {group}; delete said: {said}" for group in groups]

        def is_clean():
            return not ours() and not processes.files_of_ours()

        try:
            wait_until(is_clean, 4)
        except AssertionError:
            left += [f"process {pid} {words}" for pid, words in ours().items()]
            left += processes.files_of_ours()
            kill(*processes.keepers())
            kill(*ours())
            # Or each test that follows would find it as well.
            for path in glob.glob(processes.RUN + "/*"):
                shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)
        return left


@pytest.fixture(scope="session")
def shared():
    """What all tests read: the spec, a root file system, a counter for names."""
    directory = tempfile.mkdtemp(prefix="escra-e2e-rootfs-")
    make_rootfs(directory)
    mounts = kernel.mount_points()
    groups = set()
    if driver.IS_SYSTEMD:
        # With each slice that it is in.
        path = driver.slice_path(SLICE)
        while path:
            groups.add(path)
            path = path.rpartition("/")[0]
    yield {
        "base": base_config(), "rootfs": directory, "numbers": itertools.count(1),
        # Cgroups that outlive a test: those of an engine that several share.
        "groups": groups}
    shutil.rmtree(directory)
    if driver.IS_SYSTEMD:
        assert driver.end_slice(SLICE) == []
    wait_until(lambda: not ours(), 2, "no process of ours at the end of the session")
    assert processes.files_of_ours() == []
    assert cgroups.of_ours(PREFIX) == []
    assert kernel.mount_points() == mounts
    # Who loads hooks for a supervisor that was killed meanwhile finds that out when it is done.
    wait_until(lambda: processes.in_our_world() == [os.getpid()], 2, "no process in our world")


@pytest.fixture(autouse=True)
def world(shared, request):
    """A private directory; afterwards nothing may be left."""
    is_alone = request.node.get_closest_marker("alone") is not None
    world = World(shared, is_alone)
    yield world
    left = world.sweep()
    if is_alone:
        world.machine.keep()
    else:
        world.machine.close()
    assert left == [], "left behind, and removed now"


def flags(world):
    """What every call begins with; the root is second."""
    return ["--root", world.root, *(["--systemd-cgroup"] if driver.IS_SYSTEMD else [])]


@pytest.fixture
def plain(world):
    """The low-level runtime alone."""
    return Runtime(LOW_LEVEL, *flags(world))


@pytest.fixture
def escra(world):
    """The low-level runtime behind escra-runc."""
    return Runtime(ESCRA_RUNC, *flags(world))


def place(world, path):
    """A container's cgroup, and how config.json says it: `path`, or one of the suite's making."""
    path = path or os.path.join(
        driver.slice_path(SLICE) if driver.IS_SYSTEMD else "/", world.name())
    if not driver.IS_SYSTEMD:
        return path, path
    parent, name = os.path.split(path)
    return f"{parent}/e2e-{name}.scope", f"{os.path.basename(parent)}:e2e:{name}"


@pytest.fixture
def bundle(world, shared):
    """Makes bundles: annotations, a quota, further members of config.json."""

    def make(annotations=None, quota=None, period=None, args=None, name="bundle", cgroup=None):
        made = Bundle(
            os.path.join(world.directory, f"{name}{next(world.numbers)}"), shared["base"],
            shared["rootfs"])
        made.config["annotations"] = annotations or {}
        made.cgroup, made.config["linux"]["cgroupsPath"] = place(world, cgroup)
        cpu = {name: value for name, value in (("quota", quota), ("period", period))
               if value is not None}
        if cpu:
            made.config["linux"]["resources"]["cpu"] = cpu
        if args:
            made.config["process"]["args"] = args
        return made.write()

    return make


@pytest.fixture
def container(world, escra, bundle):
    """Makes containers, not yet created; `reactive` unless told otherwise."""

    def make(annotations=None, runtime=None, bundle_=None, policy="reactive", **options):
        if bundle_ is None:
            options.setdefault("quota", 20_000)
            options.setdefault("period", 100_000)
            asked = {"io.escra.policy": policy} if policy else {}
            if policy == "strict":
                # It moves what else runs on the machine to other CPUs.
                world.machine.be_alone()
            bundle_ = bundle({**asked, **(annotations or {})}, **options)
        made = Container(runtime or escra, bundle_, world.name())
        if made.runtime.program == ESCRA_RUNC:
            compatibility.ran(None, LOW_LEVEL, bundle_.config["annotations"].get("io.escra.policy"))
        world.containers.append(made)
        return made

    return make


@pytest.fixture
def no_unified():
    """A machine without the unified hierarchy, as the suite's own mount namespace shows it."""
    if not cgroups.is_hybrid():
        pytest.skip("only a hybrid machine has a unified hierarchy that can be left out")
    with cgroups.without_unified():
        yield


@pytest.fixture(scope="session")
def daemon(shared):
    """A containerd for all tests that want one, with images in it."""
    if not CONTAINERD:
        pytest.fail("containerd is missing; run: make deps")
    directory = tempfile.mkdtemp(prefix="escra-e2e-containerd-")
    archive = busybox_archive(directory)
    made = Containerd(directory).start()
    made.image = made.load(archive, NAMESPACE, PODS)
    made.load(pause_archive(archive, directory), PODS)
    shared["groups"].add(PARENT.path)
    yield made
    made.stop()
    assert PARENT.close() == []
    cgroups.remove(PARENT.path)
    shutil.rmtree(directory)


@pytest.fixture
def containerd(world, daemon):
    """The daemon, with nothing in it; afterwards there may be nothing in it either."""
    yield daemon
    left = daemon.left()
    assert left == [], "left behind, and removed now"
