# SPDX-License-Identifier: Apache-2.0
"""The operator's tool: what it says is what the kernel and the supervisor say."""
import json
import os
import re
import subprocess
import time

import pytest

from processes import PATIENCE, keepers, kill_at_once, ours, supervisors, wait_until
from terminal import Terminal
from world import ESCRA, PATH, REPOSITORY, escra_tool


def has_ps():
    try:
        done = subprocess.run([ESCRA, "--help"], capture_output=True, text=True, timeout=10)
    except OSError:
        return False
    return "ps" in done.stdout.split()


pytestmark = pytest.mark.skipif(not has_ps(), reason=f"{ESCRA} has no ps yet")


def test_ps_of_nothing_is_an_empty_array():
    """Also where /run/escra is empty."""
    assert json.loads(escra_tool("ps", "--json")) == []


@pytest.mark.v2
def test_ps_says_what_the_kernel_says(container, world):
    """CPU in cores, memory in bytes, a supervisor that lives."""
    made = container({"io.escra.cpu.max": "600m"})
    made.bundle.config["linux"]["resources"]["memory"] = {"limit": 128 << 20}
    made.bundle.write()
    made.started()
    pid = made.supervisor()
    made.work(2)
    made.wait_for_quota(lambda quota: quota == 60_000, 4, "up to the ceiling")
    [one] = json.loads(escra_tool("ps", "--json"))
    assert one["id"] == made.id
    assert (one["policy"], one["app"]) == ("reactive", None)
    assert one["supervisorPid"] == pid and isinstance(one["source"], str) and one["source"]
    assert one["cpu"]["declared"] == pytest.approx(0.2)
    assert one["cpu"]["limit"] == pytest.approx(0.6)
    # Measured over less than a period it may be more than the limit, which is kept by the period.
    assert 0.1 < one["cpu"]["used"] <= os.cpu_count() * 1.1
    assert one["memory"]["declared"] == one["memory"]["limit"] == 128 << 20
    assert 0 < one["memory"]["used"] < 128 << 20
    assert made.id in escra_tool("ps")


def test_ps_lists_what_is_supervised_and_nothing_else(container, plain):
    """Two of ours, one of runc's."""
    many = [container().started(), container(policy="observe").started()]
    container(policy=None, runtime=plain).started()
    for made in many:
        made.supervisor()
    listed = {one["id"]: one["policy"] for one in json.loads(escra_tool("ps", "--json"))}
    assert listed == {many[0].id: "reactive", many[1].id: "observe"}
    many[0].call("delete", "--force")
    wait_until(lambda: len(json.loads(escra_tool("ps", "--json"))) == 1, 2, "one is left")


def test_ps_shows_a_container_whose_supervisor_is_dead(container):
    """The limit holds all the same; looking at it changes nothing."""
    made = container().started()
    made.supervisor()
    wait_until(keepers, 2, "the keeper lives")

    def seen_dead():
        # On a busy machine a keeper that `start` has called may come a moment later.
        kill_at_once(*keepers(), *supervisors())
        [one] = json.loads(escra_tool("ps", "--json"))
        return one["supervisorPid"] is None and not ours() and one

    assert wait_until(seen_dead, 1, "both are dead")["id"] == made.id
    assert made.status == "running"
    made.supervisor()


def test_explain_tells_the_decisions_in_sentences(container):
    """From the record: the last thing that happened to an idle container is the floor."""
    made = container().started()
    made.supervisor()
    made.wait_for_quota(lambda quota: quota == 5_000, 4, "down to the floor")
    text = escra_tool("explain", made.id)
    assert made.id in text and ("0.05" in text or "50m" in text), text


@pytest.mark.parametrize("arguments", [
    ["ps"], ["ps", "--json"], ["top", "--count", "1"], ["explain", "x"], ["watch", "x"], ["app"],
    ["app", "show", "x"], ["app", "set", "x", "--cpu", "1"], ["release", "--all"],
    ["adopt", "--all"], ["metrics"],
    ["events"], ["events", "--follow"]])
