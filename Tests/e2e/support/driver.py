# SPDX-License-Identifier: Apache-2.0
"""Who makes the engines' cgroups: they themselves, or systemd, which they ask for it.

ESCRA_E2E_DRIVER=systemd is how Docker, Podman and kubelets are set up where systemd runs.
"""
import os
import re
import subprocess

import cgroups
from processes import PATIENCE, wait_until
from world import PREFIX

DRIVER = os.environ.get("ESCRA_E2E_DRIVER", "cgroupfs")
IS_SYSTEMD = DRIVER == "systemd"


class Parent:
    """The cgroup below which all containers of one engine are.

    - word: what the engine is told, a path or the name of a slice
    - path: where that is
    """

    def __init__(self, name):
        # A dash in a slice's name is a level of its own; only those of the suite's prefix stay.
        self.word = PREFIX + re.sub(r"\W", "_", name) + ".slice" if IS_SYSTEMD else (
            f"/{PREFIX}{name}")
        self.path = slice_path(self.word) if IS_SYSTEMD else self.word

    def below(self, kind, id):
        """Where an engine puts a container of this id, whose kind it puts before it."""
        return f"{self.path}/{kind}-{id}.scope" if IS_SYSTEMD else f"{self.path}/{id}"

    def close(self):
        """Lets systemd forget the slice; returns the units below it that should have ended."""
        return end_slice(self.word) if IS_SYSTEMD else []


def slice_path(name):
    """Where systemd has a slice: "a-b.slice" is a child of "a.slice"."""
    words = name.removesuffix(".slice").split("-")
    return "".join(
        "/" + "-".join(words[:number]) + ".slice" for number in range(1, len(words) + 1))


def has_children(path):
    return any(
        entry.is_dir() for mount in cgroups.mounts() if os.path.isdir(mount + path)
        for entry in os.scandir(mount + path))


def systemctl(*words):
    return subprocess.run(
        ["systemctl", *words], capture_output=True, text=True, timeout=20 * PATIENCE)


def start_a_unit(slice_):
    """Any unit of a slice."""
    subprocess.run(
        ["systemd-run", "--quiet", "--scope", f"--slice={slice_}", "true"], check=True,
        timeout=30 * PATIENCE, stdin=subprocess.DEVNULL)


def apply_again(slice_):
    """Makes systemd write what every scope of a slice has: a reload, and the start of any unit."""
    assert systemctl("daemon-reload").returncode == 0
    start_a_unit(slice_)


def end_slice(name):
    """Ends a slice and those above it that the suite alone has; returns what was left in it."""
    path = slice_path(name)
    left = [
        group for group in cgroups.of_ours(path)
        if group.startswith(path + "/") and group.endswith(".scope")]
    systemctl("stop", name)
    wait_until(lambda: not cgroups.exists(path), 5, f"{name} has ended")
    while (path := os.path.dirname(path)) != "/" and not has_children(path):
        systemctl("stop", os.path.basename(path))
    # A unit that failed stays until somebody has looked at it.
    failed = systemctl("list-units", "--all", "--failed", "--plain", "--no-legend").stdout
    return left + [line.split()[0] for line in failed.splitlines()
                   if re.match(r"(docker|libpod|cri-containerd|e2e)", line)]
