# SPDX-License-Identifier: Apache-2.0
"""The ways to limit an application of four containers, and the containers under each of them."""
import json
import os
import shutil
import subprocess
import time

from .. import cgroups
from . import rootfs
from ..container import Failure
from ..supervisors.idle import wakeups
from ..workshop import HERE

MIB = 1 << 20
SERVICES = ("nginx", "python", "redis", "memcached")
LEAST = 0.05  # CPUs: nobody is given less, as escra-runc's floor is by default
NETWORK = "/run/bench/app-network"
STATIC, AMPLE, BURST, UNLIMITED = (
    "static 1x", "static 1.5x", "static 1.5x with cfs_burst", "no limit")


class Row:
    """factor: of what was measured as 1x, as the static limits; None for none. rule: of a peer, at
    work on the four. operator: the config of escra-runc, for its rows."""

    def __init__(self, title, factor=1.0, burst=False, rule=None, operator=None):
        self.title, self.factor, self.burst = title, factor, burst
        self.rule, self.operator = rule, operator


def rows(operators):
    """operators: {title: the operator's config} of escra-runc's rows."""
    return [
        Row(STATIC), Row(AMPLE, 1.5), Row(BURST, 1.5, burst=True),
        Row("Autopilot's rule", rule="autopilot"), Row("Koordinator's rule", rule="koordinator"),
        Row("Escra's rule", rule="escra"),
        *(Row(title, operator=operator) for title, operator in operators.items()),
        Row(UNLIMITED, None)]


class Sizes:
    """What 1x is for each service, CPUs and bytes, and what the application has in all."""

    def __init__(self, cpu, memory):
        self.cpu = {name: max(LEAST, value) for name, value in cpu.items()}
        self.memory = memory
        self.all_cpu = 1.5 * sum(self.cpu.values())
        self.all_memory = int(1.5 * sum(memory.values()))


def make_network(shop):
    """A network of the application's own, with a loopback and nothing else."""
    open(NETWORK, "w").close()
    subprocess.run(["unshare", f"--net={NETWORK}", "true"], check=True)
    subprocess.run([shop.helper("appload"), NETWORK, "up"], check=True)


def share(shop):
    """A directory that all containers see as /app, read-only: what is run, and an asset."""
    path = os.path.join(shop.path, "app")
    os.makedirs(path)
    # Page cache is charged to who reads a file first: let it be nobody who is measured.
    subprocess.run(["tar", "-cf", "/dev/zero", rootfs.path()], stderr=subprocess.DEVNULL)
    shutil.copy(os.path.join(HERE, "app", "service.py"), path)
    shutil.copy(shop.busybox, os.path.join(path, "busybox"))
    with open(os.path.join(path, "asset.txt"), "w") as file:
        for line in range(300):
            file.write(f"line {line * 7919 % 1000} of an asset that is sent compressed\n")
    return path


