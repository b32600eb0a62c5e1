# SPDX-License-Identifier: Apache-2.0
"""Bad input: one sentence in the log and on stderr, exit 1, nothing created."""
import json
import os
import re
import shutil
import subprocess

import pytest

import cgroups
from processes import files_of_ours, ours, wait_until
from world import IS_CRUN, LOW_LEVEL, Runtime

crun_refuses = pytest.mark.skipif(IS_CRUN, reason="crun alone refuses it, too")

# What Podman maps to exit codes 126 and 127, and containerd to "not found".
MISREAD = re.compile(
    "permission denied|operation not permitted|executable file not found in"
    "|no such file or directory|open executable|does not exist|process already finished"
    "|container not running|no such process", re.IGNORECASE)

REACTIVE = {"io.escra.policy": "reactive"}
K8S = {"io.kubernetes.cri.container-name": "web"}


def refused(runtime, bundle, world, *words, verb="create", cwd=None, path=None):
    """Calls a verb that starts a container, and checks everything about the refusal."""
    log, id = world.path("log.json"), world.name()
    before = bundle.identity() if os.path.isfile(bundle.file) else None
    names = bundle.names()
    where = [] if cwd else ["--bundle", path or bundle.path]
    result = runtime.using("--log", log, "--log-format", "json")(
        verb, *where, id, cwd=cwd, timeout=5)
    assert result.code == 1 and result.out == ""
    with open(log) as file:
        lines = file.read().splitlines()
    assert len(lines) == 1, lines
    entry = json.loads(lines[0])
    assert set(entry) == {"level", "msg", "time"} and entry["level"] == "error"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", entry["time"])
    assert result.err == entry["msg"] + "\n" and entry["msg"].startswith("escra-runc: ")
    assert not MISREAD.search(entry["msg"]), entry["msg"]
    for word in words:
        assert word in entry["msg"], entry["msg"]
    if before:
        assert bundle.identity() == before
    assert bundle.names() == names
    assert not os.path.exists(os.path.join(world.root, id))
    assert not cgroups.exists(bundle.cgroup)
    assert ours() == {} and files_of_ours() == []
    return entry["msg"]


# Annotations, and what the sentence must name.
CPU_VALUES = [
    "", " ", "1 ", "abc", "1,5", "-1", "0", "9m", "1.2345", "0.5m", "1e", "2Kib", "0x10",
    "+-1", "NaN", "inf", "99999999999999999999", "1e99", "\u0661", "1\n", "500m,1", "1" * 300]
MEMORY_VALUES = [
    "", "abc", "-1", "0", "1m", "1.5.5Gi", "1gi", "1GiB", "999999999999Ei", "1e99",
    "1 Gi", "x" * 300]
APPS = ["", "UPPER", "-a", "a-", "a_b", "a/b", "../x", ".a", "a.", "a" * 64, "é", "a b"]
PRIORITIES = ["", "x", "1.5", "1001", "-1001", "99999999999999999999", "1 "]

