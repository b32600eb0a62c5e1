# SPDX-License-Identifier: Apache-2.0
"""What is remembered of containers: records, recommendations, replays, predictions."""
import csv
import errno
import fcntl
import glob
import io
import json
import os
import shutil
import sqlite3
import subprocess
import time
from xml.etree import ElementTree

import pytest

from injection import Injected
from processes import PATIENCE, supervisors, wait_until
from test_confinement import confined, syslog  # noqa: F401
from world import ESCRA, REPOSITORY, Container, escra_tool

MIB = 1 << 20


class History:
    """The operator's config with a history, and the tool on it."""

    def __init__(self, world, **more):
        self.directory = world.path("history/below")
        self.config = world.path("escra.json")
        self.settings(**more)

    def settings(self, **more):
        with open(self.config, "w") as file:
            json.dump({"history": {"directory": self.directory, **more}}, file)

    def tool(self, command, *arguments, code=0):
        return escra_tool(*command.split(), "--config", self.config, *arguments, code=code)

    def runs(self, name):
        """The runs of a profile; none where it has no history yet."""
        done = subprocess.run(
            [ESCRA, "history", name, "--json", "--config", self.config, "--last", "1000"],
            capture_output=True, text=True, timeout=10 * PATIENCE)
        return json.loads(done.stdout) if done.returncode == 0 else []

    def files(self, name="[0-9]*"):
        return sorted(glob.glob(os.path.join(self.directory, "*", name)))


@pytest.fixture
def history(world):
    return History(world)


@pytest.fixture
def remembered(history, container, escra):
    """Makes containers that have a profile."""

    def make(profile="web", policy="reactive", annotations=None, **options):
        asked = {"io.escra.profile": profile} if profile else {}
        return container(
            {**asked, **(annotations or {})}, policy=policy,
            runtime=escra.using("--escra-config", history.config), **options)

    return make


def ended(made, history, profile="web", runs=1):
    """Ends a container that was found and waits for its record."""
    made.supervisor()
    made.close()
    wait_until(lambda: made.status == "stopped", 4, "the container ends")
    made.call("delete")
    return wait_until(
        lambda: len(found := [run for run in history.runs(profile) if run["isFinal"]]) >= runs
        and found, 4, "a record of the run")


@pytest.mark.v2
@pytest.mark.parametrize("policy", ["reactive", "observe"])
def test_a_run_leaves_a_record(history, remembered, policy):
    """Of what it used, of its memory's peak, and of its limits; observe, too."""
    made = remembered(policy=policy, quota=50_000, annotations={"io.escra.cpu.max": "1"})
    made.bundle.give_memory(128 * MIB)
    made.started().supervisor()
    made.work(1)
    time.sleep(1)
    made.fill(40)
    made.rest()
    time.sleep(0.5)
    [run] = ended(made, history)
    assert run["policy"] == policy and run["declaredCPU"] == 0.5
    assert run["declaredMemory"] == 128 * MIB
    assert 0.3 < run["cpuSeconds"] < 3 and run["seconds"] >= run["busySeconds"] > 0.5
    assert 40 * MIB <= run["memoryPeak"] <= 128 * MIB
    assert sum(bucket["count"] for bucket in run["busyPeriods"]) >= 5
    assert run["bursts"] and run["memorySeconds"] and run["cpuPeak"] > 0.3
    assert run["raises"] > 0 and run["kills"] == 0
    assert len(history.files()) == 1 and os.path.getsize(history.files()[0]) == 2048


def test_a_container_without_a_profile_leaves_nothing(history, remembered):
    """And neither does one whose operator keeps no history."""
    made = remembered(profile=None).started()
    made.supervisor()
    made.runtime("kill", made.id, "KILL")
    wait_until(lambda: not supervisors(made.id), 4, "the supervisor ends")
    assert not os.path.exists(history.directory)
    with open(history.config, "w") as file:
        json.dump({}, file)
    made = remembered().started()
    made.supervisor()
    made.runtime("kill", made.id, "KILL")
    wait_until(lambda: not supervisors(made.id), 4, "the supervisor ends")
    assert not os.path.exists(history.directory)


