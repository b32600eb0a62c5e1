# SPDX-License-Identifier: Apache-2.0
"""What a test works in: private directories, runtimes, bundles, containers."""
import collections
import contextlib
import copy
import json
import os
import re
import shutil
import subprocess
import threading
import time

import cgroups
from processes import PATIENCE, supervisors, wait_until

REPOSITORY = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
ESCRA_RUNC = os.path.abspath(
    os.environ.get("ESCRA_RUNC", os.path.join(REPOSITORY, ".build/release/escra-runc")))
ESCRA = os.environ.get("ESCRA", os.path.join(os.path.dirname(ESCRA_RUNC), "escra"))
# ESCRA_E2E_PATH: a directory whose programs come first, such as that of scripts/deps-containerd.
PATH = ":".join([
    *filter(None, [os.environ.get("ESCRA_E2E_PATH")]),
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])
# The one that escra-runc finds first: runc says its own path in some messages.
RUNC = shutil.which(
    "runc", path="/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin:/bin:" + PATH)
# ESCRA_E2E_RUNTIME=crun: crun beneath, as an operator chooses it in escra-runc's config.
LOW_LEVEL = {"runc": RUNC, "crun": "/usr/bin/crun"}[os.environ.get("ESCRA_E2E_RUNTIME", "runc")]
IS_CRUN = LOW_LEVEL != RUNC
PREFIX = f"e2e-{os.getpid()}-"
# The slice of all containers, where systemd makes their scopes.
SLICE = f"{PREFIX}c.slice"
# What lies beside a config.json that is edited, first and last.
EDIT = ".config.json.escra-edit"

Result = collections.namedtuple("Result", "code out err seconds")


class Runtime:
    """An OCI runtime, called as engines call it."""

    def __init__(self, program, *globals, env=None):
        self.program, self.globals = program, list(globals)
        self.env = {"PATH": PATH} if env is None else env

    def __repr__(self):
        return os.path.basename(self.program)

    def using(self, *globals, env=None):
        """The same runtime with further global flags, or another environment."""
        return Runtime(
            self.program, *self.globals, *globals, env=self.env if env is None else env)

    def command(self, *arguments):
        return [self.program, *self.globals, *arguments]

    def __call__(self, *arguments, timeout=20, input=None, **options):
        """Runs to the end of file of stdout and stderr, as Go's exec.Cmd does with a buffer."""
        before = time.monotonic()
        if input is None:
            options.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run(
            self.command(*arguments), input=input, capture_output=True, timeout=timeout * PATIENCE,
            env=self.env, **options)
        return Result(
            done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr),
            time.monotonic() - before)

    def start(self, *arguments, **options):
        """Starts a call and does not wait for it; its stdio is nobody's unless given."""
        for stream in ("stdin", "stdout", "stderr"):
            options.setdefault(stream, subprocess.DEVNULL)
        return subprocess.Popen(self.command(*arguments), env=self.env, **options)


def without_time(text):
    """What a runtime writes, but for when: runc as text or JSON, crun at the line's beginning."""
    stamp = r"\d{4}-\d\d-\d\dT[0-9:.]+Z?"
    return re.sub(rf'"time":"[^"]*"|time="[^"]*"|\b{stamp}', "TIME", text)


def escra_tool(*arguments, code=0):
    """What the operator's tool writes."""
    done = subprocess.run(
        [ESCRA, *arguments], capture_output=True, text=True, timeout=10 * PATIENCE)
    assert done.returncode == code, done
    return done.stdout


def base_config():
    """What `runc spec` writes."""
    directory = os.path.join("/tmp", PREFIX + "spec")
    os.makedirs(directory)
    try:
        subprocess.run([RUNC, "spec", "--bundle", directory], check=True)
        with open(os.path.join(directory, "config.json")) as file:
            return json.load(file)
    finally:
        shutil.rmtree(directory)


