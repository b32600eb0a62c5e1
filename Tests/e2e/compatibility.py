# SPDX-License-Identifier: Apache-2.0
"""What the cases ran with: engine, cgroup version, driver, low-level runtime, policy.

Whatever starts a container under escra-runc says so by ran(). As each case ends the file that
ESCRA_E2E_RESULTS names gets a row for each of its combinations; scripts/compatibility makes
docs/compatibility.md of such files. A case that was skipped before it ran anything is in no row.
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

_current, _failed = set(), set()


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
    path = os.environ.get("ESCRA_E2E_RESULTS")
    if report.failed:
        _failed.add(report.nodeid)
    if report.when != "teardown" or not path:
        return
    is_failed = report.nodeid in _failed
    # One session may run behind another.
    with open(path, "a") as file:
        for row in sorted(_current):
            file.write(json.dumps({
                **row._asdict(), "case": report.nodeid, "passed": int(not is_failed),
                "failed": int(is_failed)}) + "\n")
