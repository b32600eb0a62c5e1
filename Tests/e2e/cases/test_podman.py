# SPDX-License-Identifier: Apache-2.0
"""What only Podman has: crun beneath, health checks on request, conmon, users that are not root."""
import json
import os
import shutil
import subprocess

import pytest

import cgroups
import engines
from processes import PATIENCE, is_alive, kill, ours, status, supervisors, wait_until
# The same cases, with crun beneath.
from test_engines import (  # noqa: F401
    POLITE, test_a_pause_freezes_and_an_unpause_thaws,
    test_a_restart_gives_the_same_container_another_process,
    test_exec_passes_on_streams_environment_and_exit_code,
    test_inspect_says_the_same_of_every_stage_of_a_life,
    test_run_passes_on_streams_environment_and_exit_code, test_update_changes_the_kernels_limits,
    test_what_cannot_be_executed_fails_with_the_same_text_and_code)
from world import ESCRA_RUNC, PATH, RUNC, make_rootfs


@pytest.fixture(scope="module")
def engine(request, run_engine):
    """With crun beneath, unless a test wants another one."""
    with run_engine(getattr(request, "param", engines.PodmanOnCrun)) as engine:
        yield engine


def test_the_limit_goes_up_with_crun_beneath(through):
    """In one cgroup hierarchy less; beyond what was declared, since the annotation allows it."""

    def case(engine):
        made = engine.started(
            "--cpus", "0.5", "--annotation", "io.escra.cpu.max=1", engine.image, *POLITE)
        made.supervisor()
        made.exec("sh", "-c", "while :; do :; done", flags=["--detach"])
        made.wait_for_quota(lambda quota: quota > 50_000, 4, "up beyond what was declared")

    through(case, runtimes=["reactive"])


@pytest.mark.parametrize("engine", [engines.Podman], indirect=True, ids=["podman"])
def test_a_pod_of_two_under_a_policy(through):
    """Created, asked for its statistics and removed as a whole: nothing is left of it."""

    def case(engine):
        pod = engine.world.name()
        made = engine(
            "pod", "create", "--infra=false", "--name", pod, "--cgroup-parent",
            engine.engine.parent.word)
        assert made.code == 0, made
        found = []
        for _ in range(2):
            run = engine(
                *engine.before, "run", "--detach", "--pod", pod, *engine.options, "--cpus", "0.5",
                "--network", "none", engine.image, *POLITE)
            assert run.code == 0, run
            found.append(run.out.strip())
        if engine.has_policy:
            for id in found:
                wait_until(lambda: supervisors(id), 5, "a supervisor")  # noqa: B023
        told = json.loads(engine("pod", "stats", "--no-stream", "--format", "json", pod).out)
        assert sorted(each["CID"] for each in told) == sorted(id[:12] for id in found)
        engine.saw("stats of a pod", len(told))
        removed = engine("pod", "rm", "--force", "--time", "0", pod)
        assert removed.code == 0, removed
        assert engine("ps", "--all", "--quiet").out == ""
        parent = engine.engine.parent.path
        wait_until(
            lambda: set(cgroups.of_ours(parent.strip("/"))) <= {parent}, 4,
            lambda: f"no group of the pod, not {cgroups.of_ours(parent.strip('/'))}")

    through(case)


def test_a_health_check_tells_by_its_exit_code(through):
    """Podman runs one when systemd or somebody else tells it to."""

    def case(engine):
        made = engine.started(
            "--health-cmd", "echo looked; test -e /tmp/well", "--health-retries", "1",
            "--health-interval", "disable", engine.image, *POLITE)
        for verb in ("touch", "rm"):
            made.exec(verb, "/tmp/well")
            engine.finished(f"check after {verb}", engine("healthcheck", "run", made.name))
            engine.saw(f"health after {verb}", made.state["Health"]["Status"])

    seen = through(case)
    assert (seen["health after touch"], seen["health after rm"]) == ("healthy", "unhealthy")


