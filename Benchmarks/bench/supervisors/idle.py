# SPDX-License-Identifier: Apache-2.0
"""What supervising costs while nothing happens: memory and wake-ups."""
import os
import re

from .. import sources
from ..container import Failure, processes
from ..figures import median, verdict
from ..report import Result

NAME = "idle"
# Two seconds of silence, then the limit goes to the floor; after that nothing is due.
SETTLE = 4
MEMORY = ("Pss", "Private_Dirty", "Private_Clean")


def memory(pid):
    """KiB: Pss, Private_Dirty, Private_Clean, Private (both), PageTables."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        values = dict(re.findall(r"^(\w+):\s+(\d+) kB", file.read(), re.MULTILINE))
    with open(f"/proc/{pid}/status") as file:
        tables = re.search(r"^VmPTE:\s+(\d+)", file.read(), re.MULTILINE).group(1)
    found = {name: int(values[name]) for name in MEMORY}
    found["Private"] = found["Private_Dirty"] + found["Private_Clean"]
    found["PageTables"] = int(tables)
    return found


def wakeups(pid):
    """Context switches so far, voluntary or not, and CPU time in nanoseconds."""
    with open(f"/proc/{pid}/status") as file:
        switches = re.findall(r"^(?:non)?voluntary_ctxt_switches:\s+(\d+)", file.read(), re.M)
    with open(f"/proc/{pid}/schedstat") as file:
        return sum(map(int, switches)), int(file.read().split()[0])


class Census:
    """Our resident processes and as many static C programs that sleep."""

    def __init__(self, shop, containers):
        self.supervisors = [container.supervisor for container in containers]
        keepers = processes(shop.escra, "escra-keeper")
        self.keeper = next(iter(keepers.values()), None)
        if len(keepers) > 1:
            raise Failure(f"{len(keepers)} keepers on one host, expected one; see escra ps")
        self.sleepers = [shop.start_helper("sleeper") for _ in containers]
        self.groups = {
            "supervisor": self.supervisors,
            "keeper": [self.keeper] if self.keeper else [],
            "static C that sleeps": [sleeper.pid for sleeper in self.sleepers],
        }

    def memory(self):
        os.sync()
        return {name: [memory(pid) for pid in pids] for name, pids in self.groups.items()}

    def wakeups(self, shop, seconds, text):
        def read():
            return {name: [wakeups(pid) for pid in pids] for name, pids in self.groups.items()}

        before = read()
        shop.sleep(seconds, text)
        after = read()
        return {
            name: [(b[0] - a[0], b[1] - a[1]) for a, b in zip(before[name], after[name])]
            for name in before}

    def close(self, shop):
        for sleeper in self.sleepers:
            sleeper.kill()
            sleeper.wait()
            shop.helpers.remove(sleeper)


def census(shop, containers, seconds):
    count = len(containers)
    shop.sleep(SETTLE, f"idle: {count} settling")
    for container in containers:
        quota = container.group.quota()
        if quota is None or quota >= 50000:
            raise Failure(f"the limit of the idle {container.id} is {quota}, expected its floor")
    found = Census(shop, containers)
    try:
        return found.memory(), found.wakeups(shop, seconds, f"idle: {count} asleep")
    finally:
        found.close(shop)


def row(result, title, source, found, wakes, seconds):
    """Adds what was found of the processes of one sort."""
    if not found:
        result.add(title, *["not there"] * 6, "")
        return
    count = len(found)
    middle = {key: median([each[key] for each in found]) for key in found[0]}
    switches = sum(each[0] for each in wakes)
    goal = ""
    if title.startswith("supervisor"):
        # With one alone nobody shares the program file: the goal is for many.
        goal = verdict(switches, 0, "0 wake-ups")
        if count > 1:
            goal = "; ".join((
                verdict(middle["Pss"], 220, "PSS <= 220"),
                verdict(middle["Private"], 128, "private <= 128"), goal))
    title = f"{title}, {source}"
    result.add(
        title, f"{middle['Pss']:.0f}", f"{middle['Private']:.0f}",
        f"{middle['Private_Dirty']:.0f}", f"{middle['PageTables']:.0f}", switches,
        f"{sum(each[1] for each in wakes) / 1e6:.2f} ms", goal)
    result.figures[title] = {
        "memory_kib": found, "wakeups": [each[0] for each in wakes],
        "cpu_ns": [each[1] for each in wakes], "seconds": seconds}


def run(shop, quick):
    counts, seconds = ((1, 10), 5) if quick else ((1, 50), 20)
    found, notes = sources.available(shop)
    result = Result(
        NAME, "Supervising containers that idle",
        ["process", "PSS KiB", "private KiB", "of it dirty", "page tables KiB",
         f"wake-ups in {seconds} s", "CPU time", "goal"],
        ["Medians over the processes; wake-ups and CPU time are sums over all of them. "
         "smaps_rollup after sync; private is Private_Dirty + Private_Clean.",
         "PSS of one alone counts what it maps of the program file: shared, clean page cache.",
         "Wake-ups are context switches, voluntary or not. No container has used its CPU for "
         f"{SETTLE} s: the limit is at its floor.",
         "By where supervisors hear of a shortage from, all under the law headroom.", *notes])
    annotations = {"io.escra.policy": "reactive", "io.escra.cpu.max": "1"}
    for source, operator in found.items():
        containers = []
        for count in counts:
            while len(containers) < count:
                shop.tell(f"idle: starting {len(containers) + 1} of {count}, {source}")
                container = shop.container(
                    "idle", ["/bin/sleep", "100000"], annotations, cpu=0.5, operator=operator)
                containers.append(container.start())
            memories, wakes = census(shop, containers, seconds)
            if source == sources.HOOKS and (
                    missing := sources.without_hooks(shop, containers)):
                result.notes.append(f"{missing} of {count} supervisors with kernel hooks had none.")
            for name, each in memories.items():
                title = f"keeper of {count}" if name == "keeper" else f"{name} x {count}"
                row(result, title, source, each, wakes[name], seconds)
        for container in containers:
            container.stop()
    return result
