# SPDX-License-Identifier: Apache-2.0
"""What Docker does beside running containers: watching their health, and dying under them."""
import os
import signal

import pytest

import engines
from processes import is_alive, supervisors, wait_until
from test_engines import POLITE

# Idles until USR1 makes it work; says that it lives in either case.
WORKER = [
    "sh", "-c", "trap 'exit 3' TERM; trap work=yes USR1; trap work= USR2; echo up; "
    "while :; do [ \"$work\" ] || { echo idle; sleep 0.2; }; done"]


@pytest.fixture(scope="module")
def engine(request, run_engine):
    """A daemon under which containers go on when it ends, or one under which they do not."""
    with run_engine(engines.Docker, live_restore=request.param) as engine:
        yield engine


def daemon(live_restore):
    name = "live-restore" if live_restore else "no live-restore"
    return pytest.mark.parametrize("engine", [live_restore], indirect=True, ids=[name])


# How a daemon ends: SIGKILL takes its containerd along, SIGTERM lets it do what it has to.
ENDS = pytest.mark.parametrize("end", [engines.Docker.kill, engines.Docker.stop])


@daemon(live_restore=True)
def test_health_checks_find_a_container_healthy_and_unhealthy(through):
    """They are execs, several a second, and under a policy beside the supervisor."""

    def case(engine):
        made = engine.started(
            "--health-cmd", "echo looked; test -e /tmp/well", "--health-interval", "300ms",
            "--health-retries", "2", engine.image, *POLITE)
        for verb, health in (("touch", "healthy"), ("rm", "unhealthy"), ("touch", "healthy")):
            made.exec(verb, "/tmp/well")
            wait_until(lambda: made.state["Health"]["Status"] == health, 10, health)
        last = made.state["Health"]["Log"][-1]
        engine.saw("last check", {name: last[name] for name in ("ExitCode", "Output")})
        made.call("stop")
        engine.saw("exit code", made.state["ExitCode"])

    assert through(case)["last check.Output"] == "looked\n"


@daemon(live_restore=True)
@ENDS
def test_containers_outlive_their_daemon(through, engine, end):
    """The same processes under the same limits and supervisors; what ended meanwhile is known."""

    def case(view):
        made = view.started("--cpus", "0.5", "--memory", "64m", view.image, *WORKER)
        paused = view.started(view.image, *POLITE)
        paused.call("pause")
        ending = view.started(
            view.image, "sh", "-c", "trap 'exit 9' TERM; echo up; sleep 1000 & wait")
        ending.says("up")
        pids = made.pid, paused.pid, ending.pid
        supervisor = view.has_policy and made.supervisor()
        end(engine)
        os.kill(pids[2], signal.SIGTERM)
        wait_until(lambda: not is_alive(pids[2]), 5, "it ends without its daemon")
        works_under_its_limit(made, pids[0], view.has_policy)
        engine.start()
        assert (made.pid, paused.pid) == pids[:2]
        wait_until(lambda: ending.state["Status"] == "exited", 5, "the daemon learns of its end")
        view.saw("ended", ending.inspect())
        view.saw("paused", paused.inspect())
        view.saw("running", made.inspect())
        works_under_its_limit(made, pids[0], view.has_policy)
        if view.has_policy:
            assert made.supervisor() == supervisor
        view.finished("exec", made.exec("echo", "here"))
        view.finished("update", made.call("update", "--cpus", "0.6"))
        made.says("idle", made.call("logs").out.count("idle") + 1)
        view.finished("unpause", paused.call("unpause"))
        view.finished("stop", made.call("stop"))
        view.saw("exit code", made.state["ExitCode"])

    seen = through(case)
    # Docker 26 does not find out what one ended with whose containerd was killed with it: 255.
    assert seen["ended.State.ExitCode"] in ("9", "255") and seen["exit code"] == "3"
    assert seen["paused.State.Status"] == "paused" and seen["running.State.Status"] == "running"


def works_under_its_limit(made, pid, is_supervised):
    """Half a CPU; under a policy only while it works."""
    if is_supervised:
        made.wait_for_quota(lambda quota: quota < 40_000, 4, "down when it is idle")
        os.kill(pid, signal.SIGUSR1)
        made.wait_for_quota(lambda quota: quota == 50_000, 4, "up when it works")
        os.kill(pid, signal.SIGUSR2)
    else:
        assert made.quota == 50_000


@daemon(live_restore=False)
@ENDS
def test_containers_end_with_their_daemon(through, engine, end):
    """By what it does at its end, or else at its next start; one is started again by it."""

    def case(view):
        made = view.started(view.image, *POLITE)
        again = view.started("--restart", "always", view.image, *POLITE)
        made.says("up")
        again.says("up")
        pids = made.pid, again.pid
        if view.has_policy:
            assert made.supervisor() != again.supervisor()
        end(engine)
        view.saw("alive without a daemon", [is_alive(pid) for pid in pids])
        engine.start()
        wait_until(lambda: made.state["Status"] == "exited", 10, "it has ended")
        wait_until(lambda: again.state["Running"] and again.pid != pids[1], 10, "it runs again")
        assert not is_alive(pids[0]) and not is_alive(pids[1])
        view.saw("ended", made.inspect())
        view.saw("again", again.inspect())
        if view.has_policy:
            again.supervisor()
            wait_until(lambda: len(supervisors()) == 1, 4, "no other is supervised")
        view.finished("start", made.call("start"))
        made.says("up", 2)
        view.finished("stop", made.call("stop"))
        view.saw("exit code", made.state["ExitCode"])

    assert through(case)["exit code"] == "3"
