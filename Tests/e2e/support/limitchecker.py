#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Looks at the kernel's limits of applications' containers, and knows nothing of any ledger.

A program of its own, so that nothing which the suite does delays it. It is told by JSON, a line
each, on its standard input:

    {"application": NAME, "cpu": CPUS or null, "memory": BYTES or null}     its limits from now on
    {"watch": NAME, "id": ID, "cgroup": PATH}                               a member, also of later
    {"forget": ID}                                                          its cgroup may go
    {"end": true}                                                           says what it found

Every 10 ms it reads all files of an application, twice in a row: only where both passes agree is
it a sample. A limit that was read by the second pass was still there after all others had been read
by the first, so a sum that is too large is one that there was.

What counts is the limit of a group with processes in it, from the first one that the kernel has:
the low-level runtime makes a group before it limits it. Later "no limit" is more than any.
"""
import collections
import json
import os
import select
import sys
import time

import cgroups

EVERY = 0.01  # seconds
TRIES = 5  # to find two passes that agree
WINDOWS = (0.5, 1, 2, 5, 10)  # seconds, over which use is counted
TICK = 0.005  # what a CPU may overrun: a tick at HZ=250, and 1 ms of a slice that it keeps
CPUS = os.cpu_count()
UNLIMITED = float("inf")


class File:
    """One file of a cgroup that may not be there yet, or not any more; `place` says where it is."""

    def __init__(self, place):
        self.place, self.descriptor = place, None

    def read(self):
        """Its bytes; None where there is none."""
        try:
            if self.descriptor is None:
                self.descriptor = os.open(self.place(), os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self.descriptor, 4096, 0)
        except OSError:
            # ENOENT before, ENODEV after.
            self.close()
            return None

    def close(self):
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class Member:
    """One container's files."""

    def __init__(self, id, path):
        self.id = id
        is_v1 = cgroups.VERSION == 1

        def file(controller, name, around=False):
            return File(lambda: self.place(controller, name, around))

        self.path = path
        # The lesser limit holds: of its own group, and of ours around it.
        names = {"cpu": "cpu.cfs_quota_us", "memory": "memory.limit_in_bytes"} if is_v1 else {
            "cpu": "cpu.max", "memory": "memory.max"}
        self.files = {
            name: (file(name, limit), file(name, limit, around=True))
            for name, limit in names.items()}
        self.period = file("cpu", "cpu.cfs_period_us") if is_v1 else None
        self.usage = file("cpuacct", "cpuacct.usage") if is_v1 else file("cpu", "cpu.stat")
        self.used = self.before = 0.0
        self.limited = set()

    def place(self, controller, name, around):
        """Looked up once: it may be made meanwhile, and one group must not pass for the other."""
        found = cgroups.located(self.path)
        # directory() looks it up as well, and finds what was made since.
        if not os.path.isdir(cgroups.MEMORY + found):
            raise FileNotFoundError(found)
        parent = os.path.dirname(found)
        if around and cgroups.OUTER.fullmatch(os.path.basename(parent)):
            found = parent
        return os.path.join(cgroups.directory(found, controller), name)

    def glance(self, resources):
        """What the files say, as it is."""
        return [tuple(file.read() for file in self.files[name]) for name in resources]

    def is_inhabited(self):
        """Whether somebody lives in it: zombies wait for their parents elsewhere."""
        # Opened anew: cgroup v1 shows who has it open a list that is up to a second old.
        try:
            with open(os.path.join(cgroups.directory(self.path), "cgroup.procs"), "rb") as file:
                return bool(file.read(1))
        except OSError:
            return False

    def limit(self, resource, texts):
        """CPUs or bytes; 0 before there was a limit, and without a group."""
        if texts[0] is None:
            return 0
        read = self.cpus if resource == "cpu" else self.bytes
        value = min(read(text) for text in texts if text is not None)
        if value < UNLIMITED:
            if resource == "cpu" and resource not in self.limited:
                # The low-level runtime's own work, under no limit yet, is not the application's.
                self.before = self.usage_now()
            self.limited.add(resource)
        elif resource not in self.limited:
            return 0
        return value

    def cpus(self, text):
        if not self.period:
            quota, period = text.split()
            return UNLIMITED if quota == b"max" else int(quota) / int(period)
        quota, period = int(text), self.period.read()
        if period is None:
            return 0
        return UNLIMITED if quota < 0 else quota / int(period)

    @staticmethod
    def bytes(text):
        value = UNLIMITED if text.strip() == b"max" else int(text)
        # cgroup v1 writes no limit as the largest number of pages.
        return UNLIMITED if value > 1 << 60 else value

    def use(self):
        """Seconds since it has a limit; what was seen last once the group is gone."""
        if "cpu" in self.limited:
            self.used = max(self.used, self.usage_now() - self.before)
        return self.used

    def usage_now(self):
        """Seconds so far; 0 without a group."""
        text = self.usage.read()
        if text is None:
            return 0
        return int(text) / 1e9 if self.period else int(text.split()[1]) / 1e6

    def close(self):
        for file in (self.usage, self.period, *sum(self.files.values(), ())):
            if file:
                file.close()


