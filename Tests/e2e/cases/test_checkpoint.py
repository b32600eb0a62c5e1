# SPDX-License-Identifier: Apache-2.0
"""Checkpoint and restore by CRIU: a restored container has its policy, limit and supervisor again.

What CRIU cannot do on a machine it cannot do for plain runc either: that is tried first.
scripts/deps-criu finds or fetches a CRIU that works here.
"""
import os
import subprocess

import pytest

import cgroups
import engines
from processes import PATIENCE, is_alive, ours, supervisors, wait_until
from test_memory import MIB, guest, kills, limit, usage  # noqa: F401 (a fixture)
from world import PATH, REPOSITORY, RUNC

FLOOR = 5_000
# Restored, busybox's `wait` is through with its waiting, as after any signal.
POLITE = ["sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 2; done"]


class Images:
    """Where a checkpoint is written to, and CRIU's own log."""

    def __init__(self, directory):
        self.flags = []
        for name in ("image", "work"):
            path = os.path.join(directory, name)
            os.makedirs(path, exist_ok=True)
            self.flags += [f"--{name}-path", path]
        self.work = path

    def log(self):
        """What CRIU said last, for who has to find out why it failed."""
        lines = []
        for name in ("dump.log", "restore.log"):
            path = os.path.join(self.work, name)
            if os.path.exists(path):
                with open(path, errors="replace") as file:
                    lines += [line for line in file if "Error" in line or "Warn" in line][-5:]
        return "".join(lines)


class Piped:
    """A container's stdout as a pipe of ours: CRIU leaves what is outside of it to runc."""

    def __init__(self):
        self.reading, self.writing = os.pipe()
        self.text = ""

    def says(self, text, seconds=5):
        os.set_blocking(self.reading, False)

        def said():
            try:
                self.text += os.read(self.reading, 4096).decode()
            except BlockingIOError:
                pass
            return text in self.text

        wait_until(said, seconds, f"it says {text!r}")

    def close(self):
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture
def piped():
    """Makes pipes."""
    made = []

    def make():
        made.append(Piped())
        return made[-1]

    yield make
    for one in made:
        one.close()


def checkpointed(made, images, *flags):
    """Calls `checkpoint`, which takes its time where the machine is emulated."""
    return made.runtime("checkpoint", *images.flags, *flags, made.id, timeout=60)


def restored(made, images, pipe):
    """Calls `restore` with the same bundle; returns the exit code."""
    return made.create(
        "--detach", *images.flags, verb="restore", stdout=pipe.writing,
        stderr=pipe.writing).wait(60 * PATIENCE)


@pytest.fixture(scope="module")
def path():
    """A PATH with a CRIU that works here."""
    found = subprocess.run(
        [os.path.join(REPOSITORY, "scripts/deps-criu")], capture_output=True, text=True)
    if found.returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(found.stderr.strip())
    return f"{found.stdout.strip()}:{PATH}"


@pytest.fixture
def plain(plain, path):
    return plain.using(env={"PATH": path})


@pytest.fixture
def escra(escra, path):
    return escra.using(env={"PATH": path})


@pytest.fixture(scope="session")
def verdict():
    """Whether CRIU works here for plain runc, and if not why: {} until somebody has tried."""
    return {}


@pytest.fixture
def works(verdict, container, plain, world, piped):
    """Skips where plain runc cannot be checkpointed and restored either."""
    if "reason" not in verdict:
        verdict["reason"] = reason_against(container, plain, world, piped)
    if verdict["reason"]:
        pytest.skip("plain runc cannot either: " + verdict["reason"])


def reason_against(container, plain, world, piped):
    """The whole way there and back with runc alone; why it failed, or "" ."""
    made, pipe, images = container(policy=None, runtime=plain), piped(), Images(
        world.path("plain"))
    made.started(stdout=pipe.writing, stderr=pipe.writing)
    made.do("x=42; echo up")
    pipe.says("up")
    done = checkpointed(made, images)
    if done.code:
        made.call("delete", "--force")
        checked = subprocess.run(
            ["criu", "check"], env=plain.env, capture_output=True, text=True)
        return f"{done.err} {images.log()} criu check: {checked.stdout}{checked.stderr}"
    if restored(made, images, pipe):
        made.runtime("delete", "--force", made.id)
        return images.log() or "restore failed"
    made.do("echo still $x")
    pipe.says("still 42")
    assert made.quota == 20_000
    made.call("delete", "--force")
    return ""


