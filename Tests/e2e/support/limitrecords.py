# SPDX-License-Identifier: Apache-2.0
"""What supervisors wrote down of their own writes, put together again.

A record is a ring of 512 decisions, so it is read every now and then and kept. The time of an
entry is taken when the write is done and before anybody is told of it. A sum is therefore never
seen too large because a giver's entry came after a taker's; what was too large for the
microseconds between a write and its entry is not seen.

Not written down, and hence not claimed: the first limit, which the low-level runtime writes; what a
supervisor wrote in the instruction before it was killed, between its last entry and the one of its
successor; and what came after the last reading of a container that has ended.
"""
import os
import struct

from processes import RUN

SIZE = 64
APPLIED = 256
START, REFUSED = 0, 11  # rules


def entries(data):
    """(sequence, time in ns, rule, after, period in ns) of the entries that changed the kernel."""
    found = []
    for offset in range(0, len(data) - SIZE + 1, SIZE):
        sequence, moment, flags, _, after, _, period = struct.unpack_from("<7Q", data, offset)
        if sequence and flags & APPLIED:
            found.append((sequence, moment, flags & 255, after, period))
    return found


class Records:
    """All that was ever read, by instance directory."""

    def __init__(self):
        self.kept, self.names, self.ended = {}, {}, {}

    def read(self):
        """Takes in what is there now; often enough that no ring has gone round."""
        for parent, _, names in os.walk(os.path.join(RUN, "containers")):
            try:
                with open(os.path.join(parent, "state")) as file:
                    state = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
                with open(os.path.join(parent, "record"), "rb") as file:
                    found = entries(file.read())
            except OSError:
                # No instance, or it has just ended.
                continue
            self.names[parent] = state["id"]
            self.kept.setdefault(parent, {}).update((each[0], each) for each in found)

    def end(self, id, moment):
        """From this moment, in nanoseconds of the wall clock, nothing is known of a container."""
        self.ended[id] = moment

    def lost(self):
        """Entries that were overwritten before they were read."""
        return sum(max(kept) - min(kept) + 1 - len(kept) for kept in self.kept.values() if kept)

    def changes(self, members, resource):
        """(ns, instance, CPUs or bytes), in order, of an application's members."""
        found = []
        for instance, kept in self.kept.items():
            id = self.names[instance]
            if id not in members:
                continue
            before = None
            for _, moment, rule, after, period in sorted(kept.values()):
                # Memory has no period. What the kernel has refused it does not have.
                if (period == 0) != (resource == "memory") or rule == REFUSED:
                    continue
                if moment >= self.ended.get(id, moment + 1):
                    break
                value = after / period if period else after
                if rule == START and before is not None and before > value:
                    # Its predecessor lowered it and was killed before it could say so.
                    value = min(before, value)
                found.append((moment, instance, value))
                before = value
            if id in self.ended:
                found.append((self.ended[id], instance, 0))
        return sorted(found)


def replay(changes, limits):
    """Sentences about sums that were too large.

    changes: as Records.changes() has them. limits: (ns, limit) in order, the first from ever.
    """
    held, broken = {}, []
    limits = list(limits)
    most = limits.pop(0)[1]
    for moment, instance, value in changes:
        while limits and limits[0][0] <= moment:
            most = limits.pop(0)[1]
        held[instance] = value
        total = sum(held.values())
        if total > most * (1 + 1e-9):
            broken.append(
                f"{moment / 1e9:.6f}: {total:g} of {most:g}, by {os.path.basename(instance)} to "
                f"{value:g}")
    return broken