def test_a_live_container_is_recommended_for(history, remembered):
    """From a snapshot that its supervisor writes when it is asked."""
    made = remembered(policy="observe", quota=100_000).started()
    made.supervisor()
    made.work(1)
    time.sleep(1.5)
    text = history.tool("recommend --as json", made.id, "--live")
    told = json.loads(text)
    assert told["cpu"]["limit"]["target"] >= 0.3 and told["confidence"]["runs"] == 1
    [run] = history.runs("web")
    assert not run["isFinal"]
    made.rest()
    [run] = ended(made, history)
    assert run["isFinal"], "the record of the end takes the place of the snapshot"


def run_of(made):
    """Runs a container that does its work by itself, to its end."""
    result = made.runtime(
        "run", "--bundle", made.bundle.path, "--pid-file", made.pid_file, made.id)
    assert result.code == 0, result
    return result


# A function: some CPU time now and then. Its shell counts.
FUNCTION = ["sh", "-c", "n=0; while [ $n -lt 3 ]; do i=0; while [ $i -lt 5000 ]; do i=$((i+1)); "
            "done; n=$((n+1)); sleep 0.15; done"]


def five_runs(history, remembered, **options):
    """Leaves as many runs as a prediction needs."""
    for number in range(1, 6):
        made = remembered(args=FUNCTION, **options)
        made.bundle.give_memory(256 * MIB)
        run_of(made)
        wait_until(lambda: len(history.runs("web")) == number, 4, f"{number} records")
    return history.runs("web")


@pytest.mark.v2
def test_first_limits_are_what_earlier_runs_needed(history, remembered):
    """From the sixth run on; what turns out to be too little is raised."""
    # Else cgroup v1 keeps more than one CPU, so that programs count two.
    annotations = {
        "io.escra.cpu.max": "2", "io.escra.memory.max": "256Mi", "io.escra.visible": "current"}
    history.settings(predict="start")
    runs = five_runs(history, remembered, annotations=annotations, quota=200_000)
    assert all(run["isFinal"] and run["declaredMemory"] == 256 * MIB for run in runs)
    first = remembered(annotations=annotations, quota=200_000)
    first.bundle.give_memory(256 * MIB)
    first.started().supervisor()
    peak = max(run["earlyCPUPeak"] for run in runs)
    begun = first.wait_for_quota(
        lambda quota: quota < 120_000 * peak + 5_000 and quota < 200_000, 1, "what is predicted")
    [row] = json.loads(escra_tool("ps", "--json"))
    assert row["memory"]["limit"] < 128 * MIB and row["memory"]["declared"] == 256 * MIB
    first.work(2)
    first.wait_for_quota(lambda quota: quota > 1.2 * begun, 4, "raised as ever")
    first.fill(150)
    wait_until(
        lambda: json.loads(escra_tool("ps", "--json"))[0]["memory"]["limit"] > 150 * MIB, 4,
        "memory, too")
    history.tool("history forget", "web")
    second = remembered(annotations=annotations, quota=200_000).started()
    second.supervisor()
    assert second.quota == 200_000, "what is forgotten predicts nothing"


def test_an_application_takes_in_what_is_predicted_to_fit(history, remembered):
    """A newcomer that needed more than is left is refused, with the figures."""
    history.settings(predict="admit")
    five_runs(history, remembered, annotations={"io.escra.memory.max": "256Mi"}, quota=100_000)
    app = {"io.escra.app": "shop", "io.escra.app.cpu": "2", "io.escra.app.memory": "17Mi"}
    made = remembered(annotations=app, quota=100_000)
    need = max(run["earlyMemoryPeak"] for run in history.runs("web"))
    made.bundle.give_memory(256 * MIB)
    said = made.pid_file + ".err"
    with open(said, "wb") as stderr:
        code = made.create(stderr=stderr).wait(20)
    with open(said) as stderr:
        text = stderr.read()
    if need * 1.15 <= 17 * MIB:
        assert code == 0, text
    else:
        assert code == 1 and "escra history forget web" in text and "17Mi" in text, text


