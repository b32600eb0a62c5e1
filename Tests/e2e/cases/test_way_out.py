# SPDX-License-Identifier: Apache-2.0
"""Removing us strands nothing: a pass-through answers while an engine calls a name of ours."""
import json
import os
import shutil
import signal
import subprocess

import pytest

import cgroups
import engines
from processes import PATIENCE, arguments, in_our_world, is_alive, keepers, supervisors, wait_until
from test_docs import machine  # noqa: F401
from world import PATH, REPOSITORY, RUNC

# What the engines of the suite are told.
USED = ["escra-runc", "escra-runc.reactive"]
DECLARED = 20_000


class Prefix:
    """A place where escra-runc is installed."""

    def __init__(self, directory):
        self.directory = directory
        self.bin = os.path.join(directory, "bin")
        self.runtime = os.path.join(self.bin, "escra-runc")
        self._run(os.path.join(REPOSITORY, "scripts/install"))

    def _run(self, *command, **environment):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60 * PATIENCE,
            env={"PATH": PATH, "PREFIX": self.directory, **environment})
        assert done.returncode == 0, done
        return done.stdout

    def uninstall(self, **environment):
        return self._run(os.path.join(REPOSITORY, "scripts/uninstall"), **environment)

    def escra(self, *words):
        return self._run(os.path.join(self.bin, "escra"), *words)

    def uses(self):
        """{name: [what names it]} as the pass-through says it."""
        found = {}
        program = os.path.join(REPOSITORY, "scripts/pass-through")
        for line in self._run(program, "--escra-uses", self.bin).splitlines():
            name, reason = line.split("\t")
            found.setdefault(name, []).append(reason)
        return found

    def remove(self):
        """What the pass-through says when it is asked to go."""
        return self._run(os.path.join(self.bin, self.names[0]), "--escra-remove")

    @property
    def names(self):
        return sorted(os.listdir(self.bin)) if os.path.isdir(self.bin) else []

    @property
    def files(self):
        return [name for _, _, names in os.walk(self.directory) for name in names]


@pytest.fixture
def prefix(world):
    return Prefix(world.path("prefix"))


@pytest.fixture
def config():
    """A place for engines' configs where they look themselves, on the suite's own view of /etc."""
    directory = "/etc/containers/containers.conf.d"
    existed = os.path.exists(directory)
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, "escra.conf")
    yield path
    if os.path.exists(path):
        os.unlink(path)
    if not existed:
        os.rmdir(directory)


class Engine:
    """Docker or Podman with names of an installed escra-runc as its runtimes."""

    def __init__(self, engine, prefix, config):
        self.engine, self.prefix, self.config = engine, prefix, config
        self.names = []
        self.before, self.options = {
            "docker": ([], ["--runtime", "escra"]), "podman": (["--runtime", "escra-runc"], [])
        }[engine.name]
        self.reactive = {
            "docker": ([], ["--runtime", "escra-reactive"]),
            "podman": (["--runtime", "escra-runc.reactive"], [])}[engine.name]
        if engine.name == "podman":
            # The suite's Podman reads a file of its own, and every other Podman this one.
            shutil.copy(engine.directory + "/containers.conf", config)

    def __call__(self, *words, code=0):
        done = self.engine.cli(*words, cwd=self.engine.directory)
        assert code is None or done.code == code, done
        return done

    def run(self, name, is_reactive):
        self.names.append(name)
        before, options = self.reactive if is_reactive else (self.before, self.options)
        made = self(
            *before, "run", "--detach", "--name", name, "--cpus", "0.2", *self.engine.OPTIONS,
            *options, self.engine.image, "sleep", "10000")
        return made.out.strip()

    def pid(self, name):
        return self.engine.inspect(name)["State"]["Pid"]

    def forget(self):
        """An operator takes our names out of the engine's config."""
        if self.engine.name == "podman":
            os.unlink(self.config)
            return
        with open(self.engine.dockerd.path) as file:
            settings = json.load(file)
        del settings["runtimes"]
        with open(self.engine.dockerd.path, "w") as file:
            json.dump(settings, file)

    def remove(self):
        """All containers by one call, whatever they do."""
        self(*self.engine.REMOVE, *self.names)
        self.names = []

    def close(self):
        for name in self.names:
            self(*self.engine.REMOVE, name, code=None)

    def attendants(self):
        """Shims and conmons."""
        return [
            pid for pid in in_our_world()
            if os.path.basename((arguments(pid) or [""])[0]) in (
                "conmon", "containerd-shim-runc-v2")]


@pytest.fixture(params=[engines.Docker, engines.Podman], ids=lambda kind: kind.name)
def engine(request, run_engine, prefix, config, monkeypatch):
    monkeypatch.setattr(engines, "ESCRA_RUNC", prefix.runtime)
    monkeypatch.setattr(engines, "by_name", lambda _, program, policy: f"{program}.{policy}")
    with run_engine(request.param) as engine:
        made = Engine(engine, prefix, config)
        yield made
        made.close()


