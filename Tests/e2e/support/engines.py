# SPDX-License-Identifier: Apache-2.0
"""Docker and Podman from Debian's packages, with everything of theirs in one directory.

They live in the suite's mount namespace, so that escra-runc sees the suite's /run/escra when they
call it. No registry is ever asked for anything, and containers have no network.
"""
import json
import os
import re
import shutil
import signal
import subprocess

import pytest

import cgroups
import images
import kernel
from driver import DRIVER, IS_SYSTEMD, Parent
from processes import PATIENCE, wait_until
from world import ESCRA_RUNC, PATH, RUNC, Runtime

# Plain runc first, and the one of which escra-runc becomes a copy.
ENVIRONMENT = {"PATH": f"{os.path.dirname(RUNC)}:{PATH}"}


def by_name(directory, program, policy):
    """escra-runc under a name that carries a policy."""
    link = os.path.join(directory, f"escra-runc.{policy}")
    os.symlink(program, link)
    return link


class Daemon:
    """A process with a config file, and its log beside that."""

    def __init__(self, program, flag, path, config):
        self.path, self.process = path, None
        self.command = [program, flag, path]
        with open(path, "w") as file:
            file.write(config)

    def start(self):
        with open(self.path + ".log", "a") as log:
            # Not of our session: ^C is for the suite, which ends the daemon in order.
            self.process = subprocess.Popen(
                self.command, env=ENVIRONMENT, cwd=os.path.dirname(self.path),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=lambda: kernel.die_with_parent(signal.SIGTERM))

    @property
    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        with open(self.path + ".log") as log:
            return log.read()

    def stop(self):
        if self.is_alive:
            self.process.terminate()
            self.process.wait(30 * PATIENCE)

    def kill(self):
        self.process.kill()
        self.process.wait(5 * PATIENCE)


def version(program):
    """The numbers in what a program says of its version."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    return tuple(map(int, re.search(r"(\d+)\.(\d+)", said).groups()))


def is_missing_compose(engine):
    """Whether Docker's client has no plugin for it."""
    return engine.cli("compose", "version").code != 0


class Docker:
    """dockerd and its containerd."""

    name, image = "docker", images.NAME
    # By path: PATH may have another docker before Debian's. A newer client asks this daemon, too,
    # but words errors in its own way and promises flags that are refused.
    CLIENT = "/usr/bin/docker"
    # What a container is started by where its name is to carry the policy.
    BY_NAME = ["--runtime", "escra-reactive"]
    OPTIONS = ["--network", "none"]
    # What `create` leaves for `start` to do: all that a runtime does.
    PREPARE = None
    REMOVE = ["rm", "--force"]
    # Mounted on itself, and left so with live-restore.
    STORAGE = "data"
    # Of a container that does not start the client says this or not, as its threads happen to run.
    NOISE = re.compile(r'time="[^"]*" level=error msg="error waiting for container: [^"]*" *\n')

    def __init__(self, directory, live_restore=True):
        self.directory = directory
        self.parent = Parent(os.path.basename(directory))
        self.version = version("/usr/sbin/dockerd")
        # Annotations are of API 1.43; before that the name by which we are called is the policy.
        self.passes_annotations = self.version >= (24, 0)
        # The words before the verb and those after it that select a runtime.
        self.RUNTIMES = {
            "runc": ([], []), "escra": ([], ["--runtime", "escra"]),
            "reactive": ([], [
                "--runtime", "escra", "--annotation", "io.escra.policy=reactive"
            ] if self.passes_annotations else self.BY_NAME)}
        socket = "unix://" + os.path.join(directory, "docker.sock")
        self.cli = Runtime(
            self.CLIENT, "--host", socket, "--config", os.path.join(directory, "client"),
            env=ENVIRONMENT)
        containerd = os.path.join(directory, "containerd.sock")
        self.containerd = Daemon(
            "/usr/bin/containerd", "--config", os.path.join(directory, "containerd.toml"), f"""
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
root = "{directory}/containerd"
state = "{directory}/containerd-state"
[grpc]
  address = "{containerd}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/opt"
""")
        # dockerd could start a containerd of its own. But killed together with it, that one is
        # taken for a living one by the next dockerd, until init has heard of its end.
        self.dockerd = Daemon(
            "/usr/sbin/dockerd", "--config-file", os.path.join(directory, "daemon.json"),
            json.dumps({
                "containerd": containerd,
                "data-root": os.path.join(directory, "data"),
                "exec-root": os.path.join(directory, "exec"),
                "pidfile": os.path.join(directory, "docker.pid"),
                "hosts": [socket],
                # It touches nothing of the machine's network.
                "bridge": "none", "iptables": False, "ip6tables": False, "ip-forward": False,
                "ip-masq": False,
                "exec-opts": [f"native.cgroupdriver={DRIVER}"],
                "cgroup-parent": self.parent.word,
                "live-restore": live_restore,
                "shutdown-timeout": 2,
                "runtimes": {
                    "escra": {"path": ESCRA_RUNC},
                    "escra-reactive": {"path": by_name(directory, ESCRA_RUNC, "reactive")},
                },
            }))

    def start(self):
        self.containerd.start()
        self.dockerd.start()
        wait_until(self._answers, 20, "dockerd answers")

    def _answers(self):
        assert self.dockerd.is_alive, self.dockerd.log()
        return self.cli("version").code == 0

    def load(self, archive):
        assert self.cli("load", "--input", archive).code == 0

    def stop(self):
        """As an operator does; containers go on or end, as live-restore says."""
        self.dockerd.stop()
        self.containerd.stop()

    def kill(self):
        """As a crash does: nobody is told."""
        self.dockerd.kill()
        self.containerd.kill()

    def cgroup(self, id):
        return self.parent.below("docker", id)

    def inspect(self, name):
        [one] = json.loads(self.cli("inspect", name).out)
        return one


