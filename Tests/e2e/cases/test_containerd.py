# SPDX-License-Identifier: Apache-2.0
"""containerd, by ctr: the same case through runc, through us, and under a policy."""
import json
import re
import shutil
import threading
import time

import pytest

import cgroups
import unary
from comparison import compare
from containerd import WAYS, cgroup
from processes import MANY, is_alive, ours, supervisors, wait_until
from terminal import Terminal
from world import ESCRA_RUNC, PATH, RUNC, Result, Supervised

FLOOR = 5_000
# ctr may lose what a process writes at its very end: with runc alone the output of one exec in two
# hundred and fifty, on a busy machine.
LINGER = "; sleep 0.3; "


@pytest.fixture
def every_way(containerd, world, request):
    """Lets the same case happen in every way, and returns what it looked like through runc."""

    def happen(case):
        seen = []

        def account(it, ctr):
            seen.append(case(ctr, world.name()))
            if not ctr.is_supervised:
                assert ours() == {}, "nobody asked for a supervisor"
            assert containerd.left() == []
            it.seconds.update(ctr.times())
            it.saw("case", alike(seen[-1]))

        compare("containerd", request.node.name.removeprefix("test_"), account,
                {way.name: containerd.ctr(way) for way in WAYS})
        return seen[0]

    return happen


def alike(outcome):
    """What is compared: no seconds, and one name for what differs anyhow."""
    if isinstance(outcome, Result):
        outcome = outcome[:3]
    if isinstance(outcome, (list, tuple)):
        return [alike(one) for one in outcome]
    if isinstance(outcome, dict):
        return {key: alike(value) for key, value in outcome.items()}
    if not isinstance(outcome, str):
        return outcome
    for program in (RUNC, ESCRA_RUNC):
        # The path by which the runtime was registered.
        outcome = re.sub(rf"(?<![\w/]){re.escape(program)}(?!\w)", "RUNTIME", outcome)
    # A number may have more digits than the other one: the table's columns move.
    return re.sub(r" +", " ", outcome)


def supervised(ctr, id):
    """Checks that a container has a supervisor exactly where it asked for one."""
    if ctr.is_supervised:
        of(id).supervisor()
    else:
        assert supervisors(id) == []


def of(id):
    """What can be seen from outside of a container."""
    return Supervised(id, cgroup(id))


@pytest.mark.parametrize("script, code", [
    ("echo out; echo err >&2" + LINGER + "exit 7", 7), ("true", 0), ("exit 255", 255),
    ("sh -c 'kill -9 $$'; exit $?", 137)])
def test_a_run_gives_the_same_output_and_exit_code(every_way, script, code):
    """Attached, as a person does it, and removed at its end."""
    seen = every_way(lambda ctr, id: ctr.run(id, "sh", "-c", script, flags=["--rm"]))
    assert seen.code == code


def test_stdin_reaches_the_container_to_its_end(every_way):
    """As many bytes as do not fit into a pipe."""
    text = "".join(f"{number}\n" for number in range(40_000))

    def case(ctr, id):
        done = ctr.run(
            id, "sh", "-c", "cat" + LINGER, flags=["--rm"], input=text.encode())
        return done.code, done.out == text, done.err

    assert every_way(case) == (0, True, "")


def test_a_program_that_is_not_there_fails_the_same(every_way):
    """The words are runc's; the container of containerd's is there all the same, as ever."""

    def case(ctr, id):
        seen = [ctr.run(id, "/no/such"), ctr.run(id + "-x", "no-such", flags=["--detach"]),
                ctr("tasks", "ls"), sorted(ctr("containers", "ls", "-q").out.split())]
        assert [ctr("containers", "rm", one).code for one in (id, id + "-x")] == [0, 0]
        wait_until(lambda: not ours(), 2, "nothing of ours is left")
        assert not cgroups.exists(cgroup(id))
        return seen

    seen = every_way(case)
    assert seen[0][0] == seen[1][0] == 1 and "executable file not found" in seen[1][2]


