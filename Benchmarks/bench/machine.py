# SPDX-License-Identifier: Apache-2.0
"""What the figures were measured on."""
import os
import platform
import re
import subprocess
import time

from . import cgroups


def _first(path, pattern):
    with open(path) as file:
        match = re.search(pattern, file.read(), re.MULTILINE)
    return match.group(1) if match else "unknown"


def _output(*command):
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return []


def describe(escra, runc, top):
    """Machine, kernel and versions; no names of hosts, and no paths."""
    memory = int(_first("/proc/meminfo", r"^MemTotal:\s+(\d+)")) // 1024
    versions = _output(runc, "--version")
    ours = [line for line in _output(escra, "--version") if "escra" in line]
    return {
        "cpu": f"{cgroups.online_cpus()} x {_first('/proc/cpuinfo', r'^model name.*: (.*)$')}",
        "memory_mib": memory,
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "os": _first("/etc/os-release", r'^PRETTY_NAME="?([^"\n]*)'),
        "cgroup": "v2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "v1",
        "runc": versions[0].split()[-1] if versions else "unknown",
        "escra_runc": ours[0].split()[-1] if ours else "unknown",
        "commit": next(iter(_output("git", "-C", top, "rev-parse", "--short=12", "HEAD")), ""),
    }


def is_emulated():
    """Whether QEMU makes up this machine, without any help of the CPU."""
    with open("/proc/cpuinfo") as file:
        return "QEMU TCG" in file.read()


def _busy_time():
    with open("/proc/stat") as file:
        ticks = [int(value) for value in file.readline().split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def load():
    """The load average, and the CPUs' busy share in one second of looking on."""
    busy, total = _busy_time()
    time.sleep(1)
    later_busy, later_total = _busy_time()
    return {
        "average": list(os.getloadavg()),
        "busy": round((later_busy - busy) / max(1, later_total - total), 3),
    }


def is_too_much(busy):
    """Whether others use so much of the CPU time that figures are about them as well."""
    return busy > 0.1


def is_busy(load):
    return load["average"][0] > 0.5 or is_too_much(load["busy"])
