# SPDX-License-Identifier: Apache-2.0
"""What CRI-O asks of a runtime, in its words and through the conmon that it calls.

No Debian has CRI-O, so it is not executed here: arguments, environment, pipes and annotations are
those of its source (internal/oci/runtime_oci.go, internal/factory/container/container.go).
"""
import json
import os
import shutil
import socket
import subprocess

import pytest

from driver import IS_SYSTEMD
from processes import PATIENCE, is_alive, ours, wait_until
from world import ESCRA_RUNC, PATH, escra_tool

DECLARED, FLOOR = 20_000, 5_000
# The pod's annotations and the container's labels, all of which CRI-O makes annotations.
LABELS = {
    "io.kubernetes.pod.name": "shop", "io.kubernetes.pod.namespace": "tests",
    "io.kubernetes.pod.uid": "f00d"}


class CRIO:
    """CRI-O's calls for one container."""

    def __init__(self, container, world):
        self.container, self.id = container, container.id
        self.exits, self.log = world.path("exits"), world.path("log")
        self.directory = world.path("persist")
        for path in (self.exits, self.directory):
            os.mkdir(path)
        container.pid_file = os.path.join(container.bundle.path, "pidfile")
        self.root = "--root=" + world.root

    def conmon(self, *words):
        """Runs conmon to its fork; returns what it says first on its pipe."""
        pipe, theirs = socket.socketpair()
        start, started = socket.socketpair()
        process = subprocess.Popen(
            ["conmon", *words, "-c", self.id, "-n", "k8s_web_shop_tests_f00d_0",
             "-r", ESCRA_RUNC, "--runtime-arg", self.root, "--socket-dir-path", self.directory,
             "--log-level", "info", *(["-s"] if IS_SYSTEMD else [])],
            cwd=self.container.bundle.path, pass_fds=[theirs.fileno(), started.fileno()],
            env={"PATH": PATH, "_OCI_SYNCPIPE": str(theirs.fileno()),
                 "_OCI_STARTPIPE": str(started.fileno())},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        theirs.close()
        started.close()
        with pipe, start:
            start.send(b"\0")
            code = process.wait(20 * PATIENCE)
            pipe.settimeout(20 * PATIENCE)
            with pipe.makefile() as said:
                text = said.readline()
            assert code == 0, text
            return json.loads(text)

    def create(self):
        path = self.container.bundle.path
        return self.conmon(
            "-b", path, "--exit-dir", self.exits, "-l", self.log, "-P", path + "/conmon-pidfile",
            "-p", self.container.pid_file, "--persist-dir", self.directory, "--syslog",
            "-u", self.id)

    def exec(self, *words):
        """ExecSync; returns what is in its log."""
        path = self.container.bundle.path
        with open(path + "/exec.json", "w") as file:
            json.dump({**self.container.bundle.config["process"], "args": words}, file)
        self.conmon(
            "-p", path + "/exec.pid", "-e", "-l", path + "/exec.log", "--sync",
            "--exec-process-spec", path + "/exec.json")
        with open(path + "/exec.log") as file:
            return [line.split(" ", 3)[3] for line in file.read().splitlines()]


@pytest.fixture
def crio(container, world):
    if not shutil.which("conmon", path=PATH):
        pytest.fail("conmon is missing; run: make deps")

    def make(annotations, name="web", kind="container"):
        made = container(
            {**annotations, **LABELS, "io.kubernetes.container.name": name,
             "io.kubernetes.cri-o.ContainerType": kind},
            policy=None, quota=DECLARED,
            args=["sh", "-c", "trap exit TERM; while :; do sleep 0.1; done"])
        return CRIO(made, world)

    return make


def test_a_container_lives_as_cri_o_has_it_live(crio):
    """Create, start, exec, stop, delete; the pod's annotations that are narrowed to it count."""
    made = crio({"io.escra.policy": "observe", "io.escra.policy/web": "reactive"})
    said = made.create()
    one = made.container
    assert said["pid"] == one.pid and is_alive(one.pid)
    one.call("start")
    one.supervisor()
    one.wait_for_quota(lambda quota: quota == FLOOR, 6, "down to the floor")
    [row] = json.loads(escra_tool("ps", "--json"))
    assert (row["name"], row["namespace"], row["policy"]) == ("shop/web", "tests", "reactive")
    assert made.exec("/bin/busybox", "echo", "here") == ["here"]
    # What a kubelet's resize becomes: runc's update reads JSON.
    one.runtime(
        "update", "--resources", "-", one.id,
        input=b'{"cpu": {"quota": 30000, "period": 100000}}')
    wait_until(lambda: one.states()[0]["declaredQuota"] == "30000", 4, "the new limit is declared")
    pid = one.pid
    assert one.runtime("kill", one.id, "TERM").code == 0
    wait_until(lambda: not is_alive(pid), 5, "it has ended")
    wait_until(lambda: os.listdir(made.exits) == [one.id], 5, "conmon has its exit code")
    with open(os.path.join(made.exits, one.id)) as file:
        assert file.read() == "0"
    one.call("delete", "--force")
    wait_until(lambda: ours() == {}, 4, "nothing of ours is left")


def test_other_containers_and_the_sandbox_have_the_pods_policy_or_none(crio):
    """By the kubelet's label for the name, and by CRI-O's own key for the kind."""
    made = crio({"io.escra.policy/web": "reactive"}, name="other")
    made.create()
    assert ours() == {}
    made.container.call("delete", "--force")


def test_a_sandbox_stays_standard(crio):
    """It has the pod's annotations, and no policy."""
    made = crio({"io.escra.policy": "reactive"}, name="POD", kind="sandbox")
    made.create()
    assert ours() == {}
    made.container.call("delete", "--force")


def test_a_mistake_in_an_annotation_reaches_cri_o(crio):
    """As the message that it puts into the pod's events."""
    made = crio({"io.escra.policy": "reactiv"})
    said = made.create()
    assert said["pid"] == -1 and 'io.escra.policy "reactiv"' in said["message"]
    assert ours() == {}