def test_a_create_that_fails_in_runc_fails_the_same(every_way):
    """A mount of something that is not there: init has run, and dies before the program."""

    def case(ctr, id):
        mount = "type=bind,src=/no/such,dst=/x,options=rbind"
        seen = [ctr.run(id, "true", flags=["--detach", "--mount", mount]), ctr("tasks", "ls")]
        seen.append(ctr("containers", "rm", id))
        wait_until(lambda: not ours(), 2, "nothing of ours is left")
        assert not cgroups.exists(cgroup(id))
        return seen

    assert '"/no/such"' in every_way(case)[0][2]


def test_a_mistake_in_an_annotation_is_told_by_ctr(containerd, world):
    """Our sentence is the last that a person sees, and nothing has been started."""
    id = world.name()
    ctr = containerd.ctr(WAYS[1])
    done = ctr.run(id, "true", flags=["--annotation", "io.escra.policy=reactiv"])
    assert done.code == 1 and 'io.escra.policy "reactiv"' in done.err, done
    assert ctr.tasks() == {} and ours() == {}
    assert ctr("containers", "rm", id).code == 0


def test_exec_gives_the_same_output_and_exit_code(every_way):
    """With stdin, with another directory, with a program that is not there."""

    def case(ctr, id):
        ctr.detached(id)
        seen = [
            ctr.exec(id, "sh", "-c", "echo out; echo err >&2" + LINGER + "exit 3"),
            ctr.exec(id, "sh", "-c", "cat" + LINGER, input=b"words\n"),
            ctr.exec(id, "sh", "-c", "echo $PWD" + LINGER, flags=["--cwd", "/tmp"]),
            ctr.exec(id, "no-such"), ctr.exec(id + "-x", "true")]
        supervised(ctr, id)
        return seen + ctr.end(id)

    seen = every_way(case)
    assert seen[0][:3] == (3, "out\n", "err\n")
    assert [seen[n].out for n in (1, 2)] == ["words\n", "/tmp\n"]


def talk(command, line):
    """What a person sees at a terminal who answers a question, and the exit code."""
    terminal = Terminal(command, {"PATH": PATH})
    # ctr makes the terminal raw: before that it would echo what is written.
    terminal.wait_for("> ")
    terminal.type(line + "\n")
    code, text = terminal.end()
    # ctr tells the terminal's size once more when an exec may have ended: with runc alone it
    # says so in more than half of the runs.
    return code, re.sub(r"[^\n]*resize pty[^\n]*\n", "", text)


SHELL = ["sh", "-c", "tty; echo -n '> '; read a; echo got $a; exit 4"]


def test_a_terminal_works_the_same(every_way):
    """Of a run, and of an exec in a container that has none."""

    def case(ctr, id):
        seen = [talk(ctr.command(*ctr.running(id, *SHELL, flags=["--rm", "--tty"])), "hello")]
        other = id + "-x"
        ctr.detached(other)
        seen.append(talk(
            ctr.command("tasks", "exec", "--tty", "--exec-id", "e", other, *SHELL), "hello"))
        return seen + ctr.end(other)

    for code, text in every_way(case)[:2]:
        assert code == 4 and "got hello" in text


def test_attach_works_the_same(every_way):
    """To a container that runs already: its input, its output, its exit code."""

    def case(ctr, id):
        ctr.detached(id, "sh", "-c", "read a; echo got $a" + LINGER + "exit 5")
        supervised(ctr, id)
        done = ctr("tasks", "attach", id, input=b"hello\n")
        assert ctr.tasks() == {}
        return done, ctr("containers", "rm", id)

    [attached, _] = every_way(case)
    assert attached[:2] == (5, "got hello\n")


def test_pause_and_resume_look_the_same(every_way):
    """Twice each, and a paused container can be killed."""

    def case(ctr, id):
        ctr.detached(id)
        seen = []
        for verb in ("pause", "pause", "resume", "resume", "pause"):
            seen += [ctr("tasks", verb, id), ctr.tasks()[id][1]]
            assert is_frozen(id) == (verb == "pause")
        seen.append(ctr.exec(id, "true"))
        supervised(ctr, id)
        return seen + [ctr("tasks", "resume", id), *ctr.end(id)]

    seen = every_way(case)
    assert [seen[n] for n in (1, 5, 9)] == ["PAUSED", "RUNNING", "PAUSED"]


def is_frozen(id):
    """As the kernel says it: containerd only remembers what it asked for."""
    if cgroups.VERSION == 1:
        return cgroups.read(cgroup(id), "freezer.state", "freezer") == "FROZEN"
    return "frozen 1" in cgroups.read(cgroup(id), "cgroup.events")


