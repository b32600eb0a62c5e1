# SPDX-License-Identifier: Apache-2.0
"""A service of Docker Swarm over two nodes under one limit, through a partition and healing."""
import json
import os
import subprocess
import time

import pytest

import cgroups
import images
from engines import by_name
from nodes import Cluster, Sums
from processes import kill, wait_until
from world import ESCRA_RUNC, PATH

pytestmark = pytest.mark.skipif(
    not os.environ.get("ESCRA_SWARM"), reason="ESCRA_SWARM=1 runs it, for two minutes")

# In microseconds of 100 ms: of the whole service, and what each of its containers declares.
LIMIT, DECLARED = 50_000, 10_000
BUSY = "while :; do if [ -e /tmp/work ]; then :; else sleep 0.1; fi; done"


class Task:
    """A container of the service, by what the kernel shows of it."""

    def __init__(self, cgroup):
        self.cgroup = cgroup


class SwarmNode:
    """A node with a dockerd of its own, which has a containerd, a /run and storage of its own."""

    def __init__(self, world, node):
        self.node, self.directory = node, os.path.join(world.directory, node.name)
        os.mkdir(self.directory)
        self.parent = f"/escra-e2e-swarm-{os.getpid()}-{node.name}"
        self.socket = f"unix://{self.directory}/docker.sock"
        with open(node.config) as file:
            config = json.load(file)
        with open(node.config, "w") as file:
            json.dump({**config, "applicationFromEnv": "ESCRA_APP"}, file)
        with open(self.directory + "/daemon.json", "w") as file:
            json.dump({
                "data-root": self.directory + "/data", "exec-root": "/run/docker",
                "pidfile": "/run/docker.pid", "hosts": [self.socket],
                "bridge": "none", "iptables": False, "ip6tables": False,
                "cgroup-parent": self.parent, "shutdown-timeout": 2,
                "default-runtime": "escra-reactive",
                "runtimes": {"escra-reactive": {
                    "path": by_name(self.directory, ESCRA_RUNC, "reactive"),
                    "runtimeArgs": ["--escra-config=" + node.config]}},
            }, file)
        self.log = open(self.directory + "/log", "w")
        self.process = node.start(
            "/usr/sbin/dockerd", "--config-file", self.directory + "/daemon.json",
            stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL,
            env={"PATH": PATH + ":/usr/sbin:/sbin", "HOME": self.directory})
        wait_until(lambda: self("version").returncode == 0, 30, "dockerd answers")

    def __call__(self, *words, timeout=30):
        return subprocess.run(
            self.node.words("/usr/bin/docker", "--host", self.socket, *words),
            capture_output=True, text=True, timeout=timeout,
            env={"PATH": PATH, "HOME": self.directory})

    def said(self, *words):
        done = self(*words)
        assert done.returncode == 0, done.stderr + self.tail()
        return done.stdout.strip()

    def tail(self):
        with open(self.directory + "/log") as file:
            return file.read()[-2000:]

    def tasks(self):
        """Ids of the containers that run here."""
        return self.said("ps", "--no-trunc", "--quiet").split()

    def close(self):
        for each in self("ps", "--all", "--quiet").stdout.split():
            self("rm", "--force", each)
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        for pid in self.node.inside():
            kill(pid)
        # The last namespace that has them goes with the node.
        cgroups.remove(self.parent)


@pytest.fixture
def swarm(world):
    """Two nodes of a swarm whose first one leads it; afterwards nothing of them is left."""
    cluster, made = Cluster(members=1), []
    try:
        archive = images.busybox_archive(world.directory)
        for name in ("n1", "n2"):
            made.append(SwarmNode(world, cluster.node(name).start_agent()))
            made[-1].said("load", "--input", archive)
        first, second = made
        first.said(
            "swarm", "init", "--advertise-addr", first.node.address, "--default-addr-pool",
            "10.78.0.0/16")
        token = first.said("swarm", "join-token", "--quiet", "worker")
        second.said(
            "swarm", "join", "--advertise-addr", second.node.address, "--token", token,
            f"{first.node.address}:2377")
        yield cluster, first, second
    finally:
        for each in made:
            each.close()
        cluster.close()


def quota(node, task):
    return cgroups.limit(f"{node.parent}/{task}")[0]


def total(node, tasks):
    return sum(quota(node, task) for task in tasks)


def watched(world, *pairs):
    return Sums(world.directory, LIMIT, *(
        Task(f"{node.parent}/{task}") for node, tasks in pairs for task in tasks))


def test_a_service_over_two_nodes_has_one_limit_through_a_partition(world, swarm):
    cluster, first, second = swarm
    first.said(
        "service", "create", "--detach", "--no-resolve-image", "--name", "web", "--replicas", "4",
        "--network", "host", "--limit-cpu", str(DECLARED / 100_000), "--limit-memory", "64M",
        "--env", "ESCRA_APP=shop", "--env", "ESCRA_APP_SCOPE=cluster", "--env",
        f"ESCRA_APP_CPU={LIMIT // 100}m", images.NAME, "sh", "-c", BUSY)
    wait_until(
        lambda: (len(first.tasks()), len(second.tasks())) == (2, 2), 60,
        lambda: first.tail() + second.tail())
    here, there = first.tasks(), second.tasks()
    wait_until(lambda: len((cluster.ledger("shop") or {"nodes": {}})["nodes"]) == 2, 10,
               lambda: f"both nodes: {cluster.ledger('shop')}")
    assert cluster.ledger("shop")["limit"] == LIMIT * 10_000

    def work(node, tasks):
        for task in tasks:
            node.said("exec", task, "touch", "/tmp/work")

    with watched(world, (first, here), (second, there)):
        # What one node does not need the other one has.
        work(first, here)
        wait_until(lambda: total(first, here) > 5 * DECLARED // 2, 10, "more than static limits")
        work(second, there)
        wait_until(lambda: total(second, there) >= 2 * DECLARED, 10, "what it declares")
        # It is cut off: it falls to its minimum, and the rest is the other node's.
        cluster.network.cut(second.node)
        cut = time.monotonic()
        wait_until(lambda: total(second, there) <= 2 * DECLARED, 5, "the minimum")
        lowered = time.monotonic() - cut
        wait_until(lambda: total(first, here) >= 5 * DECLARED // 2, 10, "the rest")
        # Swarm starts others for those that it does not see any more, which go on all the same.
        wait_until(lambda: len(first.tasks()) == 4, 60, "replacements")
        replaced = time.monotonic() - cut
    everything = (first, first.tasks()), (second, there)
    with watched(world, *everything):
        time.sleep(5)
        assert [len(node.tasks()) for node in (first, second)] == [4, 2]
        healed = time.monotonic()
        cluster.network.heal(second.node)
        wait_until(lambda: not second.tasks(), 90, "Swarm ends what there is too much of")
        ended = time.monotonic() - healed
    wait_until(lambda: len(cluster.ledger("shop")["nodes"]) == 1, 10, "one node")
    print(f"lowered {lowered:.1f} s after the cut; six containers of a service of four from "
          f"{replaced:.1f} s after it to {ended:.1f} s after its healing")
