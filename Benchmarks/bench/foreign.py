# SPDX-License-Identifier: Apache-2.0
"""How much of the machine somebody else used while something was measured."""
import os
import time

from . import cgroups
from .supervisors.idle import wakeups


class Foreign:
    """CPU time of neither the given groups nor the given processes, from its making to `close`."""

    def __init__(self, groups, pids):
        self.groups, self.pids = groups, [os.getpid(), *pids]
        self.before = self._read()

    def _read(self):
        with open("/proc/stat") as file:
            ticks = file.readline().split()
        # Idle time is exact where idle CPUs have no ticks; busy time is sampled. What is neither
        # idle nor ours is somebody else's, be it the hypervisor's.
        idle = (int(ticks[4]) + int(ticks[5])) / os.sysconf("SC_CLK_TCK")
        ours = sum(group.used() for group in self.groups)
        ours += sum(wakeups(pid)[1] for pid in self.pids) / 1e9
        return time.monotonic(), idle + ours

    def close(self):
        """A part of the machine's CPU time, 0 to 1."""
        seconds, ours = (after - before for before, after in zip(self.before, self._read()))
        return max(0, 1 - ours / seconds / cgroups.online_cpus())
