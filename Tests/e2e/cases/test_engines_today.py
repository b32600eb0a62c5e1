# SPDX-License-Identifier: Apache-2.0
"""What engines of today have beside the cases of test_engines: a life in brief, then the news.

The life is what CI runs on every engine, under both cgroup drivers: ESCRA_E2E_DRIVER.
"""
import json
import os
import signal

import pytest

import cgroups
import engines
from processes import is_alive, ours, supervisors, wait_until
from test_engines import POLITE, is_frozen, memory_limit, supervised
from through import Container

BUSY = ["sh", "-c", "echo $$ > /tmp/pid; while :; do :; done"]


@pytest.fixture(
    scope="module", params=[engines.Docker, engines.Podman, engines.PodmanOnCrun],
    ids=lambda kind: kind.name)
def engine(request, run_engine):
    with run_engine(request.param) as engine:
        yield engine


@pytest.fixture
def only_docker(engine):
    if engine.name != "docker":
        pytest.skip("a case about Docker")
    return engine


def test_a_life_under_a_policy(through):
    """Run, exec, idle, pause, update, work, stop, rm; the limit follows through all of it."""

    def case(engine):
        made = engine.started(
            "--cpus", "0.5", "--memory", "64m", "--memory-swap", "64m", engine.image, *POLITE)
        made.supervisor()
        made.says("up")
        made.wait_for_quota(lambda quota: quota <= 25_000, 8, "down with the use")
        assert made.exec("sh", "-c", "echo here; exit 4")[:2] == (4, "here\n")
        made.call("pause")
        assert is_frozen(made)
        made.call("unpause")
        assert not is_frozen(made)
        made.call("update", "--cpus", "0.4", "--memory", "96m", "--memory-swap", "96m")
        assert memory_limit(made) == 96 << 20
        made.exec(*BUSY, flags=["--detach"])
        made.wait_for_quota(lambda quota: quota == 40_000, 4, "up to what the update said")
        assert supervised(made)["cpu"]["declared"] == pytest.approx(0.4)
        made.call("stop")
        assert made.state["ExitCode"] == 3
        assert engine.remove(made).code == 0
        wait_until(lambda: ours() == {}, 4, "nobody of ours stays behind")
        assert not cgroups.exists(made.cgroup)

    through(case, runtimes=["reactive"])


def test_the_policy_is_an_annotation_or_our_name(through, only_docker):
    """Docker passes annotations on since 24, shows them, and keeps them over a restart."""
    if not only_docker.passes_annotations:
        pytest.skip("this Docker passes no annotations; all other cases go by the name")

    def case(view):
        made = view.started("--cpus", "0.5", view.image, *POLITE)
        assert made.inspect()["HostConfig"]["Annotations"] == {"io.escra.policy": "reactive"}
        first = made.supervisor()
        made.call("restart", "--time", "3")
        assert made.supervisor() != first
        # And beside it one whose name says it, as ever.
        view.options = view.engine.BY_NAME
        other = view.started("--cpus", "0.5", view.image, *POLITE)
        other.supervisor()
        assert not other.inspect()["HostConfig"].get("Annotations")
        assert {one["policy"] for one in map(supervised, (made, other))} == {"reactive"}

    through(case, runtimes=["reactive"])


def test_a_mistake_in_an_annotation_is_the_clients_error(through, only_docker):
    """Our sentence reaches the person who typed it, and no process is left."""
    if not only_docker.passes_annotations:
        pytest.skip("this Docker passes no annotations")

    def case(view):
        done = view.run("--annotation", "io.escra.policy=reactiv", view.image, "true")
        assert done.code == 125 or done.code == 127, done
        assert 'io.escra.policy "reactiv"' in done.err
        assert ours() == {}

    through(case, runtimes=["escra"])


