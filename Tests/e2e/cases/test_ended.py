# SPDX-License-Identifier: Apache-2.0
"""A container has ended when no process is left in its cgroup or below it, and not before."""
import contextlib
import json
import os
import signal
import time

import pytest

import cgroups
import driver
from applications import Sums, members
from processes import is_alive, keepers, kill, ours, supervisors, wait_until
from test_application import member  # noqa: F401
from test_release import row, stage
from test_strict import cpus, strict  # noqa: F401
from world import SLICE, escra_tool

FLOOR = 5_000


def nest(made, *controllers):
    """Moves all processes of a container into a group below its own, as it may do itself."""
    group = cgroups.inner(made.cgroup)
    for controller in controllers:
        nested = cgroups.directory(group, controller) + "/nested"
        os.makedirs(nested, exist_ok=True)
        with open(cgroups.directory(group, controller) + "/cgroup.procs") as file:
            pids = file.read().split()
        for pid in pids:
            with open(nested + "/cgroup.procs", "w") as file:
                file.write(pid)


def without_pid_namespace(made):
    """Has processes of the container outlive its init."""
    spaces = made.bundle.config["linux"]["namespaces"]
    made.bundle.config["linux"]["namespaces"] = [
        space for space in spaces if space["type"] != "pid"]
    made.bundle.write()
    return made


def outlived(made, script="sleep 60"):
    """Its init has ended, another process of it lives."""
    made.do(f"{script} & exit")
    wait_until(lambda: not is_alive(made.pid), 2, "its init has ended")
    return made


def die(*dead):
    kill(*dead)
    wait_until(lambda: not any(map(is_alive, dead)), 2, "they are dead")


def end(made):
    """Ends what is left of the container; nothing of ours is left then."""
    kill(*cgroups.processes(made.cgroup))
    wait_until(lambda: not made.states(), 3, "its end is noticed")


CONTROLLERS = sorted(
    set(cgroups.HIERARCHIES) & {"cpu", "cpuacct", "memory", "freezer", "pids"}) or ["cpu"]


@pytest.mark.parametrize("controllers", [["cpu"], ["memory", "pids"], CONTROLLERS], ids=len)
def test_a_member_in_a_group_below_its_own_is_not_forgotten(member, controllers):
    """After one death of its supervisor, and after one of the keeper as well."""
    made = [member({"io.escra.app.cpu": "600m"}, quota=30_000).started() for _ in range(2)]
    for each in made:
        each.supervisor()
    made[0].work(2)
    made[0].wait_for_quota(lambda quota: quota >= 50_000, 6, "all but what the other needs")
    nest(made[0], *controllers)
    with Sums(*made) as sums:
        for dead in (supervisors(made[0].id), [*supervisors(), *keepers()]):
            die(*dead)
            made[1].call("state")
            for each in made:
                each.supervisor(4)
            assert len(members("shop")) == 2
        made[1].work(2)
        made[1].wait_for_quota(lambda quota: quota >= 25_000, 6, "its fair share")
    assert sums.most <= 0.6 + 1e-9
    assert len(made[0].states()) == 1
    for each in made:
        end(each)


@pytest.mark.v2
def test_a_container_is_supervised_until_its_last_process_ends(container):
    """Its init has ended, and its supervisor died twice; its limit moves on."""
    made = without_pid_namespace(container()).started()
    made.supervisor()
    outlived(made, "while :; do :; done & while :; do :; done")
    for _ in range(2):
        die(*supervisors(made.id))
        made.supervisor(4)
        left = cgroups.processes(made.cgroup)
        kill(*left, signal=signal.SIGSTOP)
        made.wait_for_quota(lambda quota: quota == FLOOR, 6, "down to the floor")
        kill(*left, signal=signal.SIGCONT)
        made.wait_for_quota(lambda quota: quota >= 18_000, 6, "what it declares")
    end(made)
    wait_until(lambda: not supervisors(made.id), 1, "its supervisor ends")


def test_an_end_is_noticed_without_the_keeper(container):
    """Also where a process has outlived init."""
    made = without_pid_namespace(container()).started()
    made.supervisor()
    outlived(made)
    die(*keepers())
    kill(*cgroups.processes(made.cgroup))
    wait_until(lambda: not made.states(), 4, "its end is noticed")
    # What the dead keeper has left is the next one's to remove.
    container().started().supervisor()


@pytest.mark.v2
def test_a_member_that_has_lost_its_init_keeps_its_share(member):
    """Nobody else is granted it, whoever dies."""
    lost = without_pid_namespace(member({"io.escra.app.cpu": "600m"}, quota=30_000)).started()
    other = member(quota=30_000).started()
    for each in (lost, other):
        each.supervisor()
    outlived(lost, "while :; do :; done & while :; do :; done")
    nest(lost, "cpu")
    lost.wait_for_quota(lambda quota: quota >= 50_000, 6, "all but what the other needs")
    with Sums(lost, other) as sums:
        for dead in (supervisors(lost.id), [*supervisors(), *keepers()]):
            die(*dead)
            other.call("state")
            lost.supervisor(4)
            other.supervisor(4)
        other.work(2)
        other.wait_for_quota(lambda quota: quota >= 25_000, 6, "its fair share")
    assert sums.most <= 0.6 + 1e-9
    end(lost)
    other.wait_for_quota(lambda quota: quota >= 55_000, 6, "the share of the one that ended")