def test_a_trace_is_replayed(history, remembered):
    """Of any law and any limit, side by side."""
    made = remembered(
        policy="observe", quota=200_000, annotations={"io.escra.record": "trace"})
    made.bundle.give_memory(64 * MIB)
    made.started().supervisor()
    for _ in range(4):
        time.sleep(0.5)
        made.work(1)
        time.sleep(0.3)
        made.rest()
    [run] = ended(made, history)
    told = json.loads(history.tool(
        "replay --as json --static 300m --static 2 --law headroom --law escra --memory-max 64Mi "
        "--memory-max 1Mi", "web"))
    names = [row["candidate"] for row in told["candidates"]]
    assert names[0] == "no limit" and names[1].startswith("recommended ")
    assert names[2:] == ["static 0.30", "static 2.00", "headroom", "escra"]
    rows = dict(zip(names, told["candidates"]))
    assert told["cpuSeconds"] == pytest.approx(run["cpuSeconds"], abs=0.03), (run, told)
    assert 0.3 < told["cpuSeconds"] < 2.4 and rows["no limit"]["bursts"] >= 4
    assert rows["no limit"]["throttledSeconds"] == rows["static 2.00"]["throttledSeconds"] == 0
    assert rows["static 0.30"]["throttledSeconds"] > 0.2
    assert rows["headroom"]["throttledSeconds"] < 0.2 * rows["static 0.30"]["throttledSeconds"]
    assert rows["headroom"]["writes"] > 3 and rows["static 0.30"]["writes"] == 0
    assert [each["isKilled"] for each in told["memory"]] == [False, True]
    text = history.tool("replay --as svg --static 300m", "web")
    assert ElementTree.fromstring(text).tag.endswith("svg") and "static 0.30" in text
    [trace] = history.files("trace-*")
    assert json.loads(escra_tool("replay", trace, "--as", "json"))["seconds"] == told["seconds"]
    assert "THROTTLED" in history.tool("replay", "web")


def test_torn_and_foreign_bytes_cost_themselves_alone(history, remembered):
    """A record that was torn, before a container ends and after it."""
    ended(remembered().started(), history)
    [segment] = history.files()
    with open(segment, "ab") as file:
        file.write(open(segment, "rb").read()[:700])
    ended(remembered().started(), history, runs=2)
    with open(segment, "ab") as file:
        file.write(os.urandom(5000))
    assert len(history.runs("web")) == 2
    assert "no records" in history.tool("history", "web")
    assert json.loads(history.tool("history --json"))[0]["isDamaged"]


def test_a_directory_that_cannot_be_written_costs_the_record_alone(history, remembered):
    """Whatever is there instead of it: the container runs."""
    os.makedirs(os.path.dirname(history.directory))
    with open(history.directory, "w"):
        pass
    made = remembered().started()
    made.supervisor()
    made.work(2)
    made.wait_for_quota(lambda quota: quota == 20_000, 4, "it is supervised all the same")


def test_a_supervisor_that_died_leaves_its_part_to_the_next_one(history, remembered):
    """What the second one sees is recorded as the same run."""
    made = remembered().started()
    pid = made.supervisor()
    os.kill(pid, 9)
    wait_until(lambda: supervisors(made.id) and made.supervisor() != pid, 6, "another one")
    [run] = ended(made, history)
    assert run["isFinal"] and run["declaredCPU"] == 0.2


