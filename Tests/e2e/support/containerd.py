# SPDX-License-Identifier: Apache-2.0
"""A private containerd, and ctr bound to one of the ways in which a container may run."""
import collections
import json
import os
import shutil
import signal
import subprocess
import time

import compatibility
import kernel
import unary
from ctrevents import Events
from driver import IS_SYSTEMD, Parent
from processes import PATIENCE, arguments, is_alive, kill, wait_until
from world import ESCRA_RUNC, PATH, PREFIX, RUNC, Result

CONTAINERD = shutil.which("containerd", path=PATH)
# It makes the cgroup's parent as well, so that ours are told from others' by their name.
NAMESPACE = PREFIX + "ctr"
# The same one where systemd makes it: a name that ctr has to be given for each container.
PARENT = Parent("ctr")
PODS = "k8s.io"
# Of the sandbox of a pod; a name that begins with a host is one that nobody makes longer.
PAUSE = "localhost/escra-e2e/pause:latest"

# Which program is registered as the runtime, and what it is asked for.
Way = collections.namedtuple("Way", "name program annotations")
PLAIN = Way("runc", RUNC, {})
WAYS = [
    PLAIN, Way("escra-runc", ESCRA_RUNC, {}),
    Way("reactive", ESCRA_RUNC, {"io.escra.policy": "reactive"})]

# A container under containerd's CRI plugin wants its runtime by a name, and a machine's root may
# lack CAP_SYS_RESOURCE, without which nobody is made less likely to be killed than he was. The
# table of runtimes replaces the built-in one, so that runc has to be in it.
CONFIG = """version = 2
root = "{directory}/root"
state = "{directory}/state"
[grpc]
  address = "{directory}/socket"
[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_tcp_service = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = {systemd}
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.escra]
  runtime_type = "io.containerd.runc.v2"
  pod_annotations = ["io.escra.*", "io.escra.*/*"]
  container_annotations = ["io.escra.*", "io.escra.*/*"]
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.escra.options]
  BinaryName = "{escra}"
  SystemdCgroup = {systemd}
"""


def cgroup(id):
    """Where a container of ctr's is."""
    return PARENT.below("ctr", id)


