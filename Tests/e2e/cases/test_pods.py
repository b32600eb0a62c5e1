# SPDX-License-Identifier: Apache-2.0
"""Pods under containerd's CRI plugin: annotations of the pod reach the container they are for."""
import json
import re

import pytest

import cgroups
import unary
from applications import Sums, broker
from comparison import compare
from pods import Pod, pod_parent
from processes import is_alive, kill, ours, supervisors, wait_until
from world import Supervised, escra_tool

FLOOR = 5_000
BOTH = {"io.escra.policy": "observe", "io.escra.policy/web": "reactive"}


@pytest.fixture
def pod(containerd, world):
    """Makes pods; whatever is left of them is removed."""
    made = []

    def make(annotations=None, handler="escra"):
        made.append(Pod(
            containerd, world.name(), annotations or {}, handler, pod_parent(world)))
        return made[-1]

    yield make
    for one in made:
        one.remove()
    assert [unit for one in made for unit in one.parent.close()] == []


def of(pod, id):
    """What can be seen from outside of a pod's container."""
    return Supervised(id, pod.cgroup(id))


def test_a_sandbox_stays_standard(pod):
    """Also where the pod's annotations say otherwise: it has them, and they mean nothing to it."""
    made = pod(BOTH)
    assert made.spec_of_sandbox()["annotations"].items() >= BOTH.items()
    assert supervisors(made.id) == [] and ours() == {}


def test_a_policy_is_the_pods_or_the_containers_own(pod):
    """`io.escra.policy/NAME` is for one of them and wins."""
    made = pod(BOTH)
    web, other = (of(made, made.container(name)) for name in ("web", "other"))
    for one, policy in ((web, "reactive"), (other, "observe")):
        one.supervisor()
        assert [state["policy"] for state in one.states()] == [policy]
    web.wait_for_quota(lambda quota: quota == FLOOR, 5, "down to the floor")
    assert other.quota == 50_000
    assert supervisors(made.id) == []


def test_a_container_of_a_pod_has_the_pods_name_too(pod):
    """And its namespace, by which two pods of one name differ."""

    def listed(id):
        [one] = [one for one in json.loads(escra_tool("ps", "--json")) if one["id"] == id]
        return one

    made = [pod({"io.escra.policy": "reactive", "io.escra.app": "shop"}) for _ in range(2)]
    ids = [one.container("web") for one in made]
    names = [one.name + "/web" for one in made]
    for id, name in zip(ids, names):
        wait_until(lambda: listed(id)["name"] == name, 4, "it has its name")
        assert listed(id)["namespace"] == "tests"
        assert escra_tool("explain", name) and escra_tool("explain", "tests/" + name)
    text = escra_tool("metrics")
    for one in made:
        assert f'name="{one.name}/web",pod="{one.name}",container="web"' in text
    assert 'namespace="tests"' in text
    shown = escra_tool("app", "show", "shop")
    for id, name in zip(ids, names):
        assert re.search(rf"^{re.escape(name)} +{id[:12]} ", shown, re.M), shown
    members = json.loads(escra_tool("app", "show", "shop", "--json"))["members"]
    assert {member["name"] for member in members} == set(names)


def test_only_what_is_narrowed_to_it_reaches_a_container(pod):
    """A pod without a policy in which one container has one."""
    made = pod({"io.escra.policy/web": "reactive"})
    web, other = (of(made, made.container(name)) for name in ("web", "other"))
    web.supervisor()
    assert supervisors(other.id) == [] and other.quota == 50_000


def test_an_update_of_resources_goes_through_us(pod):
    """It is the new base, told and not seen; use decides what the kernel's limit is."""
    made = pod({"io.escra.policy": "reactive"})
    script = "while [ ! -e /go ]; do sleep 0.1; done; while :; do :; done"
    web = of(made, made.container("web", script))
    web.supervisor()
    made.update(web.id, 80_000)
    [state] = web.states()
    assert state["declaredQuota"] == "80000"
    rules = [entry.rule for entry in web.record()]
    update, news = 7, 9  # As in the record.
    assert update in rules and news not in rules
    # containerd shows what it was asked for.
    assert made.info(web.id)["runtimeSpec"]["linux"]["resources"]["cpu"]["quota"] == 80_000
    web.wait_for_quota(lambda quota: quota <= 25_000, 5, "down with the use")
    assert made.exec(web.id, "sh", "-c", ": >/go").code == 0
    web.wait_for_quota(lambda quota: quota == 80_000, 5, "up to the new limit")


def test_a_mistake_in_an_annotation_reaches_the_kubelet(pod):
    """As the reason why the container was not started; the sandbox was."""
    made = pod({"io.escra.policy": "reactiv"})
    [(_, id)] = made.must("CreateContainer", made.creation("web"))
    made.containers.append(id.decode())
    answer = made.call("StartContainer", [(1, id)])
    assert answer.status != unary.OK and 'io.escra.policy "reactiv"' in answer.error
    assert ours() == {}


def test_another_handler_passes_no_annotation(pod):
    """RuntimeClass decides: a pod without it stays what it was."""
    made = pod(BOTH, handler="runc")
    one = of(made, made.container("web"))
    annotations = made.info(one.id)["runtimeSpec"]["annotations"]
    assert not [key for key in annotations if key.startswith("io.escra.")]
    assert ours() == {} and one.quota == 50_000


def test_pods_outlive_a_crash_of_containerd(pod, containerd):
    """The kubelet finds the container as it was, with the same supervisor."""
    made = pod({"io.escra.policy": "reactive"})
    web = of(made, made.container("web"))
    supervisor, [pid] = web.supervisor(), cgroups.processes(web.cgroup)
    containerd.kill()
    assert is_alive(pid)
    web.wait_for_quota(lambda quota: quota == FLOOR, 5, "down to the floor")
    containerd.start()
    assert made.state(web.id) == 1 and web.supervisor() == supervisor
    assert made.exec(web.id, "sh", "-c", "echo here; exit 3") == (3, "here\n", "")


