# SPDX-License-Identifier: Apache-2.0
"""What the keeper does for one container beside many applications, and how far it is behind."""
import os
import signal
import statistics
import time

from ..container import Failure, processes
from ..crowd import Crowd
from ..report import Result
from ..sources import HOOKS, operator

NAME = "keeper"
# ESCRA_BENCH_KEEPER=10,100: for some of them.
COUNTS = tuple(map(int, os.environ.get("ESCRA_BENCH_KEEPER", "10,30,100,300,500,1000").split(",")))
QUICK_COUNTS = (3, 10)
SINGLES = 5
QUIET = 0.5  # seconds without work: it is at rest; what has ended is swept up after one second
GOAL = 3.0  # ms for one create
LEAST = {"quota": 1000, "period": 1000000}


class Applications(Crowd):
    """Containers, each of which is an application of its own."""

    def _bundle(self, name):
        self.config["annotations"] = {
            "io.escra.policy": "reactive", "io.escra.app": name, "io.escra.cpu.min": "1m"}
        self.config["linux"]["resources"]["cpu"] = LEAST
        return super()._bundle(name)


def keeper(shop):
    found = list(processes(shop.escra, "escra-keeper").values())
    if len(found) != 1:
        raise Failure(f"{len(found)} keepers live, expected one")
    return found[0]


def cpu_time(pid):
    """Milliseconds."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e6


def at_rest(pid, seconds=120):
    """When it did something last, and its CPU time since it began."""
    begin = last = time.monotonic()
    used = cpu_time(pid)
    while (now := time.monotonic()) - last < QUIET:
        time.sleep(0.01)
        if cpu_time(pid) != used:
            used, last = cpu_time(pid), time.monotonic()
        if now - begin > seconds:
            raise Failure(f"the keeper is not at rest within {seconds} s")
    return last, used


def replaced(shop, container):
    """Seconds from the death of a supervisor to the next one."""
    dead = container.supervisor
    begin = time.monotonic()
    os.kill(dead, signal.SIGKILL)
    while container.supervisor == dead:
        if time.monotonic() - begin > 30:
            raise Failure(f"the supervisor of {container.id} is not replaced")
    return time.monotonic() - begin


def run(shop, quick):
    result = Result(
        NAME, "The keeper beside many applications",
        ["applications", "behind after all creates, s", "keeper CPU for one create, ms: median",
         "most, ms", "a killed supervisor is replaced after, s", "goal"],
        [f"Each container is an application of its own. {SINGLES} further creates, one after the "
         f"other; the keeper is at rest when it has used no CPU time for {QUIET} s."])
    crowd = Applications(shop, "keeper", operator(HOOKS))
    for count in QUICK_COUNTS if quick else COUNTS:
        crowd.become(count, 60 + count)
        if len(crowd.members) < count:
            result.notes.append(f"Only {len(crowd.members)} of {count} containers started in time.")
            break
        end, pid = time.monotonic(), keeper(shop)
        last, used = at_rest(pid)
        costs = []
        for number in range(SINGLES):
            crowd.become(count + number + 1, 60)
            _, now = at_rest(pid)
            costs.append(now - used)
            used = now
        back = replaced(shop, crowd.members[0])
        behind = max(0, last - end)
        median = statistics.median(costs)
        result.add(
            count, f"{behind:.2f}", f"{median:.2f}", f"{max(costs):.2f}", f"{back:.2f}",
            f"<= {GOAL:g} ms: {'met' if median <= GOAL else 'MISSED'}" if count >= 500 else "")
        result.figures[str(count)] = {
            "behind": behind, "costs": costs, "replaced": back, "total": used}
    crowd.become(0, 600)
    return result