def test_who_may_not_look_is_told_so(container, arguments):
    """That nothing was found is what a script would go on from."""
    container().started().supervisor()
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", ESCRA, *arguments],
        capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "Error: cannot read /run/escra/containers (EACCES); run it as root\n"


def test_of_two_limits_none_is_set_where_one_cannot_be(container):
    """The minima are known before anything is asked for."""
    made = container({"io.escra.app": "shop", "io.escra.memory.min": "32Mi"})
    made.bundle.give_memory(64 << 20)
    made.started().supervisor()

    def limits():
        [shop] = json.loads(escra_tool("app", "--json"))
        return shop["cpu"] and shop["memory"] and (shop["cpu"]["limit"], shop["memory"]["limit"])

    before = wait_until(limits, 2, "a broker that answers")
    done = subprocess.run(
        [ESCRA, "app", "set", "shop", "--cpu", "800m", "--memory", "1Mi"], capture_output=True,
        text=True, timeout=10)
    assert done.returncode == 1 and done.stdout == ""
    assert "shop cannot have 1Mi of memory: its members need 32Mi" in done.stderr
    assert limits() == before == (0.2, 64 << 20)


def test_explain_of_an_unknown_container_fails_with_a_sentence():
    """Not with a stack, not with nothing."""
    done = subprocess.run(
        [ESCRA, "explain", "no-such-container"], capture_output=True, text=True, timeout=10)
    assert done.returncode != 0 and "no-such-container" in done.stderr


def run(*arguments, **options):
    """A call of the tool, whatever comes of it."""
    return subprocess.run(
        [ESCRA, *arguments], capture_output="stdout" not in options, text=True,
        timeout=10 * PATIENCE, **options)


def explained(made, last=512):
    return json.loads(escra_tool("explain", made.id, "--json", "--last", str(last)))


def test_events_are_the_decisions_as_they_are_made(container, world):
    """Of all containers, one JSON object a line; the supervisors sleep on."""
    made = [container() for _ in range(2)]
    for one in made:
        one.started().supervisor()
        one.wait_for_quota(lambda quota: quota == 5_000, 4, "down to the floor")
    told = [json.loads(line) for line in escra_tool("events").splitlines()]
    for one in made:
        own = [event for event in told if event["id"] == one.id]
        decisions = explained(one)["decisions"]
        assert own == [
            {"id": one.id, "name": None, "namespace": None, "policy": "reactive", "app": None,
             "root": world.root, **decision}
            for decision in decisions]
    assert [event["timeNanoseconds"] for event in told] == sorted(
        event["timeNanoseconds"] for event in told)
    path = world.path("events")
    with open(path, "w") as file:
        process = world.spawn(subprocess.Popen([ESCRA, "events", "--follow"], stdout=file))
    time.sleep(0.5)
    assert os.path.getsize(path) == 0
    made[0].work()
    seen = wait_until(
        lambda: [json.loads(line) for line in open(path) if line.endswith("\n")], 2, "a raise")
    assert {event["id"] for event in seen} == {made[0].id}
    assert seen[0]["sentence"].startswith("raised ") and seen[0]["policy"] == "reactive"
    made[0].rest()
    made[0].wait_for_quota(lambda quota: quota == 5_000, 4, "down to the floor")
    every = [entry["sequence"] for entry in explained(made[0])["decisions"]]
    first = seen[0]["sequence"]
    wait_until(
        lambda: [json.loads(line)["sequence"] for line in open(path) if line.endswith("\n")]
        == [number for number in every if number >= first], 2, "each is printed once")
    process.terminate()
    process.wait()


@pytest.fixture
def two(container):
    """Two members of the application "small", with 0.3 cores and 64 MiB each."""
    made = [container({"io.escra.app": "small"}, quota=30_000) for _ in range(2)]
    for one in made:
        one.bundle.give_memory(64 << 20)
        one.started().supervisor()
    return made


