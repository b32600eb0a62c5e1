# SPDX-License-Identifier: Apache-2.0
"""No annotation, no difference: the same case through runc and through escra-runc."""
import array
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys

import pytest

import kernel
from processes import PATIENCE, RUN, is_alive, ours, read_to_the_end, status, wait_until
from world import IS_CRUN, RUNC, Runtime, without_time


@pytest.fixture
def both(plain, escra):
    """Lets the same case happen under both runtimes and says that it looked the same."""

    def compare(case):
        seen = case(plain)
        assert case(escra) == seen
        assert ours() == {}, "nobody asked for a supervisor"
        return seen

    return compare


def read(path):
    with open(path) as file:
        return file.read()


def test_a_run_gives_the_same_output_and_exit_code_and_leaves_config_json_alone(
        both, bundle, world):
    """Bytes, inode, times, mode and owner of config.json stay; no file appears beside it."""
    made = bundle(args=["sh", "-c", "echo out; echo err >&2; exit 7"])
    before = made.identity()

    def case(runtime):
        result = runtime("run", "--bundle", made.path, world.name())
        assert made.is_original(before)
        return result[:3]

    assert both(case) == (7, "out\n", "err\n")


@pytest.mark.parametrize("script, code", [
    ("exit 0", 0), ("exit 255", 255), ("kill -9 $$", 137), ("kill -15 $$; sleep 1", 0)])
def test_a_run_ends_with_the_exit_code_of_the_container(both, bundle, world, script, code):
    """Also for a container that a signal ended; pid 1 is immune to its own SIGTERM."""
    if "-9" in script:
        # pid 1 cannot kill itself, so its child does the dying.
        script = "sh -c 'kill -9 $$'; exit $?"
    made = bundle(args=["sh", "-c", script])
    assert both(lambda runtime: runtime("run", "--bundle", made.path, world.name()).code) == code


@pytest.mark.v2
def test_every_verb_of_a_life_says_the_same(both, bundle, world):
    """create, start, state, list, ps, exec, pause, resume, kill, delete: codes and output."""
    made = bundle(args=["sleep", "60"])
    id, log = world.name(), world.path("log.json")

    def case(runtime):
        runtime = runtime.using("--log", log, "--log-format", "json")
        pid_file = world.path("pid")
        streams = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seen = [runtime.start(
            "create", "--bundle", made.path, "--pid-file", pid_file, id, **streams).wait(20)]
        calls = [
            ["state", id], ["list"], ["list", "--format=json"], ["list", "-q"], ["start", id],
            ["start", id], ["exec", id, "sh", "-c", "echo $0 $PATH; exit 9"],
            ["exec", id, "no-such-program"], ["ps", "--format", "json", id], ["pause", id],
            ["exec", id, "true"], ["resume", id], ["delete", id],
            ["update", "--pids-limit", "9", id],
            ["kill", id, "SIGNONSENSE"], ["kill", id, "KILL"]]
        seen += [runtime(*call) for call in calls]
        pid = read(pid_file)
        wait_until(lambda: not is_alive(pid), 5, "the container has ended")
        seen += [runtime(*call) for call in (["state", id], ["delete", id], ["list"])]
        seen.append(read(log))
        os.unlink(log)
        os.unlink(pid_file)
        text = repr([one if isinstance(one, (int, str)) else one[:3] for one in seen])
        text = re.sub(r"\b%s\b" % pid, "PID", without_time(text.replace('\\"', '"')))
        # A pid may have fewer digits than the other one: the table's columns move.
        text = re.sub(r" +", " ", text)
        return re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "CREATED", text)

    assert both(case).count("PID") > 3