class Podman:
    """Podman has no daemon; conmon stays beside each container."""

    name, image = "podman", "localhost/" + images.NAME
    CLIENT = "/usr/bin/podman"
    RUNTIMES = {
        "runc": (["--runtime", "runc"], []), "escra": (["--runtime", "escra-runc"], []),
        "reactive": (
            ["--runtime", "escra-runc"], ["--annotation", "io.escra.policy=reactive"])}
    # The runtime's create, without which only start would call it.
    PREPARE = "init"
    REMOVE = ["rm", "--force", "--time", "0"]
    STORAGE = "root/overlay"
    NOISE = re.compile("$^")

    def __init__(self, directory):
        self.directory = directory
        self.parent = Parent(os.path.basename(directory))
        self.version = version(self.CLIENT)
        self.OPTIONS = ["--network", "none", "--cgroup-parent", self.parent.word]
        self.cli = self._client(ESCRA_RUNC)

    def _client(self, escra_runc):
        config = os.path.join(self.directory, "containers.conf")
        with open(config, "w") as file:
            file.write(f"""
[containers]
# Its own are above what root without CAP_SYS_RESOURCE may set.
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
# Where systemd runs the default is its journal, which not every user may read.
log_driver = "k8s-file"
[engine]
cgroup_manager = "{DRIVER}"
events_logger = "file"
lock_type = "file"
runtime_supports_json = ["crun", "runc", "escra-runc", "escra-runc.reactive"]
[engine.runtimes]
runc = ["{RUNC}"]
escra-runc = ["{escra_runc}"]
"escra-runc.reactive" = ["{by_name(self.directory, escra_runc, "reactive")}"]
""")
        storage = [
            word for option in ("root", "runroot", "tmpdir")
            for word in ("--" + option, os.path.join(self.directory, option))]
        # Health checks are run by systemd's timers, which are not everywhere.
        return Runtime(self.CLIENT, *storage, env={
            **ENVIRONMENT, "CONTAINERS_CONF": config, "DISABLE_HC_SYSTEMD": "true"})

    def start(self):
        pass

    def load(self, archive):
        assert self.cli("load", "--quiet", "--input", archive).code == 0

    def stop(self):
        pass

    def cgroup(self, id):
        # A scope has its kind in its name in any case.
        return self.parent.below("libpod", id if IS_SYSTEMD else f"libpod-{id}")

    def inspect(self, name):
        [one] = json.loads(self.cli("inspect", name).out)
        # The words that we typed, and a list whose order changes from call to call.
        del one["Config"]["CreateCommand"]
        one["Config"]["Env"].sort()
        # Which of its locks it took, and of a rootless one the process that keeps the network.
        one.pop("lockNumber", None)
        one["NetworkSettings"].pop("SandboxKey", None)
        return one


class PodmanOnCrun(Podman):
    """Podman with crun, which does without the unified hierarchy of a hybrid machine."""

    name = "podman on crun"
    # The policy by the runtime's name, for which the annotation serves elsewhere.
    RUNTIMES = {
        "crun": (["--runtime", "crun"], []), "escra": (["--runtime", "escra-runc"], []),
        "reactive": (["--runtime", "escra-runc.reactive"], [])}
    # The operator's config, on the suite's own view of /etc.
    CONFIG = "/etc/escra/config.json"

    def cgroup(self, id):
        # crun leaves systemd's scope to systemd and has its processes one level below.
        return super().cgroup(id) + ("/container" if IS_SYSTEMD else "")

    def start(self):
        self.unified = cgroups.without_unified()
        self.unified.__enter__()
        os.makedirs(os.path.dirname(self.CONFIG), exist_ok=True)
        with open(self.CONFIG, "w") as file:
            json.dump({"runtimes": ["/usr/bin/crun"]}, file)

    def stop(self):
        os.unlink(self.CONFIG)
        os.rmdir(os.path.dirname(self.CONFIG))
        self.unified.__exit__(None, None, None)


class RootlessPodman(Podman):
    """Podman of a user who is not root, which on cgroup v1 has no cgroups."""

    name = "podman, rootless"
    USER = 65534

    def __init__(self, directory):
        super().__init__(directory)
        self.OPTIONS = ["--network", "none"]

    def _client(self, escra_runc):
        # Where he can read it, wherever the repository is.
        program = shutil.copy(escra_runc, os.path.join(self.directory, "escra-runc"))
        client = super()._client(program)
        for name in ("", "home", "run"):
            path = os.path.join(self.directory, name)
            os.makedirs(path, exist_ok=True)
            os.chown(path, self.USER, self.USER)
        return Runtime(
            "/usr/bin/setpriv", "--reuid", str(self.USER), "--regid", str(self.USER),
            "--clear-groups", client.program, *client.globals,
            env={**client.env, "HOME": self.directory + "/home",
                 "XDG_RUNTIME_DIR": self.directory + "/run"})

    def load(self, archive):
        super().load(shutil.copy(archive, self.directory))
        done = self.cli(*self.RUNTIMES["runc"][0], "run", "--rm", *self.OPTIONS, self.image, "true")
        if done.code != 0:
            pytest.skip(f"rootless Podman does not run plain runc here either: {done.err}")

    def stop(self):
        """Ends the process that keeps his namespaces."""
        self.cli("system", "migrate")
