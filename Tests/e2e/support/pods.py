# SPDX-License-Identifier: Apache-2.0
"""Pods, as a kubelet asks containerd's CRI plugin for them; numbers are those of CRI v1.

They use the host's network, for which no plugin has to be installed.
"""
import collections
import io
import json
import os
import tarfile

import cgroups
import unary
from containerd import PAUSE
from driver import IS_SYSTEMD, Parent, systemctl
from world import PREFIX

SERVICE = "runtime.v1.RuntimeService/"
HOST_NETWORK = [(1, [(1, 2)])]
PERIOD = 100_000

Executed = collections.namedtuple("Executed", "code out err")


def pause_archive(archive, directory, name=PAUSE):
    """The image of a sandbox, which does nothing for ever; made from another image."""
    path = os.path.join(directory, "pause.tar")
    with tarfile.open(archive) as given, tarfile.open(path, "w") as made:
        contents = {member.name: given.extractfile(member).read() for member in given}
        [manifest] = json.loads(contents.pop("manifest.json"))
        config = json.loads(contents.pop(manifest["Config"]))
        config["config"]["Cmd"] = ["sleep", "1000000"]
        contents[manifest["Config"]] = json.dumps(config).encode()
        manifest["RepoTags"] = [name]
        contents["manifest.json"] = json.dumps([manifest]).encode()
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return path


def pod_parent(world):
    """A cgroup for a pod, as the kubelet makes one of each; systemd makes a slice when asked."""
    parent = Parent("pod" + world.name().removeprefix(PREFIX))
    if not IS_SYSTEMD:
        cgroups.make(parent.path)
        world.groups.append(parent.path)
    return parent


def declare(parent, quota, memory):
    """Writes the limits of a pod's group; where systemd makes the groups, it is told."""
    if IS_SYSTEMD:
        assert systemctl(
            "set-property", "--runtime", parent.word, f"CPUQuota={quota * 100 // PERIOD}%",
            f"MemoryMax={memory}").returncode == 0
    else:
        cgroups.set_quota(parent.path, quota, PERIOD)
        cgroups.set_memory_limit(parent.path, memory)


class Pod:
    """A sandbox and what is asked for in it."""

    def __init__(self, daemon, name, annotations, handler, parent):
        self.daemon, self.name, self.parent = daemon, name, parent
        self.config = [
            (1, [(1, name), (2, name + "-uid"), (3, "tests")]), (3, daemon.directory),
            *unary.entries(7, annotations), (8, [(1, parent.word), (2, HOST_NETWORK)])]
        self.id = self._named("RunPodSandbox", [(1, self.config), (2, handler)])
        self.containers = []

    def call(self, method, fields):
        return unary.call(self.daemon.socket, SERVICE + method, fields)

    def must(self, method, fields):
        answer = self.call(method, fields)
        assert answer.status == unary.OK, answer
        return answer.fields

    def _named(self, method, fields):
        [(_, id)] = self.must(method, fields)
        return id.decode()

    def declare(self, quota, memory):
        """Limits the pod's group, as the kubelet does before it asks for a container."""
        declare(self.parent, quota, memory)

    def container(self, name, script="sleep 1000", quota=50_000, memory=None):
        """Creates and starts one; returns its id, which runc knows it by."""
        id = self._named("CreateContainer", self.creation(name, script, quota, memory=memory))
        self.containers.append(id)
        self.must("StartContainer", [(1, id)])
        return id

    def creation(self, name, script="sleep 1000", quota=50_000, command="sh", memory=None):
        resources = [(1, PERIOD), (2, quota), *([(4, memory)] if memory else [])]
        return [(1, self.id), (2, [
            (1, [(1, name)]), (2, [(1, self.daemon.image)]), (3, command), (4, "-c"), (4, script),
            (11, name + ".log"), (15, [(1, resources)])]), (3, self.config)]

    def cgroup(self, id):
        """Where a container of the pod is."""
        return self.parent.below("cri-containerd", id)

    def exec(self, id, *words):
        found = dict(self.must("ExecSync", [(1, id), *((2, word) for word in words), (3, 10)]))
        return Executed(found.get(3, 0), found.get(1, b"").decode(), found.get(2, b"").decode())

    def update(self, id, quota):
        self.must("UpdateContainerResources", [(1, id), (2, [(1, PERIOD), (2, quota)])])

    def info(self, id):
        """What containerd tells of a container to whoever asks for all of it, its spec included."""
        fields = self.must("ContainerStatus", [(1, id), (2, 1)])
        [info] = [dict(unary.decode(value)) for number, value in fields if number == 2]
        assert info[1] == b"info"
        return json.loads(info[2])

    def spec_of_sandbox(self):
        fields = self.must("PodSandboxStatus", [(1, self.id), (2, 1)])
        [info] = [dict(unary.decode(value)) for number, value in fields if number == 2]
        return json.loads(info[2])["runtimeSpec"]

    def state(self, id):
        """0 created, 1 running, 2 exited."""
        [(_, status)] = self.must("ContainerStatus", [(1, id)])
        return dict(unary.decode(status)).get(3, 0)

    def remove(self):
        for id in self.containers:
            self.must("StopContainer", [(1, id)])
            self.must("RemoveContainer", [(1, id)])
        self.must("StopPodSandbox", [(1, self.id)])
        self.must("RemovePodSandbox", [(1, self.id)])
