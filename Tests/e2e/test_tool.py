# SPDX-License-Identifier: Apache-2.0
"""The operator's tool: what it says is what the kernel and the supervisor say."""
import json
import os
import subprocess

import pytest

from processes import keepers, kill, ours, supervisors, wait_until
from world import ESCRA, escra_tool


def has_ps():
    try:
        done = subprocess.run([ESCRA, "--help"], capture_output=True, text=True, timeout=10)
    except OSError:
        return False
    return "ps" in done.stdout.split()


pytestmark = pytest.mark.skipif(not has_ps(), reason=f"{ESCRA} has no ps yet")


def test_ps_of_nothing_is_an_empty_array():
    """Also where /run/escra is empty."""
    assert json.loads(escra_tool("ps", "--json")) == []


@pytest.mark.v2
def test_ps_says_what_the_kernel_says(container, world):
    """CPU in cores, memory in bytes, a supervisor that lives."""
    made = container({"io.escra.cpu.max": "600m"})
    made.bundle.config["linux"]["resources"]["memory"] = {"limit": 128 << 20}
    made.bundle.write()
    made.started()
    pid = made.supervisor()
    made.work(2)
    made.wait_for_quota(lambda quota: quota == 60_000, 4, "up to the ceiling")
    [one] = json.loads(escra_tool("ps", "--json"))
    assert one["id"] == made.id
    assert (one["policy"], one["app"]) == ("reactive", None)
    assert one["supervisorPid"] == pid and isinstance(one["source"], str) and one["source"]
    assert one["cpu"]["declared"] == pytest.approx(0.2)
    assert one["cpu"]["limit"] == pytest.approx(0.6)
    # Measured over less than a period it may be more than the limit, which is kept by the period.
    assert 0.1 < one["cpu"]["used"] <= os.cpu_count() * 1.1
    assert one["memory"]["declared"] == one["memory"]["limit"] == 128 << 20
    assert 0 < one["memory"]["used"] < 128 << 20
    assert made.id in escra_tool("ps")


def test_ps_lists_what_is_supervised_and_nothing_else(container, plain):
    """Two of ours, one of runc's."""
    many = [container().started(), container(policy="observe").started()]
    container(policy=None, runtime=plain).started()
    for made in many:
        made.supervisor()
    listed = {one["id"]: one["policy"] for one in json.loads(escra_tool("ps", "--json"))}
    assert listed == {many[0].id: "reactive", many[1].id: "observe"}
    many[0].call("delete", "--force")
    wait_until(lambda: len(json.loads(escra_tool("ps", "--json"))) == 1, 2, "one is left")


def test_ps_shows_a_container_whose_supervisor_is_dead(container):
    """The limit holds all the same; looking at it changes nothing."""
    made = container().started()
    made.supervisor()
    wait_until(keepers, 2, "the keeper lives")

    def seen_dead():
        # Keepers first; on a busy machine one that `start` has called may come a moment later.
        kill(*keepers(), *supervisors())
        [one] = json.loads(escra_tool("ps", "--json"))
        return one["supervisorPid"] is None and not ours() and one

    assert wait_until(seen_dead, 1, "both are dead")["id"] == made.id
    assert made.status == "running"
    made.supervisor()


def test_explain_tells_the_decisions_in_sentences(container):
    """From the record: the last thing that happened to an idle container is the floor."""
    made = container().started()
    made.supervisor()
    made.wait_for_quota(lambda quota: quota == 5_000, 4, "down to the floor")
    text = escra_tool("explain", made.id)
    assert made.id in text and ("0.05" in text or "50m" in text), text


@pytest.mark.parametrize("arguments", [
    ["ps"], ["ps", "--json"], ["top", "--count", "1"], ["explain", "x"], ["watch", "x"], ["app"],
    ["app", "show", "x"], ["app", "set", "x", "--cpu", "1"], ["release", "--all"],
    ["adopt", "--all"]])
def test_who_may_not_look_is_told_so(container, arguments):
    """That nothing was found is what a script would go on from."""
    container().started().supervisor()
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", ESCRA, *arguments],
        capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "Error: cannot read /run/escra/containers (EACCES); run it as root\n"


def test_of_two_limits_none_is_set_where_one_cannot_be(container):
    """The minima are known before anything is asked for."""
    made = container({"io.escra.app": "shop", "io.escra.memory.min": "32Mi"})
    made.bundle.give_memory(64 << 20)
    made.started().supervisor()

    def limits():
        [shop] = json.loads(escra_tool("app", "--json"))
        return shop["cpu"] and shop["memory"] and (shop["cpu"]["limit"], shop["memory"]["limit"])

    before = wait_until(limits, 2, "a broker that answers")
    done = subprocess.run(
        [ESCRA, "app", "set", "shop", "--cpu", "800m", "--memory", "1Mi"], capture_output=True,
        text=True, timeout=10)
    assert done.returncode == 1 and done.stdout == ""
    assert "shop cannot have 1Mi of memory: its members need 32Mi" in done.stderr
    assert limits() == before == (0.2, 64 << 20)


def test_explain_of_an_unknown_container_fails_with_a_sentence():
    """Not with a stack, not with nothing."""
    done = subprocess.run(
        [ESCRA, "explain", "no-such-container"], capture_output=True, text=True, timeout=10)
    assert done.returncode != 0 and "no-such-container" in done.stderr