def test_a_container_outlives_its_conmon(through):
    """Killed beside it, as by the kernel when memory is short; Podman can still remove it."""

    def case(engine):
        made = engine.started("--cpus", "0.5", engine.image, *POLITE)
        supervisor = engine.has_policy and made.supervisor()
        state = made.state
        kill(state["ConmonPid"])
        wait_until(lambda: not is_alive(state["ConmonPid"]), 5, "conmon is dead")
        engine.finished("exec", made.exec("echo", "here"))
        assert is_alive(state["Pid"])
        engine.saw("state", made.state)
        if engine.has_policy:
            assert made.supervisor() == supervisor
        # Nobody called the runtime's delete, and Podman does not either: a cgroup stays.
        engine.world.groups.append(made.cgroup)
        engine.finished("remove", engine.remove(made))
        assert not is_alive(state["Pid"])

    through(case)


@pytest.mark.parametrize("engine", [engines.RootlessPodman], indirect=True, ids=["rootless"])
def test_a_user_who_is_not_root_gets_what_runc_gives_him(through, engine):
    """A policy, too: what cannot be supervised starts as it was declared."""

    def case(engine):
        engine.finished("run", engine.run(
            "--interactive", engine.image, "sh", "-c", "cat; id -u; exit 7", input=b"in\n"))
        engine.finished("missing", engine.run(engine.image, "no-such-program"))
        made = engine.started(engine.image, *POLITE)
        engine.finished("exec", made.exec("sh", "-c", "echo here; exit 4"))
        made.says("up")
        engine.saw("inspect", made.inspect())
        engine.finished("restart", made.call("restart"))
        made.says("up", 2)
        engine.finished("stop", made.call("stop"))
        engine.saw("exit code", made.state["ExitCode"])
        engine.finished("remove", engine.remove(made))

    before = of_user(engine.USER)
    seen = through(case)
    assert (seen["run.code"], seen["missing.code"], seen["exit code"]) == ("7", "127", "3")
    wait_until(lambda: of_user(engine.USER) <= before, 5, "no process of his is left")


def test_a_user_who_is_not_root_is_told_once_that_nobody_supervises(world):
    """Without an engine in between: the container runs as with runc, after one sentence of ours."""
    user, directory = engines.RootlessPodman.USER, world.path("user")
    os.chmod(world.directory, 0o755)
    make_rootfs(directory + "/rootfs")
    for name in ("", "/rootfs"):
        os.chown(directory + name, user, user)
    program = shutil.copy(ESCRA_RUNC, world.path("escra-runc"))

    def as_user(*words):
        return subprocess.run(
            ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups", *words],
            env={"PATH": PATH, "XDG_RUNTIME_DIR": directory}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=20 * PATIENCE)

    assert as_user(RUNC, "spec", "--rootless", "--bundle", directory).returncode == 0
    with open(directory + "/config.json") as file:
        config = json.load(file)
    config["process"].update(terminal=False, args=["sh", "-c", "echo here; exit 7"])
    config["annotations"] = {"io.escra.policy": "reactive"}
    with open(directory + "/config.json", "w") as file:
        json.dump(config, file)
    plain, told = (
        as_user(one, "--root", directory + "/state", "run", "--bundle", directory, world.name())
        for one in (RUNC, program))
    if plain.returncode != 7:
        pytest.skip(f"a user's containers do not run with plain runc here either: {plain.stderr}")
    assert (told.returncode, told.stdout) == (7, "here\n") == (7, plain.stdout)
    sentence, *rest = told.stderr.splitlines()
    assert "starts with its declared limits, unsupervised" in sentence
    assert rest == plain.stderr.splitlines() and ours() == {}


def of_user(user):
    """The pids of a user, in whatever namespaces."""
    return {
        int(entry) for entry in os.listdir("/proc")
        if entry.isdigit() and status(entry).get("Uid", "").split()[:1] == [str(user)]}