HANDLERS = {"runc": ("runc", {}), "escra-runc": ("escra", {}),
            "reactive": ("escra", {"io.escra.policy": "reactive"})}


def test_a_life_of_a_pod_looks_the_same(pod):
    """Sandbox, container, exec, update, a program that is not there, the end of all."""

    def case(it, way):
        handler, annotations = way
        made = pod(annotations, handler)
        with it.timing("create"):
            [(_, id)] = made.must("CreateContainer", made.creation("web"))
        id = id.decode()
        made.containers.append(id)
        with it.timing("start"):
            made.must("StartContainer", [(1, id)])
        if annotations:
            of(made, id).supervisor()
        it.saw("exec", made.exec(id, "sh", "-c", "echo out; echo err >&2; exit 3"))
        it.saw("missing", made.call("ExecSync", [(1, id), (2, "no-such")]).error)
        made.update(id, 60_000)
        info = made.info(id)
        assert info["pid"] in cgroups.processes(made.cgroup(id))
        assert {key: value for key, value in info["runtimeSpec"]["annotations"].items()
                if key.startswith("io.escra.")} == annotations
        it.saw("resources", info["runtimeSpec"]["linux"]["resources"])
        it.saw("state", made.state(id))
        made.must("StopContainer", [(1, id)])
        it.saw("stopped", made.state(id))
        with it.timing("delete"):
            made.must("RemoveContainer", [(1, id)])
        made.containers.remove(id)
        wait_until(lambda: not ours(), 2, "nothing of ours is left")
        [(_, id)] = made.must("CreateContainer", made.creation("failing", command="/no/such"))
        made.containers.append(id.decode())
        it.saw("failing", made.call("StartContainer", [(1, id)]).error)

    seen = compare("pods", "a_life", case, HANDLERS)["runc"].seen
    assert seen["exec[0]"] == "3" and "executable file not found" in seen["missing"]
    assert '"/no/such"' in seen["failing"] and (seen["state"], seen["stopped"]) == ("1", "2")


# Applications over several pods of a node.

MIB = 1 << 20
SHARED = {"io.escra.policy": "reactive", "io.escra.app": "shop"}
BUSY = "while [ ! -e /go ]; do sleep 0.1; done; while :; do :; done"


def limits():
    """What the tool says that the application may use: (CPU cores, MiB)."""
    shown = json.loads(escra_tool("app", "show", "shop", "--json"))
    return shown["cpu"]["limit"], shown["memory"]["limit"] / MIB


def kills(one):
    """How many processes of a container the kernel has killed for want of memory."""
    name = "memory.oom_control" if cgroups.VERSION == 1 else "memory.events"
    counts = dict(line.split() for line in cgroups.read(one.cgroup, name, "memory").splitlines())
    return int(counts["oom_kill"])


def members_of(made, *declared):
    """Containers of a pod, each with what it declares: (name, quota, MiB)."""
    found = [
        of(made, made.container(name, BUSY, quota, memory * MIB))
        for name, quota, memory in declared]
    for one in found:
        one.supervisor()
    return found


def test_an_application_over_pods_has_what_all_of_them_declare(pod):
    """Whichever pod the broker is in: each container can use what it declares."""
    pods = [pod(SHARED), pod(SHARED)]
    pods[0].declare(80_000, 96 * MIB)
    pods[1].declare(30_000, 64 * MIB)
    web, side = members_of(pods[0], ("web", 50_000, 64), ("side", 30_000, 32))
    [other] = members_of(pods[1], ("web", 30_000, 64))
    for remaining in (side, other, web):
        # The broker's role goes to the one whose supervisor is left.
        kill(*(one.supervisor() for one in (web, side, other) if one is not remaining))
        wait_until(lambda: broker("shop") == remaining.supervisor(), 5, "it is the broker")
        for one in (web, side, other):
            one.supervisor(5)
        wait_until(lambda: limits() == (1.1, 160), 5, f"what all declare, not {limits()}")
        for made, one in ((pods[0], web), (pods[1], other)):
            done = made.exec(
                one.id, "dd", "if=/dev/zero", "of=/dev/shm/file", "bs=65536", "count=800")
            assert done.code == 0, done
        for made, one in ((pods[0], web), (pods[1], other)):
            assert made.exec(one.id, "rm", "/dev/shm/file").code == 0
    assert [kills(one) for one in (web, side, other)] == [0, 0, 0]
    # More than any pod of it has.
    escra_tool("app", "set", "shop", "--cpu", "1500m", "--memory", "300Mi")
    assert limits() == (1.5, 300)


def test_what_a_pod_declares_as_a_whole_counts_once(pod):
    """A kubelet gives the limit of the pod to each container that declares none."""
    pods = [pod(SHARED), pod(SHARED)]
    for made in pods:
        made.declare(30_000, 96 * MIB)
    web, side = members_of(pods[0], ("web", 30_000, 96), ("side", 30_000, 96))
    assert limits() == (0.3, 96)
    [other] = members_of(pods[1], ("web", 30_000, 96))
    assert limits() == (0.6, 192)
    with Sums(web, side, other) as sums:
        for made in pods:
            for id in made.containers:
                assert made.exec(id, "sh", "-c", ": >/go").code == 0
        # What the one pod cannot use is the other one's.
        other.wait_for_quota(lambda quota: quota == 30_000, 8, "all that its pod has")
        wait_until(
            lambda: 28_000 <= web.quota + side.quota <= 30_000, 5, "what their pod has, together")
    assert sums.most <= 0.6 + 1e-9