@pytest.mark.parametrize("policy", [None, "reactive", "observe"])
def test_a_restored_container_is_what_it_was(works, container, world, piped, policy):
    """The same process by what it remembers; under a policy with a supervisor of its own again."""
    made, pipe, images = container(policy=policy), piped(), Images(world.path("escra"))
    made.started(stdout=pipe.writing, stderr=pipe.writing)
    made.do("x=42; echo up")
    pipe.says("up")
    before = policy and made.supervisor()
    if policy == "reactive":
        made.wait_for_quota(lambda quota: quota == FLOOR, 5, "down to the floor")
    original = made.bundle.identity()
    done = checkpointed(made, images)
    assert done.code == 0, (done, images.log())
    wait_until(lambda: ours() == {}, 4, "nobody supervises what has been put away")
    assert restored(made, images, pipe) == 0, images.log()
    made.do("echo still $x")
    pipe.says("still 42")
    assert made.status == "running"
    if policy is None:
        assert ours() == {} and made.quota == 20_000
    else:
        assert made.supervisor() != before and len(supervisors()) == 1
        wait_until(lambda: made.bundle.is_original(original), 4, "config.json is as it was")
    if policy == "reactive":
        made.wait_for_quota(lambda quota: quota == FLOOR, 5, "down to the floor")
        made.work()
        made.wait_for_quota(lambda quota: quota == 20_000, 5, "up to what was declared")
    elif policy == "observe":
        assert made.quota == 20_000
    made.call("delete", "--force")


def test_what_is_left_running_keeps_its_supervisor(works, container, world, piped):
    """A checkpoint freezes it for a moment, which is no reason to do anything."""
    made, pipe, images = container(), piped(), Images(world.path("running"))
    made.started(stdout=pipe.writing, stderr=pipe.writing)
    made.do("echo up")
    pipe.says("up")
    before = made.supervisor()
    done = checkpointed(made, images, "--leave-running")
    assert done.code == 0, (done, images.log())
    assert made.supervisor() == before and made.status == "running"
    made.work()
    made.wait_for_quota(lambda quota: quota == 20_000, 5, "up to what was declared")
    made.call("delete", "--force")


def test_a_restore_that_fails_leaves_nothing(works, container, plain, world, piped):
    """An image that is not one: runc's exit code, and no supervisor of a container that is not."""
    codes = []
    for runtime in (plain, None):
        made = container(runtime=runtime, policy=None if runtime else "reactive")
        original = made.bundle.identity()
        codes.append(restored(made, Images(world.path(made.id)), piped()))
        wait_until(lambda: ours() == {}, 4, "nobody waits for it")
        assert made.bundle.is_original(original)
    assert codes[0] == codes[1] != 0


GROWTH = {
    "the pages of a process": "kept = touch(300)",
    "the pages of many processes": """
for _ in range(30):
    if os.fork() == 0:
        kept = touch(10)
        while True: time.sleep(60)
""",
    "a file in a tmpfs": "write(300)",
}


def grown(guest, growth, pipe, annotations=None):
    """A container whose limit has grown from 64 MiB above 300."""
    made = guest(growth + "\nprint('up', flush=True)\nprint(hear(), flush=True)\nhear()",
                 annotations or {"io.escra.memory.max": "1Gi"})
    made.started(stdout=pipe.writing, stderr=pipe.writing)
    pipe.says("up", 20)
    wait_until(lambda: limit(made) > usage(made) > 300 * MIB, 5, "a limit above 300 MiB")
    return made


@pytest.mark.parametrize("growth", GROWTH)
def test_a_container_that_has_grown_is_restored(works, guest, world, piped, growth):
    """Its first limit is what the image needs, and moves on from there."""
    pipe, images = piped(), Images(world.path("grown"))
    made = grown(guest, GROWTH[growth], pipe)
    original = made.bundle.identity()
    done = checkpointed(made, images)
    assert done.code == 0, (done, images.log())
    assert restored(made, images, pipe) == 0, images.log()
    made.supervisor()
    assert kills(made) == 0 and limit(made) > usage(made) > 300 * MIB
    assert made.states()[0]["declaredMemory"] == str(64 * MIB)
    wait_until(lambda: made.bundle.is_original(original), 4, "config.json is as it was")
    made.do("still here")
    pipe.says("still here")
    made.call("delete", "--force")


