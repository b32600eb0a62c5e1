# SPDX-License-Identifier: Apache-2.0
"""What one more group around a container's own costs at each context switch."""
import os

from .. import cgroups
from ..conversation import Conversation
from ..figures import median, with_interval
from ..report import Result
from .switchcost import LOOPS

NAME = "level"
REPEATS = 60
ONE, TWO = "one group with a limit", "two groups with a limit each"


class Place:
    """A helper whose two processes switch in the innermost of some groups of its own."""

    def __init__(self, shop, cpu, name, depth):
        self.shop, self.id = shop, name
        self.shared = os.path.join(shop.path, f"level-{depth}")
        os.makedirs(self.shared)
        for fifo in ("go", "done"):
            os.mkfifo(os.path.join(self.shared, fifo))
        self.helper = shop.start_helper("switches", self.shared, cpu)
        self.groups = []
        # Its own group is as deep as everything else on the machine, which is not in these.
        group = cgroups.directory(1, "cpu")
        for level in range(depth):
            group = os.path.join(group, f"escra-bench-level-{os.getpid()}-{depth}-{level}")
            os.mkdir(group)
            self.groups.append(group)
            self.limit(group)
        with open(os.path.join(group, "cgroup.procs"), "w") as file:
            file.write(str(self.helper.pid))

    @staticmethod
    def limit(group):
        """A quota that is never short, so that the kernel accounts for it and never throttles."""
        quota = cgroups.online_cpus() * 100_000
        is_v2 = os.path.exists(os.path.join(group, "cpu.max"))
        with open(os.path.join(group, "cpu.max" if is_v2 else "cpu.cfs_quota_us"), "w") as file:
            file.write(f"{quota} 100000" if is_v2 else str(quota))

    def stop(self):
        self.helper.kill()
        self.helper.wait()
        self.shop.helpers.remove(self.helper)
        for group in reversed(self.groups):
            os.rmdir(group)


def run(shop, quick):
    repeats = 4 if quick else REPEATS
    cpu = max(os.sched_getaffinity(0))
    places = [Place(shop, cpu, ONE, 1), Place(shop, cpu, TWO, 2)]
    talks = {each.id: Conversation(each, 2) for each in places}
    found = {}
    for repeat in range(-1, repeats):
        shop.tell(f"level: {repeat + 1} of {repeats}")
        # In turns, and in another order each time.
        for name, talk in list(talks.items())[::1 if repeat % 2 else -1]:
            for byte, loop in LOOPS:
                _, (nanoseconds, switches) = talk.ask(byte.encode())
                if repeat >= 0:
                    found.setdefault((name, loop), []).append(nanoseconds / switches)
    result = Result(
        NAME, "What one more group costs at a context switch",
        ["two processes on one CPU that", ONE + ", ns", TWO + ", ns", "difference, ns (95 %)",
         "ratio"],
        [f"{repeats} times 0.25 s in alternation; CPU time of both processes. Each group has a "
         "quota that is never short.",
         "The control hands a byte to itself: no switch."])
    for _, loop in LOOPS:
        one, two = found[ONE, loop], found[TWO, loop]
        result.add(
            loop, with_interval(one, 0), with_interval(two, 0),
            with_interval([b - a for a, b in zip(one, two)], 0), f"{median(two) / median(one):.3f}")
        result.figures[loop] = {"one": one, "two": two}
    for talk in talks.values():
        talk.close()
        talk.container.stop()
    return result