@pytest.mark.parametrize("arguments, code", [
    (["state", "no-such-container"], 1),
    (["start", "no-such-container"], 1),
    (["kill", "no-such-container", "9"], 1),
    (["delete", "no-such-container"], 1),
    (["delete", "--force", "no-such-container"], 0),
    (["exec", "no-such-container", "true"], 255),
    (["pause", "no-such-container"], 1),
    (["update", "--cpu-quota", "1000", "no-such-container"], 1),
    (["update", "--resources=-", "no-such-container"], 1),
    (["events", "--stats", "no-such-container"], 1),
    (["no-such-verb"], 3),
    (["--no-such-flag", "state", "x"], 1),
    (["create", "--no-such-flag", "x"], 1),
    (["create"], 1),
    (["create", "../x"], 1),
    (["state"], 1),
    ([], 0),
    (["--help"], 0),
    (["help"], 0),
    (["help", "create"], 0),
    (["create", "--help"], 0),
    (["list"], 0),
])
@pytest.mark.parametrize("format", ["json", "text", None])
def test_calls_that_fail_say_the_same(both, world, arguments, code, format):
    """Exit code, stdout, stderr and what is in the log."""
    log = world.path("log")

    def case(runtime):
        if format:
            runtime = runtime.using("--log", log, "--log-format", format)
        result = runtime(*arguments, cwd=world.directory)
        text = without_time(read(log)) if os.path.exists(log) else None
        if text is not None:
            os.unlink(log)
        # runc's help names the program that was called: the path that it was executed by.
        return result.code, result.out, without_time(result.err), text

    # crun has codes of its own.
    assert both(case)[0] == code or IS_CRUN


def test_a_failing_exec_ends_with_255(both, container, plain):
    """runc's code for "the process could not be started"."""
    made = container(policy=None, runtime=plain).started()

    def case(runtime):
        result = runtime("exec", made.id, "/no/such")
        return result.code, result.out, without_time(result.err)

    assert both(case)[0] == 255 or IS_CRUN


def test_state_and_the_pid_file_name_the_same_process(both, container, escra):
    """The pid file is the caller's, in the caller's place."""
    made = container(policy=None, runtime=escra)
    assert made.create().wait(20) == 0
    state = json.loads(both(lambda runtime: runtime("state", made.id)[:3])[1])
    assert state["pid"] == made.pid and state["status"] == "created"
    assert read(made.pid_file) == str(made.pid)


def test_a_bundle_is_found_in_the_working_directory(both, bundle, world):
    """As runc does without --bundle."""
    made = bundle(args=["sh", "-c", "echo here"])
    assert both(lambda runtime: runtime("run", world.name(), cwd=made.path)[:3])[1] == "here\n"