@pytest.mark.v2
def test_the_most_that_a_member_gets_is_what_its_application_has(two):
    """Of all that speak of it, before and after the application's limit was changed."""
    busy = two[0]
    busy.work(2)
    busy.wait_for_quota(lambda quota: quota >= 54_000, 6, "all but what the other needs")
    told = explained(busy)
    assert told["bounds"]["ceiling"] == pytest.approx(0.6)
    assert told["memoryBounds"]["ceiling"] == 128 << 20
    text = "\n".join(told["sentences"])
    assert "It gets at most 0.60 cores" in text and "It gets at most 128Mi" in text
    [row] = [line for line in escra_tool("top", "--count", "1").splitlines() if busy.id in line]
    [bar] = re.findall(r"\[(.*)\]", row)
    assert bar.count(" ") <= 2, row
    escra_tool("app", "set", "small", "--cpu", "400m", "--memory", "100Mi")
    told = explained(busy)
    assert told["bounds"]["ceiling"] == pytest.approx(0.4)
    assert told["memoryBounds"]["ceiling"] == 100 << 20
    assert told["bounds"]["floor"] <= told["bounds"]["ceiling"]


def test_what_was_counted_is_what_the_record_lists(two):
    """Grants, recalls and updates, too; and of a raise the use is told, or nothing."""
    two[0].work(2)
    two[0].wait_for_quota(lambda quota: quota >= 54_000, 6, "all but what the other needs")
    two[1].work(2)
    two[1].wait_for_quota(lambda quota: quota >= 25_000, 6, "its share")
    two[0].call("update", "--cpu-quota", "40000")
    for busy in two:
        busy.rest()
    for one in two:
        told = {}
        one.wait_for_quota(lambda quota: quota == 5_000, 6, "down to the floor")

        def agree():
            told.update(explained(one))
            lines = [entry["sentence"] for entry in told["decisions"]
                     if not entry["rule"].startswith("memory")]
            assert not [line for line in lines if line.startswith("raised") and "0.00)" in line]
            counted = told["cpu"]["counters"]
            seen = {"raises": sum(line.startswith("raised ") for line in lines),
                    "returns": sum(line.startswith("lowered ") for line in lines)}
            assert counted["predictions"] <= counted["raises"]
            return seen["raises"] and seen == {name: counted[name] for name in seen}

        wait_until(agree, 2, lambda: f"the counters and the record agree: {told}")


def test_the_use_that_a_grant_was_made_from_is_told(two):
    """A member that gets part of what it asked for was busy when it asked."""
    two[0].work(2)
    two[0].wait_for_quota(lambda quota: quota >= 54_000, 6, "all but what the other needs")
    two[1].work(2)

    def granted():
        entries = [entry for one in two for entry in explained(one)["decisions"]
                   if entry["rule"] == "granted" and entry["after"] > entry["before"]]
        return [entry for entry in entries if entry["used"]]

    wait_until(granted, 6, "a grant with the use that it was made from")


def test_under_observe_nothing_is_told_as_if_it_had_happened(container):
    """Its limits are its own: what would have been is said as that."""
    made = container({"io.escra.cpu.max": "1"}, policy="observe", quota=20_000)
    made.bundle.give_memory(64 << 20)
    made.started().supervisor()
    wait_until(lambda: explained(made)["cpu"]["wouldBe"] == 0.05, 5, "it would be at the floor")
    made.work(1)
    wait_until(lambda: explained(made)["cpu"]["wouldBe"] >= 0.2, 4, "it would be raised")
    assert made.quota == 20_000
    text = escra_tool("explain", made.id, "--last", "512")
    told = [line for line in text.splitlines() if "raised" in line or "lowered" in line]
    assert len(told) >= 2 and all("would have" in line for line in told), text
    assert "there would have been" in text and "would get at" in text, text
    for claim in (
            "It gets", "ran out", "used up its quota", "was left over", "writes that waited",
            "run out of its quota", "all of its limit", "the limit stays"):
        assert claim not in text, claim


