# SPDX-License-Identifier: Apache-2.0
"""The comparison itself: what it lets through, and what it does not."""
import pytest

import comparison

RUNTIMES = {"runc": "runc", "escra": "escra", "reactive": "reactive"}


@pytest.fixture(autouse=True)
def told(monkeypatch):
    """Nothing of these cases is told at the end of the session."""
    compared = []
    monkeypatch.setattr(comparison, "_compared", compared)
    return compared


def seeing(what, plain, ours):
    """A case that sees one thing through plain runc and another through us."""
    return lambda it, runtime: it.saw(what, plain if runtime == "runc" else ours)


@pytest.mark.parametrize("what, plain, ours", [
    ("exit code", 127, 126), ("output", "a\n", "a"), ("inspect", {"a": [1]}, {"a": [2]}),
    ("inspect", {"a": 1}, {}), ("inspect", {}, {"a": ""}), ("inspect", {"a": False}, {"a": None}),
    ("inspect", {"HostConfig": {"Runtime": "runc"}}, {"HostConfig": {"Runtime": "crun"}}),
    ("error", "Error: runc: no", "Error: escra-runc: yes")])
def test_a_difference_fails_the_case_and_is_told(told, what, plain, ours):
    """Other values, members that are missing, members that are new, and beside what is allowed."""
    with pytest.raises(AssertionError, match="NOT ALLOWED"):
        comparison.compare("engine", "case", seeing(what, plain, ours), RUNTIMES)
    assert "NOT ALLOWED (case)" in "\n".join(comparison._told(told))


@pytest.mark.parametrize("what, plain, ours", [
    ("inspect", {"HostConfig": {"Runtime": "runc"}}, {"HostConfig": {"Runtime": "escra"}}),
    ("inspect", {"Annotations": {"a": ""}},
     {"Annotations": {"a": "", "io.escra.policy": "reactive"}}),
    ("error", "Error: runc: no", "Error: escra-runc: no"),
    ("inspect", {"State": {"Error": "runc: no"}}, {"State": {"Error": "escra-runc: no"}}),
    ("inspect.output", '"Error":"runc: no"', '"Error":"escra-runc: no"'),
    ("error", "no\n", "escra-runc: x starts with its declared limits, unsupervised: y\nno\n")])
def test_an_allowed_difference_passes_and_is_told_with_its_reason(told, what, plain, ours):
    """Each of ALLOWED, once."""
    comparison.compare("engine", "case", seeing(what, plain, ours), RUNTIMES)
    lines = list(comparison._told(told))
    assert len(lines) == 2
    assert all(any(allowed.why in line for allowed in comparison.ALLOWED) for line in lines)


@pytest.mark.parametrize("plain, ours", [
    ("2026-08-01T10:00:00.123456789Z", "2026-08-01T10:00:07Z"),
    ("2026-08-01 10:00:00.12 +0000 UTC", "2026-08-01 10:01:00.123 +0000 UTC"),
    (f"/run/{'a1' * 32}/log", f"/run/{'b2' * 32}/log"), ("e2e-123-4", "e2e-123-56")])
def test_what_differs_between_any_two_containers_is_no_difference(told, plain, ours):
    """Times, ids and the names that the suite gives."""
    comparison.compare("engine", "case", seeing("output", plain, ours), RUNTIMES)
    assert list(comparison._told(told)) == ["none in 1 cases"]


def test_the_table_has_each_steps_median_and_ratios(told, monkeypatch):
    """Seconds through plain runc, then how many times as long it took through the others."""
    now = [0]
    seconds = {"runc": 2, "escra": 4, "reactive": 3}

    def case(it, runtime):
        with it.timing("create"):
            now[0] += seconds[runtime]

    monkeypatch.setattr(comparison.time, "monotonic", lambda: now[0])
    comparison.compare("engine", "a case", case, RUNTIMES)
    *_, row, medians = comparison._table(told)
    assert row.split() == ["a", "case", "2.000", "x", "2.00", "x", "1.50"]
    assert medians.split()[-4:] == ["x", "2.00", "x", "1.50"]
