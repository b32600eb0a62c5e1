# SPDX-License-Identifier: Apache-2.0
"""Cgroups by their path, the same on cgroup v1, hybrid and v2."""
import contextlib
import glob
import hashlib
import os
import re
import signal
import time

import kernel

ROOT = "/sys/fs/cgroup"


def _hierarchies():
    """Where each controller is mounted; "" is the unified hierarchy."""
    found = {}
    with open("/proc/self/mountinfo") as file:
        for line in file:
            left, right = line.rstrip("\n").split(" - ")
            kind, _, options = right.split()
            point = left.split()[4]
            if kind == "cgroup2":
                found[""] = point
            elif kind == "cgroup":
                found.update((name, point) for name in options.split(","))
    return found


HIERARCHIES = _hierarchies()
VERSION = 1 if "cpu" in HIERARCHIES else 2
# Where memory limits are: outer groups are there on either version.
MEMORY = HIERARCHIES.get("memory", HIERARCHIES.get(""))


def has_cpuset():
    """Whether a hierarchy has CPU sets."""
    if "cpuset" in HIERARCHIES:
        return True
    with open(HIERARCHIES[""] + "/cgroup.controllers") as file:
        return "cpuset" in file.read().split()


def cpus(path):
    """The CPUs that a group may use, as the kernel writes them."""
    return read(path, "cpuset.cpus" if VERSION == 1 else "cpuset.cpus.effective", "cpuset")


def mounts():
    """Where hierarchies are to be seen now."""
    return sorted({
        point for point in HIERARCHIES.values()
        if point.startswith(ROOT) and os.path.exists(point + "/cgroup.procs")})


def is_hybrid():
    return VERSION == 1 and "" in HIERARCHIES


@contextlib.contextmanager
def without_unified():
    """Shows a hybrid machine without its unified hierarchy, and others as they are."""
    if not is_hybrid():
        yield
        return
    point = HIERARCHIES[""]
    kernel.unmount(point)
    # crun makes directories there in any case: let them be ours alone.
    kernel.mount("tmpfs", point, "tmpfs")
    yield
    kernel.unmount(point)
    kernel.mount("cgroup2", point, "cgroup2")


# What the groups around containers' own are called; systemd's in a slice of its own.
OUTER = re.compile(r"(\S*-)?escra[0-9a-f]{64}(\.slice)?")
# Those of the containers that this suite has made.
EXPECTED = set()


def expect_outer(root, id):
    """Takes note that a container of this id may have a group of ours around its own."""
    EXPECTED.add("escra" + hashlib.sha256(f"{root}\0{id}".encode()).hexdigest())


def located(path):
    """Where a container's cgroup is that was asked for as `path`: one of ours may be around it."""
    root = MEMORY
    if os.path.isdir(root + path):
        return path
    parent, name = os.path.split(path)
    if parent.endswith(".scope"):
        # crun's group below its scope, around which ours is.
        return os.path.join(located(parent), name)
    parent = root + parent.rstrip("/")
    found = [
        each for each in glob.glob(f"{parent}/*escra*/{glob.escape(name)}")
        if OUTER.fullmatch(each.split("/")[-2])]
    return found[0][len(root):] if found else path


def outer(path):
    """The group of ours around a container's own; its own where there is none."""
    parent = os.path.dirname(located(path))
    if parent.endswith(".scope"):
        parent = os.path.dirname(parent)
    return parent if OUTER.fullmatch(os.path.basename(parent)) else path


def directory(path, controller="cpu"):
    """The directory of the cgroup `path` in the hierarchy that has `controller`."""
    return HIERARCHIES.get(controller, HIERARCHIES.get("")) + located(path)


def exists(path):
    return any(os.path.isdir(mount + located(path)) for mount in mounts())


def read(path, name, controller="cpu"):
    with open(os.path.join(directory(path, controller), name)) as file:
        return file.read().strip()


def write(path, name, value, controller="cpu"):
    with open(os.path.join(directory(path, controller), name), "w") as file:
        file.write(str(value))


def inner(path):
    """The group that a container's processes are in: crun makes one below a scope of systemd's."""
    return path + "/container" if path.endswith(".scope") and exists(path + "/container") else path


def moving(path):
    """The group of a container whose CPU limit moves."""
    return outer(path) if VERSION == 2 and outer(path) != path else inner(path)


def quota_file(path):
    return os.path.join(directory(path), "cpu.cfs_quota_us" if VERSION == 1 else "cpu.max")