def test_output_that_cannot_be_written_is_an_error(container):
    """To a full disk, and to no file at all: exit code 1 and a sentence."""
    made = container({"io.escra.app": "shop"}).started()
    made.supervisor()
    wait_until(lambda: run("app", "show", "shop").returncode == 0, 2, "a broker that answers")
    commands = [
        ["ps"], ["ps", "--json"], ["top", "--count", "1"], ["explain", made.id],
        ["explain", made.id, "--json"], ["app"], ["app", "list", "--json"],
        ["app", "show", "shop"], ["app", "show", "shop", "--json"],
        ["app", "set", "shop", "--cpu", "1"], ["doctor"], ["doctor", "--json"], ["--version"],
        ["--help"], ["ps", "--help"], ["watch", made.id, "--for", "300ms", "--tick", "100ms"],
        ["release", made.id], ["adopt", made.id], ["--generate-completion-script", "bash"]]
    for command in commands:
        with open("/dev/full", "w") as full:
            done = run(*command, stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 1, command
        [said] = re.findall("^Error: .*", done.stderr, re.MULTILINE)
        assert "cannot write to standard output (ENOSPC)" in said, command
        done = run(*command, stdout=None, stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1))
        assert done.returncode == 1 and "(EBADF)" in done.stderr, (command, done)
    assert made.supervisor()


def screens(text):
    """The lines of each screen that was drawn, the last one last."""
    plain = [re.sub(r"\x1b\[[?0-9]*[a-zA-Z]", "", part) for part in text.split("\x1b[H")[1:]]
    return [[line for line in part.splitlines() if line] for part in plain]


def test_a_terminal_of_any_size_has_names_and_says_what_is_missing(container):
    """Columns that do not fit are named where there is a line for it."""
    for _ in range(4):
        container().started().supervisor()
    titles = {"POLICY", "CPU LIMIT", "CPU USED", "MEM LIMIT", "MEM USED", "APP", "SUPERVISOR"}
    for rows, columns in ((24, 80), (24, 60), (24, 200), (12, 132), (7, 80), (3, 20)):
        terminal = Terminal([ESCRA, "top", "--count", "1"], {"PATH": PATH}, rows, columns)
        code, text = terminal.end()
        assert code == 0
        [lines] = screens(text)
        assert len(lines) < rows and all(len(line) <= columns for line in lines), lines
        text = "\n".join(lines)
        shown = sum(line.startswith("e2e-") for line in lines)
        assert shown == min(4, max(0, rows - 4)), lines
        if rows > 7:
            assert not {title for title in titles if title not in text}, text
        elif rows > 3:
            assert f"1-{shown} of 4 by name" in text, text


def test_80_columns_and_24_lines_reach_every_one_of_100_containers(container, world):
    """By keys: scrolling, sorting, a filter. The states are copies of one container's."""
    made = container().started()
    made.supervisor()
    [state] = made.states()
    with open(os.path.join(state["directory"], "state")) as file:
        text = file.read()
    for number in range(100):
        directory = world.path(f"state/containers/{number}/{number}")
        os.makedirs(directory)
        with open(os.path.join(directory, "state"), "w") as file:
            file.write(re.sub("(?m)^id=.*$", f"id=copy-{number:03}", text))
    terminal = Terminal(
        [ESCRA, "top", "--state", world.path("state"), "--interval", "100s"], {"PATH": PATH})
    terminal.wait_for("1-20 of 100 by name")
    seen = set()
    for keys, said in (("\x1b[6~", "21-40 of"), (" ", "41-60 of"), ("\x1b[6~", "61-80 of"),
                       ("G", "81-100 of")):
        terminal.type(keys)
        terminal.wait_for(said)
    for screen in screens(terminal.text):
        assert all(len(line) <= 80 for line in screen) and len(screen) < 24
        assert {"NAME", "LIMIT"} <= set(screen[1].split())
        seen |= {line.split()[0] for line in screen if line.startswith("copy-")}
    assert len(seen) == 100
    for keys, said in (("\x1b[H", "1-20 of"), ("r", "by name, reversed"), ("c", "by CPU used"),
                       ("/", "Filter: _"), ("copy-042", "Filter: copy-042_"),
                       ("\r", '1 row with "copy-042" by CPU used')):
        terminal.type(keys)
        terminal.wait_for(said)
    [row] = [line for line in screens(terminal.text)[-1] if line.startswith("copy-")]
    assert row.split()[0] == "copy-042"
    terminal.type("q")
    assert terminal.end()[0] == 0


