# SPDX-License-Identifier: Apache-2.0
"""Containers that were started without us are adopted while they run, and given back."""
import glob
import json
import os
import socket
import subprocess
import threading
import urllib.request

import pytest

import cgroups
import engines
from applications import members
from processes import PATIENCE, is_alive, kill, ours, supervisors, wait_until
from test_application import memory_limit
from world import ESCRA, Runtime, escra_tool

pytestmark = pytest.mark.v2
FLOOR, DECLARED, MIB = 5_000, 20_000, 1 << 20


@pytest.fixture
def foreign(container, plain):
    """A container of the low-level runtime alone."""

    def make(**options):
        return container(runtime=plain, policy=None, quota=DECLARED, **options).started()

    return make


def adopt(made, *words):
    return escra_tool("adopt", "--root", made.runtime.globals[1], *words, made.id)


def refused(*words):
    done = subprocess.run(
        [ESCRA, "adopt", *words], capture_output=True, text=True, timeout=30 * PATIENCE)
    assert done.returncode != 0 and done.stdout == "" and not supervisors(), done
    return done.stderr


def row(made):
    return next(one for one in json.loads(escra_tool("ps", "--json")) if one["id"] == made.id)


def test_it_is_observed_then_moved_and_given_back(foreign):
    """As one tries it: nothing in the container notices, and at its end nothing is left."""
    made = foreign()
    pid = made.pid
    said = adopt(made, "--policy", "observe")
    assert f"{made.id} is under the policy observe now" in said and made.supervisor()
    made.work()
    wait_until(lambda: made.record(), 4, "it records what it would do")
    assert made.quota == DECLARED and row(made)["cpu"]["declared"] == 0.2
    made.rest()
    assert "release it first" in refused_under(made, "--policy", "reactive")
    escra_tool("release", made.id)
    adopt(made, "--policy", "reactive", "--cpu-max", "600m")
    made.wait_for_quota(lambda quota: quota == FLOOR, 6, "down to the floor")
    text = escra_tool("explain", made.id)
    assert "under the policy reactive" in text and "started without escra-runc" in text
    made.work(2)
    made.wait_for_quota(lambda quota: quota == 60_000, 6, "up to the maximum")
    supervisor = made.supervisor()
    kill(supervisor)
    wait_until(lambda: made.supervisor() != supervisor, 4, "another supervisor")
    assert "0.20 cores" in escra_tool("release", made.id)
    assert made.quota == DECLARED and made.pid == pid and is_alive(pid) and not supervisors()
    assert row(made)["released"]
    escra_tool("adopt", made.id)
    made.supervisor()
    made.call("delete", "--force")
    wait_until(lambda: not ours() and not made.states(), 4, "nothing is left of it")


def refused_under(made, *words):
    done = subprocess.run(
        [ESCRA, "adopt", "--root", made.runtime.globals[1], *words, made.id], capture_output=True,
        text=True, timeout=30 * PATIENCE)
    assert done.returncode == 1 and made.id in done.stderr, done
    return done.stderr


class Client(threading.Thread):
    """Asks a server for a file, again and again."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.answers, self.failures, self.is_over = port, 0, [], False

    def ask(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/version", timeout=10) as file:
            file.read()

    def run(self):
        while not self.is_over:
            try:
                self.ask()
                self.answers += 1
            except OSError as error:
                self.failures.append(error)

    def stop(self):
        self.is_over = True
        self.join(20 * PATIENCE)


def test_a_server_under_load_loses_no_request(foreign, bundle, record_property):
    """While it is adopted, moved and given back."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made_bundle = bundle(
        {}, quota=DECLARED,
        args=["/bin/busybox", "httpd", "-f", "-p", f"127.0.0.1:{port}", "-h", "/proc"])
    # The machine's network, on its loopback.
    made_bundle.config["linux"]["namespaces"] = [
        one for one in made_bundle.config["linux"]["namespaces"] if one["type"] != "network"]
    made_bundle.write()
    made = foreign(bundle_=made_bundle)
    clients = [Client(port) for _ in range(4)]

    def answers():
        try:
            clients[0].ask()
        except OSError:
            return False
        return True

    wait_until(answers, 5, "the server answers")
    for client in clients:
        client.start()
    adopt(made, "--policy", "observe")
    escra_tool("release", made.id)
    adopt(made, "--policy", "reactive", "--cpu-max", "1")
    made.wait_for_quota(lambda quota: quota > DECLARED, 6, "above what it declared")
    escra_tool("release", made.id)
    before = [client.answers for client in clients]
    wait_until(lambda: all(client.answers > count for client, count in zip(clients, before)), 5)
    for client in clients:
        client.stop()
    assert [client.failures for client in clients] == [[]] * 4
    answers = sum(client.answers for client in clients)
    record_property("requests answered", answers)
    assert answers > 20 and made.quota == DECLARED


def test_a_cgroup_is_adopted_whatever_made_it(foreign):
    """By its path or its directory; what is in it has no other name."""
    made = foreign()
    path = cgroups.inner(made.cgroup)
    escra_tool("adopt", "--policy", "reactive", "--cgroup", cgroups.directory(path))
    [one] = json.loads(escra_tool("ps", "--json"))
    assert one["id"] == os.path.basename(path)
    made.wait_for_quota(lambda quota: quota == FLOOR, 6, "down to the floor")
    escra_tool("release", "--all")
    assert made.quota == DECLARED


