# SPDX-License-Identifier: Apache-2.0
"""A policy that was asked for is in force, or one sentence says why it is not."""
import fcntl
import json
import os
import resource
import signal
import time

import pytest

import cgroups
import kernel
from processes import RUN, supervisors, wait_until
from world import ESCRA_RUNC, LOW_LEVEL, Runtime, escra_tool

SENTENCE = "starts with its declared limits, unsupervised: "


@pytest.fixture
def refusing(world, escra):
    """escra-runc whose operator wants no container without a supervisor."""
    config = world.path("refuse.json")
    with open(config, "w") as file:
        json.dump({"runtimes": [LOW_LEVEL], "onFailure": "refuse"}, file)
    return escra.using("--escra-config", config)


def said(made, world, *flags, **options):
    """Creates a container and returns what its caller reads."""
    with open(world.path("said"), "w+") as errors:
        assert made.create(*flags, stderr=errors, **options).wait(20) == 0
        errors.seek(0)
        return errors.read()


def limited(made):
    """Options of a call with a small hard limit, under which the runtime alone does its work."""
    made.bundle.config["process"].pop("rlimits", None)
    made.bundle.write()
    return {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))}


def listed(id):
    """What the tool says of a container; None for nothing."""
    return next((c for c in json.loads(escra_tool("ps", "--json")) if c["id"] == id), None)


@pytest.mark.parametrize("mask", [0o177, 0o777])
def test_the_callers_umask_is_no_obstacle(container, mask):
    """Supervisors read without any capability what the shim has made."""
    made = container({"io.escra.cpu.max": "300m"})
    assert made.create(preexec_fn=lambda: os.umask(mask)).wait(20) == 0
    made.supervisor()
    made.wait_for_quota(lambda quota: quota <= 30_000, 4, "supervised")


@pytest.mark.parametrize("flags", [["--pid-file="], ["--pid-file", ""]])
def test_an_empty_pid_file_is_none(container, escra, flags):
    made = container()
    # The fixture's own flag comes first, and the last one counts.
    assert made.create(*flags).wait(20) == 0
    made.supervisor()
    assert not os.path.exists(made.pid_file)


@pytest.mark.parametrize("most", [16, 24, 60])
def test_a_small_soft_limit_of_descriptors_is_no_obstacle(container, most):
    made = container()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    code = made.create(preexec_fn=lambda: resource.setrlimit(
        resource.RLIMIT_NOFILE, (most, hard))).wait(20)
    assert code == 0
    made.supervisor()


def test_a_small_hard_limit_of_descriptors_is_said(container, world):
    """A supervisor would meet it behind READY, when there is no caller to tell."""
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000)
    sentence = said(made, world, **limited(made))
    assert SENTENCE in sentence and "the hard limit is 60" in sentence
    assert sentence.count("\n") == 1
    assert made.quota == 150_000


@pytest.mark.skipif(cgroups.VERSION == 2, reason="one mount a controller is cgroup v1")
@pytest.mark.parametrize("is_only", [False, True])
def test_a_read_only_mount_of_the_hierarchy(container, world, escra, is_only):
    """Another mount of it is used; where there is none, one sentence says so."""
    point = cgroups.directory("", "cpu").rstrip("/")
    first = world.path("first")
    os.mkdir(first)
    script = (f"mount --bind {point} {first} && mount -o remount,bind,ro {first} && umount {point}"
              f" && mount -t cgroup -o cpu cgroup {point}")
    if is_only:
        script = f"mount --bind {point} {point} && mount -o remount,bind,ro {point}"
    through = world.path("through")
    with open(through, "w") as file:
        file.write(f"#!/bin/sh\nexec unshare --mount --propagation private sh -c '{script} && exec "
                   f"{ESCRA_RUNC} \"$@\"' sh \"$@\"\n")
    os.chmod(through, 0o755)
    made = container(
        {"io.escra.cpu.max": "500m"}, quota=100_000, runtime=Runtime(through, *escra.globals))
    with open(world.path("said"), "w+") as errors:
        code = made.create(stderr=errors).wait(20)
        errors.seek(0)
        sentence = errors.read()
    made.runtime = escra
    if is_only:
        assert SENTENCE in sentence and "mounted read-only at" in sentence
        return
    assert code == 0, sentence
    # Its supervisor is in a mount namespace of its own.
    wait_until(lambda: made.states()[0]["phase"] == "running", 4, "a supervisor")
    made.wait_for_quota(lambda quota: quota <= 50_000, 4, "supervised")


