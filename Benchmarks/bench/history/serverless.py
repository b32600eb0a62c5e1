# SPDX-License-Identifier: Apache-2.0
"""A short function again and again: what it is allowed, and how long it takes."""
import glob
import json
import os
import threading
import time

from ..container import Failure
from ..figures import median, verdict
from .loads import Memory
from ..report import Result

NAME = "serverless"
MIB, WORK, TOTAL = 60, 90, 300  # MiB, ms of CPU time, ms
DECLARED_CPU, DECLARED_MEMORY = 1.0, 512 << 20
RARE, FACTOR = 20, 3  # one in twenty takes three times as much memory
GOAL_LIMIT, GOAL_TIME = 0.25, 1.02


def _text(path):
    with open(path) as file:
        return file.read()


class Limits(threading.Thread):
    """Both limits of a container on cgroup v1 every 2 ms, as parts of what is declared."""

    def __init__(self, name):
        super().__init__(daemon=True)
        self.name = name
        self.seen, self.is_over = [], False

    def _find(self):
        """The files with a limit: of the container's own group, and of the one around it."""
        for part in ("", "escra*/"):
            for path in glob.glob(f"/sys/fs/cgroup/memory/{part}{self.name}"):
                memory = [path] + ([os.path.dirname(path)] if part else [])
                return [path.replace("/memory/", "/cpu/", 1) + "/cpu.cfs_quota_us"] + [
                    group + "/memory.limit_in_bytes" for group in memory]
        raise FileNotFoundError(self.name)

    def run(self):
        files = []
        while not self.is_over:
            try:
                files = files or self._find()
                quota, *memory = (int(_text(path)) for path in files)
                if quota > 0 and min(memory) < 1 << 50:
                    self.seen.append((quota / 1e5 / DECLARED_CPU, min(memory) / DECLARED_MEMORY))
            except (OSError, ValueError):
                pass
            time.sleep(0.002)

    def stop(self):
        self.is_over = True
        self.join()
        return self.seen


def call(shop, memory, number, is_ours):
    """One call: its duration, the limits that were seen, and whether it was killed."""
    mib = MIB * FACTOR if number % RARE == RARE - 1 else MIB
    annotations = {"io.escra.policy": "reactive", "io.escra.profile": "function",
                   "io.escra.memory.min": "16Mi"} if is_ours else None
    made = shop.container(
        "function", ["/bin/function", str(mib), str(WORK), str(TOTAL)], annotations, DECLARED_CPU,
        operator=memory.operator if is_ours else None)
    path = os.path.join(made.bundle, "config.json")
    with open(path) as file:
        config = json.load(file)
    config["linux"]["resources"]["memory"] = {"limit": DECLARED_MEMORY}
    with open(path, "w") as file:
        json.dump(config, file)
    limits = Limits(config["linux"]["cgroupsPath"].strip("/"))
    limits.start()
    began = time.monotonic()
    code, _ = made.call("run", "--bundle", made.bundle, made.id)
    took = time.monotonic() - began
    return took, limits.stop(), code != 0


def run(shop, quick):
    if not os.path.exists("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") and not os.path.isdir(
            "/sys/fs/cgroup/cpu"):
        raise Failure("serverless reads cgroup v1; run it on a machine that has that")
    count = 30 if quick else 100
    memory = Memory(shop)
    memory.operator["history"]["predict"] = "start"
    found = {"runc": [], "escra, predict": []}
    for number in range(count):
        for title, rows in found.items():
            shop.tell(f"serverless: call {number + 1} of {count}")
            rows.append(call(shop, memory, number, title != "runc"))
    result = Result(
        NAME, "A function that is called again and again",
        ["runtime", "duration p50", "CPU limit", "memory limit", "killed", "goal"],
        [f"{count} calls each, in turns: {TOTAL} ms, of which {WORK} ms are CPU time, and {MIB} "
         f"MiB; one in {RARE} takes {FACTOR} times as much. Declared are {DECLARED_CPU:g} CPU and "
         f"{DECLARED_MEMORY >> 20} MiB. Limits are means over time, from the moment at which the "
         "low-level runtime has set one, as parts of what is declared. The first five calls "
         "predict nothing."])
    before = median([took for took, _, _ in found["runc"]])
    for title, rows in found.items():
        seen = [each for _, limits, _ in rows for each in limits]
        if not seen:
            raise Failure(f"no limit of a container was seen under {title}; its group is elsewhere")
        cpu, held = (sum(each[i] for each in seen) / len(seen) for i in (0, 1))
        took, killed = median([row[0] for row in rows]), sum(row[2] for row in rows)
        goals = "" if title == "runc" else "; ".join((
            verdict(cpu, GOAL_LIMIT, f"CPU <= {GOAL_LIMIT}"),
            verdict(held, GOAL_LIMIT, f"memory <= {GOAL_LIMIT}"),
            verdict(took / before, GOAL_TIME, f"p50 <= {GOAL_TIME} x"),
            verdict(killed, 0, "no kill")))
        result.add(title, f"{took * 1000:.1f} ms", f"{cpu:.2f}", f"{held:.2f}", killed, goals)
        result.figures[title] = {"seconds": [row[0] for row in rows], "cpu": cpu, "memory": held,
                                 "killed": killed}
    return result