class Application:
    """Its limits, its members, and what was seen of them."""

    def __init__(self, name):
        self.name, self.limits, self.members = name, {}, []
        self.most = 0
        self.samples = self.discarded = 0
        self.broken = []
        self.highest = collections.Counter()
        self.uses = collections.deque()
        self.gone = 0.0
        # By window: by how many seconds of CPU time the use was above the limit, at most.
        self.above = {window: 0.0 for window in WINDOWS}

    def look(self, now):
        resources = [name for name, limit in self.limits.items() if limit is not None]
        for _ in range(TRIES):
            first = [member.glance(resources) for member in self.members]
            if first == [member.glance(resources) for member in self.members]:
                break
        else:
            self.discarded += 1
            return
        self.samples += 1
        for index, resource in enumerate(resources):
            limits = {
                member: member.limit(resource, seen[index])
                for member, seen in zip(self.members, first)}
            most = self.limits[resource]
            if sum(limits.values()) > most:
                # Of those who are dead a limit may be left, and who lives now has lived then.
                limits = {
                    member: limit for member, limit in limits.items() if member.is_inhabited()}
            total = sum(limits.values())
            self.highest[resource] = max(self.highest[resource], total / most)
            # Whole microseconds a period, so that rounding is no excuse: only that of the sum.
            if total > most * (1 + 1e-9):
                self.broken.append((
                    now, resource, self.name,
                    f"{now:.3f}: {resource} of {self.name}: {total:g} of {most:g}: "
                    + ", ".join(f"{each.id} {limit:g}" for each, limit in limits.items())))

    def count(self, now):
        """Use in windows."""
        limit = self.limits.get("cpu")
        if limit is None:
            return
        total = self.gone + sum(member.use() for member in self.members)
        self.uses.append((now, total))
        while self.uses[0][0] < now - max(WINDOWS) - 1:
            self.uses.popleft()
        for window in WINDOWS:
            then = next((each for each in self.uses if each[0] >= now - window), None)
            if then and now > then[0]:
                above = total - then[1] - limit * (now - then[0])
                self.above[window] = max(self.above[window], above)

    @property
    def allowance(self):
        """Seconds of CPU time above limit x T: one period's worth twice, as the kernel has it for a
        constant quota, and what each member's CPUs overrun before the kernel looks."""
        return 0.2 * (self.limits.get("cpu") or 0) + TICK * CPUS * self.most


class Checker:
    def __init__(self):
        self.applications = {}
        self.latest = 0.0

    def application(self, name):
        return self.applications.setdefault(name, Application(name))

    def hear(self, told):
        if "application" in told:
            self.application(told["application"]).limits = {
                name: told.get(name) for name in ("cpu", "memory")}
        elif "watch" in told:
            each = self.application(told["watch"])
            each.members.append(Member(told["id"], told["cgroup"]))
            each.most = max(each.most, len(each.members))
        elif "forget" in told:
            for each in self.applications.values():
                for member in [one for one in each.members if one.id == told["forget"]]:
                    each.gone += member.use()
                    member.close()
                    each.members.remove(member)

    def result(self):
        each = self.applications.values()
        return {
            "samples": sum(one.samples for one in each),
            "discarded": sum(one.discarded for one in each),
            "latest": round(self.latest, 4),
            "broken": [broken for one in each for broken in one.broken][:40],
            "highest": {
                name: round(max((one.highest[name] for one in each), default=0), 4)
                for name in ("cpu", "memory")},
            "above": {
                one.name: {str(window): round(value, 4) for window, value in one.above.items()}
                for one in each},
            "allowance": {one.name: round(one.allowance, 4) for one in each}}

    def run(self):
        poll, rest = select.poll(), b""
        poll.register(0, select.POLLIN)
        looks, due = 0, time.monotonic()
        while True:
            while poll.poll(max(0, (due - time.monotonic()) * 1000)):
                data = os.read(0, 65536)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                for told in map(json.loads, lines):
                    if "end" in told:
                        print(json.dumps(self.result()), flush=True)
                        return
                    self.hear(told)
            now = time.monotonic()
            self.latest = max(self.latest, now - due)
            for each in self.applications.values():
                each.look(now)
                if looks % 10 == 0:
                    each.count(time.monotonic())
            looks += 1
            # Never two at once to make up for one that was late.
            due = max(due + EVERY, now)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    Checker().run()
