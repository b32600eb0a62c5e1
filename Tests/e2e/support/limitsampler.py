# SPDX-License-Identifier: Apache-2.0
"""Adds up the limits of an application's members, as often as it can, beside the suite's process.

The first line of stdin is JSON: {name: [unit, [[[FILE, ...], ...], ...]]}, for each resource the
groups of each member, and for each group its files: a limit, and a period where it is in another.
The least of a member's groups counts. A sum counts when two looks in a row, at all members, read
the same: nothing else was in force between. At the end of stdin it prints {name: figures}.
"""
import json
import os
import select
import sys
import time

# Between two looks; a loop without it would take a CPU from what is looked at.
PAUSE = 0.0003


class Resource:
    """The sums of one resource."""

    def __init__(self, unit, members):
        self.unit = unit
        self.members = [
            [[os.open(file, os.O_RDONLY) for file in group] for group in groups]
            for groups in members]
        self.last, self.sum = None, 0.0
        # In units of the limit and seconds: sums, the largest, the longest time between two, and
        # how long the sum was above the limit, each time.
        self.count, self.most, self.gap, self.above = 0, 0.0, 0.0, []
        self.before = self.since = None

    def look(self):
        return [
            [os.pread(file, 64, 0) for file in group] for groups in self.members
            for group in groups]

    def sample(self):
        found = self.look()
        if found != self.look():
            return
        now = time.monotonic()
        if found != self.last:
            self.last, self.sum = found, self.total(iter(found)) / self.unit
        self.count += 1
        self.most = max(self.most, self.sum)
        self.gap = max(self.gap, now - (self.before or now))
        if self.sum > 1 + 1e-9:
            self.since = self.since or now
        elif self.since is not None:
            self.above.append(now - self.since)
            self.since = None
        self.before = now

    def total(self, texts):
        return sum(min(value(next(texts)) for _ in groups) for groups in self.members)

    def figures(self):
        if self.since is not None:
            self.above.append(time.monotonic() - self.since)
        return {"count": self.count, "most": self.most, "gap": self.gap, "above": self.above}


def value(texts):
    """A group's limit: a quota by its period, or bytes."""
    words = b" ".join(texts).split()
    if words[0] in (b"max", b"-1"):
        return float("inf")
    return int(words[0]) / (int(words[1]) if len(words) > 1 else 1)


def main():
    # Unbuffered: select(2) below must see the end.
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1 << 16)
    asked = json.loads(line)
    resources = {name: Resource(unit, members) for name, (unit, members) in asked.items()}
    print("ready", flush=True)
    while not select.select([0], [], [], PAUSE)[0]:
        for resource in resources.values():
            resource.sample()
    print(json.dumps({name: each.figures() for name, each in resources.items()}))


if __name__ == "__main__":
    sys.exit(main())