@pytest.mark.parametrize("is_released", [True, False], ids=["released", "supervised"])
def test_after_the_removal_an_engine_can_exec_stop_and_remove(
        engine, prefix, world, is_released, record_property):
    """Three containers, two of them under a policy; then the names go with the last of them."""
    names = [world.name() for _ in range(3)]
    ids = [engine.run(name, is_reactive) for name, is_reactive in zip(names, (False, True, True))]
    pids = [engine.pid(name) for name in names]
    wait_until(lambda: len(supervisors()) == 2, 6, "two supervisors")
    groups = [engine.engine.cgroup(id) for id in ids]
    if is_released:
        prefix.escra("release", "--all")
    said = prefix.uninstall()
    # Each container by its id, each config by its path, and only what is needed stays.
    assert all(id in said for id in ids) and f"pass-through to {RUNC}" in said
    assert (engine.config if engine.engine.name == "podman" else "daemon.json") in said
    assert prefix.names == USED
    assert set(prefix.files) == set(prefix.names)
    assert supervisors() == [] and all(map(is_alive, pids))
    assert all(cgroups.limit(group)[0] == DECLARED for group in groups)

    for name in names:
        assert engine("exec", name, "echo", "here").out == "here\n"
    done = engine("stop", "--time", "2", names[0])
    record_property("stop", f"{done.seconds:.1f} s")
    assert done.seconds < 3 * PATIENCE and not is_alive(pids[0])
    engine("start", names[0])
    assert engine("exec", names[0], "echo", "again").out == "again\n"
    pids.append(engine.pid(names[0]))
    assert engine("stop", "--time", "2", names[1]).seconds < 3 * PATIENCE
    assert "stays as a pass-through" in prefix.remove(), "it is in use"

    engine.forget()
    assert "stays as a pass-through" in prefix.remove(), "what runs names it"
    engine.remove()
    assert not any(map(is_alive, pids)) and not any(map(cgroups.exists, groups))
    wait_until(lambda: not engine.attendants(), 4, "no shim and no conmon is left")
    # It goes by itself.
    wait_until(lambda: not prefix.files, 10, "the last call has removed the names")
    wait_until(lambda: not keepers(), 4, "no keeper is left")


def test_a_runtime_with_arguments_is_found_behind_dockers_script(
        run_engine, prefix, world, monkeypatch):
    """Docker calls a script of its own, which calls us with a flag that no other runtime knows."""
    monkeypatch.setattr(engines, "ESCRA_RUNC", prefix.runtime)
    with run_engine(engines.Docker) as docker:
        def configure(**runtimes):
            with open(docker.dockerd.path) as file:
                settings = json.load(file)
            with open(docker.dockerd.path, "w") as file:
                json.dump({**settings, "runtimes": runtimes}, file)

        configure(ours={"path": prefix.runtime, "runtimeArgs": ["--escra-policy=reactive"]})
        docker.dockerd.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "ours" in docker.cli("info", "--format", "{{json .Runtimes}}").out, 5)
        name = world.name()
        id = docker.cli(
            "run", "--detach", "--name", name, "--runtime", "ours", *docker.OPTIONS, docker.image,
            "sleep", "1000").out.strip()
        wait_until(supervisors, 6, "a supervisor")
        # Docker is not told: before version 23 it removes its script then, and is stranded itself.
        configure()
        assert prefix.uses() == {
            "escra-runc": [f"the container {id} of containerd, namespace moby"]}
        prefix.uninstall()
        assert docker.cli("exec", name, "echo", "here").out == "here\n"
        assert docker.cli("rm", "--force", name).code == 0
        wait_until(lambda: not prefix.files, 10, "the last call has removed the name")


def test_uninstall_releases_containers_and_names_them(container, prefix, escra):
    """By the ids that the operator knows; a container that no engine runs needs no pass-through."""
    escra.program = prefix.runtime
    made = container(quota=DECLARED).started()
    made.supervisor()
    made.wait_for_quota(lambda quota: quota < DECLARED, 6, "down to the floor")
    said = prefix.uninstall()
    assert f"uninstall: {made.id} is released: its CPU limit is 0.20 cores." in said.splitlines()
    assert prefix.files == [] and supervisors() == [] and made.quota == DECLARED
    made.runtime = engines.Runtime(RUNC, *made.runtime.globals)
    made.call("delete", "--force")


def test_uninstall_by_force_leaves_nothing(prefix, config):
    """Whatever names it; and what another package has put there stays."""
    with open(config, "w") as file:
        file.write(f'[engine.runtimes]\nours = ["{prefix.runtime}"]\n')
    os.unlink(prefix.runtime + ".strict")
    with open(prefix.runtime + ".strict", "w") as file:
        file.write("another's")
    prefix.uninstall(FORCE="1")
    assert prefix.files == ["escra-runc.strict"]


def test_uninstall_is_there_without_the_repository(prefix):
    """It knows by its own place what to remove."""
    subprocess.run(
        [prefix.directory + "/libexec/escra-runc/uninstall"], check=True, env={"PATH": PATH},
        capture_output=True)
    assert prefix.files == []


