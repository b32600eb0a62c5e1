# SPDX-License-Identifier: Apache-2.0
"""What the cases ran with: engine, cgroup version, driver, low-level runtime, policy.

Whatever starts a container under escra-runc says so by ran(). At the end of the session the file
that ESCRA_E2E_RESULTS names gets a row for each combination, with the number of cases that passed
and failed; scripts/compatibility makes docs/compatibility.md of such files. A case that was skipped
before it ran anything is in no row.
"""
import collections
import functools
import json
import os
import platform
import re
import subprocess

import cgroups
from driver import DRIVER

Row = collections.namedtuple("Row", "engine cgroup driver runtime policy kernel")

_current = set()
_rows, _failed = {}, set()


def ran(engine, runtime, policy):
    """Notes what the current test starts a container under escra-runc with.

    - engine: the program that calls it; None where the test itself does
    - runtime: the program that it becomes
    - policy: None without one
    """
    _current.add(Row(
        _version(engine) if engine else "command line", f"v{cgroups.VERSION}", DRIVER,
        _version(runtime), policy or "none", platform.release().split("-")[0]))


@functools.cache
def _version(program):
    """A program's name with its version, as it prints that itself."""
    told = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    number = re.search(r"\d+\.\d+(\.\d+)?", told)
    return f"{os.path.basename(program)} {number.group() if number else '?'}"


def pytest_runtest_setup():
    _current.clear()


def pytest_runtest_logreport(report):
    if report.failed:
        _failed.add(report.nodeid)
    if report.when == "teardown" and _current:
        _rows[report.nodeid] = frozenset(_current)


def pytest_sessionfinish():
    path = os.environ.get("ESCRA_E2E_RESULTS")
    if not path:
        return
    counts = collections.defaultdict(lambda: {"passed": 0, "failed": 0})
    for case, rows in _rows.items():
        for row in rows:
            counts[row]["failed" if case in _failed else "passed"] += 1
    # One session may run behind another.
    with open(path, "a") as file:
        for row, count in sorted(counts.items()):
            file.write(json.dumps({**row._asdict(), **count}) + "\n")