class Application:
    """Four containers under one row's limits, and what was found of them."""

    def __init__(self, shop, row, sizes, shared, port):
        self.shop, self.row, self.sizes, self.port = shop, row, sizes, port
        self.shared = shared
        self.containers, self.controller = {}, None
        self.slices = {}
        for index, name in enumerate(SERVICES):
            self.containers[name] = self._container(name, index).start()
        self.groups = [each.group for each in self.containers.values()]
        self.directories = [
            ",".join((each.group.cpu, cgroups.directory(each.pid, "cpuacct"),
                      cgroups.directory(each.pid, "memory")))
            for each in self.containers.values()]
        if row.burst:
            for group in self.groups:
                with open(os.path.join(group.cpu, "cpu.cfs_burst_us"), "w") as file:
                    file.write(str(group.quota()))
        if row.rule:
            self.controller = subprocess.Popen(
                [shop.helper("appcontrol"), row.rule, str(int(sizes.all_cpu * 1e5)),
                 str(sizes.all_memory), *self.directories],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
            shop.helpers.append(self.controller)
        self.overrun = 0.0
        self.pids = []  # whoever moves the limits

    def _command(self, name, index):
        redis, memcached = self.port + 2, self.port + 3
        if name == "nginx":
            with open(os.path.join(HERE, "app", "nginx.conf")) as file:
                text = file.read()
            config = f"nginx-{self.port}.conf"
            with open(os.path.join(self.shared, config), "w") as file:
                file.write(text.replace("PORT", str(self.port)).replace(
                    "SERVICE", str(self.port + 1)))
            return f"nginx -p /tmp -c /app/{config}"
        if name == "python":
            return f"python3 -B /app/service.py {self.port + 1} {redis} {memcached}"
        if name == "redis":
            return (f"redis-server --port {redis} --bind 127.0.0.1 --dir /tmp --save '' "
                    "--appendonly no --loglevel warning")
        return f"memcached -p {memcached} -U 0 -l 127.0.0.1 -t 1 -m 64"

    def _container(self, name, index):
        row, sizes = self.row, self.sizes
        cpu = memory = annotations = None
        if sizes and row.factor:
            cpu = row.factor * sizes.cpu[name]
            memory = int(row.factor * sizes.memory[name])
        if row.operator:
            annotations = {
                "io.escra.policy": "reactive", "io.escra.app": f"bench-{self.port}",
                "io.escra.app.cpu": f"{int(sizes.all_cpu * 1000)}m",
                "io.escra.app.memory": str(sizes.all_memory), "io.escra.cpu.min": "10m",
                "io.escra.memory.min": "1Mi"}
        # Who is killed is started again, by hand as it were.
        loop = (f"while :; do {self._command(name, index)} >/tmp/said 2>&1; "
                "/app/busybox sleep 0.1; done")
        container = self.shop.container(
            name, ["/app/busybox", "sh", "-c", loop], annotations, cpu,
            operator=row.operator)
        path = os.path.join(container.bundle, "config.json")
        with open(path) as file:
            config = json.load(file)
        config["root"]["path"] = rootfs.path()
        config["process"]["user"] = {"uid": 65534, "gid": 65534}
        config["process"]["env"] = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONHASHSEED=0"]
        config["linux"]["namespaces"] = [
            each for each in config["linux"]["namespaces"] if each["type"] != "network"]
        config["linux"]["namespaces"].append({"type": "network", "path": NETWORK})
        config["mounts"] += [
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
            {"destination": "/app", "type": "bind", "source": self.shared,
             "options": ["bind", "ro"]}]
        if memory:
            # No limit on swap, of which there is none: nobody but us raises that one along.
            config["linux"]["resources"]["memory"] = {"limit": memory}
        with open(path, "w") as file:
            json.dump(config, file)
        return container

    def wait(self, seconds=60):
        """Until a page is served."""
        deadline = time.monotonic() + seconds
        command = ["nsenter", f"--net={NETWORK}", self.shop.busybox, "wget", "-q", "-O",
                   "/dev/null", f"http://127.0.0.1:{self.port}/page/1"]
        while subprocess.call(command, stderr=subprocess.DEVNULL):
            if time.monotonic() > deadline:
                raise Failure(f"{self.row.title}: no page within {seconds} s")
            time.sleep(0.1)

    def _pids(self):
        if self.controller:
            return [self.controller.pid]
        if self.row.operator:
            return [each.supervisor for each in self.containers.values()]
        return []

    def controller_ns(self):
        return sum(wakeups(pid)[1] for pid in self.pids)

    def begin(self):
        # Another one if it has died since; a look through /proc is not for the time that counts.
        self.pids = self._pids()
        if self.controller:
            self.controller.stdin.write("go\n")

    def rest(self):
        if self.controller:
            self.controller.stdin.write("rest\n")
            line = self.controller.stdout.readline().split()
            if not line:
                raise Failure(f"{self.row.title}: its controller has ended; its message is above")
            self.overrun = int(line[1]) / 1e5

    def throttled(self):
        return sum(group.throttled()[0] for group in self.groups)

    def kills(self):
        found = 0
        for directories in self.directories:
            with open(directories.split(",")[2] + "/memory.oom_control") as file:
                found += int(dict(line.split() for line in file)["oom_kill"])
        return found

    def stop(self):
        for container in self.containers.values():
            container.stop()