def limit(path):
    """(quota, period) in microseconds; the quota of no limit is None. The lesser of two holds."""
    both = [own_limit(each) for each in {path, inner(path), outer(path)}]
    return min(both, key=lambda one: float("inf") if one[0] is None else one[0] / one[1])


def own_limit(path):
    """As limit(), of that group alone."""
    if VERSION == 1:
        quota, period = read(path, "cpu.cfs_quota_us"), read(path, "cpu.cfs_period_us")
    else:
        quota, period = read(path, "cpu.max").split()
    return (None if quota in ("-1", "max") else int(quota)), int(period)


def set_quota(path, quota, period=100_000):
    """Writes a limit as a person would: one write, on v1 the quota alone."""
    if VERSION == 1:
        write(path, "cpu.cfs_quota_us", -1 if quota is None else quota)
    else:
        write(path, "cpu.max", f"{'max' if quota is None else quota} {period}")


def limit_files(path, resource):
    """The files of each group of a container that has a limit of "cpu" or "memory"."""
    names = {
        ("cpu", 1): ["cpu.cfs_quota_us", "cpu.cfs_period_us"], ("cpu", 2): ["cpu.max"],
        ("memory", 1): ["memory.limit_in_bytes"], ("memory", 2): ["memory.max"]}
    return [
        [os.path.join(directory(group, resource), name) for name in names[resource, VERSION]]
        for group in sorted({path, inner(path), outer(path)})]


def memory_limit(path):
    """What a group's memory may be, in bytes."""
    name = "memory.limit_in_bytes" if VERSION == 1 else "memory.max"
    return _least(read(each, name, "memory") for each in {path, outer(path)})


def moving_memory(path):
    """The same, or where it reclaims: that moves where programs can read the groups above."""
    if VERSION == 1:
        return memory_limit(path)
    return min(memory_limit(path), _least([read(outer(path), "memory.high")]))


def _least(texts):
    limits = [1 << 63 if text == "max" else int(text) for text in texts]
    return min(limit if limit < 1 << 60 else float("inf") for limit in limits)


def set_memory_limit(path, size):
    """Writes a limit in bytes as a person would."""
    write(path, "memory.limit_in_bytes" if VERSION == 1 else "memory.max", size, "memory")


def processes(path):
    """The pids in a cgroup and below it, in any hierarchy."""
    found = set()
    for mount in mounts():
        for parent, _, _ in os.walk(mount + located(path)):
            try:
                with open(os.path.join(parent, "cgroup.procs")) as file:
                    found.update(int(line) for line in file)
            except OSError:
                pass
    return found


def membership(pid):
    """The cgroup of a process in each hierarchy."""
    with open(f"/proc/{pid}/cgroup") as file:
        return {line.split(":")[1]: line.rstrip("\n").split(":", 2)[2] for line in file}


def make(path):
    """Makes a cgroup in the hierarchies that a limit needs."""
    for mount in {directory("", "cpu"), directory("", "cpuacct"), directory("", "memory")}:
        os.makedirs(mount + path, exist_ok=True)
        if VERSION == 2:
            parent = mount
            for part in path.strip("/").split("/"):
                with open(parent + "/cgroup.subtree_control", "w") as file:
                    file.write("+cpu +memory +pids")
                parent = os.path.join(parent, part)


def join(path, controllers=("cpu", "memory")):
    """Moves the calling process; for a child on its way to exec."""
    for controller in controllers:
        write(path, "cgroup.procs", os.getpid(), controller)


def of_ours(prefix):
    """Every cgroup that has the prefix in its name, deepest first, without the hierarchy.

    And the outer groups of the containers that this suite has made: another one may run beside it.
    """
    found = set()
    for mount in mounts():
        for parent, names, _ in os.walk(mount):
            found.update(
                path[len(mount):] for path in (os.path.join(parent, name) for name in names)
                if prefix in path or any(name in path for name in EXPECTED))
    return sorted(found, key=len, reverse=True)


def remove(path):
    """Kills what is in a cgroup and removes it, everywhere."""
    deadline = time.monotonic() + 5
    while exists(path) and time.monotonic() < deadline:
        for pid in processes(path):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for mount in mounts():
            for name in ("freezer.state", "cgroup.freeze"):
                try:
                    with open(os.path.join(mount + path, name), "w") as file:
                        file.write("THAWED" if name == "freezer.state" else "0")
                except OSError:
                    pass
            try:
                os.rmdir(mount + path)
            except OSError:
                pass