def shape(value):
    """The keys of a dictionary of dictionaries, without what is there only when it is not 0."""
    return {key: shape(one) for key, one in value.items() if isinstance(one, dict)}


def test_metrics_and_ps_have_the_same_fields(every_way):
    """And the same limits; what was used is another matter."""

    def case(ctr, id):
        ctr.detached(id, flags=["--memory-limit", str(64 << 20)])
        metrics = json.loads(ctr("tasks", "metrics", "--format", "json", id).out)
        lines = ctr("tasks", "ps", id).out.splitlines()
        pids = [int(line.split()[0]) for line in lines[1:]]
        supervised(ctr, id)
        assert pids == [ctr.pid(id)] and cgroups.processes(cgroup(id)) == set(pids)
        return shape(metrics), metrics["pids"], len(lines), lines[0], limits(metrics), ctr.end(id)

    assert every_way(case)[4] == [64 << 20]


def limits(metrics):
    memory = metrics["memory"]
    return [memory["usage"]["limit"]] if cgroups.VERSION == 1 else [memory["usage_limit"]]


def test_an_out_of_memory_kill_is_an_event(every_way, containerd):
    """containerd's shim reads it from the group that the container's init is in."""

    def case(ctr, id):
        flags = ["--memory-limit", str(24 << 20)]
        if ctr.is_supervised:
            # Then its memory limit moves, in the group around it.
            flags += ["--annotation", f"io.escra.memory.max={24 << 20}"]
        ctr.detached(
            id, "sh", "-c", "while [ ! -e /go ]; do sleep 0.1; done; tail /dev/zero; sleep 1000",
            flags=flags)
        supervised(ctr, id)
        assert ctr.exec(id, "sh", "-c", ": >/go").code == 0
        wait_until(lambda: "/tasks/oom" in containerd.events.of(id), 20, "the kill is told")
        return ctr.end(id)

    every_way(case)


def test_info_and_the_list_look_the_same(every_way):
    """Spec, labels, runtime; what differs is what was asked for."""

    def case(ctr, id):
        ctr.detached(id)
        supervised(ctr, id)
        info = ctr.info(id)
        # BinaryName is a protobuf in base64; annotations are the ones that were given.
        assert info["Runtime"].pop("Options")["type_url"] == "containerd.runc.v1.Options"
        assert info["Spec"].pop("annotations", {}) == ctr.way.annotations
        return info, ctr("containers", "ls"), ctr.tasks()[id][1], ctr.end(id)

    assert every_way(case)[0]["Runtime"]["Name"] == "io.containerd.runc.v2"


def test_an_update_through_containerd_is_the_new_limit(every_way):
    """As the CRI plugin does it. Under the policy it is the new base, and use decides."""

    def case(ctr, id):
        ctr.detached(id)
        supervised(ctr, id)
        answer = ctr.update(id, {"cpu": {"quota": 80_000, "period": 100_000}})
        quota, period = cgroups.limit(cgroup(id))
        if ctr.is_supervised:
            assert FLOOR <= quota <= 80_000
            [state] = of(id).states()
            quota = int(state["declaredQuota"])
        refused = ctr.update(id, {"cpu": {"cpus": "99"}})
        return answer, quota, period, refused.status != unary.OK, refused.error, ctr.end(id)

    assert every_way(case)[:4] == ((unary.OK, "", []), 80_000, 100_000, True)


def test_under_the_policy_the_limit_follows_the_use(containerd, world):
    """What it is for: down to the floor at rest, up to what was declared under load."""
    ctr, id = containerd.ctr(WAYS[2]), world.name()
    ctr.detached(id, "sh", "-c", "while [ ! -e /go ]; do sleep 0.1; done; while :; do :; done")
    of(id).wait_for_quota(lambda quota: quota <= 25_000, 5, "down with the use")
    assert ctr.exec(id, "sh", "-c", ": >/go").code == 0
    of(id).wait_for_quota(lambda quota: quota == 50_000, 5, "up to what was declared")
    ctr.end(id)