def test_what_is_exported_reads_back(history, remembered):
    """By programs that know nothing of us."""
    for profile in ("a", "b"):
        ended(remembered(profile=profile).started(), history, profile)
    rows = json.loads(history.tool("history export --json"))
    assert [row["profile"] for row in rows] == ["a", "b"]
    read = list(csv.DictReader(io.StringIO(history.tool("history export --csv"))))
    assert [(row["profile"], float(row["seconds"])) for row in read] == [
        (row["profile"], row["seconds"]) for row in rows]
    path = os.path.join(history.directory, "runs.sqlite")
    for _ in range(2):
        history.tool("history export", "--sqlite", path)
    with sqlite3.connect(path) as database:
        assert database.execute("select profile, seconds, kills from runs").fetchall() == [
            (row["profile"], pytest.approx(row["seconds"], abs=1e-6), 0) for row in rows]
    assert "cannot write the database" in subprocess.run(
        [ESCRA, "history", "export", "--sqlite", "/proc/no", "--config", history.config],
        capture_output=True, text=True).stderr
    assert "a" in history.tool("history") and "RUNS" in history.tool("history")
    done = subprocess.run(
        [ESCRA, "recommend", "c", "--config", history.config], capture_output=True, text=True)
    assert done.returncode == 1 and 'no profile "c" has a history' in done.stderr


@pytest.mark.parametrize("annotations, said", [
    ({"io.escra.profile": "A/B"}, "is no profile name"),
    ({"io.escra.record": "all"}, "is nothing that can be recorded; write trace"),
])
def test_annotations_that_mean_nothing_are_refused(container, annotations, said):
    """With one sentence that says what to write."""
    made = container(annotations)
    path = made.pid_file + ".err"
    with open(path, "wb") as stderr:
        assert made.create(stderr=stderr).wait(20) == 1
    assert said in open(path).read()


@pytest.mark.parametrize("quota", [None, 200_000])
def test_an_observed_container_is_heard_each_time_it_wakes(history, remembered, quota):
    """Although no limit of it runs short, and it may have none."""
    made = remembered(policy="observe", quota=quota, period=None if quota is None else 100_000)
    made.started().supervisor()
    for _ in range(5):
        time.sleep(0.8)
        made.do("i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done")
    time.sleep(0.8)
    [run] = ended(made, history)
    assert sum(bucket["count"] for bucket in run["bursts"]) in (5, 6), run
    assert run["busySeconds"] < 0.6 * run["seconds"], run


@pytest.mark.parametrize("app", [None, "shop"])
def test_code_in_a_supervisor_can_append_and_nothing_else(history, remembered, app):
    """Neither cut nor overwrite what earlier runs have left, by whatever number of the file."""
    ended(remembered(annotations={"io.escra.record": "trace"}).started(), history)
    more = {"io.escra.app": app} if app else {}
    made = remembered(annotations={"io.escra.record": "trace", **more}).started()
    pid = made.supervisor()
    wait_until(lambda: confined(made, 0) == pid, 2, "it is confined")
    links = {int(name): os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(
        f"/proc/{pid}/fd")}
    files = [number for number, path in links.items() if history.directory in path]
    assert len(files) == 2
    with open(f"/proc/{pid}/limits") as file:
        [most] = [line.split()[3:5] for line in file if line.startswith("Max file size")]
    assert most == [str(4 * MIB)] * 2, "nor fill the disk"
    [segment] = history.files()
    before = open(segment, "rb").read()
    with Injected(pid) as it:
        for number in files + [file | 1 << 32 for file in files]:
            assert it.ftruncate(number, 0) == -errno.EPERM
            assert it.pwrite64(number, b"x", 1, 0) == -errno.EPERM
            assert it.fcntl(number, fcntl.F_SETFL, 0) == -errno.EPERM
            assert it.fcntl(number, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK) == -errno.EPERM
            assert it.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 100) == -errno.EPERM
    assert open(segment, "rb").read() == before
    ended(made, history, runs=2)
    assert open(segment, "rb").read().startswith(before)


def commands(page):
    """The commands of a page: what is indented and begins with the tool's name."""
    with open(os.path.join(REPOSITORY, "docs", page)) as file:
        return [line.split() for line in file if line.startswith("    escra ")]


