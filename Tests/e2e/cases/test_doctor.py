# SPDX-License-Identifier: Apache-2.0
"""`escra doctor`: each fault that is planted is named in one sentence, and what to do about it."""
import json
import os
import shutil
import subprocess

import pytest

from processes import PATIENCE, wait_until
from test_docs import CONFIG, machine  # noqa: F401  a fixture
from test_setup import installed, write  # noqa: F401  a fixture
from world import ESCRA, ESCRA_RUNC, LOW_LEVEL, Runtime, escra_tool

CRI = 'plugins."io.containerd.grpc.v1.cri".containerd.runtimes'
HANDLER = f"""version = 2
[{CRI}.runc]
  runtime_type = "io.containerd.runc.v2"
[{CRI}.runc.options]
  SystemdCgroup = RUNC
[{CRI}.escra]
  runtime_type = "io.containerd.runc.v2"
  pod_annotations = ["io.escra.*", "io.escra.*/*"]
  container_annotations = PATTERNS
[{CRI}.escra.options]
  BinaryName = "/usr/local/bin/escra-runc"
"""
BOTH = '["io.escra.*", "io.escra.*/*"]'


def handler(runc="false", patterns=BOTH):
    return HANDLER.replace("RUNC", runc).replace("PATTERNS", patterns)


# What is written where, and what is said of it.
FAULTS = {
    "a config with an unknown key": (
        {"/etc/escra/config.json": '{"flor": {}}'}, "problem", "config",
        "unknown key flor; the nearest known one is floor"),
    "a config that is no JSON": (
        {"/etc/escra/config.json": '{"floor": '}, "problem", "config", "line 1"),
    "runtimes that are not there": (
        {"/etc/escra/config.json": '{"runtimes": ["/nope/runc"]}'}, "problem", "runtimes",
        "/nope/runc (ENOENT)"),
    "a runtime of Docker's that is not there": (
        {"/etc/docker/daemon.json": '{"runtimes": {"escra": {"path": "/nope/escra-runc"}}}'},
        "problem", "Docker", "/nope/escra-runc, which cannot be executed (ENOENT)"),
    "a daemon.json that is no JSON": (
        {"/etc/docker/daemon.json": '{"runtimes": '}, "problem", "Docker", "daemon.json, line 1"),
    "a handler that gets no annotations": (
        {CONFIG: handler(patterns='["io.escra.*"]')}, "problem", "containerd",
        "gets no annotations by the patterns io.escra.*/*"),
    "a handler with another cgroup driver": (
        {CONFIG: handler(runc="true")}, "problem", "containerd",
        "SystemdCgroup = false and runc has true"),
    "a config.toml that is no TOML": (
        {CONFIG: handler() + "[broken\n"}, "problem", "containerd", "config.toml, line 1"),
    "a runtime of Podman's that is not there": (
        {"/etc/containers/containers.conf":
            '[engine.runtimes]\nescra = ["/nope/escra-runc.strict"]\n'},
        "problem", "Podman", "/nope/escra-runc.strict, which cannot be executed"),
    "annotations that CRI-O does not know": (
        {"/usr/local/bin/crio": "#!/bin/sh\n", "/etc/crio/crio.conf.d/x.conf":
            '[crio.runtime.runtimes.escra]\nruntime_path = "/usr/local/bin/escra-runc"\n'
            'allowed_annotations = ["io.escra."]\n'},
        "problem", "CRI-O", "allowed_annotations has io.escra."),
}


def doctor(*before, program=ESCRA, environment=None):
    """The exit code, the checks, and what is said on standard error."""
    done = subprocess.run(
        [*before, program, "doctor", "--json"], capture_output=True, text=True, env=environment,
        timeout=20 * PATIENCE)
    return done.returncode, json.loads(done.stdout)["checks"], done.stderr


def names(checks, level, name, part):
    """Whether it is said once, at this level, and in one line."""
    return [check["sentence"] for check in checks if (check["level"], check["name"]) == (
        level, name) and part in check["sentence"] and "\n" not in check["sentence"]]


def in_mounts_of_its_own(script):
    """A command before the doctor's, in a mount namespace that ends with it."""
    return ["unshare", "--mount", "sh", "-c", script + '\nexec "$@"', "sh"]