def test_a_pid_file_that_another_process_writes_is_not_believed(container, world):
    """It names a young process that is in none of the container's cgroups."""
    made = container()
    decoy = world.path("decoy")
    script = f"sleep 60 >/dev/null 2>&1 </dev/null & echo $! >{decoy}; cat {decoy} >{made.pid_file}"
    made.bundle.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    made.bundle.write()
    try:
        assert made.create().wait(20) == 0
        made.supervisor()
        assert made.states()[0]["init"].split("@")[0] == str(made.pid)
    finally:
        with open(decoy) as file:
            os.kill(int(file.read()), signal.SIGKILL)


def test_what_could_not_be_supervised_is_listed_until_it_ends(container, world):
    made = container(quota=150_000)
    sentence = said(made, world, **limited(made))
    assert SENTENCE in sentence
    wait_until(lambda: (listed(made.id) or {}).get("pid") == made.pid, 4, "its init is found")
    found = listed(made.id)
    assert "hard limit is 60" in found["unsupervised"] and found["supervisorPid"] is None
    assert "(unsupervised)" in escra_tool("ps")
    made.call("delete", "--force")
    wait_until(lambda: made.states() == [], 4, "it is forgotten")


def test_the_operator_may_refuse_it(container, refusing):
    made = container(quota=150_000, runtime=refusing)
    result = refusing("create", "--bundle", made.bundle.path, made.id, **limited(made))
    assert result.code == 1 and "onFailure is refuse" in result.err
    assert made.states() == [] and not cgroups.exists(made.cgroup)


@pytest.fixture
def few_inodes(request):
    kernel.mount("tmpfs", RUN, "tmpfs", 0, f"mode=700,nr_inodes={request.param}")
    yield request.param
    kernel.unmount(RUN)


@pytest.mark.parametrize("few_inodes", range(2, 15), indirect=True)
@pytest.mark.parametrize("flags", [[], ["--pid-file="]], ids=["", "our pid file"])
def test_of_however_few_inodes_it_is_supervised_or_says_so(container, world, few_inodes, flags):
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000)
    sentence = said(made, world, *flags)
    if sentence:
        assert SENTENCE in sentence and sentence.count("\n") == 1
        assert made.quota == 150_000
    else:
        wait_until(lambda: len(supervisors(made.id)) == 1, 2, "a supervisor")
        made.wait_for_quota(lambda quota: quota <= 30_000, 4, "supervised")
    made.call("delete", "--force")
    wait_until(lambda: not supervisors(made.id), 4, "no supervisor")


# The bundle.

def test_a_reader_of_a_bundle_cannot_keep_a_container_from_being_created(container, refusing):
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000, runtime=refusing)
    before = made.bundle.identity()
    directory = os.open(made.bundle.path, os.O_RDONLY | os.O_DIRECTORY)
    file = os.open(made.bundle.file, os.O_RDONLY)
    try:
        for held in (directory, file):
            fcntl.flock(held, fcntl.LOCK_EX)
        start = time.monotonic()
        assert made.create().wait(20) == 0
        assert time.monotonic() - start < 5
        made.supervisor()
        wait_until(lambda: made.bundle.is_original(before), 2, "the original is back")
    finally:
        os.close(directory)
        os.close(file)


def test_a_lock_that_its_owner_keeps_is_what_onfailure_decides_about(container, refusing, world):
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000, runtime=refusing)
    record = os.path.join(made.bundle.path, ".config.json.escra-edit")
    with open(record, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = refusing("create", "--bundle", made.bundle.path, made.id)
        assert result.code == 1 and "is being edited by another escra-runc" in result.err
    os.unlink(record)


@pytest.mark.parametrize("what", ["fifo", "device"])
def test_a_config_json_that_is_no_file_is_said(container, refusing, what):
    made = container(runtime=refusing)
    os.unlink(made.bundle.file)
    if what == "fifo":
        os.mkfifo(made.bundle.file)
    else:
        os.symlink("/dev/zero", made.bundle.file)
    result = refusing("create", "--bundle", made.bundle.path, made.id)
    assert result.code == 1 and "is not a regular file" in result.err


def test_a_wrapper_beneath_that_rewrites_config_json_keeps_its_own_edit_alone(
        container, escra, world):
    wrapper = world.path("wrapper")
    with open(wrapper, "w") as file:
        file.write(f"""#!/bin/sh
for word; do case $before in --bundle) bundle=$word;; esac; before=$word; done
case " $* " in *" create "*)
  text=$(sed 's/"PATH=/"ACCELERATOR=1", "PATH=/' "$bundle/config.json") &&
  printf '%s\\n' "$text" >"$bundle/config.json";; esac
exec {LOW_LEVEL} "$@"
""")
    os.chmod(wrapper, 0o755)
    config = world.path("wrapped.json")
    with open(config, "w") as file:
        json.dump({"runtimes": [wrapper]}, file)
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000,
                     runtime=escra.using("--escra-config", config)).started()
    made.supervisor()
    wait_until(lambda: made.bundle.names() == ["config.json"], 2, "nothing is left of the edit")
    with open(made.bundle.file) as file:
        found = json.load(file)
    assert "ACCELERATOR=1" in found["process"]["env"]
    assert found["linux"]["resources"]["cpu"] == {"quota": 150_000, "period": 100_000}


