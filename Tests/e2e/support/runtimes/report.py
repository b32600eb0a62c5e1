# SPDX-License-Identifier: Apache-2.0
"""What Python sees of its limits: a line of JSON at once, and one for each line of its input.

It asks the interpreter, and the cgroup files as libraries read them (loky, for one).
"""
import json
import math
import os
import sys

FILES = (
    "cpu.max", "cpu.max.burst", "cpu.weight", "cpuset.cpus.effective", "memory.high", "memory.low",
    "memory.max", "memory.swap.max", "pids.max",
    # The same on cgroup v1.
    "cpu/cpu.cfs_period_us", "cpu/cpu.cfs_quota_us", "cpu/cpu.shares",
    "memory/memory.limit_in_bytes", "memory/memory.memsw.limit_in_bytes")


def report():
    found = {"cpu_count": os.cpu_count()}
    if hasattr(os, "process_cpu_count"):
        found["process_cpu_count"] = os.process_cpu_count()
    for name in FILES:
        path = "/sys/fs/cgroup/" + name
        if os.path.exists(path):
            with open(path) as file:
                found[name] = file.read().strip()
    quota, period = found.get("cpu.max", "max 0").split()
    quota = found.get("cpu/cpu.cfs_quota_us", quota)
    period = found.get("cpu/cpu.cfs_period_us", period)
    found["cpus"] = None if quota in ("max", "-1") else math.ceil(int(quota) / int(period))
    print(json.dumps(found), flush=True)


report()
for _ in sys.stdin:
    report()