def test_an_application_is_a_row_above_its_members(two):
    """With what they hold together, out of what it may use."""
    text = escra_tool("top", "--count", "1", "--sort", "limit", "--filter", "small")
    [row] = [line for line in text.splitlines() if line.startswith("small (2 members)")]
    held = sum(json.loads(escra_tool("app", "show", "small", "--json"))["members"][index]["cpu"]
               for index in (0, 1))
    assert float(row.split()[4]) == pytest.approx(held, abs=0.3)
    for one in two:
        assert re.search(rf"(?m)^  {one.id} +reactive ", text), text
    assert "small" not in escra_tool("top", "--count", "1", "--filter", "no such")


def test_ps_fits_its_terminal(container):
    """The name comes first, internals last; --wide and pipes have everything."""
    made = container().started()
    made.supervisor()
    for columns, missing in ((80, "Not shown: MEM SOURCE"), (200, None)):
        terminal = Terminal([ESCRA, "ps"], {"PATH": PATH}, 24, columns)
        code, text = terminal.end()
        lines = text.splitlines()
        assert code == 0 and all(len(line) <= columns for line in lines), lines
        assert lines[0].startswith("NAME ") and lines[1].startswith(made.id)
        assert "CPU LIMIT" in lines[0] and "MEM USED" in lines[0]
        assert (missing or lines[0]) in text and ("Not shown" in text) == bool(missing)
    _, text = Terminal([ESCRA, "ps", "--wide"], {"PATH": PATH}).end()
    assert "SUPERVISOR" in text and "SUPERVISOR" in escra_tool("ps")


def test_of_two_equal_names_none_is_taken(container):
    """nerdctl's names are annotations, and may be equal in two of its namespaces."""
    made = [container({"nerdctl/name": "web"}).started() for _ in range(2)]
    for one in made:
        one.supervisor()
    done = run("explain", "web")
    assert done.returncode == 1 and done.stdout == ""
    ids = ", ".join(sorted(one.id for one in made))
    assert done.stderr == (
        f'Error: 2 containers are called "web"; name one by its id: {ids}\n')
    assert escra_tool("explain", made[0].id).startswith(f"web ({made[0].id}) runs")


def test_bash_completes_the_names_of_containers(container):
    """Through the script that `escra` makes; ids of containers without a name."""
    made = [container({"nerdctl/name": "web-front"}).started(), container().started()]
    for one in made:
        one.supervisor()
    script = """
PATH=$1:$PATH
eval "$(escra --generate-completion-script bash)"
COMP_WORDS=(escra explain "$2") COMP_CWORD=2 COMP_LINE="escra explain $2" COMP_TYPE=9
COMP_POINT=${#COMP_LINE}
_escra
printf '%s\\n' "${COMPREPLY[@]}"
"""

    def offered(word):
        done = subprocess.run(
            ["bash", "-c", script, "bash", os.path.dirname(ESCRA), word], capture_output=True,
            text=True, timeout=10 * PATIENCE)
        return {line.strip() for line in done.stdout.splitlines() if line.strip()}

    assert offered("web-") == {"web-front"}
    assert {"web-front", made[1].id} <= offered("") and made[0].id not in offered("")