def test_an_update_by_its_runtime_is_the_new_base(foreign):
    """Which does not know of us."""
    made = foreign()
    adopt(made, "--policy", "reactive")
    made.wait_for_quota(lambda quota: quota == FLOOR, 6, "down to the floor")
    made.call("update", "--cpu-quota", "40000")
    wait_until(lambda: row(made)["cpu"]["declared"] == 0.4, 4, "another base")
    made.work(2)
    made.wait_for_quota(lambda quota: quota == 40_000, 6, "up to the new limit")
    escra_tool("release", made.id)
    assert made.quota == 40_000


def test_its_memory_limit_moves_and_comes_back(foreign, bundle):
    """What the kernel has is what it declares."""
    made_bundle = bundle({}, quota=DECLARED)
    made_bundle.give_memory(128 * MIB)
    made = foreign(bundle_=made_bundle)
    adopt(made, "--policy", "reactive", "--memory-min", "16Mi")
    wait_until(lambda: memory_limit(made) < 100, 8, "what it does not need is given back")
    made.fill(90)
    wait_until(lambda: memory_limit(made) >= 90, 4, "it grows")
    assert memory_limit(made) <= 128 and made.status == "running"
    assert "128Mi" in escra_tool("release", made.id) and memory_limit(made) == 128


def test_it_joins_an_application(foreign, container):
    """Beside a member that was started under us; it leaves with what it declares."""
    member = container({"io.escra.app": "shop"}, quota=DECLARED).started()
    member.supervisor()
    made = foreign()
    adopt(made, "--policy", "reactive", "--app", "shop")
    assert len(members("shop")) == 2
    made.work(2)
    made.wait_for_quota(lambda quota: quota >= 30_000, 6, "what the other does not need")
    assert made.quota + member.quota <= 2 * DECLARED
    escra_tool("release", made.id)
    assert made.quota == DECLARED and len(members("shop")) == 1


@pytest.mark.skipif(cgroups.VERSION == 2, reason="there the whole suite runs with crun beneath")
def test_crun_tells_of_its_containers_too(container, world, no_unified):
    """In a file of another name and form."""
    crun = Runtime("/usr/bin/crun", "--root", world.root)
    made = container(runtime=crun, policy=None, quota=DECLARED).started()
    adopt(made, "--policy", "reactive")
    made.wait_for_quota(lambda quota: quota == FLOOR, 6, "down to the floor")
    escra_tool("release", made.id)
    assert made.quota == DECLARED
    made.call("delete", "--force")


@pytest.mark.parametrize("kind", [engines.Docker, engines.Podman], ids=lambda kind: kind.name)
def test_what_an_engine_runs_is_found_by_its_name(run_engine, world, kind):
    """Also after it was adopted. The suite's Docker keeps states outside of /run/docker."""
    with run_engine(kind) as engine:
        name, (before, after) = world.name(), engine.RUNTIMES["runc"]
        id = engine.cli(
            *before, "run", *after, "--detach", "--name", name, "--cpus", "0.2",
            *engine.OPTIONS, engine.image, "sleep", "1000", cwd=engine.directory).out.strip()
        label = f"{name} ({id[:12]})"
        roots = glob.glob(engine.directory + "/exec/runtime-runc/*")
        root = ["--root", roots[0]] if roots else []
        try:
            for word in (name, id[:12]):
                said = escra_tool("adopt", "--policy", "reactive", *root, word)
                assert said.startswith(f"{label} is under the policy reactive now"), said
                group = engine.cgroup(id)
                wait_until(lambda: cgroups.limit(group)[0] == FLOOR, 6, "down to the floor")
                assert escra_tool("explain", name).startswith(f"{label} runs as process ")
                assert escra_tool("release", name).startswith(label)
                assert cgroups.limit(group)[0] == DECLARED
        finally:
            engine.cli(*engine.REMOVE, name, cwd=engine.directory)
        wait_until(lambda: not ours(), 4, "nothing of ours is left")


@pytest.mark.parametrize("words, sentence", [
    (["--policy", "strict", "x"], "write observe or reactive"),
    (["--policy", "reactive"], "say which container"),
    (["--policy", "reactive", "--all"], "say which container"),
    (["--cpu-max", "1", "x"], "belong to --policy"),
    (["--policy", "observe", "no-such-container"], "--cgroup"),
    (["--policy", "observe", "--cgroup", "/no/such/group"], "is no cgroup"),
    (["--policy", "observe", "--cgroup", "/"], "is no cgroup")])
def test_what_cannot_be_meant_is_refused(words, sentence):
    assert sentence in refused(*words)


def test_the_operators_config_holds(foreign, world):
    """What annotations may not say, options may not say either; nothing is left of the attempt."""
    made, path = foreign(), world.path("config.json")
    with open(path, "w") as file:
        json.dump({"allowedPolicies": ["observe"]}, file)
    said = refused_under(made, "--escra-config", path, "--policy", "reactive")
    assert "allow" in said and "observe" in said
    assert "2x" in refused_under(made, "--policy", "reactive", "--cpu-max", "2x")
    assert not made.states() and made.quota == DECLARED
    assert not supervisors()


def test_a_container_of_ours_is_adopted_without_a_policy(container):
    """It has one already, and perhaps a group of ours around its own."""
    made = container(quota=DECLARED).started()
    made.supervisor()
    assert "reactive already" in refused_under(made, "--policy", "observe")
    assert made.supervisor()