BAD = [
    *[({**REACTIVE, f"io.escra.{key}": value}, [f"io.escra.{key}"])
      for key in ("cpu.min", "cpu.max", "app.cpu") for value in CPU_VALUES
      # A minimum may be as little as 1m.
      if (key, value) != ("cpu.min", "9m")],
    *[({**REACTIVE, f"io.escra.{key}": value}, [f"io.escra.{key}"])
      for key in ("memory.min", "memory.max", "app.memory") for value in MEMORY_VALUES],
    *[({**REACTIVE, "io.escra.app": value}, ["io.escra.app"]) for value in APPS],
    *[({**REACTIVE, "io.escra.priority": value}, ["io.escra.priority"]) for value in PRIORITIES],
    *[({"io.escra.policy": value}, ["io.escra.policy", "reactive"])
      for value in ("", "Reactive", "reactive ", "fast", "none", "x" * 200)],
    ({"io.escra.policy": "x" * 300}, ["io.escra.policy", "300 bytes"]),
    # Unknown keys, with the nearest known one.
    ({**REACTIVE, "io.escra.cpu.maximum": "1"}, ["io.escra.cpu.maximum", "io.escra.cpu.max"]),
    ({**REACTIVE, "io.escra.cpumax": "1"}, ["io.escra.cpumax", "io.escra.cpu.max"]),
    ({"io.escra.polcy": "reactive"}, ["io.escra.polcy", "io.escra.policy"]),
    ({"io.escra.": "reactive"}, ["io.escra.", "unknown"]),
    ({**REACTIVE, "io.escra.zzzzzzzzzzzzzz": ""}, ["io.escra.zzzzzzzzzzzzzz", "known are"]),
    # Contradictions.
    ({**REACTIVE, "io.escra.cpu.min": "2", "io.escra.cpu.max": "1"},
     ["io.escra.cpu.min", "io.escra.cpu.max"]),
    ({**REACTIVE, "io.escra.memory.min": "2Gi", "io.escra.memory.max": "1Gi"},
     ["io.escra.memory.min", "io.escra.memory.max"]),
    ({**REACTIVE, "io.escra.app": "a", "io.escra.app.cpu": "1", "io.escra.cpu.min": "2"},
     ["io.escra.cpu.min", "io.escra.app.cpu"]),
    ({"io.escra.policy": "strict", "io.escra.cpu.max": "1"}, ["io.escra.cpu.max", "strict"]),
    ({"io.escra.policy": "strict", "io.escra.app": "a"}, ["io.escra.app", "strict"]),
    # Keys that want a policy.
    ({"io.escra.cpu.max": "1"}, ["io.escra.cpu.max", "io.escra.policy"]),
    ({"io.escra.app": "a"}, ["io.escra.app", "io.escra.policy"]),
    ({"io.escra.priority": "1"}, ["io.escra.priority", "io.escra.policy"]),
    # Narrowed keys.
    ({**K8S, **REACTIVE, "io.escra.app/web": "a"}, ["io.escra.app/web", "io.escra.app"]),
    ({**K8S, "io.escra.policy/web": "fast"}, ["io.escra.policy/web", "fast"]),
    ({**K8S, **REACTIVE, "io.escra.cpu.max/web": "x"}, ["io.escra.cpu.max/web"]),
]


@pytest.mark.parametrize(
    "annotations, words", BAD,
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "")
def test_a_bad_annotation_is_refused(escra, bundle, world, annotations, words):
    """The sentence names the key, whatever is wrong with the value."""
    made = bundle(annotations)
    assert len(refused(escra, made, world, *words)) < 700


def test_a_minimum_above_the_containers_own_limit_is_refused(escra, bundle, world):
    """What is declared is the most where nothing else is said."""
    made = bundle({**REACTIVE, "io.escra.cpu.min": "500m"}, quota=20_000, period=100_000)
    refused(escra, made, world, "io.escra.cpu.min", "200m")


@pytest.mark.parametrize("verb", ["create", "run", "restore"])
def test_every_verb_that_starts_a_container_refuses(escra, bundle, world, verb):
    """Not only the one that engines use most."""
    refused(escra, bundle({"io.escra.policy": "fast"}), world, "fast", verb=verb)


def test_a_hostile_value_is_printed_harmlessly(escra, bundle, world):
    """Control characters reach neither a terminal nor the log's lines."""
    made = bundle({"io.escra.policy": "a\n\x1b[2J\u202e{\"level\":\"x\"}\r"})
    message = refused(escra, made, world, "io.escra.policy")
    assert not re.search("[\x00-\x1f\x7f\u202e]", message)


@pytest.mark.parametrize("value", ["1", "null", "true", "[]", "{}"])
def test_an_annotation_that_is_no_string_is_refused(escra, bundle, world, value):
    """runc would refuse all of these but null, which is an empty string to it."""
    made = bundle(REACTIVE)
    with open(made.file, "w") as file:
        file.write(json.dumps(made.config).replace('"reactive"', value))
    refused(escra, made, world, "io.escra.policy")


def written(bundle, data):
    with open(bundle.file, "wb") as file:
        file.write(data)
    return bundle


def as_bytes(bundle, indent=None):
    return json.dumps(bundle.config, indent=indent, ensure_ascii=False).encode()


