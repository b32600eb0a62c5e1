# SPDX-License-Identifier: Apache-2.0
"""The limit of the group that containers share: a pod's rises with them, and an application's is a
second lock on what it has. Both are what they were in the end."""
import json
import os
import re
import signal
import time

import pytest

import cgroups
import driver
from processes import RUN, kill, ours, wait_until
from world import LOW_LEVEL, Sampler, escra_tool

pytestmark = pytest.mark.v2

FLOOR = 5_000  # 50m of a period of 100 ms
# Little enough for two of them on a machine that is busy with other things.
DECLARED, CEILING = 15_000, 40_000
EXCESS = CEILING - DECLARED
POD = 2 * DECLARED


@pytest.fixture
def config(world):
    """Writes an operator's config; the flags that name it."""

    def write(**members):
        path = world.path("config.json")
        with open(path, "w") as file:
            json.dump({"runtimes": [LOW_LEVEL], **members}, file)
        return ["--escra-config", path]

    return write


@pytest.fixture
def pod(world):
    """A pod's group as a kubelet makes it, with the sum of two containers' limits."""
    if driver.IS_SYSTEMD:
        name = f"{world.name()}-kubepods-pod1.slice"
        assert driver.systemctl("start", name).returncode == 0
        world.slices.append(name)
        path = driver.slice_path(name)
    else:
        top = world.cgroup()
        path = f"{top}/kubepods/burstable/pod{world.name()}"
        cgroups.make(path)
        world.groups += [f"{top}/kubepods", f"{top}/kubepods/burstable", path]
    declare(path, POD)
    return path


def declare(pod, quota):
    """As the kubelet does it: where systemd makes the groups, it is systemd that is told."""
    if driver.IS_SYSTEMD:
        assert driver.systemctl(
            "set-property", "--runtime", os.path.basename(pod),
            f"CPUQuota={quota // 1000}%").returncode == 0
    else:
        cgroups.set_quota(pod, quota)


@pytest.fixture
def inside(container, world, escra, config):
    """Makes containers in a group, under an operator who allows an application two CPUs."""
    flags = config(ceiling={"cpu": "2"})

    def make(group, annotations=None, runtime=None, **options):
        options.setdefault("quota", DECLARED)
        return container(
            {"io.escra.cpu.max": "400m", **(annotations or {})},
            runtime=runtime or escra.using(*flags), cgroup=f"{group}/{world.name()}", **options)

    return make


def quota(group):
    return cgroups.limit(group)[0]


def up(*containers):
    """To the ceiling, with loops enough."""
    for each in containers:
        each.work(2)
    for each in containers:
        each.wait_for_quota(lambda quota: quota == CEILING, 8, "up to its own maximum")


@pytest.fixture
def raised(inside, pod):
    """A container in a pod that holds all it may above what it declares."""
    made = inside(pod).started()
    made.supervisor()
    up(made)
    return made


def wait_for_pod(pod, least, most, what, seconds=4):
    wait_until(lambda: least <= quota(pod) <= most, seconds, f"{what}: {least}..{most}")


def test_a_pod_rises_with_its_containers_and_falls_behind_them(inside, pod):
    """By what they hold above what they declare; with the last one it is what it was."""
    one, two = inside(pod).started(), inside(pod).started()
    for each in (one, two):
        each.supervisor()
    wait_for_pod(pod, POD, POD, "at rest", 8)
    up(one)
    wait_for_pod(pod, POD + EXCESS, POD + EXCESS + 1, "with the one above it")
    wait_until(
        lambda: re.search(
            r"Its pod has 0\.\d\d cores: 0\.30 of its own", escra_tool("explain", one.id)),
        4, "said why")
    up(two)
    wait_for_pod(pod, POD + 2 * EXCESS, POD + 2 * EXCESS + 1, "with both above it")
    one.rest()
    one.wait_for_quota(lambda quota: quota == FLOOR, 6, "down to the floor")
    wait_for_pod(pod, POD + EXCESS, POD + EXCESS + 1, "with the other one")
    two.call("delete", "--force")
    wait_for_pod(pod, POD, POD, "without it")
    one.call("delete", "--force")
    wait_until(lambda: not ours(), 4, "nothing of ours is left")
    assert quota(pod) == POD and not os.path.exists(RUN + "/parents")


def almost(limit):
    """A condition on a quota: all that is needed where another group bounds the use to `limit`."""
    return lambda quota: 0.9 * limit <= quota <= limit


def test_without_a_ceiling_of_the_operators_a_pod_has_what_it_declares(inside, pod, escra, config):
    """Whatever the pod's annotations say; it is also what the container may have alone."""
    made = inside(pod, runtime=escra.using(*config())).started()
    made.supervisor()
    with Sampler(made) as sampler:
        made.work(2)
        made.wait_for_quota(almost(POD), 6, "up to what the pod has")
        time.sleep(0.5)
    assert max(sampler.quotas) <= POD and quota(pod) == POD
    assert "a cgroup above its own has no more" in escra_tool("explain", made.id)