def test_nothing_is_wrong_with_a_machine_after_setup(installed):  # noqa: F811
    """Exit code 0, no problem; the lines are those of the JSON."""
    installed("escra", "setup", "containerd")
    done = subprocess.run(
        ["escra", "doctor"], capture_output=True, text=True, env=installed.environment)
    assert done.returncode == 0 and done.stderr == "", done
    code, checks, _ = doctor(program="escra", environment=installed.environment)
    assert code == 0 and {check["level"] for check in checks} <= {"ok", "warning"}
    assert names(checks, "ok", "containerd", "calls escra-runc as escra, escra-observe")
    for check in checks:
        assert any(line.split() == (
            f"{check['level']} {check['name']} {check['sentence']}").split()
            for line in done.stdout.splitlines())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_file_is_named(installed, fault):  # noqa: F811
    """Its line alone makes the difference, and the exit code is 1."""
    files, level, name, part = FAULTS[fault]
    _, before, _ = doctor(program="escra", environment=installed.environment)
    assert not names(before, level, name, part)
    for path, text in files.items():
        write(path, text)
        if text.startswith("#!"):
            os.chmod(path, 0o755)
    code, checks, said = doctor(program="escra", environment=installed.environment)
    assert code == 1
    [sentence] = names(checks, level, name, part)
    assert sentence in said


def test_no_runtime_beneath_is_named():
    """Neither runc nor crun, in any of the usual places."""
    found = {path for name in ("runc", "crun") for directory in
             ("/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin")
             if os.path.exists(path := f"{directory}/{name}")}
    code, checks, said = doctor(*in_mounts_of_its_own(
        "\n".join(f"mount --bind /dev/null {path}" for path in sorted(found | {LOW_LEVEL}))))
    assert code == 1 and "neither runc nor crun is installed" in said
    assert names(checks, "problem", "low-level runtime", "install runc")


def test_no_cpu_controller_is_named():
    code, checks, said = doctor(*in_mounts_of_its_own("umount --recursive /sys/fs/cgroup"))
    assert code == 1 and "no cgroup hierarchy with the cpu controller is mounted" in said
    assert names(checks, "problem", "cgroups", "mount cgroup2")


def test_a_state_directory_that_cannot_be_written_is_named():
    code, checks, said = doctor(*in_mounts_of_its_own("mount -t tmpfs -o ro none /run"))
    assert code == 1 and "/run cannot be written (EROFS)" in said
    assert names(checks, "problem", "state directory", "mount it read-write")


def test_bpf_that_is_refused_is_a_warning():
    """It costs something, and fails nothing."""
    code, checks, _ = doctor("setpriv", "--bounding-set", "-bpf,-sys_admin,-perfmon")
    assert code == 0
    assert names(checks, "warning", "tp_btf/sched_stat_runtime", "no (EPERM): ")


def test_another_version_and_missing_names_are_warnings(world):
    """Of the programs that lie beside each other."""
    shutil.copy(ESCRA, world.path("escra"))
    write(world.path("escra-runc"), "#!/bin/sh\necho escra-runc version 9.9.9\n")
    os.chmod(world.path("escra-runc"), 0o755)
    code, checks, _ = doctor(program=world.path("escra"))
    assert code == 0
    assert names(checks, "warning", "escra-runc", "is of version 9.9.9, and escra of ")
    [sentence] = names(checks, "warning", "policy names", "make them links to escra-runc")
    assert world.path("escra-runc.strict") in sentence


def test_supervisors_of_another_program_are_a_warning(container, world):
    """As after an upgrade under running containers; each is named."""
    shutil.copy(ESCRA_RUNC, world.path("escra-runc"))
    made = container(runtime=Runtime(world.path("escra-runc"), "--root", world.root)).started()
    made.supervisor()
    code, checks, _ = doctor()
    assert code == 0
    [sentence] = names(checks, "warning", "supervisors", "1 of 1 run another escra-runc than ")
    assert made.id in sentence
    made.call("delete", "--force")


def test_containers_without_their_supervisor_are_a_warning(container, world):
    """Left alone since another one has their cgroup."""
    group = world.name()
    first, second = [container(cgroup="/" + group) for _ in range(2)]
    first.started().supervisor()
    if second.create().wait(20):
        pytest.skip("the low-level runtime takes no second container")
    second.call("start")
    wait_until(
        lambda: [one for one in json.loads(escra_tool("ps", "--json")) if one["unsupervised"]], 4,
        "it is left alone")
    code, checks, _ = doctor()
    assert code == 0
    [sentence] = names(checks, "warning", "containers", "escra explain has the reason")
    assert second.id in sentence and first.id not in sentence
    for made in (second, first):
        made.call("delete", "--force")