def test_a_limit_that_the_machine_has_not_is_told(two):
    """What was set instead of what was asked for, and why."""
    cpus, asked = os.cpu_count(), os.cpu_count() + 98
    text = escra_tool("app", "set", "small", "--cpu", str(asked), "--memory", "9000Gi")
    cpu, memory = text.splitlines()
    assert f"{cpus}.00 cores" in cpu and f"{asked}.00" in cpu and "machine" in cpu
    assert "8.8Ti" in memory and "machine" in memory
    [outcome] = [json.loads(escra_tool("app", "set", "small", "--cpu", str(asked), "--json"))]
    assert outcome["cpu"]["limit"] == cpus and outcome["cpu"]["asked"] == asked
    text = escra_tool("app", "set", "small", "--cpu", "500m")
    assert text == "small: 0.50 cores from now on\n"


def test_the_doctor_says_that_it_is_not_root():
    """And concludes nothing from what only root can try."""
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", ESCRA, "doctor"],
        capture_output=True, text=True, timeout=10 * PATIENCE)
    assert done.returncode == 1
    assert "not root" in done.stderr and "could not" in done.stderr, done
    assert "wake-ups" not in done.stdout and "EPERM" not in done.stdout.replace("not known", "")


@pytest.mark.parametrize("config, code, said", [
    ('{"floor": {"cpu": "50m"}}', 0, None), ('{"floor": ', 1, "config"),
    ('{"flor": {}}', 1, "floor"), ('{"runtimes": ["/nope/runc"]}', 1, "/nope/runc"),
    ('{"runtimes": ["/nope/runc", "/bin/true"]}', 0, "/nope/runc"),
    ('{"runtimes": ["/etc/passwd"]}', 1, "/etc/passwd"), (None, 1, "ENOENT")])
def test_the_doctor_reads_the_config(world, config, code, said):
    """What would fail a container, or would not be what the operator wrote."""
    path = world.path("config.json")
    if config:
        with open(path, "w") as file:
            file.write(config)
    done = run("doctor", "--escra-config", path)
    assert done.returncode == code, done
    if code:
        assert said in done.stderr and path in done.stderr, done
    elif said:
        assert said in done.stdout, done
    problems = json.loads(run("doctor", "--json", "--escra-config", path).stdout)["problems"]
    assert bool(problems) == bool(code)


def test_a_use_above_the_limit_is_explained(container):
    """Use is a mean over the time since the last look, the limit is the one now."""
    made = container(quota=20_000).started()
    made.supervisor()
    assert "mean of the last 0.1 s" in escra_tool("top", "--count", "1")

    def above():
        done = escra_tool("ps")
        [one] = [line.split() for line in done.splitlines() if line.startswith(made.id)]
        # ID POLICY APP DECLARED LIMIT USED
        return float(one[5]) > float(one[4]) + 0.01 and done

    # Periods of full use, and a limit that falls behind each.
    for _ in range(20):
        made.work(1)
        made.wait_for_quota(lambda quota: quota == 20_000, 4, "up to the ceiling")
        made.rest()
        text = above()
        if text:
            assert "mean of the last 0.1 s" in text, text
            return


def test_no_environment_variable_changes_what_root_gets(container, escra):
    """Neither a policy nor a root, and supervisors and the keeper get none of them."""
    odd = {
        "PATH": "/nowhere", "XDG_RUNTIME_DIR": "/nowhere", "ESCRA_POLICY": "strict",
        "ESCRA_CONFIG": "/nowhere", "ESCRA_STATE": "/nowhere", "TERM": "xterm", "TZ": "UTC"}
    made = container(policy="observe", runtime=escra.using(env=odd)).started()
    pid = made.supervisor()
    wait_until(keepers, 2, "the keeper lives")
    for process in (pid, *keepers()):
        with open(f"/proc/{process}/environ", "rb") as file:
            assert file.read() == b""
    [state] = made.states()
    assert (state["policy"], state["root"]) == ("observe", escra.globals[1])
    done = run("ps", "--json", env=odd)
    assert [one["id"] for one in json.loads(done.stdout)] == [made.id]
