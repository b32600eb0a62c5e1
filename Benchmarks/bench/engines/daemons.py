# SPDX-License-Identifier: Apache-2.0
"""Docker, containerd and Podman in the workshop's directory, with runtimes of our choice.

Each starts a container with the file system of a directory, without a network, and removes it
again: one command line for each, which is what is timed.
"""
import glob
import json
import os
import shutil
import signal
import subprocess
import time

from ..container import Failure

# By path: PATH may have another docker than the one that belongs to the daemon.
DOCKER, DOCKERD, PODMAN = "/usr/bin/docker", "/usr/sbin/dockerd", "/usr/bin/podman"
CONTAINERD, CTR = "/usr/bin/containerd", "/usr/bin/ctr"
COMMAND = ["/bin/sleep", "1000"]


def mount_points(below):
    """Where something is mounted below a directory, the outer ones first."""
    with open("/proc/self/mountinfo") as file:
        points = [line.split()[4] for line in file]
    return sorted(point for point in points if point.startswith(below))


class Daemon:
    """A process with a log, ended with the engine."""

    def __init__(self, directory, *command):
        self.log = os.path.join(directory, os.path.basename(command[0]) + ".log")
        with open(self.log, "w") as log:
            # Not of our session: ^C is for us, who end it in order.
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory,
                start_new_session=True)

    def wait_for(self, question):
        deadline = time.monotonic() + 20
        while subprocess.call(question, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(self.log) as log:
                    raise Failure(f"{' '.join(question)} gets no answer: {log.read()[-500:]}")
            time.sleep(0.1)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


class Engine:
    """What all of them share."""

    needs = ()

    def __init__(self, shop, runtimes):
        """runtimes: {name: path}."""
        self.shop, self.runtimes = shop, runtimes
        self.directory = os.path.join(shop.path, self.name)
        self.group = f"/{shop.prefix}-{self.name}"
        self.daemons, self.living = [], None
        os.makedirs(self.directory)

    @classmethod
    def missing(cls):
        return [program for program in cls.needs if not os.access(program, os.X_OK)]

    def start(self):
        pass

    def tidy(self, id):
        """The command that takes away what `remove` leaves, or None; not timed."""

    def stop(self):
        """Leaves nothing, also where a measurement ended in the middle."""
        if self.living:
            for command in (self.remove(self.living), self.tidy(self.living)):
                if command:
                    subprocess.call(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL)
        for daemon in reversed(self.daemons):
            daemon.stop()
        # Engines remove a container's cgroup, and leave the one above it.
        for root in ("/sys/fs/cgroup", *glob.glob("/sys/fs/cgroup/*/")):
            for parent, _, _ in os.walk(root.rstrip("/") + self.group, topdown=False):
                os.rmdir(parent)
        # Podman and dockerd mount their storage on itself, and leave it so.
        for point in reversed(mount_points(self.directory + "/")):
            subprocess.run(["umount", point], check=True)
        shutil.rmtree(self.directory)

    def _containerd(self):
        config, socket = (os.path.join(self.directory, name) for name in ("toml", "containerd"))
        with open(config, "w") as file:
            file.write(f"""version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
root = "{self.directory}/containerd-root"
state = "{self.directory}/containerd-state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{self.directory}/opt"
""")
        self.daemons.append(Daemon(self.directory, CONTAINERD, "--config", config))
        self.daemons[-1].wait_for([CTR, "--address", socket, "version"])
        return socket


class Docker(Engine):
    """dockerd and its containerd; the image is the workshop's file system."""

    name, needs = "docker", (DOCKERD, DOCKER, CONTAINERD, CTR)
    verbs = "run --detach", "rm --force"

    def start(self):
        containerd = self._containerd()
        config = os.path.join(self.directory, "daemon.json")
        socket = f"unix://{self.directory}/docker"
        with open(config, "w") as file:
            json.dump({
                "containerd": containerd, "hosts": [socket],
                "data-root": f"{self.directory}/data", "exec-root": f"{self.directory}/exec",
                "pidfile": f"{self.directory}/pid",
                # It touches nothing of the machine's network.
                "bridge": "none", "iptables": False, "ip6tables": False, "ip-forward": False,
                "ip-masq": False, "exec-opts": ["native.cgroupdriver=cgroupfs"],
                "cgroup-parent": self.group, "shutdown-timeout": 2,
                "runtimes": {"by-" + name: {"path": path}
                             for name, path in self.runtimes.items()}}, file)
        self.daemons.append(Daemon(self.directory, DOCKERD, "--config-file", config))
        self.client = [DOCKER, "--host", socket]
        self.daemons[-1].wait_for([*self.client, "version"])
        archive = os.path.join(self.directory, "rootfs.tar")
        subprocess.run(["tar", "-C", self.shop.rootfs, "-cf", archive, "."], check=True)
        subprocess.run([*self.client, "import", archive, "bench"], check=True,
                       stdout=subprocess.DEVNULL)

    def run(self, runtime, id, cpus):
        limit = ["--cpus", str(cpus)] if cpus else []
        return [*self.client, "run", "--detach", "--name", id, "--network", "none", "--runtime",
                "by-" + runtime, *limit, "bench", *COMMAND]

    def remove(self, id):
        return [*self.client, "rm", "--force", id]


class Containerd(Engine):
    """containerd by ctr; the workshop's file system is the container's."""

    name, needs = "containerd", (CONTAINERD, CTR)
    verbs = "ctr run --detach", "ctr task rm --force"

    def start(self):
        # ctr makes the namespace the cgroup's parent.
        self.client = [
            CTR, "--address", self._containerd(), "--namespace", self.group.removeprefix("/")]

    def run(self, runtime, id, cpus):
        limit = ["--cpu-quota", str(int(cpus * 100_000)), "--cpu-period", "100000"] if cpus else []
        return [*self.client, "run", "--detach", "--runc-binary", self.runtimes[runtime], *limit,
                "--rootfs", self.shop.rootfs, id, *COMMAND]

    def remove(self, id):
        return [*self.client, "task", "rm", "--force", id]

    def tidy(self, id):
        return [*self.client, "container", "rm", id]


class Podman(Engine):
    """Podman and conmon; the workshop's file system is the container's."""

    name, needs = "podman", (PODMAN, "/usr/bin/conmon")
    verbs = "run --detach", "rm --force"

    def start(self):
        places = [word for place in ("root", "runroot", "tmpdir")
                  for word in ("--" + place, os.path.join(self.directory, place))]
        self.client = [PODMAN, *places, "--cgroup-manager", "cgroupfs", "--events-backend", "file"]

    def run(self, runtime, id, cpus):
        limit = ["--cpus", str(cpus)] if cpus else []
        # Its own limits are above what root without CAP_SYS_RESOURCE may set.
        limit += ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
        return [*self.client, "--runtime", self.runtimes[runtime], "run", "--detach", "--name", id,
                "--network", "none", "--cgroup-parent", self.group, *limit, "--rootfs",
                self.shop.rootfs, *COMMAND]

    def remove(self, id):
        return [*self.client, "rm", "--force", "--time", "0", id]
