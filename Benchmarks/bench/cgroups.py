# SPDX-License-Identifier: Apache-2.0
"""Where a container's limit, use and throttling are read, in cgroup v1 and v2."""
import os
import re


def directory(pid, controller):
    """The directory of a process's cgroup for a controller."""
    paths = {}
    with open(f"/proc/{pid}/cgroup") as file:
        for line in file:
            _, names, path = line.rstrip("\n").split(":", 2)
            paths.update((name, path) for name in names.split(","))
    with open("/proc/self/mountinfo") as file:
        for line in file:
            left, right = line.split(" - ")
            mount, (kind, _, options) = left.split()[4], right.split()[:3]
            if kind == "cgroup" and controller in options.strip().split(","):
                return mount + paths[controller]
            if kind == "cgroup2" and controller not in paths:
                return mount + paths[""]
    raise SystemExit(f"no cgroup hierarchy has the {controller} controller; mount one")


def online_cpus():
    with open("/sys/devices/system/cpu/online") as file:
        ranges = re.findall(r"(\d+)(?:-(\d+))?", file.read())
    return sum(int(last or first) - int(first) + 1 for first, last in ranges)


class Group:
    """The CPU side of one container's cgroup."""

    def __init__(self, pid):
        self.cpu = directory(pid, "cpu")
        self.is_v2 = os.path.exists(os.path.join(self.cpu, "cpu.max"))
        self.quota_file = os.path.join(self.cpu, "cpu.max" if self.is_v2 else "cpu.cfs_quota_us")
        self.usage_file = (
            os.path.join(self.cpu, "cpu.stat") if self.is_v2
            else os.path.join(directory(pid, "cpuacct"), "cpuacct.usage"))

    def _text(self, name):
        with open(os.path.join(self.cpu, name)) as file:
            return file.read()

    def period(self):
        """Microseconds."""
        return int(self._text("cpu.max").split()[1] if self.is_v2
                   else self._text("cpu.cfs_period_us"))

    def quota(self):
        """Microseconds a period; None for no limit."""
        with open(self.quota_file) as file:
            first = file.read().split()[0]
        return None if first in ("max", "-1") else int(first)

    def used(self):
        """CPU time so far, in seconds."""
        with open(self.usage_file) as file:
            text = file.read()
        if self.is_v2:
            return int(dict(line.split() for line in text.splitlines())["usage_usec"]) / 1e6
        return int(text) / 1e9

    def throttled(self):
        """Seconds throttled, summed over CPUs, and in how many periods."""
        values = dict(line.split() for line in self._text("cpu.stat").splitlines())
        seconds = (
            int(values["throttled_usec"]) / 1e6 if "throttled_usec" in values
            else int(values["throttled_time"]) / 1e9)
        return seconds, int(values["nr_throttled"])

    def periods(self):
        """How many of its periods have ended; those in which nothing ran do not count."""
        values = dict(line.split() for line in self._text("cpu.stat").splitlines())
        return int(values["nr_periods"])