def make_rootfs(directory):
    """A file system with busybox in it, for all containers to read."""
    for name in ("bin", "proc", "dev", "sys", "tmp"):
        os.makedirs(os.path.join(directory, name))
    shutil.copy(shutil.which("busybox") or "/bin/busybox", os.path.join(directory, "bin"))
    for applet in ("sh", "cat", "sleep", "env", "true", "ls", "tty", "kill", "grep", "test", "dd"):
        os.symlink("busybox", os.path.join(directory, "bin", applet))


class Bundle:
    """A bundle directory; edit `config`, then write()."""

    # A container that does what is written to its stdin, and ends with it.
    OBEDIENT = ["sh", "-c", 'while read -r line; do eval "$line"; done']

    def __init__(self, path, base, rootfs):
        os.makedirs(path)
        self.path = path
        self.file = os.path.join(path, "config.json")
        self.config = copy.deepcopy(base)
        self.config["process"]["terminal"] = False
        self.config["process"]["args"] = list(self.OBEDIENT)
        self.config["root"]["path"] = rootfs
        self.config["annotations"] = {}
        # Where cgroupsPath leads, from the root of the hierarchies.
        self.cgroup = None

    def give_memory(self, limit):
        """Declares so many bytes of memory, and a tmpfs to fill."""
        self.config["linux"]["resources"]["memory"] = {"limit": limit, "swap": limit}
        self.config["mounts"].append(
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=1g"]})
        self.write()

    def write(self):
        with open(self.file, "w") as file:
            json.dump(self.config, file, indent=1)
        return self

    def identity(self):
        """Everything by which a config.json that was touched could be told."""
        status = os.stat(self.file)
        with open(self.file, "rb") as file:
            return (
                file.read(), status.st_ino, status.st_mtime_ns, status.st_mode, status.st_uid,
                status.st_gid, status.st_nlink)

    def names(self):
        return sorted(os.listdir(self.path))

    def is_original(self, identity, lock=False):
        """Whether nothing of an edit is left, but for its lock if that may be.

        The lock is the record of the edit, which is empty as long as nothing was edited.
        """
        names = set(self.names()) - {"config.json"}
        if lock and names == {EDIT}:
            with contextlib.suppress(FileNotFoundError):
                if os.path.getsize(os.path.join(self.path, EDIT)) == 0:
                    names.remove(EDIT)
        return not names and self.identity() == identity


class Supervised:
    """What can be seen of a container from outside, by whomever it was started."""

    def __init__(self, id, cgroup):
        self.id, self.cgroup = id, cgroup

    @property
    def quota(self):
        return cgroups.limit(self.cgroup)[0]

    def wait_for_quota(self, condition, seconds, what):
        """Waits for a limit that meets a condition; says which one it was otherwise."""
        seen = []

        def met():
            seen[:] = [self.quota]
            return condition(seen[0])

        try:
            wait_until(met, seconds)
        except AssertionError:
            raise AssertionError(f"{what}: not within {seconds} s, the quota is {seen[0]}")
        return seen[0]

    def supervisor(self, seconds=2):
        """The pid of the supervisor, once it has attached."""

        def attached():
            # A helper of a supervisor that was killed has its name, and lives on for a moment.
            # Looked at once: while it becomes a fresh image /proc shows no arguments of it.
            found = supervisors(self.id)
            recorded = [
                state.get("supervisor", "").partition("@")[0] for state in self.states()
                if state.get("phase") == "running"]
            return found[0] if len(found) == 1 and str(found[0]) in recorded else None

        return wait_until(attached, seconds, "one supervisor that has found its container")

    def states(self):
        """What is written under /run/escra of the container's instances."""
        found = []
        for parent, _, names in os.walk("/run/escra/containers"):
            if "state" in names:
                try:
                    with open(os.path.join(parent, "state")) as file:
                        state = dict(line.rstrip("\n").split("=", 1) for line in file)
                except FileNotFoundError:
                    continue
                if state["id"] == self.id:
                    found.append({**state, "directory": parent})
        return found

    def record(self):
        """The supervisor's decisions, oldest first."""
        entries = []
        for state in self.states():
            with open(os.path.join(state["directory"], "record"), "rb") as file:
                data = file.read()
            for offset in range(0, len(data), 64):
                words = [
                    int.from_bytes(data[offset + 8 * i:offset + 8 * i + 8], "little")
                    for i in range(7)]
                if words[0]:
                    entries.append(Entry(
                        words[0], words[1], words[2] & 255, bool(words[2] & 256), *words[3:]))
        return sorted(entries)


class Container(Supervised):
    """One container of one runtime."""

    def __init__(self, runtime, bundle, id):
        super().__init__(id, bundle.cgroup)
        self.runtime, self.bundle = runtime, bundle
        cgroups.expect_outer(runtime.globals[1], id)
        self.pid_file = os.path.join(os.path.dirname(bundle.path), id + ".pid")
        self.stdin = None
        # Whether its supervisor is to have found it before it starts, as it has behind an engine.
        self.is_found_first = False

    def create(self, *flags, verb="create", **options):
        reading, writing = os.pipe()
        self.close()
        self.stdin = os.fdopen(writing, "w", buffering=1)
        options.setdefault("stdin", reading)
        for stream in ("stdout", "stderr"):
            # Not pipes: the container inherits them, and holds them as long as it lives.
            options.setdefault(stream, subprocess.DEVNULL)
        process = self.runtime.start(
            verb, "--bundle", self.bundle.path, "--pid-file", self.pid_file, *flags, self.id,
            **options)
        os.close(reading)
        return process

    def started(self, *flags, **options):
        """Creates and starts it; both must succeed."""
        said = self.pid_file + ".err"
        with open(said, "wb") as stderr:
            code = self.create(*flags, **{"stderr": stderr, **options}).wait(20 * PATIENCE)
        with open(said) as stderr:
            assert code == 0, stderr.read()
        if self.is_found_first:
            self.supervisor()
        self.call("start")
        return self

    def call(self, verb, *flags, code=0, **options):
        """Calls the runtime for this container and checks the exit code."""
        result = self.runtime(verb, *flags, self.id, **options)
        assert result.code == code, result
        return result

    def do(self, script):
        """Lets the container's shell run a line."""
        self.stdin.write(script + "\n")

    def work(self, loops=1):
        for _ in range(loops):
            self.do("while :; do :; done & b=\"$b $!\"")

    def fill(self, size):
        """Has so many MiB in a file in memory; give_memory() made the place for it."""
        self.do(f"dd if=/dev/zero of=/tmp/file bs=65536 count={size * 16}")

    def rest(self):
        self.do('kill $b; wait $b; b=')

    def close(self):
        if self.stdin:
            try:
                self.stdin.close()
            except BrokenPipeError:
                pass
            self.stdin = None

    @property
    def pid(self):
        with open(self.pid_file) as file:
            return int(file.read())

    @property
    def first_quota(self):
        """The quota that the low-level runtime has read in config.json, or that ours began with."""
        [state] = self.states()
        if "inner" in state:
            self.supervisor()
            return self.record()[0].after // 1000
        directory = os.path.join(self.runtime.globals[1], self.id)
        if IS_CRUN:
            with open(os.path.join(directory, "config.json")) as file:
                return json.load(file)["linux"]["resources"]["cpu"]["quota"]
        with open(os.path.join(directory, "state.json")) as file:
            return json.load(file)["config"]["cgroups"]["cpu_quota"]

    @property
    def status(self):
        return json.loads(self.call("state").out)["status"]


Entry = collections.namedtuple("Entry", "sequence time rule applied before after use period")


class Sampler:
    """Looks at a container's limit every 10 ms."""

    def __init__(self, container, every=0.01):
        self.container, self.every = container, every
        self.samples = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        stop = False
        while True:
            try:
                self.samples.append((time.monotonic(), self.container.quota))
            except OSError:
                return
            if stop:
                return
            # One more look after the end, so that what was waited for is among the samples.
            stop = self._stop.wait(self.every)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    @property
    def quotas(self):
        return [quota for _, quota in self.samples]