def test_stats_tell_the_same(through):
    """Limits and numbers of processes, while the container does something."""

    def case(engine):
        made = engine.started(
            "--memory", "64m", "--memory-swap", "64m", "--cpus", "0.5", engine.image, *POLITE)
        made.says("up")
        done = made.call("stats", "--no-stream", "--format", "{{.MemUsage}}|{{.PIDs}}")
        usage, pids = done.out.strip().split("|")
        engine.saw("limit", usage.split("/")[1].strip())
        engine.saw("processes", pids)

    seen = through(case)
    assert seen["limit"] in ("64MiB", "67.11MB") and seen["processes"] == "2"


def test_a_restart_policy_starts_the_same_id_again(through):
    """Killed from outside: another process under the same id, the same limit and a supervisor."""

    def case(engine):
        made = engine.started(
            "--restart", "always", "--cpus", "0.5", engine.image, *POLITE)
        made.says("up")
        first = made.pid
        before = engine.has_policy and made.supervisor()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not is_alive(first), 5, "it has been killed")
        made.says("up", 2)
        wait_until(lambda: made.state["Running"] and made.pid != first, 10, "it runs again")
        engine.saw("restarts", made.inspect()["RestartCount"])
        if engine.has_policy:
            assert made.supervisor() != before
            made.wait_for_quota(lambda quota: quota <= 25_000, 8, "down with the use")
            assert len(supervisors()) == 1
        else:
            assert made.quota == 50_000
        engine.finished("stop", made.call("stop"))
        engine.saw("exit code", made.state["ExitCode"])

    seen = through(case)
    assert (seen["restarts"], seen["exit code"]) == ("1", "3")


def test_a_restart_policy_gives_up_when_it_should(through):
    """As often as it was told to; then nobody supervises a container that is gone."""

    def case(engine):
        made = engine.started(
            "--restart", "on-failure:2", engine.image, "sh", "-c", "echo up; exit 4")
        made.says("up", 3)
        wait_until(
            lambda: made.state["Status"] == "exited" and made.inspect()["RestartCount"] == 2, 10,
            "the engine has given up")
        engine.saw("exit code", made.state["ExitCode"])
        wait_until(lambda: supervisors() == [], 4, "no supervisor stays behind")
        engine.finished("logs", made.call("logs"))

    seen = through(case)
    assert seen["exit code"] == "4" and seen["logs.output"] == "up\n" * 3


COMPOSE = """
services:
  web:
    image: {image}
    command: {command}
    container_name: {name}
    network_mode: none
    runtime: {runtime}
    cpus: 0.5
    stop_grace_period: 5s
    annotations: {annotations}
"""


def test_compose_passes_on_runtime_and_annotations(through, only_docker, world):
    """Up, exec, a second up that changes nothing, down."""
    if engines.is_missing_compose(only_docker):
        pytest.skip("docker compose is not installed")
    if not only_docker.passes_annotations:
        pytest.skip("this Docker passes no annotations")

    def case(view):
        name = world.name()
        path = world.path(f"{name}.yaml")
        with open(path, "w") as file:
            file.write(COMPOSE.format(
                image=view.image, command=json.dumps(POLITE), name=name,
                runtime="runc" if view.runtime == "runc" else "escra",
                annotations=json.dumps(
                    {"io.escra.policy": "reactive"} if view.has_policy else {})))

        def compose(*words):
            done = view("compose", "--progress", "quiet", "--project-name", name, "--file", path,
                        *words)
            assert done.code == 0, done
            return done

        compose("up", "--detach")
        made = Container(view, name, view("inspect", "--format", "{{.Id}}", name).out.strip())
        made.says("up")
        pid = made.pid
        if view.has_policy:
            made.supervisor()
            made.wait_for_quota(lambda quota: quota <= 25_000, 8, "down with the use")
        else:
            assert ours() == {} and made.quota == 50_000
        view.saw("exec", compose("exec", "-T", "web", "echo", "here").out)
        compose("up", "--detach")
        assert made.pid == pid
        view.saw("state", made.state["Status"])
        compose("down")
        wait_until(lambda: ours() == {} and not is_alive(pid), 4, "all of it has ended")

    seen = through(case)
    assert (seen["exec"], seen["state"]) == ("here\n", "running")
