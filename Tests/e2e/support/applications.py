# SPDX-License-Identifier: Apache-2.0
"""What can be seen of applications from outside: their directories, locks, limits and sums."""
import fcntl
import json
import os
import struct
import subprocess
import sys
import threading
import time

import cgroups
from processes import wait_until

APPS = "/run/escra/apps"
# struct flock of 64 bits: type, whence, start, length, pid.
FLOCK = "hhqqi4x"


def holder(path):
    """The pid of who has locked a file by fcntl(2); None where nobody has."""
    try:
        with open(path, "rb") as file:
            asked = struct.pack(FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack(
                FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except FileNotFoundError:
        return None
    return None if kind == fcntl.F_UNLCK else pid


def room(name):
    """The directory of the application that is called so; None where there is none."""
    for directory in os.listdir(APPS) if os.path.isdir(APPS) else []:
        try:
            with open(os.path.join(APPS, directory, "name")) as file:
                if f"name={name}" in file.read().splitlines():
                    return os.path.join(APPS, directory)
        except FileNotFoundError:
            pass
    return None


def broker(name):
    """The pid of an application's broker; None where there is none."""
    directory = room(name)
    return directory and holder(os.path.join(directory, ".lock"))


def members(name):
    """The nonces of who is registered."""
    directory = room(name)
    try:
        return sorted(os.listdir(os.path.join(directory, "members"))) if directory else []
    except FileNotFoundError:
        return []


class Sampler:
    """A process that adds up what some containers may have, in parts of their application's limit.

    At its end `cpu` and `memory` have its figures: count, most, gap, above (limitsampler.py).
    """

    def __init__(self, containers, cpus, memory):
        self._asked = {
            name: (unit, [cgroups.limit_files(each.cgroup, name) for each in containers])
            for name, unit in (("cpu", cpus), ("memory", memory))}

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-B", os.path.join(os.path.dirname(__file__), "limitsampler.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._process.stdin.write(json.dumps(self._asked) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *error):
        told, _ = self._process.communicate()
        if error == (None, None, None):
            found = json.loads(told)
            self.cpu, self.memory = found["cpu"], found["memory"]


class Sums:
    """Adds up the limits of some containers, every few milliseconds.

    A sum counts when two looks in a row, at all of them, agree: nothing else was in force between.
    Between making a group and limiting it the low-level runtime is alone in it.
    """

    def __init__(self, *containers, every=0.002, read=None):
        self.containers, self.every, self.read = containers, every, read or self._cpus
        self.sums, self._limited = [], set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @staticmethod
    def _cpus(container):
        quota, period = cgroups.limit(container.cgroup)
        return float("inf") if quota is None else quota / period

    def _look(self):
        limits = []
        for container in self.containers:
            try:
                limit = self.read(container)
                if limit < float("inf"):
                    self._limited.add(container)
                limits.append(limit if container in self._limited else 0)
            except OSError:
                limits.append(0)  # It is not there yet, or any more.
        return limits

    def _run(self):
        while not self._stop.wait(self.every):
            first, second = self._look(), self._look()
            if first == second:
                self.sums.append((time.monotonic(), sum(first)))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        if error == (None, None, None):
            # Enough to say something, also where all is slow and what changed did so at once.
            wait_until(lambda: len(self.sums) > 20, 2, "sums to judge by")
        self._stop.set()
        self._thread.join()

    @property
    def most(self):
        return max(total for _, total in self.sums)