@pytest.mark.parametrize("annotations", [
    {}, {"io.escra.app": "shop", "io.escra.app.cpu": "1"}], ids=["alone", "member"])
def test_the_limit_of_a_pod_is_the_bound_whatever_it_becomes(
        inside, pod, escra, config, annotations):
    """Where nothing raises it; a kubelet resizes pods in place."""
    made = inside(pod, annotations, runtime=escra.using(*config())).started()
    made.supervisor()
    made.work(2)
    for limit in (POD, 36_000):
        declare(pod, limit)
        made.wait_for_quota(almost(limit), 6, "up to what the pod has")


def test_only_a_pods_group_is_changed(inside, world):
    """Another parent's limit is the ceiling, as it always was; and so is what is above a pod."""
    parent = world.parent(POD)
    made = inside(parent).started()
    made.supervisor()
    made.work(2)
    made.wait_for_quota(almost(POD), 6, "up to the parent's limit")
    assert quota(parent) == POD and not os.path.exists(RUN + "/parents")


def test_what_is_above_a_pod_is_the_ceiling(inside, pod):
    if driver.IS_SYSTEMD:
        pytest.skip("a slice above is systemd's to limit")
    cgroups.set_quota(os.path.dirname(pod), 35_000)
    made = inside(pod).started()
    made.supervisor()
    made.work(2)
    # On v1 the kernel refuses to raise the pod, and what that has by then is all there is: more
    # than it declares if the container's limit rose in more than one step.
    least = POD if cgroups.VERSION == 1 else 35_000
    made.wait_for_quota(lambda quota: least <= quota <= 35_000, 6, "up to what is above")
    wait_until(
        lambda: "a cgroup above its own has no more" in escra_tool("explain", made.id), 4,
        "the reason is told")
    assert made.quota <= quota(pod)
    assert quota(os.path.dirname(pod)) == 35_000


def test_a_write_of_the_kubelets_is_what_the_pod_declares_from_then_on(raised, pod):
    """Seen while anything is held above it; what is held comes on top, and the end restores it."""
    declare(pod, 110_000)
    wait_for_pod(pod, 110_000 + EXCESS, 110_001 + EXCESS, "the new limit and what is held")
    raised.rest()
    wait_for_pod(pod, 110_000, 110_000, "the new limit", 6)
    raised.call("delete", "--force")
    wait_until(lambda: not ours(), 4, "nothing of ours is left")
    assert quota(pod) == 110_000


@pytest.mark.parametrize("victims", ["the supervisor", "all of ours"])
def test_a_death_at_any_moment_heals(inside, pod, victims):
    """While the limit goes up and down; the sum is kept, and in the end everything is restored."""
    one, two = inside(pod).started(), inside(pod).started()
    for each in (one, two):
        each.supervisor()
    two.work(2)
    for number in range(4):
        one.work(2) if number % 2 == 0 else one.rest()
        time.sleep(0.07 * number)
        # Who dies three times in ten seconds is not supervised any more.
        victim = (one, two)[number // 2].supervisor()
        dead = [victim] if victims == "the supervisor" else list(ours())
        kill(*dead)
        if victims != "the supervisor":
            wait_until(lambda: not set(dead) & set(ours()), 2, "none of them lives")
            one.call("state")
        for each in (one, two):
            each.supervisor(4)
        held = sum(max(0, each.quota - DECLARED) for each in (one, two))
        assert quota(pod) >= max(one.quota, two.quota)
        wait_until(
            lambda: quota(pod) - POD >= sum(
                max(0, each.quota - DECLARED) for each in (one, two)), 2, f"the pod has {held}")
    two.rest()
    one.call("delete", "--force")
    wait_for_pod(pod, POD, POD, "nobody holds anything above", 6)
    two.call("delete", "--force")
    wait_until(lambda: not ours(), 4, "nothing of ours is left")


def test_a_container_that_dies_with_its_supervisor_leaves_the_pod_as_it_was(raised, pod):
    """The keeper finds its instance gone."""
    supervisor = raised.supervisor()
    assert quota(pod) > POD
    kill(supervisor, signal=signal.SIGSTOP)
    raised.call("delete", "--force")
    kill(supervisor)
    wait_for_pod(pod, POD, POD, "it is gone, and its tasks were reaped", 20)
    wait_until(lambda: not ours(), 4, "nothing of ours is left")
    assert not os.path.exists(RUN + "/parents")


def test_a_pod_that_is_removed_is_forgotten(raised, pod):
    raised.call("delete", "--force")
    os.rmdir(cgroups.directory(pod)) if not driver.IS_SYSTEMD else None
    wait_until(lambda: not ours(), 4, "nothing of ours is left")
    assert not os.path.exists(RUN + "/parents")


def test_a_release_gives_the_pod_back_what_it_had(raised, pod):
    escra_tool("release", raised.id)
    assert raised.quota == DECLARED and quota(pod) == POD
    escra_tool("adopt", raised.id)
    raised.supervisor(4)
    raised.wait_for_quota(lambda quota: quota == CEILING, 8, "up again")
    assert quota(pod) > POD
