# SPDX-License-Identifier: Apache-2.0
"""A container that is measured, and our processes beside it."""
import glob
import os
import subprocess
import tempfile
import time

from . import cgroups


class Failure(Exception):
    """One sentence that says what, which value, what to do."""


def processes(executable, role):
    """Pids by second argument of our long-lived processes: escra-supervisor, escra-keeper."""
    found = {}
    status = os.stat(executable)
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                arguments = file.read().split(b"\0")
            if arguments[0] != role.encode():
                continue
            # Another build's processes are not the ones that we measure.
            image = os.stat(os.path.dirname(path) + "/exe")
            if (image.st_dev, image.st_ino) == (status.st_dev, status.st_ino):
                found[arguments[1].decode()] = int(path.split("/")[2])
        except (OSError, IndexError):
            continue
    return found


class Container:
    """A container that runs until it is stopped."""

    def __init__(self, workshop, runtime, name, bundle, options=()):
        self.workshop, self.runtime, self.bundle = workshop, runtime, bundle
        self.options = options
        self.id = f"{workshop.prefix}-{name}"
        self.group = None

    def call(self, *arguments):
        with tempfile.TemporaryFile("w+") as errors:
            # A session of its own: ^C is for us, and we delete what runs.
            code = subprocess.call(
                [self.runtime, *self.options, "--root", self.workshop.root, *arguments],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                start_new_session=True)
            errors.seek(0)
            return code, errors.read().strip()

    def _make(self, verb, *arguments):
        self.workshop.containers.append(self)
        code, errors = self.call(verb, *arguments, "--bundle", self.bundle, self.id)
        if code != 0:
            raise Failure(f"{os.path.basename(self.runtime)} {verb} of {self.id} failed with "
                          f"{code}: {errors or 'it said nothing'}")

    def create(self):
        """Creates it, and does not start it."""
        self._make("create")
        return self

    def start(self):
        pid_file = os.path.join(self.workshop.path, self.id + ".pid")
        self._make("run", "--detach", "--pid-file", pid_file)
        with open(pid_file) as file:
            self.pid = int(file.read())
        self.group = cgroups.Group(self.pid)
        return self

    @property
    def supervisor(self):
        # While it becomes a fresh image /proc shows no arguments of it.
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            pid = processes(self.workshop.escra, "escra-supervisor").get(self.id)
            if pid is not None:
                return pid
            time.sleep(0.01)
        raise Failure(f"container {self.id} has no supervisor; see the system's log")

    def stop(self):
        if self in self.workshop.containers:
            self.workshop.containers.remove(self)
        self.call("delete", "--force", self.id)
