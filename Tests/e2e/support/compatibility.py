# SPDX-License-Identifier: Apache-2.0
"""What the cases ran with: engine, cgroup version, driver, low-level runtime, policy.

Whatever starts a container under escra-runc says so by ran(). As each case ends the file that
ESCRA_E2E_RESULTS names gets a row for each of its combinations; scripts/compatibility makes
docs/compatibility.md of such files. A case that was skipped before it ran anything is in no row;
the last row, the session's, says which there are, so that others of the same tests are forgotten.
"""
import collections
import functools
import json
import os
import platform
import re
import subprocess

import pytest

import cgroups
from driver import DRIVER
from world import LOW_LEVEL

Row = collections.namedtuple("Row", "engine cgroup driver runtime policy kernel")

_current, _failed, _skipped = set(), set(), set()
# By the names of their tests, but for those of which somebody asked for some cases only.
_cases = collections.defaultdict(list)


# What rows say a container was called by where no engine did.
BY_HAND = "command line"


def ran(engine, runtime, policy):
    """Notes what the current test starts a container under escra-runc with.

    - engine: the program that calls it; None where the test itself does
    - runtime: the program that it becomes
    - policy: None without one
    """
    _current.add(Row(
        _version(engine) if engine else BY_HAND, runtime=_version(runtime),
        policy=policy or "none", **_session()))


def _session():
    return {
        "cgroup": f"v{cgroups.VERSION}", "driver": DRIVER,
        "kernel": platform.release().split("-")[0]}


@functools.cache
def _version(program):
    """A program's name with its version, as it prints that itself."""
    told = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    number = re.search(r"\d+\.\d+(\.\d+)?", told)
    return f"{os.path.basename(program)} {number.group() if number else '?'}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    some = {asked.partition("[")[0] for asked in config.args if "[" in asked}
    for item in items:
        test = item.nodeid.partition("[")[0]
        if not any(asked.endswith(test) for asked in some):
            _cases[test].append(item.nodeid)


def pytest_runtest_setup():
    _current.clear()


def pytest_sessionfinish():
    path = os.environ.get("ESCRA_E2E_RESULTS")
    if path and _cases:
        _write(path, {
            "engine": BY_HAND, "runtime": _version(LOW_LEVEL), **_session(),
            "cases": _cases, "skipped": sorted(_skipped)})


def pytest_runtest_logreport(report):
    path = os.environ.get("ESCRA_E2E_RESULTS")
    if report.failed:
        _failed.add(report.nodeid)
    if report.skipped and not _current:
        _skipped.add(report.nodeid)
    if report.when != "teardown" or not path:
        return
    is_failed = report.nodeid in _failed
    for row in sorted(_current):
        _write(path, {
            **row._asdict(), "case": report.nodeid, "passed": int(not is_failed),
            "failed": int(is_failed)})


def _write(path, row):
    # One session may run behind another.
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")