def test_sigterm_to_the_runtime_reaches_the_container(both, container):
    """In an attached `run` the caller signals our pid, which by then is runc's."""

    def case(runtime):
        made = container(
            policy=None, runtime=runtime,
            args=["sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done"])
        process = made.create(verb="run", stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        code = process.wait(10)
        process.stdout.close()
        return code

    assert both(case) == 42


@pytest.mark.v2
def test_the_process_becomes_runc(container, plain, escra, world):
    """The pid that the caller got is runc's: nobody stands between."""
    if IS_CRUN:
        pytest.skip("crun runs from a sealed copy of itself, which has no path")
    for policy in (None, "reactive"):
        made = container(policy=policy)
        process = world.spawn(made.create(verb="run"))
        wait_until(lambda: os.path.exists(made.pid_file), 5, "the container runs")
        assert os.readlink(f"/proc/{process.pid}/exe") == os.path.realpath(plain.program)
        made.close()
        assert process.wait(5) == 0


def test_the_parent_death_signal_survives(both, container, world):
    """containerd's shim sets it: who starts the runtime and dies takes it along."""
    def case(runtime):
        made = container(policy=None, runtime=runtime)
        command = runtime.command("run", "--bundle", made.bundle.path, "--pid-file",
                                  made.pid_file, made.id)
        script = (
            "import os, subprocess, sys, time; sys.path.insert(0, sys.argv[1]); import kernel\n"
            "subprocess.Popen(sys.argv[2:], preexec_fn=lambda: kernel.die_with_parent(9))\n"
            "time.sleep(60)")
        parent = world.spawn(subprocess.Popen(
            [sys.executable, "-c", script, os.path.dirname(kernel.__file__), *command],
            stdin=subprocess.PIPE))
        wait_until(lambda: os.path.exists(made.pid_file), 5, "the container runs")
        runc = int(status(made.pid)["PPid"])
        assert int(status(runc)["PPid"]) == parent.pid
        parent.kill()
        parent.wait()
        wait_until(lambda: not is_alive(runc), 2, "runc has died with its parent")
        return True

    both(case)


def test_stdin_is_passed_through(both, bundle, world):
    """To the last byte and to its end."""
    made = bundle(args=["cat"])
    data = os.urandom(1 << 18)

    def case(runtime):
        done = subprocess.run(
            runtime.command("run", "--bundle", made.path, world.name()), input=data,
            capture_output=True, timeout=20)
        return done.returncode, done.stdout == data, done.stderr

    assert both(case) == (0, True, b"")


def passed(descriptor, *numbers):
    """Makes a descriptor known by other numbers; for a child on its way to exec."""
    for number in numbers:
        os.dup2(descriptor, number)
        os.set_inheritable(number, True)


def test_preserved_descriptors_arrive(both, bundle, world):
    """--preserve-fds 2: descriptors 3 and 4."""
    made = bundle(args=["sh", "-c", "echo three >&3; echo four >&4; exec ls /proc/self/fd"])

    def case(runtime):
        reading, writing = os.pipe()

        result = runtime(
            "run", "--bundle", made.path, "--preserve-fds", "2", world.name(),
            preexec_fn=lambda: passed(writing, 3, 4), close_fds=False)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            return result[:3], pipe.read()

    (code, out, err), text = both(case)
    assert (code, text) == (0, "three\nfour\n"), err


def test_listen_fds_arrive(both, bundle, world):
    """systemd's socket activation, which names the pid of the runtime it has started."""
    made = bundle(args=["sh", "-c", "echo $LISTEN_FDS >&3"])

    def case(runtime):
        reading, writing = os.pipe()
        activated = Runtime("/bin/sh", "-c", 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"', "sh")
        result = activated(
            *runtime.command("run", "--bundle", made.path, world.name()),
            preexec_fn=lambda: passed(writing, 3),
            close_fds=False)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            return result[:3], pipe.read()

    result, seen = both(case)
    # crun alone does not pass the variable on.
    assert result == (0, "", "") and (seen == "1\n" or IS_CRUN)


@pytest.mark.parametrize("env", [{}, {"XDG_RUNTIME_DIR": "/run/user/0"}, {"PATH": "/nowhere"}])
def test_an_environment_without_path_is_enough(both, bundle, world, env):
    """Podman calls kill, delete, pause and resume with XDG_RUNTIME_DIR alone."""
    made = bundle(args=["env"])
    result = both(
        lambda runtime: runtime.using(env=env)("run", "--bundle", made.path, world.name())[:3])
    assert result[0] == 0


def test_features_stays_json_and_gains_our_version(plain, escra):
    """Docker asks at start: pure JSON, exit 0, nothing of runc's changed."""
    theirs, ours = plain("features"), escra("features")
    assert (ours.code, ours.err) == (0, "")
    features = json.loads(ours.out)
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", features["annotations"].pop("io.escra.version"))
    expected = json.loads(theirs.out)
    # crun has it already in a document of 1.1.
    name = "potentiallyUnsafeConfigAnnotations"
    if expected["ociVersionMax"] >= "1.2" or name in expected:
        expected[name] = expected.get(name, []) + ["io.escra."]
    assert features == expected


@pytest.mark.parametrize("flag", ["--version", "-v", "-version"])
def test_version_is_runcs_with_one_line_of_ours_behind(plain, escra, flag):
    """containerd takes line 1 for runc's version, Docker looks for the commit line."""
    theirs, ours = plain(flag), escra(flag)
    assert (ours.code, ours.err) == (theirs.code, theirs.err) == (0, "")
    assert ours.out.startswith(theirs.out)
    assert re.fullmatch(r"escra-runc version \S+\n", ours.out[len(theirs.out):])


def receive_terminal(listener):
    """What runc sends to a console socket: the master side of a terminal, and its name."""
    connection, _ = listener.accept()
    with connection:
        room = socket.CMSG_SPACE(array.array("i", [0]).itemsize)
        name, messages, _, _ = connection.recvmsg(4096, room)
    [(_, _, data)] = messages
    return name, array.array("i", data)[0]


def test_a_console_socket_gets_the_terminal(both, bundle, world, plain):
    """The descriptor arrives by SCM_RIGHTS and is the container's terminal."""
    made = bundle(args=["sh", "-c", "tty; read line; echo got $line"])
    made.config["process"]["terminal"] = True
    made.write()

    def case(runtime):
        id, path = world.name(), world.path("console")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            listener.settimeout(5 * PATIENCE)
            process = runtime.start(
                "create", "--bundle", made.path, "--console-socket", path, id)
            name, terminal = receive_terminal(listener)
            assert process.wait(5 * PATIENCE) == 0
        os.unlink(path)
        assert os.isatty(terminal)
        os.write(terminal, b"hello\n")
        result = runtime("start", id)
        text = read_to_the_end(terminal, 5).decode()
        wait_until(
            lambda: json.loads(plain("state", id).out)["status"] == "stopped", 5, "it has ended")
        return result[:3], re.sub(r"\d+", "N", name.decode()), text, plain("delete", id)[:3]

    assert both(case)[2].splitlines() == ["hello", "/dev/pts/0", "got hello"]


def test_a_terminal_of_the_callers_is_used(both, bundle, world):
    """`run` in a terminal: the container has one, and its size is ours."""
    made = bundle(args=["sh", "-c", "tty; test -t 0 && echo terminal; exit 3"])
    made.config["process"]["terminal"] = True
    made.write()

    def case(runtime):
        master, slave = pty.openpty()
        process = runtime.start(
            "run", "--bundle", made.path, world.name(), stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True)
        os.close(slave)
        text = read_to_the_end(master, 5).decode()
        return process.wait(5), text

    code, text = both(case)
    assert code == 3 and "terminal" in text


# What a runtime finds when it is called; in the order of its lines, and nothing left out.
STUB = """#!/usr/bin/python3 -I
import ctypes, json, os, resource, signal, sys
libc = ctypes.CDLL(None)
death = ctypes.c_int(-1)
libc.prctl(2, ctypes.byref(death), 0, 0, 0)
with open("/proc/self/status") as file:
    fields = dict(line.rstrip("\\n").partition(":\\t")[::2] for line in file)
with open("/proc/self/cgroup") as file:
    cgroup = file.read()
with open("/proc/self/oom_score_adj") as file:
    score = file.read()
with open("/proc/self/cmdline", "rb") as file:
    words = file.read().split(b"\\0")[3:]
descriptors = {}
for number in os.listdir("/proc/self/fd"):
    try:
        descriptors[number] = os.readlink("/proc/self/fd/" + number)
    except OSError:
        pass
descriptors = {n: t for n, t in descriptors.items() if t != "/proc/%d/fd" % os.getpid()}
with open("/proc/self/environ", "rb") as file:
    environment = file.read().split(b"\\0")
print(json.dumps({
    "arguments": [word.hex() for word in words],
    "environment": sorted(one.hex() for one in environment),
    "descriptors": descriptors, "directory": os.getcwd(), "death": death.value,
    "pid": os.getpid(), "group": os.getpgid(0), "session": os.getsid(0), "cgroup": cgroup,
    "score": score, "nice": os.nice(0),
    "limits": [resource.getrlimit(n) for n in range(16)],
    "fields": {n: fields[n] for n in (
        "Umask", "PPid", "Uid", "Gid", "Groups", "SigQ", "SigPnd", "SigBlk", "SigIgn", "SigCgt",
        "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
        "Cpus_allowed_list")},
}))
"""


@pytest.fixture
def stub(world):
    """A low-level runtime that tells what it was called with, alone and behind escra-runc."""
    program, config = world.path("stub"), world.path("stub.json")
    with open(program, "w") as file:
        file.write(STUB)
    os.chmod(program, 0o755)
    with open(config, "w") as file:
        json.dump({"runtimes": [program]}, file)
    return Runtime(program), ["--escra-config", config]


VERBS = [
    ["--root", "r", "--log=/dev/null", "create", "--bundle", "BUNDLE", "--pid-file", "p", "id"],
    ["--root=r", "run", "-b", "BUNDLE", "--preserve-fds=1", "id", "trailing", "--words"],
    ["restore", "-no-subreaper", "--bundle=BUNDLE", "id"],
    ["--debug", "--debug", "--unknown-global=1", "state", b"\xff\xfe", ""],
    ["exec", "id", "create", "--bundle", "x"], ["update", "--cpu-quota", "1", "id"],
    ["kill", "-a", "id", "9"], ["delete", "-f", "id"], ["checkpoint", "--image-path", "i", "id"],
    ["start", "id"], ["pause", "id"], ["resume", "id"], ["ps", "id"], ["list", "-q"],
    ["events", "id"], ["spec"], ["help"], ["no-such-verb", "create"], ["--", "state"], [],
    ["--root", "r", "--log", "l", "--log-format", "json", "--systemd-cgroup", "delete", "-f", "id"],
    ["--root"], ["--root", "r"], ["--root=r", "--log-format=text", "exec", "id", "a"],
]


@pytest.fixture
def in_place(stub):
    """The same in runc's place, which is where it is found without a config of the operator's."""
    kernel.mount(stub[0].program, RUNC, None, kernel.MS_BIND)
    os.makedirs("/etc/escra", exist_ok=True)
    kernel.mount("none", "/etc/escra", "tmpfs")
    yield Runtime(RUNC)
    kernel.unmount("/etc/escra")
    kernel.unmount(RUNC)


@pytest.mark.parametrize("way", ["stub", "in_place"], ids=["configured", "found"])
@pytest.mark.parametrize("call", VERBS, ids=lambda call: "-".join(map(str, call))[:40] or "none")
def test_the_runtime_finds_what_the_caller_left_for_it(request, escra, bundle, world, call, way):
    """Arguments, environment, descriptors, directory, signals, limits, cgroup: all of it.

    What is found may be called before libc and Swift have begun (Sources/CEntry).
    """
    program = request.getfixturevalue(way)
    program, own = program if way == "stub" else (program, [])
    made = bundle()
    call = [made.path if word == "BUNDLE" else word for word in call]
    reading, writing = os.pipe()

    def arrange():
        os.dup2(writing, 11)
        os.umask(0o027)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGCHLD})
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
        kernel.die_with_parent(signal.SIGKILL)
        os.sched_setaffinity(0, {0})
        os.nice(1)
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("123")

    def case(runtime):
        process = subprocess.Popen(
            [os.fsencode(word) for word in runtime.command(*call)], preexec_fn=arrange,
            close_fds=False, env={b"PATH": b"/bin", b"ODD\xff": b"\xfe=", "X": ""},
            cwd=made.path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL)
        out, _ = process.communicate(timeout=10)
        seen = json.loads(out)
        assert seen["pid"] == process.pid, "the same process"
        del seen["pid"], seen["fields"]["SigQ"]
        seen["group"] = seen["session"] = 0
        seen["descriptors"] = {
            number: re.sub(r"pipe:.*", "pipe", target) if number == "1" else target
            for number, target in seen["descriptors"].items()}
        return seen

    alone = case(program)
    behind = case(Runtime(escra.program, *own))
    os.close(reading)
    os.close(writing)
    assert behind == alone
    assert "11" in alone["descriptors"] and alone["death"] == signal.SIGKILL
    assert made.names() == ["config.json"]


def faults(runtime, *call):
    """The least page faults of a call of three."""
    def once():
        pid = os.posix_spawn(
            runtime.program, runtime.command(*call), {}, file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0), (os.POSIX_SPAWN_DUP2, 1, 2)])
        return os.wait4(pid, 0)[2].ru_minflt

    return min(once() for _ in range(3))


def test_a_call_that_is_runcs_alone_begins_neither_libc_nor_swift(in_place, escra, world):
    """But where the operator has a config, or anything is supervised, it does."""
    call = "--root", world.root, "state", "no-such-id"
    ours = Runtime(escra.program)
    alone, short = faults(in_place, *call), faults(ours, *call)
    assert short < alone + 40
    for directory in (RUN + "/containers/key", RUN + "/groups/one"):
        os.makedirs(directory)
        assert faults(ours, *call) > short + 60, directory
        os.rmdir(directory)
        assert faults(ours, *call) < alone + 40, "what is above may stay"
    with open("/etc/escra/config.json", "w") as file:
        file.write("{}")
    assert faults(ours, *call) > short + 60
