# SPDX-License-Identifier: Apache-2.0
"""A container that reserves one CPU, beside neighbours that take what they get, and nobody else."""
import dataclasses
import os
import time

from .. import cgroups
from ..figures import Pairs, median

RESERVED = 1  # CPUs that the target declares
NEIGHBOURS = 2  # containers
FOREIGN = 0.05  # of the machine's CPU time; above it a run says something about somebody else
ATTEMPTS = 5


@dataclasses.dataclass(frozen=True)
class Case:
    """Under which policy the target runs, and beside which neighbours.

    Standard is runc; alone is standard without neighbours.
    """
    policy: str = "standard"
    neighbours: str = None

    @property
    def title(self):
        return f"{self.policy}, {self.neighbours}" if self.neighbours else "alone"

    @property
    def is_strict(self):
        return self.policy == "strict"

    @property
    def standard(self):
        return Case(neighbours=self.neighbours)

    @property
    def annotations(self):
        return {"io.escra.policy": "strict"} if self.is_strict else None


ALONE = Case()
BESIDE = [
    Case(policy, neighbours)
    for neighbours in ("capped", "burstable") for policy in ("standard", "strict")]


@dataclasses.dataclass
class Shares:
    """Who had how much of the CPUs while something was measured; CPUs, 1 is a whole one."""
    target: float
    neighbours: float
    idle: float
    foreign: float

    @property
    def is_disturbed(self):
        return self.foreign > FOREIGN * cgroups.online_cpus()


def why_not(cgroup):
    """Why this machine can show nothing of strict; None if it can."""
    if cgroup != "v1":
        return "strict needs the cpuset hierarchy of cgroup v1"
    if cgroups.online_cpus() <= RESERVED:
        return "strict needs a second CPU, for everybody else"
    return None


def paired(values, peer, ours):
    """What two cases found, round by round."""
    return Pairs(list(zip(values[peer], values[ours])))


def judged(runs, verdict):
    """The verdict, unless others had a hand in the runs that it is about."""
    disturbed = sum(shares.is_disturbed for _, shares in runs)
    return f"not judged: {disturbed} of {len(runs)} runs disturbed" if disturbed else verdict


def middle(runs, who):
    """The median of what somebody had, in CPUs."""
    return f"{median([getattr(shares, who) for _, shares in runs]):.2f}"


class Window:
    """Sums up who uses the CPUs, from its making to `close`."""

    def __init__(self, target, neighbours):
        self.target, self.neighbours = target, neighbours
        self.before = self._read()

    def _read(self):
        with open("/proc/stat") as file:
            ticks = file.readline().split()
        # Idle time is exact where idle CPUs have no ticks; busy time is sampled. What is neither
        # idle nor ours is somebody else's, be it the hypervisor's.
        idle = (int(ticks[4]) + int(ticks[5])) / os.sysconf("SC_CLK_TCK")
        return (time.monotonic(), idle, self.target.group.used(),
                sum(each.group.used() for each in self.neighbours))

    def close(self):
        seconds, idle, target, neighbours = (
            after - before for before, after in zip(self.before, self._read()))
        rest = cgroups.online_cpus() * seconds - idle - target - neighbours
        return Shares(*(round(value / seconds, 4) for value in (target, neighbours, idle, rest)))


class Scene:
    """Measures targets beside neighbours, a disturbed run again."""

    def __init__(self, shop, quick):
        self.shop, self.attempts = shop, 1 if quick else ATTEMPTS
        self.cpus = cgroups.online_cpus()
        self.runs, self.discarded, self.disturbed = 0, 0, 0

    def neighbours(self, kind):
        """Spinning threads, four a CPU, that reserve what the target leaves; started."""
        if kind is None:
            return []
        share = (self.cpus - RESERVED) / NEIGHBOURS
        threads = 4 * self.cpus // NEIGHBOURS
        return [
            self.shop.container(
                "neighbour", ["/bin/spin", str(threads)], cpu=share if kind == "capped" else None,
                shares=int(1024 * share)).start()
            for _ in range(NEIGHBOURS)]

    def _once(self, case, arguments, work):
        neighbours = self.neighbours(case.neighbours)
        target = self.shop.waiting(
            "target", arguments, case.annotations, cpu=RESERVED, shares=1024 * RESERVED).start()
        # The neighbours' threads find their places.
        time.sleep(0.5)
        window = Window(target, neighbours)
        found = work(target)
        shares = window.close()
        for container in (target, *neighbours):
            container.stop()
        return found, shares

    def _measure(self, case, arguments, work, text):
        """What `work(target)` returns, and the Shares meanwhile.

        A run in which others used more than they may is discarded and made again; if none is
        better, the least disturbed one stands, and `note` says so.
        """
        best = None
        for attempt in range(self.attempts):
            again = f", again ({attempt})" if attempt else ""
            self.shop.say(f"{text}: {case.title}{again}")
            found, shares = self._once(case, arguments, work)
            self.runs += 1
            if best is None or shares.foreign < best[1].foreign:
                best = found, shares
            if not shares.is_disturbed:
                break
            time.sleep(attempt)
        else:
            self.disturbed += 1
        self.discarded += attempt
        return best

    def play(self, cases, rounds, arguments, work, text):
        """Each case once a round, a round beginning with another one; lists of what they found.

        arguments: the program in the target, which waits for its start. work: measures; gets the
        target when all stand.
        """
        found = {case: [] for case in cases}
        for number in range(rounds):
            turn = number % len(cases)
            for case in cases[turn:] + cases[:turn]:
                found[case].append(self._measure(
                    case, arguments, work, f"{text}, round {number + 1} of {rounds}"))
        return found

    def note(self):
        """How the runs were chosen, for the reader of the table."""
        return (
            f"Others may use {FOREIGN:.0%} of the machine's CPU time (/proc/stat, steal included, "
            f"without the cgroups of the test): of {self.runs} runs {self.discarded} were "
            f"discarded for that, and {self.disturbed} stand although all of {self.attempts} "
            "attempts were disturbed.")

    def cast(self):
        """Who plays, for the reader of the table."""
        rest = self.cpus - RESERVED
        return (
            f"The target reserves {RESERVED} CPU (quota and cpu.shares {1024 * RESERVED}; under "
            f"strict the quota is dropped); {4 * self.cpus} spinning threads in {NEIGHBOURS} other "
            f"containers reserve {rest} in sum by cpu.shares. Capped: a quota of {rest} CPU in sum "
            "as well; burstable: none.")