def test_the_commands_of_the_page_run(world, escra, bundle, shared):
    """In its order, with the places that it names, and the operator's config where it is."""
    path = "/etc/escra/config.json"
    before = open(path).read() if os.path.exists(path) else None
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        json.dump({**json.loads(before or "{}"), "history": {}}, file)
    try:
        made = Container(escra, bundle(
            {"io.escra.policy": "observe", "io.escra.profile": "web", "io.escra.record": "trace"},
            quota=100_000, period=100_000), "web")
        world.containers.append(made)
        made.started().supervisor()
        made.work(1)
        time.sleep(1)
        made.rest()
        # The page's commands are those of an operator with a container that runs.
        escra_tool("recommend", "web", "--live")
        page = commands("history.md")
        last = next(words for words in page if words[1:3] == ["history", "forget"])
        assert len(page) > 10
        for words in [words for words in page if words != last] + [last]:
            done = subprocess.run(
                [ESCRA, *words[1:]], capture_output=True, text=True, cwd=world.directory,
                timeout=20 * PATIENCE)
            # Until its first block of 1 KiB is full, a trace has nothing to replay.
            is_early = words[1] == "replay" and "no CPU time yet" in done.stderr
            assert done.returncode == 0 or is_early, (words, done)
        made.close()
        wait_until(lambda: made.status == "stopped", 4, "the container ends")
        made.call("delete")
        # Behind its end the trace is there.
        again = Container(escra, made.bundle, "web")
        world.containers.append(again)
        again.started().supervisor()
        again.work(1)
        time.sleep(0.5)
        again.close()
        wait_until(lambda: again.status == "stopped", 4, "the container ends")
        again.call("delete")
        wait_until(lambda: not supervisors("web"), 4, "its record is there")
        for words in page:
            if words[1] == "replay":
                escra_tool(*words[1:])
    finally:
        shutil.rmtree("/var/lib/escra", ignore_errors=True)
        if before is None:
            os.unlink(path)
        else:
            with open(path, "w") as file:
                file.write(before)


# Takes memory as fast as it can, at once.
GREEDY = ["dd", "if=/dev/zero", "of=/dev/null", "bs=150M", "count=1"]


def test_a_run_that_needs_more_at_once_is_not_killed(history, remembered):
    """The prediction is in force when there is a supervisor that raises it, and not before."""
    history.settings(predict="start")
    annotations = {"io.escra.memory.max": "256Mi"}
    runs = five_runs(history, remembered, annotations=annotations, quota=200_000)
    assert max(run["earlyMemoryPeak"] for run in runs) < 60 * MIB
    # Those that are over before they are found leave no record.
    for _ in range(12):
        made = remembered(args=GREEDY, annotations=annotations, quota=200_000)
        made.bundle.give_memory(256 * MIB)
        run_of(made)
    assert all(run["kills"] == 0 for run in history.runs("web"))


@pytest.mark.v2
def test_a_kill_is_recorded(history, remembered):
    """Also in a container's own group in one of ours."""
    made = remembered(
        annotations={"io.escra.memory.max": "48Mi"}, quota=100_000,
        args=["sh", "-c", "sleep 1; dd if=/dev/zero of=/dev/null bs=150M count=1; sleep 1"])
    made.bundle.give_memory(48 * MIB)
    made.started().supervisor()
    [run] = wait_until(
        lambda: [run for run in history.runs("web") if run["isFinal"]], 8 * PATIENCE, "a record")
    assert run["kills"] == 1, run


@pytest.fixture
def small_disk(history, world):
    """A history on a file system of one MiB."""
    os.makedirs(history.directory)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=40", "small", history.directory],
        check=True)
    yield history.directory
    subprocess.run(["umount", "-l", history.directory], check=True)