def test_an_installation_takes_the_place_of_a_pass_through(prefix, config):
    """And a second removal that of the installation."""
    with open(config, "w") as file:
        file.write(f'[engine.runtimes]\nours = ["{prefix.runtime}.observe"]\n')
    prefix.uninstall()
    assert prefix.files == ["escra-runc.observe"]
    Prefix(prefix.directory)
    done = subprocess.run(
        [prefix.runtime + ".observe", "--version"], capture_output=True, text=True)
    assert "escra-runc version" in done.stdout
    os.unlink(config)
    prefix.uninstall()
    assert prefix.files == []


@pytest.mark.parametrize("text, used", [
    ('ours = ["{bin}/escra-runc"]', ["escra-runc"]),
    ('"path":"{bin}/escra-runc.reactive"', ["escra-runc.reactive"]),
    ("BinaryName = '{bin}/escra-runc.strict'", ["escra-runc.strict"]),
    ("ExecStart=/usr/bin/dockerd --add-runtime=e={bin}/escra-runc\n", ["escra-runc"]),
    ("runtime_path={bin}/escra-runc\n# {bin}/escra-runc.observe", ["escra-runc"]),
    ('["/usr/bin/runc", "{bin}/escra-runc.observe"]', ["escra-runc.observe"]),
    ('runtime = "{link}"', ["escra-runc.reactive"]),
    (" # runtime {bin}/escra-runc", []),
    ('runtime = "{bin}/escra-runc.new"', []),
    ('runtime = "/another{bin}/escra-runc"', []),
    ('runtime = "/usr/bin/runc"', [])])
def test_a_config_names_us_or_does_not(prefix, config, world, text, used):
    """By path, whole, and not in a comment; also by an operator's link."""
    link = world.path("link")
    os.symlink(prefix.runtime + ".reactive", link)
    with open(config, "w") as file:
        file.write(text.format(bin=prefix.bin, link=link))
    assert prefix.uses() == {name: [config] for name in used}
    os.rename(config, config + ".bak")
    assert prefix.uses() == {}
    os.unlink(config + ".bak")


def test_containerd_is_asked_for_containers_that_do_not_run(prefix, machine):  # noqa: F811
    """Its database still has the bytes of what was removed."""
    machine("systemctl", "start", "containerd")
    machine("ctr", "images", "import", machine.archive)
    image = machine("ctr", "images", "list", "--quiet").split()[0]
    machine("ctr", "run", "--detach", "--runc-binary", prefix.runtime, image, "waits", "sleep", "9")
    machine("ctr", "task", "rm", "--force", "waits")
    reason = "the container waits of containerd, namespace default"
    assert prefix.uses() == {"escra-runc": [reason]}
    machine("systemctl", "stop", "containerd")
    [unsure] = prefix.uses()["escra-runc"]
    assert "meta.db" in unsure
    machine("systemctl", "start", "containerd")
    machine("ctr", "container", "rm", "waits")
    assert prefix.uses() == {}
    machine("systemctl", "stop", "containerd")


# What the pass-through is called with, and what the low-level runtime is called with then.
CALLS = [
    (["create", "--bundle", "a b", "id"], ["create", "--bundle", "a b", "id"]),
    (["--root", "/r", "--escra-policy=reactive", "create", "id"], ["--root", "/r", "create", "id"]),
    (["--escra-policy", "strict", "state", "id"], ["state", "id"]),
    (["-escra-policy", "strict", "--log", "delete", "kill", "i"], ["--log", "delete", "kill", "i"]),
    (["exec", "id", "--escra-policy=reactive", ""], ["exec", "id", "--escra-policy=reactive", ""]),
    (["--log=x", "delete", "--force", "id"], ["--log=x", "delete", "--force", "id"]),
    (["run", "*", "a\nb", "'\""], ["run", "*", "a\nb", "'\""]),
    ([], []),
]


@pytest.mark.parametrize("words, passed", CALLS, ids=lambda words: " ".join(words)[:40])
def test_the_pass_through_leaves_out_our_flags_alone(prefix, config, world, words, passed):
    """Under the runtime that the operator's config names, with its exit code and its streams."""
    fake, settings = world.path("the runtime"), world.path("config.json")
    with open(fake, "w") as file:
        file.write('#!/bin/sh\nprintf "%s\\0" "$@"; /bin/cat; echo said >&2; exit 7\n')
    os.chmod(fake, 0o755)
    with open(settings, "w") as file:
        json.dump({"runtimes": ["/missing/runc", fake], "law": "escra"}, file, indent=2)
    with open(config, "w") as file:
        file.write(f'[engine.runtimes]\nours = ["{prefix.runtime}"]\n')
    prefix.uninstall()
    done = subprocess.run(
        [prefix.runtime, "--escra-config", settings, *words], input=b"in", capture_output=True,
        env={"PATH": ""}, timeout=10)
    assert done.returncode == 7 and done.stderr == b"said\n", done
    assert [os.fsdecode(word) for word in done.stdout.split(b"\0")] == [
        *(passed or [""]), "in"]