BROKEN = {
    "empty but for our name": lambda data: b'{"annotations":{"io.escra.policy":"reactive"',
    "cut in the middle": lambda data: data[:len(data) // 2] + b'"io.escra.',
    "without its last brace": lambda data: data.rstrip()[:-1],
    "a million levels deep": lambda data: data[:-1] + b',"x":' + b"[" * 10**6 + b"]" * 10**6 + b"}",
    "a million levels deep and open": lambda data: data[:-1] + b',"x":' + b"[" * 10**6,
    "with a member of the wrong type": lambda data: data.replace(
        b'"resources":', b'"resources":7,"resourcez":'),
    "an array": lambda data: b"[" + data + b"]",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_config_json_is_refused(escra, bundle, world, name):
    """It asks for us, as far as can be told, so it is ours to refuse."""
    made = bundle(REACTIVE)
    made.config["annotations"], annotations = {}, made.config["annotations"]
    data = as_bytes(made)
    # Ours first, so that what is cut off is something else.
    data = data[:1] + b'"annotations":' + json.dumps(annotations).encode() + b"," + data[1:]
    data = data.replace(b',"annotations": {}', b"").replace(b', "annotations": {}', b"")
    refused(escra, written(made, BROKEN[name](data)), world, "config.json")


@pytest.mark.parametrize("name", [
    "cut in the middle", "without its last brace", "a million levels deep and open", "an array"])
def test_a_broken_config_json_that_does_not_ask_for_us_is_runcs_to_refuse(
        escra, plain, bundle, world, name):
    """The same words as without us."""
    made = bundle()
    data = BROKEN[name](as_bytes(made)).replace(b"io.escra.", b"")
    written(made, data)
    results = [runtime("create", "--bundle", made.path, "x") for runtime in (plain, escra)]
    without_time = [re.sub(r'time="[^"]*"', "", result.err) for result in results]
    assert results[0].code == results[1].code == 1 and without_time[0] == without_time[1]


def test_a_config_json_of_100_mb_is_handled(container, escra, bundle, world):
    """In a few seconds; the edit keeps each of its bytes."""
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000)
    data = as_bytes(made.bundle)
    written(made.bundle, data[:-1] + b',"x":"' + b"a" * 100_000_000 + b'"}')
    before = made.bundle.identity()
    made.started()
    assert made.quota <= 30_000
    wait_until(lambda: made.bundle.is_original(before), 10, "config.json is the original again")


def test_a_bad_config_json_of_100_mb_is_refused(escra, bundle, world):
    """The sentence stays a sentence."""
    made = bundle({"io.escra.policy": "fast"})
    data = as_bytes(made)
    written(made, data[:-1] + b',"x":"' + b"a" * 100_000_000 + b'"}')
    refused(escra, made, world, "fast")


@crun_refuses
def test_a_config_json_that_is_not_utf8_works_as_in_runc(container, bundle, world):
    """Go replaces what is not UTF-8; it is not ours to refuse, and stays as it is."""
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000)
    written(made.bundle, as_bytes(made.bundle).replace(b"TERM=xterm", b"TERM=\xff\xfe"))
    before = made.bundle.identity()
    made.started()
    wait_until(lambda: made.bundle.is_original(before), 1, "config.json is the original again")


@crun_refuses
def test_what_stands_behind_the_document_is_of_no_interest(container, escra, world):
    """runc reads one JSON value and looks no further."""
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000)
    written(made.bundle, as_bytes(made.bundle) + b"} rubbish")
    before = made.bundle.identity()
    made.started()
    wait_until(lambda: made.bundle.is_original(before), 1, "config.json is the original again")


def test_an_annotation_that_is_not_utf8_is_refused(escra, bundle, world):
    """It may be meant to say something; what, cannot be known."""
    made = bundle(REACTIVE)
    written(made, as_bytes(made).replace(b"reactive", b"react\xff"))
    refused(escra, made, world, "io.escra.policy")