def test_a_container_that_may_not_have_what_its_image_needs_is_refused(
        works, guest, world, piped):
    """Before CRIU starts, with a sentence; with larger bounds the same image is restored."""
    pipe, images = piped(), Images(world.path("grown"))
    made = grown(guest, GROWTH["the pages of a process"], pipe)
    done = checkpointed(made, images)
    assert done.code == 0, (done, images.log())
    annotations = made.bundle.config["annotations"]
    annotations["io.escra.memory.max"] = "128Mi"
    original = made.bundle.write().identity()
    refused = made.runtime(
        "restore", "--detach", "--bundle", made.bundle.path, *images.flags, made.id)
    assert refused.code == 1 and refused.err.count("\n") == 1
    assert "Mi of memory, and 128Mi is the most" in refused.err
    assert not os.path.exists(os.path.join(images.work, "restore.log"))
    wait_until(lambda: ours() == {}, 4, "nobody waits for it")
    assert made.bundle.is_original(original)
    annotations["io.escra.memory.max"] = "1Gi"
    made.bundle.write()
    assert restored(made, images, pipe) == 0, images.log()
    made.do("still here")
    pipe.says("still here")
    made.call("delete", "--force")


def test_a_member_is_restored_where_its_application_has_room(works, guest, world, piped):
    """It asks for what its image needs, and is refused while another member uses that."""
    application = {"io.escra.app": "restored", "io.escra.app.memory": "512Mi"}
    pipe, other, images = piped(), piped(), Images(world.path("grown"))
    made = grown(guest, GROWTH["the pages of a process"], pipe, application)
    done = checkpointed(made, images)
    assert done.code == 0, (done, images.log())
    user = guest(
        "kept = touch(250)\nprint('up', flush=True)\nhear()\ndel kept\nhear()", application)
    user.started(stdout=other.writing, stderr=other.writing)
    other.says("up", 20)
    refused = made.runtime(
        "restore", "--detach", "--bundle", made.bundle.path, *images.flags, made.id)
    assert refused.code == 1 and "use all of its memory" in refused.err
    assert not os.path.exists(os.path.join(images.work, "restore.log"))
    user.do("free")
    wait_until(lambda: limit(user) < 100 * MIB, 10, "slack given back")
    assert restored(made, images, pipe) == 0, images.log()
    made.supervisor()
    assert kills(made) == 0 and limit(made) > usage(made) > 300 * MIB
    assert limit(made) + limit(user) <= 512 * MIB
    made.do("still here")
    pipe.says("still here")
    made.call("delete", "--force")


@pytest.fixture(scope="module")
def engine(run_engine, path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(engines.ENVIRONMENT, "PATH", f"{os.path.dirname(RUNC)}:{path}")
        with run_engine(engines.Podman) as engine:
            yield engine


def group_of(pid):
    """Where the cpu controller has a process."""
    groups = cgroups.membership(pid)
    return next((path for names, path in groups.items() if "cpu" in names.split(",")),
                groups.get(""))


def test_podman_checkpoints_and_restores(works, through):
    """As an operator does it; where Podman cannot with plain runc there is nothing to compare."""

    def case(view):
        made = view.started("--cpus", "0.5", view.image, *POLITE)
        made.says("up")
        if view.has_policy:
            made.supervisor()
        pid = made.pid
        done = view("container", "checkpoint", made.name, timeout=60)
        if done.code and view.runtime == "runc":
            pytest.skip(f"Podman cannot with plain runc either: {done.err}")
        assert done.code == 0, done
        assert not is_alive(pid)
        wait_until(lambda: ours() == {}, 4, "nobody supervises what has been put away")
        view.saw("checkpointed", made.state["Status"])
        done = view("container", "restore", made.name, timeout=60)
        if done.code and view.runtime == "runc":
            pytest.skip(f"Podman cannot with plain runc either: {done.err}")
        assert done.code == 0, done
        view.saw("restored", made.state["Status"])
        assert view.finished("exec", made.exec("echo", "here")).code == 0
        made.cgroup = group_of(made.pid)
        if view.has_policy:
            made.supervisor()
            made.wait_for_quota(lambda quota: quota < 50_000, 4, "down with the use")
        else:
            assert made.quota == 50_000
        view.finished("stop", made.call("stop"))
        view.saw("exit code", made.state["ExitCode"])

    seen = through(case)
    assert (seen["restored"], seen["exit code"]) == ("running", "3")