def test_a_container_without_init_is_released_and_adopted(container):
    """A released one is known until its last process ends."""
    made = without_pid_namespace(container()).started()
    made.supervisor()
    outlived(made)
    escra_tool("release", made.id)
    assert row(made)["released"]
    # The keeper looks at it: it is not over.
    die(*keepers())
    made.call("state")
    wait_until(keepers, 2, "another keeper lives")
    time.sleep(0.3)
    assert stage(made) == "done"
    escra_tool("adopt", made.id)
    made.supervisor(4)
    escra_tool("release", made.id)
    end(made)


@pytest.mark.v2
@pytest.mark.skipif(cgroups.VERSION == 1, reason="cgroup v1 reports no end")
@pytest.mark.parametrize("is_released", [False, True], ids=["supervised", "released"])
def test_an_end_that_the_kernel_does_not_report_is_noticed(container, is_released):
    """A report within 10 ms of another is late, and is lost if the group is removed before."""
    made = without_pid_namespace(container({"io.escra.visible": "current"})).started()
    made.supervisor()
    outlived(made)
    if is_released:
        escra_tool("release", made.id)
        wait_until(lambda: not supervisors(made.id), 2, "its supervisor ends")
    group = cgroups.directory(cgroups.inner(made.cgroup))
    wait_until(lambda: group in watched_groups(), 2, "the last process is waited for")
    # That it is not frozen any more is a report, too.
    cgroups.write(made.cgroup, "cgroup.freeze", "1")
    wait_until(lambda: "frozen 1" in cgroups.read(made.cgroup, "cgroup.events"), 2, "it is frozen")
    cgroups.write(made.cgroup, "cgroup.kill", "1")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.rmdir(group)
        except FileNotFoundError:
            break
        except OSError:
            continue
    wait_until(lambda: not made.states(), 4, "its end is noticed")
    wait_until(lambda: not ours(), 4, "nobody waits for it")


def watched_groups():
    """The groups whose last process one of ours waits for."""
    found = set()
    for pid in ours():
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                path = os.readlink(f"/proc/{pid}/fd/{number}")
                if path.endswith("/cgroup.events"):
                    found.add(os.path.dirname(path))
    return found


def test_a_strict_container_keeps_its_cpus_until_its_last_process_ends(strict):
    """Its init has ended, and so has its supervisor."""
    made = without_pid_namespace(strict(1)).started()
    made.supervisor()
    outlived(made)
    die(*supervisors(made.id))
    made.supervisor(4)
    assert {int(row(made)["cpu"]["ownCPUs"])} == cpus(made.cgroup)
    end(made)


# Two containers in one cgroup.

def both(container, world, second=None, **options):
    """Two containers in one cgroup, not created yet."""
    group = world.name() if not driver.IS_SYSTEMD else f"{driver.slice_path(SLICE)}/{world.name()}"
    return [
        container(annotations, cgroup=f"/{group}".replace("//", "/"), **options)
        for annotations in ({}, second or {})]


SENTENCE = "its cgroup has another container"


@pytest.mark.v2
def test_of_two_containers_in_one_cgroup_one_is_supervised(container, world):
    """The second says why it is not, and the first one's limit goes on moving, whoever dies."""
    first, second = both(container, world, quota=50_000)
    first.started().supervisor()
    if cgroups.outer(first.cgroup) != first.cgroup:
        pytest.skip("each has its own group in one of ours")
    if second.create().wait(20):
        pytest.skip("the low-level runtime takes no second container")
    with open(second.pid_file) as file:
        assert is_alive(int(file.read()))
    second.call("start")
    wait_until(lambda: stage(second) == "done", 4, "it is left unsupervised")
    assert SENTENCE in row(second)["unsupervised"] and first.id in row(second)["unsupervised"]
    assert "(unsupervised)" in escra_tool("ps")
    assert first.id in escra_tool("explain", second.id)
    escra_tool("adopt", second.id, code=1)
    assert stage(second) == "done"
    for _ in range(2):
        die(*supervisors())
        first.supervisor(4)
    assert not supervisors(second.id)
    first.work(2)
    first.wait_for_quota(lambda quota: quota >= 45_000, 6, "what it declares")


def test_a_second_container_in_a_cgroup_is_refused_where_the_operator_wants_that(
        container, world, escra):
    """onFailure refuse, or a member of an application: one sentence, and nothing is left of it."""
    config = world.path("escra.json")
    with open(config, "w") as file:
        json.dump({"onFailure": "refuse"}, file)
    first, member = both(container, world, {"io.escra.app": "shop"})
    first.started().supervisor()
    result = escra("create", "--bundle", member.bundle.path, member.id)
    assert result.code == 1 and SENTENCE in result.err and first.id in result.err
    alone = container(cgroup=first.cgroup)
    strictly = escra.using("--escra-config", config)
    result = strictly("create", "--bundle", alone.bundle.path, alone.id)
    assert result.code == 1 and SENTENCE in result.err
    assert not member.states() and not alone.states() and not members("shop")


def test_a_container_that_is_started_again_in_its_group_is_supervised(container):
    """The owner that ended has freed it."""
    made = container()
    for _ in range(3):
        made.started().supervisor()
        made.call("delete", "--force")