@pytest.mark.parametrize("kind", ["missing", "a directory", "no bundle", "a dangling link"])
@pytest.mark.parametrize("flags", [[], ["--escra-policy=reactive"]])
def test_what_runc_itself_refuses_is_runcs_to_refuse(
        escra, plain, bundle, world, kind, flags):
    """The same words, the same log, the same code: nothing of ours comes before it."""
    made = bundle(REACTIVE)
    path = made.path
    os.unlink(made.file)
    if kind == "a directory":
        os.mkdir(made.file)
    elif kind == "no bundle":
        path = world.path("no such bundle")
    elif kind == "a dangling link":
        os.symlink("/nowhere", made.file)

    def case(runtime):
        log = world.path("log")
        result = runtime.using("--log", log, "--log-format", "json")(
            "create", "--bundle", path, "x")
        # crun looks for the bundle before it opens its log.
        if not os.path.exists(log):
            return result[:3], None
        with open(log) as file:
            text = re.sub('"time":"[^"]*"', "", file.read())
        os.unlink(log)
        return result[:3], text

    assert case(escra.using(*flags)) == case(plain)


@pytest.mark.parametrize(
    "name", [b"with spaces in it", b"quo\"te'$(x)", pytest.param(b"\xff\xfe", marks=crun_refuses),
             "\u00e9".encode()])
def test_any_name_of_a_bundle_will_do(escra, world, container, bundle, name):
    """A supervised container, config.json edited and put back, from a directory so called."""
    made = container(
        bundle_=bundle({**REACTIVE, "io.escra.cpu.max": "300m"}, quota=150_000,
                       name=os.fsdecode(name)))
    before = made.bundle.identity()
    made.started()
    made.supervisor()
    wait_until(lambda: made.bundle.is_original(before), 1, "config.json is the original again")


@pytest.mark.parametrize("name", [b"with spaces in it", b"\xff\xfe"])
def test_an_error_in_any_bundle_is_valid_json(escra, world, bundle, name):
    """The log is decoded by engines, also where it names a path that is not UTF-8."""
    made = bundle(REACTIVE, name=os.fsdecode(name))
    written(made, as_bytes(made)[:-1])
    refused(escra, made, world, "config.json")


# The operator's config

CONFIGS = [
    ('{"defaultPolcy": "reactive"}', ["defaultPolcy", "defaultPolicy"]),
    ('{"floor": {"cpus": "50m"}}', ["floor.cpus", "floor.cpu"]),
    ('{"defaultPolicy": "fast"}', ["defaultPolicy", "fast"]),
    ('{"runtimes": "runc"}', ["runtimes"]),
    ('{"runtimes": ["runc"]}', ["runtimes", "runc"]),
    ('{"allowedPolicies": []}', ["allowedPolicies"]),
    ('{"law": "newton"}', ["law", "newton"]),
    ('{"onFailure": "pray"}', ["onFailure", "pray"]),
    ('{"floor": {"cpu": "1m"}}', ["floor.cpu", "1m"]),
    ('{"ceiling": {"cpu": "x"}}', ["ceiling.cpu"]),
    ('{"appConflict": 3}', ["appConflict"]),
    ("{", []),
    ("", []),
    ("[]", []),
    ("{}{}", []),
    ('{"x": "\xff"}', ["x"]),
]


@pytest.fixture
def configured(escra, world):
    """escra-runc with an operator's config."""

    def make(text):
        path = world.path("operator.json")
        with open(path, "w", encoding="latin-1") as file:
            file.write(text)
        return escra.using("--escra-config", path)

    return make


@pytest.mark.parametrize("text, words", CONFIGS)
def test_a_broken_operators_config_refuses_who_asks_for_us(
        configured, bundle, world, text, words):
    """With the file's name, the key and the nearest known one."""
    refused(configured(text), bundle(REACTIVE), world, "operator.json", *words)


@pytest.mark.parametrize("config", [
    {"defaultPolcy": "reactive"}, {"defaultPolcy": "reactive", "runtimes": [LOW_LEVEL]}])
