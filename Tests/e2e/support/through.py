# SPDX-License-Identifier: Apache-2.0
"""An engine as a case sees it: containers under one runtime, which end with the case."""
import contextlib
import os
import shutil
import tempfile

import pytest

import cgroups
import comparison
import compatibility
import engines
import images
import kernel
from processes import files_of_ours, in_our_world, ours, wait_until
from terminal import Terminal
from world import RUNC, Supervised


class Through:
    """One case's view of an engine: its containers under one runtime, which end with the case."""

    def __init__(self, engine, runtime, account, world):
        self.engine, self.account, self.world = engine, account, world
        self.runtime = runtime
        self.before, self.options = engine.RUNTIMES[runtime]
        self.image = engine.image
        self.containers = []
        # The first one is the low-level runtime, by itself.
        beneath, *ours = engine.RUNTIMES
        if runtime in ours:
            compatibility.ran(
                engine.CLIENT, "/usr/bin/crun" if beneath == "crun" else RUNC,
                "reactive" if self.has_policy else None)

    @property
    def has_policy(self):
        return self.runtime == "reactive"

    def saw(self, what, value):
        return self.account.saw(what, value)

    def finished(self, what, result):
        """Notes a call that has ended, but for the time it took."""
        error = self.engine.NOISE.sub("", result.err)
        self.saw(what, {"code": result.code, "output": result.out, "error": error})
        return result

    def __call__(self, *words, **options):
        # Some conmons leave a file where Podman was called.
        return self.engine.cli(*words, cwd=self.engine.directory, **options)

    def words(self, verb, *words):
        """The client's arguments for a verb that makes a container."""
        return [*self.before, verb, *self.engine.OPTIONS, *self.options, *words]

    def run(self, *words, **options):
        return self(*self.words("run", "--rm", *words), **options)

    def terminal(self, *words):
        """The client on a terminal of ours."""
        return Terminal(self.engine.cli.command(*words), self.engine.cli.env)

    def created(self, *words):
        """Makes a container, and lets the runtime make it where the engine can say so."""
        name = self.world.name()
        with self.account.timing("create"):
            made = self(*self.words("create", "--name", name, *words))
            assert made.code == 0, made
            if self.engine.PREPARE:
                prepared = self(self.engine.PREPARE, name)
                assert prepared.code == 0, prepared
        self.containers.append(Container(self, name, made.out.strip()))
        return self.containers[-1]

    def started(self, *words):
        container = self.created(*words)
        with self.account.timing("start"):
            container.call("start")
        return container

    def remove(self, *containers):
        """Removes containers by one call, whatever they do."""
        with self.account.timing("delete"):
            removed = self(*self.engine.REMOVE, *(made.name for made in containers))
        self.containers = [made for made in self.containers if made not in containers]
        return removed

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        if failure is None and not self.has_policy:
            assert ours() == {}, "nobody asked for a supervisor"
        for container in self.containers:
            self.remove(container)
        if failure is None:
            wait_until(
                lambda: not ours() and not files_of_ours(), 4, "nothing of ours is left")


class Container(Supervised):
    """One container of one engine."""

    def __init__(self, through, name, id):
        super().__init__(id, through.engine.cgroup(id))
        self.through, self.name = through, name

    def call(self, verb, *words, code=0, **options):
        """Calls the engine for this container and checks the exit code."""
        result = self.through(verb, *words, self.name, **options)
        assert code is None or result.code == code, result
        return result

    def exec(self, *words, flags=(), **options):
        return self.through("exec", *flags, self.name, *words, **options)

    def inspect(self):
        return self.through.engine.inspect(self.name)

    def says(self, line, times=1):
        """Waits for a line in the log; a process that says it has its signal handlers."""
        wait_until(
            lambda: self.call("logs").out.count(line) >= times, 5, f"{line!r} {times} times")

    @property
    def state(self):
        return self.inspect()["State"]

    @property
    def pid(self):
        return self.state["Pid"]


@pytest.fixture(scope="session")
def archive():
    """The image of all containers of engines, as a file to load."""
    directory = tempfile.mkdtemp(prefix="escra-e2e-image-")
    yield images.busybox_archive(directory)
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def run_engine(shared, archive):
    """Runs an engine with the image loaded, and afterwards sees that nothing of it is left."""

    @contextlib.contextmanager
    def run(kind, **options):
        assert os.access(kind.CLIENT, os.X_OK), f"{kind.CLIENT} is missing; run: make deps"
        before = set(in_our_world())
        directory = tempfile.mkdtemp(prefix="escra-e2e-engine-")
        engine = kind(directory, **options)
        parent = engine.parent.path
        standing = {parent, parent + "/conmon"}
        shared["groups"].update(standing)
        try:
            engine.start()
            engine.load(archive)
            yield engine
        finally:
            engine.stop()
            storage = os.path.join(directory, engine.STORAGE)
            for _ in range(kernel.mount_points().count(storage)):
                kernel.unmount(storage)
            mounted = [point for point in kernel.mount_points() if point.startswith(directory)]
            groups = set(cgroups.of_ours(parent))
            units = engine.parent.close()
            for group in sorted(groups, key=len, reverse=True):
                cgroups.remove(group)
            # Podman cleans up after a container in a process of its own, which writes there.
            wait_until(lambda: is_removed(directory), 10, "the engine's directory is removed")
        assert mounted == [] and units == [] and groups <= standing
        wait_until(lambda: set(in_our_world()) <= before, 10, "no process of the engine is left")

    return run


def is_removed(directory):
    shutil.rmtree(directory, ignore_errors=True)
    return not os.path.exists(directory)


@pytest.fixture(scope="module", params=[engines.Docker, engines.Podman], ids=lambda kind: kind.name)
def engine(request, run_engine):
    """Both engines, one after the other, for all tests of a module."""
    with run_engine(request.param) as engine:
        yield engine


@pytest.fixture
def through(engine, world, request):
    """Lets a case happen with the plain runtime, with us and under a policy; what the first saw."""
    name = request.node.name.removeprefix("test_").split("[")[0].replace("_", " ")

    def compare(case, runtimes=None, **options):
        def happen(account, runtime):
            with Through(engine, runtime, account, world) as view:
                case(view)

        accounts = comparison.compare(
            engine.name, name, happen,
            {runtime: runtime for runtime in runtimes or engine.RUNTIMES}, **options)
        return next(iter(accounts.values())).seen

    return compare