@pytest.mark.skipif(not os.access("/usr/bin/crun", os.X_OK), reason="the flag is crun's")
@pytest.mark.parametrize("is_relative", [False, True])
def test_the_config_that_crun_is_given_counts(container, escra, world, is_relative, no_unified):
    beneath = world.path("crun.json")
    with open(beneath, "w") as file:
        json.dump({"runtimes": ["/usr/bin/crun"]}, file)
    made = container({"io.escra.cpu.max": "300m"}, quota=150_000,
                     runtime=escra.using("--escra-config", beneath))
    elsewhere = world.path("elsewhere")
    os.mkdir(elsewhere)
    path = os.path.join(elsewhere, "my.json")
    os.rename(made.bundle.file, path)
    before = os.stat(path)
    # What lies in the bundle does not count.
    made.bundle.config["annotations"] = {"io.escra.polcy": "x"}
    made.bundle.write()
    options = {"cwd": elsewhere} if is_relative else {}
    assert made.create("--config", "my.json" if is_relative else path, **options).wait(20) == 0
    made.supervisor()
    assert made.quota <= 30_000
    wait_until(lambda: os.listdir(elsewhere) == ["my.json"], 2, "the original is back")
    assert os.stat(path).st_ino == before.st_ino
    # And a mistake in it is one.
    result = made.runtime("create", "--bundle", os.path.dirname(path), "--config",
                          made.bundle.file, world.name())
    assert result.code == 1 and "unknown annotation io.escra.polcy" in result.err
    made.call("delete", "--force")


# Files of others.

@pytest.mark.parametrize("verb", ["state", "delete", "create", "update"])
def test_an_operators_config_that_is_a_fifo_hangs_no_call(container, escra, world, verb):
    fifo = world.path("fifo")
    os.mkfifo(fifo)
    made = container()
    words = ["--bundle", made.bundle.path] if verb == "create" else []
    result = escra.using("--escra-config", fifo)(verb, *words, made.id, timeout=5)
    assert result.code == 1
    assert (verb == "create") == ("is not a regular file" in result.err), result


def test_a_log_that_is_a_fifo_hangs_no_error_of_ours(container, escra, world):
    fifo = world.path("fifo")
    os.mkfifo(fifo)
    made = container({"io.escra.polcy": "x"})
    result = escra.using("--log", fifo)("create", "--bundle", made.bundle.path, "x", timeout=5)
    assert result.code == 1 and "io.escra.polcy" in result.err


def test_resources_that_come_through_a_pipe(container, world):
    """They are read once, and no longer than a pipe may be silent."""
    made = container({"io.escra.cpu.max": "1"}).started()
    made.supervisor()
    reading, writing = os.pipe()
    os.write(writing, json.dumps({"cpu": {"quota": 40_000, "period": 100_000}}).encode())
    os.close(writing)
    result = made.runtime(
        "update", "--resources", f"/dev/fd/{reading}", made.id, pass_fds=[reading])
    os.close(reading)
    assert result.code == 0, result
    assert made.states()[0]["declaredQuota"] == "40000", made.states()
    fifo = world.path("fifo")
    os.mkfifo(fifo)
    result = made.runtime("update", "--resources", fifo, made.id)
    assert result.code == 1 and "ETIMEDOUT" in result.err


@pytest.mark.parametrize("key", [
    "io.escra.x\nforged line: all is well\x1b[2J", "io.escra.\x9b2J\x7f", "io.escra." + "x" * 9000],
    ids=["lines", "controls", "long"])
@pytest.mark.parametrize("value", ["\ud800", "1"], ids=["no text", "a text"])
def test_no_text_of_others_reaches_a_terminal_as_it_is(container, escra, key, value):
    made = container({key: value})
    result = escra("create", "--bundle", made.bundle.path, made.id)
    assert result.code == 1
    assert result.err.count("\n") == 1 and len(result.err) < 5000
    assert all(" " <= letter <= "~" for letter in result.err.rstrip("\n")), result.err