def test_a_broken_operators_config_is_in_nobody_elses_way(
        configured, container, world, escra, plain, config):
    """A plain container lives its whole life, and a supervised one can be ended."""
    if IS_CRUN and "runtimes" not in config:
        pytest.skip("runc is what is beneath where nobody says another")
    broken = configured(json.dumps(config))
    made = container(policy=None, runtime=broken).started()
    assert made.status == "running"
    assert broken("exec", made.id, "true").code == 0
    assert broken("kill", made.id, "KILL").code == 0
    assert broken("delete", "--force", made.id).code == 0
    supervised = container(runtime=escra).started()
    supervised.supervisor()
    supervised.runtime = broken
    assert supervised.status == "running"
    assert broken("kill", supervised.id, "KILL").code == 0
    assert broken("delete", "--force", supervised.id).code == 0
    assert broken("features").code == broken("--version").code == 0


def test_an_operators_config_that_is_missing_is_an_error_where_it_was_named(
        escra, plain, bundle, world):
    """For who asks for us; everybody else does not notice."""
    missing = escra.using("--escra-config", world.path("nowhere.json"))
    refused(missing, bundle(REACTIVE), world, "nowhere.json", "ENOENT")
    made = bundle(args=["true"])
    assert missing("run", "--bundle", made.path, world.name()).code == 0
    assert missing("state", "x")[:2] == plain("state", "x")[:2]


def test_an_operators_config_that_is_a_directory_is_an_error(escra, bundle, world):
    """Its errno is said by its symbol."""
    refused(escra.using(f"--escra-config={world.directory}"), bundle(REACTIVE), world, "EISDIR")


@pytest.mark.parametrize("flags, words", [
    (["--escra-policy=fast"], ["--escra-policy", "fast", "reactive"]),
    (["--escra-policy", ""], ["--escra-policy"]),
    (["--escra-policy=strict"], ["strict"]),
])
def test_an_unknown_default_policy_is_refused(escra, bundle, world, flags, words):
    """Also for a container that says nothing itself: the operator meant something."""
    refused(escra.using(*flags), bundle(), world, *words)


def test_a_program_name_that_selects_nothing_is_refused(escra, bundle, world):
    """escra-runc.fast; while state, kill and delete work under any name."""
    program = world.path("escra-runc.fast")
    os.symlink(escra.program, program)
    named = Runtime(program, *escra.globals)
    refused(named, bundle(), world, "escra-runc.fast", "escra-runc.reactive")
    assert named("delete", "--force", "x").code == 0


@pytest.mark.parametrize("flag", ["--escra-policy", "--escra-config"])
def test_a_flag_of_ours_without_its_value_is_refused(escra, world, flag):
    """At the end of the line there is nothing to take for it."""
    result = escra(flag)
    assert result.code == 1 and flag in result.err and not MISREAD.search(result.err)


def test_a_policy_that_the_operator_does_not_allow_is_refused(configured, bundle, world):
    """With those that are."""
    runtime = configured('{"allowedPolicies": ["standard", "observe"]}')
    refused(runtime, bundle(REACTIVE), world, "reactive", "observe")


def test_no_policy_from_anywhere_ignores_the_keys_of_a_sandbox(escra, bundle, world):
    """A pod's pause container has all of the pod's annotations and none of them means it."""
    made = bundle(
        {"io.kubernetes.cri.container-type": "sandbox", "io.escra.policy": "fast",
         "io.escra.cpu.max": "x"}, args=["true"])
    assert escra("run", "--bundle", made.path, world.name())[:3] == (0, "", "")


def test_an_explicit_standard_ignores_everything_else(escra, bundle, world):
    """So that one container of a pod can be taken out."""
    made = bundle({"io.escra.policy": "standard", "io.escra.cpu.max": "x"}, args=["true"])
    assert escra("run", "--bundle", made.path, world.name())[:3] == (0, "", "")


def test_a_missing_low_level_runtime_is_said(escra, bundle, world):
    """Without any runc on the machine; here in a root directory of its own."""
    root = world.path("empty")
    os.makedirs(root)
    shutil.copy(escra.program, root)
    done = subprocess.run(
        ["/escra-runc", "--log", "/log", "state", "x"], preexec_fn=lambda: os.chroot(root),
        cwd=root, capture_output=True, text=True, env={})
    assert done.returncode == 1 and "found no low-level runtime" in done.stderr
    assert not MISREAD.search(done.stderr)
    with open(os.path.join(root, "log")) as file:
        assert json.loads(file.read())["msg"] + "\n" == done.stderr
