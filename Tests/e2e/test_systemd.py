# SPDX-License-Identifier: Apache-2.0
"""A container in a scope of systemd's, which writes that scope's limits again when it likes."""
import os
import subprocess
import time

import pytest

import cgroups
import kernel
from processes import PATIENCE, is_alive, keepers, kill, supervisors, wait_until
from world import PREFIX

FLOOR = 5_000
DECLARED = 20_000
DRIFT, NEWS = 8, 9  # As in the record.
# No dash: a dash makes a slice below another one.
SLICE = f"e2e{os.getpid()}.slice"

pytestmark = pytest.mark.skipif(
    not os.path.isdir("/run/systemd/system") or cgroups.VERSION == 1,
    reason="no systemd with cgroup v2 runs here")


def systemctl(*arguments):
    done = subprocess.run(
        ["systemctl", *arguments], capture_output=True, text=True, timeout=30 * PATIENCE)
    assert done.returncode == 0, done
    return done.stdout


def start_a_unit():
    """Any unit of the container's slice."""
    subprocess.run(
        ["systemd-run", "--quiet", "--scope", f"--slice={SLICE}", "true"], check=True,
        timeout=30 * PATIENCE, stdin=subprocess.DEVNULL)


def apply_again():
    """Makes systemd write what every scope of the slice has."""
    systemctl("daemon-reload")
    start_a_unit()


def units():
    """What systemd knows of ours; the machine's agent is none."""
    listed = systemctl(
        "list-units", "--all", "--plain", "--no-legend", "escra-supervisor*", "escra-keeper*",
        "escra.slice")
    return [line.split()[0] for line in listed.splitlines()]


@pytest.fixture(autouse=True)
def nothing_left(world):
    """Behind the sweeping up of each test systemd has no unit of ours any more."""
    yield
    world.sweep()
    wait_until(lambda: not units(), 2, "no unit of ours is left")
    systemctl("stop", SLICE)


@pytest.fixture
def scoped(container, escra):
    """Makes containers that runc asks systemd for."""

    def make(annotations=None, **options):
        made = container(annotations, runtime=escra.using("--systemd-cgroup"), **options)
        made.bundle.config["linux"]["cgroupsPath"] = f"{SLICE}:escra:{made.id}"
        made.bundle.write()
        made.scope = f"escra-{made.id}.scope"
        made.cgroup = f"/{SLICE}/{made.scope}"
        return made

    return make


def idle(made):
    made.started().supervisor(4)
    made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")
    return made


def base(made):
    [state] = made.states()
    quota = state.get("declaredQuota")
    return (quota and int(quota)), int(state["declaredPeriod"])


def rules(made):
    return [entry.rule for entry in made.record()]


def drifts(made):
    return rules(made).count(DRIFT)


def is_written_over(made, write, quota=FLOOR):
    """What systemd writes is drift, and ours is there again; nothing is news."""
    before, news = drifts(made), rules(made).count(NEWS)
    write()
    wait_until(lambda: drifts(made) > before, 1, "what systemd wrote was written over")
    made.wait_for_quota(lambda found: found == quota, 1, "ours again")
    assert rules(made).count(NEWS) == news


def test_a_reload_alone_changes_nothing(scoped):
    """systemd reads its units; it writes nothing."""
    made = idle(scoped())
    watch = kernel.Watch(cgroups.quota_file(made.cgroup))
    systemctl("daemon-reload")
    time.sleep(1)
    assert watch.writes() == 0
    watch.close()
    assert drifts(made) == 0


def test_what_a_reload_and_the_start_of_another_unit_write_is_drift(scoped):
    """All scopes of a slice are applied again; ours is back within a second, time and again."""
    made = idle(scoped())
    for _ in range(2):
        is_written_over(made, apply_again)
    assert base(made) == (DECLARED, 100_000)


def test_setting_another_property_of_the_scope_is_drift(scoped):
    """Its weight: systemd writes its quota, too."""
    made = idle(scoped())
    is_written_over(
        made, lambda: systemctl("set-property", "--runtime", made.scope, "CPUWeight=200"))
    assert base(made) == (DECLARED, 100_000)
    assert cgroups.read(made.cgroup, "cpu.weight") == "200"


def test_what_an_operator_sets_by_systemctl_is_the_new_base(scoped):
    """Up, and back to what it was at first; what a reload writes then is drift again."""
    made = idle(scoped())
    for percent in (70, 20):
        systemctl("set-property", "--runtime", made.scope, f"CPUQuota={percent}%")
        wait_until(lambda: base(made) == (percent * 1000, 100_000), 1, "the base")
        made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")
        is_written_over(made, apply_again)
        assert base(made) == (percent * 1000, 100_000)


def test_no_quota_any_more_is_a_base_too(scoped):
    """CPUQuota= without a value: all that the machine has."""
    made = idle(scoped())
    systemctl("set-property", "--runtime", made.scope, "CPUQuota=")
    wait_until(lambda: base(made) == (None, 100_000), 1, "the base")
    made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")
    is_written_over(made, apply_again)


@pytest.mark.parametrize("through", ["escra", "plain"])
@pytest.mark.parametrize("quota", [30_000, 12_345])
def test_an_update_is_the_new_base(scoped, plain, through, quota):
    """Through us or past us; systemd has it in whole percents, and those are no news."""
    made = idle(scoped())
    if through == "plain":
        made.runtime = plain.using("--systemd-cgroup")
    made.call("update", "--cpu-quota", str(quota))
    wait_until(lambda: base(made) == (quota, 100_000), 1, "the base")
    made.wait_for_quota(lambda found: found == FLOOR, 4, "down to the floor")
    is_written_over(made, apply_again)
    assert base(made) == (quota, 100_000)


def test_a_first_limit_that_was_not_declared_is_no_news_when_it_comes_back(scoped):
    """systemd knows what the runtime told it at create, and that was within the bounds."""
    made = scoped({"io.escra.cpu.max": "300m"}, quota=150_000)
    idle(made)
    is_written_over(made, apply_again)
    assert base(made) == (150_000, 100_000)


def test_another_period_comes_back_as_systemd_counts(scoped):
    """It has no quota below 1 ms, and makes the period longer instead."""
    made = scoped(quota=25_300, period=50_000).started()
    made.supervisor(4)
    made.wait_for_quota(lambda quota: quota == 2_500, 4, "down to the floor")
    is_written_over(made, apply_again, quota=2_500)
    assert base(made) == (25_300, 50_000)
    assert cgroups.limit(made.cgroup) == (2_500, 50_000)


def test_the_next_supervisor_knows_drift_from_news(scoped):
    """What the runtime was told is written down with the base."""
    made = idle(scoped({"io.escra.cpu.max": "300m"}, quota=150_000))
    pid = made.supervisor()
    wait_until(keepers, 2, "the keeper lives")
    kill(pid)
    wait_until(lambda: supervisors(made.id) not in ([], [pid]), 2, "another one")
    made.supervisor(4)
    made.wait_for_quota(lambda quota: quota == FLOOR, 4, "at the floor")
    is_written_over(made, apply_again)
    assert base(made) == (150_000, 100_000)