class Containerd:
    """The daemon, with root, state, socket and config in one directory."""

    def __init__(self, directory, socket=None):
        self.directory = directory
        self.socket = socket or os.path.join(directory, "socket")
        self.config = os.path.join(directory, "config.toml")
        self.image = self.process = None
        self.events = Events(os.path.join(directory, "events"))
        with open(self.config, "w") as file:
            file.write(CONFIG.format(
                directory=directory, pause=PAUSE, escra=ESCRA_RUNC,
                systemd=json.dumps(IS_SYSTEMD)))

    def start(self):
        with open(os.path.join(self.directory, "log"), "a") as log:
            # Not of our session: ^C is for the suite, which ends the daemon in order.
            self.process = subprocess.Popen(
                [CONTAINERD, "--config", self.config], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env={"PATH": PATH}, start_new_session=True,
                preexec_fn=lambda: kernel.die_with_parent(signal.SIGTERM))
        wait_until(self._answers, 10, "containerd answers")
        self.events.follow(self.ctr(PLAIN).command("events"), {"PATH": PATH})
        return self

    def _answers(self):
        assert self.process.poll() is None, self.log()
        return os.path.exists(self.socket) and self.ctr(PLAIN)("version").code == 0

    def kill(self):
        """As a crash does it: nobody is told."""
        self.process.kill()
        self.process.wait()
        self.events.stop()

    def stop(self):
        self.events.stop()
        self.process.terminate()
        self.process.wait(10 * PATIENCE)

    def log(self):
        with open(os.path.join(self.directory, "log")) as file:
            return file.read()

    def ctr(self, way, namespace=NAMESPACE):
        return Ctr(self, way, namespace)

    def load(self, archive, *namespaces):
        """Imports an image and returns the name that it got, which is longer than its own."""
        for namespace in namespaces:
            ctr = self.ctr(PLAIN, namespace)
            before = set(ctr("images", "ls", "-q").out.split())
            done = ctr("images", "import", archive)
            assert done.code == 0, done
            # The CRI plugin gives each image further names.
            [name] = [name for name in set(ctr("images", "ls", "-q").out.split()) - before
                      if name.endswith(":latest")]
        if PODS in namespaces:
            wait_until(lambda: self._cri_knows(name), 5, "the CRI plugin has seen the image")
        return name

    def _cri_knows(self, image):
        answer = unary.call(
            self.socket, "runtime.v1.ImageService/ImageStatus", [(1, [(1, image)])])
        return answer.status == unary.OK and any(number == 1 for number, _ in answer.fields)

    def shims(self):
        """Pids of the shims that this daemon has started: they outlive it."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                words = arguments(entry)
                if (words and os.path.basename(words[0]).startswith("containerd-shim")
                        and self.socket in words and is_alive(entry)):
                    found.append(int(entry))
        return found

    def left(self):
        """Ends what a test has left running, and says what that was."""
        found = []
        for namespace in (NAMESPACE, PODS):
            ctr = self.ctr(PLAIN, namespace)
            for kind, verb in (("tasks", "--force"), ("containers", None)):
                for id in ctr(kind, "ls", "-q").out.split():
                    found.append(f"{kind} {id}")
                    ctr(kind, "rm", *([verb] if verb else []), id)
        try:
            wait_until(lambda: not self.shims(), 5)
        except AssertionError:
            found += [f"shim {pid}" for pid in self.shims()]
            kill(*self.shims())
        return found


class Ctr:
    """ctr on one daemon, for containers of one way."""

    def __init__(self, daemon, way, namespace):
        self.daemon, self.way, self.namespace = daemon, way, namespace
        self.started, self.removed = [], {}

    def __repr__(self):
        return self.way.name

    @property
    def is_supervised(self):
        return bool(self.way.annotations)

    def command(self, *arguments):
        return ["ctr", "--address", self.daemon.socket, "--namespace", self.namespace, *arguments]

    def __call__(self, *arguments, input=None, timeout=30):
        before = time.monotonic()
        if arguments[:2] in (("tasks", "rm"), ("tasks", "delete")):
            self.removed[arguments[-1]] = time.time()
        done = subprocess.run(
            self.command(*arguments), capture_output=True, timeout=timeout * PATIENCE,
            env={"PATH": PATH},
            **({"stdin": subprocess.DEVNULL} if input is None else {"input": input}))
        return Result(
            done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr),
            time.monotonic() - before)

    def running(self, id, *words, flags=()):
        """The arguments of a `run` in this way."""
        self.started.append(id)
        if self.way is not PLAIN:
            compatibility.ran(CONTAINERD, RUNC, self.way.annotations.get("io.escra.policy"))
        annotations = [
            word for key, value in self.way.annotations.items()
            for word in ("--annotation", f"{key}={value}")]
        by_systemd = [
            "--runc-systemd-cgroup", "--cgroup", f"{PARENT.word}:ctr:{id}"] if IS_SYSTEMD else []
        return ["run", "--runc-binary", self.way.program, *annotations, "--cpu-quota", "50000",
                "--cpu-period", "100000", *by_systemd, *flags, self.daemon.image, id, *words]

    def run(self, id, *words, flags=(), **options):
        return self(*self.running(id, *words, flags=flags), **options)

    def detached(self, id, *words, flags=()):
        """Starts a container that goes on, which must succeed."""
        done = self.run(id, *(words or ("sleep", "1000")), flags=["--detach", *flags])
        assert done.code == 0, done
        return done

    def exec(self, id, *words, flags=(), **options):
        return self("tasks", "exec", "--exec-id", "e", *flags, id, *words, **options)

    def info(self, id):
        return json.loads(self("containers", "info", id).out)

    def tasks(self):
        """{id: (pid, status)} as `ctr task ls` has it."""
        lines = self("tasks", "ls").out.splitlines()[1:]
        return {id: (int(pid), status) for id, pid, status in map(str.split, lines)}

    def pid(self, id):
        return self.tasks()[id][0]

    def end(self, id):
        """Kills a container, waits for its end, and removes it; returns what that said."""
        killed = self("tasks", "kill", "--signal", "SIGKILL", id)
        wait_until(lambda: self.tasks()[id][1] == "STOPPED", 5, "the task has stopped")
        return [killed, self("tasks", "rm", id), self("containers", "rm", id)]

    def times(self):
        """{verb: seconds of each container}, as containerd itself saw it."""
        found = {}
        for id in self.started:
            for verb, seconds in self.daemon.events.times(id, self.removed.get(id)).items():
                found.setdefault(verb, []).append(seconds)
        return found

    def update(self, id, resources):
        """What the CRI plugin does for UpdateContainerResources, and ctr has no verb for."""
        return unary.call(
            self.daemon.socket, "containerd.services.tasks.v1.Tasks/Update",
            [(1, id), (2, [
                (1, "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"),
                (2, json.dumps(resources))])],
            f"containerd-namespace: {self.namespace}")