def fill(directory):
    """Leaves no space on its file system."""
    with open(os.path.join(directory, "filler"), "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC


def said(syslog, text):
    """The lines of syslog that say so, once there is one."""
    wait_until(lambda: any(text in line for line in syslog()), 4, lambda: f"{text} in {syslog()}")
    return [line for line in syslog() if text in line]


def test_a_full_disk_costs_the_record_alone(
        history, remembered, small_disk, syslog):  # noqa: F811
    """Full before the container starts or while it runs: syslog has one line of it."""
    fill(small_disk)
    made = remembered().started()
    made.supervisor()
    made.work(2)
    made.wait_for_quota(lambda quota: quota == 20_000, 4, "it is supervised all the same")
    lines = said(syslog, "is not recorded in the history")
    assert len(lines) == 1 and made.id in lines[0] and "ENOSPC" in lines[0], lines
    made.close()
    wait_until(lambda: made.status == "stopped", 4, "the container ends")
    made.call("delete")
    os.unlink(os.path.join(small_disk, "filler"))
    made = remembered().started()
    made.supervisor()
    fill(small_disk)
    # What is left of a page takes three more records.
    for _ in range(5):
        subprocess.run([ESCRA, "recommend", made.id, "--live", "--config", history.config],
                       capture_output=True, timeout=20 * PATIENCE)
    made.close()
    wait_until(lambda: made.status == "stopped", 4, "the container ends")
    made.call("delete")
    lines = said(syslog, "is not recorded in full")
    assert len(lines) == 1 and made.id in lines[0] and "ENOSPC" in lines[0], lines
    assert all(run["seconds"] > 0 for run in history.runs("web"))


WRITES = "write,openat,mkdir,mkdirat,renameat,renameat2,rename,unlinkat"


def killed_at(number, made, history):
    """Runs it with each of its supervisors killed at such a call about the history's files.

    Returns how many were killed.
    """
    log = made.pid_file + ".strace"
    paths = [history.directory, *history.files(""), *history.files()]
    subprocess.run(
        ["strace", "-f", "-q", "-o", log, *(word for path in paths for word in ("-P", path)),
         "-e", f"trace={WRITES}", "-e", f"inject={WRITES}:signal=KILL:when={number}",
         *made.runtime.command("run", "--bundle", made.bundle.path, made.id)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        timeout=60 * PATIENCE)
    with open(log) as file:
        return file.read().count("+++ killed by SIGKILL")


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_a_supervisor_that_dies_at_any_write_leaves_old_records_whole(history, remembered):
    """Killed at each call that writes to the history or names what is in it, in turns."""
    ended(remembered().started(), history)
    [first] = history.runs("web")
    for number in range(1, 40):
        made = remembered(args=FUNCTION)
        if killed_at(number, made, history) == 0:
            break
        wait_until(lambda: not supervisors(made.id), 6, "its supervisors have ended")
        runs = history.runs("web")
        assert first in runs, (number, runs)
        assert not json.loads(history.tool("history --json"))[0]["isDamaged"], number
    assert 3 < number < 39, number
    wait_until(lambda: len(history.runs("web")) > 1, 4, "the run that nobody killed is recorded")


def test_a_state_that_was_changed_leads_to_no_other_profile(history, remembered):
    """Code in a supervisor may write its state, and die: the next one writes nowhere."""
    ended(remembered(profile="victim").started(), history, "victim")
    [victim] = history.files()
    before = open(victim, "rb").read()
    made = remembered(profile="web").started()
    pid = made.supervisor()
    [state] = made.states()
    path = os.path.join(state["directory"], "state")
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace("profile=name=web", "profile=name=victim").replace(
            "historyKeep=2592000", "historyKeep=1"))
    os.kill(pid, 9)
    wait_until(lambda: supervisors(made.id) and made.supervisor() != pid, 6, "another one")
    made.close()
    wait_until(lambda: not supervisors(made.id), 6, "the container has ended")
    assert open(victim, "rb").read() == before
    assert len(history.runs("victim")) == 1 and history.runs("web") == []