def test_the_same_id_can_be_had_again_at_once(every_way):
    """Five lives of one name, each begun when the one before was just removed."""

    def case(ctr, id):
        seen = []
        for _ in range(5):
            ctr.detached(id)
            supervised(ctr, id)
            seen += [ctr.tasks()[id][1], *ctr.end(id)]
        return seen

    every_way(case)


def test_kill_and_delete_do_the_same(every_way):
    """A signal that is heard, one that is not known, a removal too early, one by force."""

    def case(ctr, id):
        ctr.detached(id, "sh", "-c", "trap 'exit 42' TERM; : >/ready; while :; do sleep 0.05; done")
        wait_until(
            lambda: ctr.exec(id, "test", "-e", "/ready").code == 0, 5, "the container listens")
        seen = [
            ctr("tasks", "rm", id), ctr("containers", "rm", id),
            ctr("tasks", "kill", "--signal", "SIGNONSENSE", id), ctr("tasks", "kill", id)]
        wait_until(lambda: ctr.tasks()[id][1] == "STOPPED", 5, "the task has stopped")
        seen += [
            ctr("tasks", "kill", id), ctr("tasks", "rm", id), ctr("tasks", "rm", id),
            ctr("tasks", "kill", id), ctr("containers", "rm", id), ctr("containers", "rm", id)]
        ctr.detached(id)
        supervised(ctr, id)
        seen += [ctr("tasks", "rm", "--force", id), ctr("containers", "rm", id)]
        wait_until(lambda: not ours(), 2, "nothing of ours is left")
        return seen

    # Whoever removes a task is told how it ended.
    assert "exit code 42" in every_way(case)[5][2]


@pytest.mark.skipif(
    shutil.which("criu") is not None, reason="criu is here; test_checkpoint has it do its work")
def test_checkpoint_fails_the_same_without_criu(every_way):
    """And the container runs on."""

    def case(ctr, id):
        ctr.detached(id)
        supervised(ctr, id)
        done = ctr("tasks", "checkpoint", id)
        error = re.sub(r"path= \S+", "path= LOG", done.err)
        return done.code, error, ctr.tasks()[id][1], ctr.end(id)

    code, error, status, _ = every_way(case)
    assert (code, status) == (1, "RUNNING") and "criu" in error


def test_many_containers_at_once(every_way):
    """Begun together and ended together."""

    def case(ctr, id):
        ids = [f"{id}-{number}" for number in range(MANY)]

        def all_at_once(action):
            found, errors = {}, []

            def act(one):
                try:
                    found[one] = action(one)
                except BaseException as error:
                    errors.append((one, error))

            threads = [threading.Thread(target=act, args=[one]) for one in ids]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert errors == []
            return [found[one] for one in ids]

        seen = all_at_once(ctr.detached)
        assert len({pid for pid, _ in ctr.tasks().values()}) == MANY
        for one in ids:
            supervised(ctr, one)
        seen.append([status for _, status in ctr.tasks().values()])
        seen.append(all_at_once(lambda one: ctr.exec(one, "sh", "-c", "echo hello" + LINGER)))
        seen.append(all_at_once(ctr.end))
        wait_until(lambda: not ours(), 5, "nothing of ours is left")
        return seen

    assert every_way(case)[MANY] == ["RUNNING"] * MANY


def test_containers_live_through_a_crash_of_containerd(containerd, every_way):
    """It is killed and comes back: they run on, their limits live on, and it finds them again."""

    def case(ctr, id):
        ctr.detached(id)
        pid = ctr.pid(id)
        supervised(ctr, id)
        before = ours()
        containerd.kill()
        time.sleep(0.5)
        assert is_alive(pid)
        supervised(ctr, id)
        if ctr.is_supervised:
            # Nobody but the supervisor is there to do this.
            of(id).wait_for_quota(lambda quota: quota == FLOOR, 5, "down to the floor")
        containerd.start()
        assert ctr.pid(id) == pid and ours() == before
        seen = [ctr.tasks()[id][1], ctr.exec(id, "sh", "-c", "echo here" + LINGER + "exit 3")]
        seen += [ctr.update(id, {"cpu": {"quota": 40_000, "period": 100_000}}), ctr.end(id)]
        return seen

    seen = every_way(case)
    assert seen[0] == "RUNNING" and seen[1][:3] == (3, "here\n", "") and seen[2][0] == unary.OK
