# SPDX-License-Identifier: Apache-2.0
"""`escra setup`: engines know us, start, and forget us without a trace."""
import json
import os
import re
import shutil
import subprocess
import tomllib

import pytest

import containerd2
import engines
from containerd import CONTAINERD, Containerd
from pods import Pod, pause_archive, pod_parent
from processes import PATIENCE, wait_until
from test_docs import CONFIG, PARENT, RUNTIMES, machine  # noqa: F401  a fixture
from world import ESCRA, ESCRA_RUNC, PATH, REPOSITORY, Supervised

# containerd 2 is that of scripts/deps-containerd, where it is asked for; else a stand-in.
IS_2 = CONTAINERD is not None and engines.version(CONTAINERD) >= (2, 0)
NAMES = ["escra", "escra-observe", "escra-reactive", "escra-strict"]
PATTERNS = ["io.escra.*", "io.escra.*/*"]
NVIDIA = """
# Theirs.
[plugins."{cri}".containerd.runtimes.nvidia]
  runtime_type = "io.containerd.runc.v2"
  [plugins."{cri}".containerd.runtimes.nvidia.options]
    BinaryName = "/usr/bin/nvidia-container-runtime"

[plugins."{cri}".registry]
  config_path = "/etc/containerd/certs.d"
"""
SYSTEMD = """version = {version}
[plugins."{cri}".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  base_runtime_spec = "/etc/containerd/base.json"
  pod_annotations = ["others.*"]
  [plugins."{cri}".containerd.runtimes.runc.options]
    SystemdCgroup = true
    BinaryName = "/opt/runc"
"""
DAEMON = """{
    "log-level": "warn",
    "runtimes": {
        "mine": { "path": "/usr/sbin/runc" }
    }
}
"""
CONTAINERS = """# Mine.
[engine]
cgroup_manager = "cgroupfs"
runtime_supports_json = ["crun", "runc", "mine"]
[engine.runtimes]
mine = ["/usr/sbin/runc"]
"""


def read(path):
    """The text of a file; None where there is none."""
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return None


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


@pytest.fixture
def programs(world):
    """escra-runc and its names for policies, beside each other; the path of the first."""
    directory = world.path("bin")
    os.mkdir(directory)
    for name in ("", ".observe", ".reactive", ".strict"):
        os.symlink(ESCRA_RUNC, os.path.join(directory, "escra-runc" + name))
    return os.path.join(directory, "escra-runc")


def escra_setup(*arguments, path=PATH, code=0):
    done = subprocess.run(
        [ESCRA, "setup", *arguments], capture_output=True, text=True, timeout=20 * PATIENCE,
        env={"PATH": path})
    assert done.returncode == code, done
    return done.stdout if code == 0 else done.stderr


def comes_and_goes(target, arguments, **options):
    """Registers; returns what undoes it, and checks that it is without a trace."""
    before = read(target)
    shown = escra_setup(*arguments, "--dry-run", **options)
    assert read(target) == before and "+++ " in shown
    escra_setup(*arguments, **options)
    after = read(target)
    added = [line[1:] for line in shown.splitlines() if line[:1] == "+" and line[:3] != "+++"]
    assert all(line in after.splitlines() for line in added) and added
    assert "nothing was changed" in escra_setup(*arguments, **options)
    assert escra_setup(*arguments, "--dry-run", **options) == "" and read(target) == after

    def undo():
        escra_setup(*arguments, "--undo", **options)
        assert read(target) == before
        assert "nothing was changed" in escra_setup(*arguments, "--undo", **options)
        assert [name for name in os.listdir(os.path.dirname(target)) if "escra" in name] == []

    return undo


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("start", [
    "nothing", "an empty file", "its version", "the distribution's", "the defaults",
    "kubeadm's", "systemd's driver", "another runtime", "no end of line", "literal strings",
    "imports"])
def test_handlers_come_and_go_with_any_config_of_containerd(world, programs, version, start):
    """containerd reads the result, nothing else changes, and what others add behind it stays.

    containerd 2 reads both versions, and shows the second one as it would be in the third.
    """
    path = world.path("etc/config.toml")
    cri = RUNTIMES[version]
    shown = RUNTIMES[3] if IS_2 else cri
    directories = [PATH]
    if version == 3 and not IS_2:
        containerd2.install(world.directory)
        default = containerd2.DEFAULT
        directories.insert(0, world.directory)
    else:
        default = subprocess.run(
            ["containerd", "config", "default"], capture_output=True, text=True, check=True,
            env={"PATH": PATH}).stdout
        if f"version = {version}" not in default and start in ("the defaults", "kubeadm's"):
            pytest.skip("this containerd writes another version")
    text = {
        "nothing": None, "an empty file": "", "its version": f"version = {version}\n",
        "the distribution's": f'version = {version}\n[plugins]\n  [plugins."{cri}"]\n'
                              f'    [plugins."{cri}".cni]\n      bin_dir = "/usr/lib/cni"\n',
        "the defaults": default,
        "kubeadm's": default.replace("SystemdCgroup = false", "SystemdCgroup = true"),
        "systemd's driver": SYSTEMD, "imports": SYSTEMD.replace(
            "\n", '\nimports = ["conf.d/*.toml"]\n', 1),
        "another runtime": SYSTEMD + NVIDIA, "no end of line": f"version = {version}",
        "literal strings": SYSTEMD.replace('"', "'")}[start]
    if text is not None:
        text = text if default[:200] in text else (
            text.replace("{cri}", cri).replace("{version}", str(version)))
        write(path, text)
        os.makedirs(world.path("etc/conf.d"), exist_ok=True)
    # containerd 2 merges what it imports: there it is a file of its own.
    target = path
    if start == "imports" and version == 3:
        target = world.path("etc/conf.d/99-escra.toml")
    options = {"path": ":".join(directories)}
    arguments = ["containerd", "--config", path, "--binary", programs]

    def effective():
        done = subprocess.run(
            ["containerd", "--config", path, "config", "dump"], capture_output=True, text=True,
            env={"PATH": ":".join(directories)})
        assert done.returncode == 0, done.stderr
        return tomllib.loads(done.stdout)["plugins"][shown]["containerd"]["runtimes"]

    undo = comes_and_goes(target, arguments, **options)
    assert read(target).startswith((target == path and text) or "")
    found = effective()
    is_systemd = "SystemdCgroup = true" in (text or "")
    for name, suffix in zip(NAMES, ("", ".observe", ".reactive", ".strict")):
        assert found[name]["options"]["BinaryName"] == programs + suffix
        assert found[name]["runtime_type"] == "io.containerd.runc.v2"
        inherited = ["others.*"] if "others" in (text or "") else []
        assert found[name]["pod_annotations"] == inherited + PATTERNS
        assert found[name]["container_annotations"] == PATTERNS
        assert bool(found[name]["options"].get("SystemdCgroup")) == is_systemd
        if "base.json" in (text or ""):
            assert found[name]["base_runtime_spec"] == "/etc/containerd/base.json"
    assert found["runc"]["runtime_type"] == "io.containerd.runc.v2"
    undo()
    # Others come behind ours, and stay with all that they need.
    if start not in ("another runtime", "imports"):
        escra_setup(*arguments, **options)
        behind = NVIDIA.replace("{cri}", cri)
        if default[:200] in (text or ""):
            # They have a registry.
            behind = behind[:behind.rindex("[plugins.")]
        with open(path, "a") as file:
            file.write(behind)
        before = effective()
        escra_setup(*arguments, "--undo", **options)
        assert read(path).startswith(text or "") and read(path).endswith(behind)
        assert effective() == {
            name: table for name, table in before.items() if name not in NAMES}


def test_what_containerd_would_not_take_is_not_left_there(world, programs):
    """A config of version 1, one that is broken, and an import that replaces the table of ours."""
    cri = RUNTIMES[2]
    path = world.path("etc/config.toml")
    for text, said in (
            (f'version = 2\nplugins."{cri}".containerd.runtimes.escra.runtime_type = "x"\n',
             'has a runtime "escra"'),
            ("[plugins.cri]\n", "version 1"), ("version = 2\n[broken\n", "line 2"),
            ("version = 2\noom_score = 'x'\n", "refuses the result, so nothing was changed")):
        write(path, text)
        assert said in escra_setup("containerd", "--config", path, "--binary", programs, code=1)
        assert read(path) == text
        assert os.listdir(os.path.dirname(path)) == ["config.toml"]


def test_an_import_of_containerd_1_that_has_the_plugin_gets_the_handlers(world, programs):
    """It replaces the plugin's whole table, that of config.toml included."""
    if IS_2:
        pytest.skip("containerd 2 merges what it imports")
    path, other = world.path("etc/config.toml"), world.path("etc/conf.d/99-nvidia.toml")
    write(path, f'version = 2\nimports = ["{os.path.dirname(other)}/*.toml"]\n')
    write(other, (SYSTEMD + NVIDIA).replace("{cri}", RUNTIMES[2]).replace("{version}", "2"))
    arguments = ["containerd", "--config", path, "--binary", programs]
    before = read(path)
    undo = comes_and_goes(other, arguments)
    assert read(path) == before
    dump = subprocess.run(
        ["containerd", "--config", path, "config", "dump"], capture_output=True, text=True,
        env={"PATH": PATH}, check=True).stdout
    found = tomllib.loads(dump)["plugins"][RUNTIMES[2]]["containerd"]["runtimes"]
    assert set(found) == {"runc", "nvidia", *NAMES}
    undo()


@pytest.fixture
def installed(machine):  # noqa: F811
    # What the suite runs is built already.
    machine("/usr/bin/make", "--assume-old=build", "-C", REPOSITORY, "install")
    return machine


@pytest.mark.parametrize("text", [None, DAEMON], ids=["no daemon.json", "one with runtimes"])
def test_docker_runs_a_reactive_container_after_it(installed, world, text):
    """A reload is enough; the first `docker run` comes after three commands."""
    world.groups.append(PARENT.path)
    path = "/etc/docker/daemon.json"
    if text is None:
        if os.path.exists(path):
            os.unlink(path)
    else:
        write(path, text)
    installed("systemctl", "start", "docker")
    installed("docker", "load", "--input", installed.archive)
    said = installed("escra", "setup", "docker")
    assert "does not know the runtimes yet; run systemctl reload docker" in said
    assert "does not know the runtime escra yet; run systemctl reload" in installed(
        "escra", "doctor")
    installed("systemctl", "reload", "docker")
    assert "knows escra, escra-observe" in installed("escra", "setup", "docker")
    installed("docker", "run", "--detach", "--name", "web", "--runtime", "escra-reactive",
              "--cpus", "0.5", "escra-e2e/busybox", "sleep", "1000")
    [row] = json.loads(installed("escra", "ps", "--json"))
    assert (row["name"], row["policy"]) == ("web", "reactive")
    if text:
        installed("docker", "run", "--rm", "--runtime", "mine", "escra-e2e/busybox", "true")
    installed("docker", "rm", "--force", "web")
    assert "still knows" in installed("escra", "setup", "docker", "--undo")
    assert read(path) == text
    installed("systemctl", "restart", "docker")
    assert "escra" not in installed("docker", "info", "--format", "{{json .Runtimes}}")
    installed("systemctl", "stop", "docker")
    PARENT.close()


def test_dockers_own_flag_for_runtimes_is_an_error_before_anything_changes(installed):
    """Docker refuses to start with runtimes in both places."""
    flags = "--bridge none --iptables=false --add-runtime mine=/usr/sbin/runc"
    installed._write("docker.daemon", f"#!/bin/sh\nexec dockerd {flags}\n")
    installed("systemctl", "start", "docker")
    before = read("/etc/docker/daemon.json")
    done = subprocess.run(
        ["escra", "setup", "docker"], capture_output=True, text=True, env=installed.environment)
    assert done.returncode == 1 and "is started with --add-runtime" in done.stderr
    assert read("/etc/docker/daemon.json") == before
    installed("systemctl", "stop", "docker")


@pytest.mark.parametrize("text", [None, CONTAINERS], ids=["none", "one with [engine]"])
def test_podman_runs_a_reactive_container_after_it(installed, run_engine, text):
    """By the name alone, and by an annotation; its own runtimes stay."""
    path = "/etc/containers/containers.conf"
    drop_in = path + ".d/escra.conf"
    if text:
        write(path, text)
    arguments = ["podman", "--binary", "/usr/local/bin/escra-runc"]
    os.makedirs(os.path.dirname(drop_in), exist_ok=True)
    undo = comes_and_goes(drop_in, arguments)
    assert read(path) == text
    if text:
        assert '"mine", "escra"' in read(drop_in)
    with run_engine(engines.Podman) as engine:
        # Its usual files, and storage of the suite's own.
        environment = {key: value for key, value in engine.cli.env.items()
                       if key != "CONTAINERS_CONF"}
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]

        def podman(*words):
            done = subprocess.run(
                [engine.CLIENT, *engine.cli.globals, *words], capture_output=True, text=True,
                env=environment, timeout=20 * PATIENCE)
            assert done.returncode == 0, done
            return done.stdout

        if text:
            assert "path: /usr/sbin/runc" in podman("--runtime", "mine", "info")
        manager = [] if text else ["--cgroup-manager", "cgroupfs"]
        for runtime, flags in (
                ("escra-reactive", []), ("escra", ["--annotation", "io.escra.policy=reactive"])):
            podman(*manager, "--runtime", runtime, "run", "--detach", "--name", "web", "--cpus",
                   "0.5", *engine.OPTIONS, *limits, "--log-driver", "k8s-file", *flags,
                   engine.image, "sleep", "1000")
            [row] = json.loads(installed("escra", "ps", "--json"))
            assert (row["name"], row["policy"]) == ("web", "reactive")
            podman(*manager, "rm", "--force", "--time", "0", "web")
            wait_until(lambda: installed("escra", "ps", "--json") == "[]\n", 4, "it is gone")
    undo()


def test_a_pod_gets_its_policy_after_it(installed, world):
    """By the handler's name, as a kubelet asks for it; Debian's config, and containerd's check."""
    text = re.sub(
        r"(?m)^( *\[plugins\.\"io\.containerd\.grpc\.v1\.cri\"\])$",
        r"\1\n    restrict_oom_score_adj = true", read(CONFIG) or "")
    if "restrict_oom_score_adj" not in text:
        pytest.skip("this containerd's config is of another version")
    write(CONFIG, text)
    undo = comes_and_goes(CONFIG, ["containerd", "--binary", "/usr/local/bin/escra-runc"])
    installed("systemctl", "start", "containerd")
    os.utime(CONFIG)
    assert "was started before its config was changed; run systemctl restart" in installed(
        "escra", "doctor")
    assert "does not know the runtimes yet" in installed("escra", "setup", "containerd")
    installed("systemctl", "restart", "containerd")
    assert "knows escra, escra-observe" in installed("escra", "setup", "containerd")
    engine = Containerd(world.directory, socket="/run/containerd/containerd.sock")
    [sandbox] = re.findall(
        r"""(?m)^ *sandbox(?:_image)? = ["'](.+)["']$""", installed("containerd", "config", "dump"))
    installed("ctr", "-n", "k8s.io", "images", "import",
              pause_archive(installed.archive, world.directory, sandbox))
    engine.image = engine.load(installed.archive, "k8s.io")
    pod = Pod(engine, world.name(), {}, "escra-reactive", pod_parent(world))
    made = Supervised(pod.container("web"), pod.cgroup("web"))
    made.supervisor()
    assert [state["policy"] for state in made.states()] == ["reactive"]
    pod.remove()
    installed("systemctl", "stop", "containerd")
    undo()


def test_cri_o_gets_a_drop_in(world, programs):
    """crio.conf and what is beside it stay; CRI-O is in no Debian."""
    path = world.path("etc/crio.conf")
    write(path, '[crio.runtime]\ndefault_runtime = "runc"\n')
    write(path + ".d/00-default.conf",
          '[crio.runtime.runtimes.runc]\nruntime_path = "/usr/sbin/runc"\n'
          'monitor_path = "/usr/bin/conmon"\nruntime_root = "/run/runc"\n')
    drop_in = path + ".d/10-escra.conf"
    arguments = ["crio", "--config", path, "--binary", programs]
    escra_setup(*arguments)
    found = tomllib.loads(read(drop_in))["crio"]["runtime"]["runtimes"]
    assert list(found) == NAMES and found["escra-strict"] == {
        "runtime_path": programs + ".strict", "runtime_type": "oci",
        "monitor_path": "/usr/bin/conmon", "runtime_root": "/run/runc"}
    assert "nothing was changed" in escra_setup(*arguments)
    escra_setup(*arguments, "--undo")
    assert sorted(os.listdir(path + ".d")) == ["00-default.conf"]
    write(drop_in, "# Mine.\n")
    assert "is not a file of escra setup" in escra_setup(*arguments, code=1)
    assert "nothing was changed" in escra_setup(*arguments, "--undo")


@pytest.mark.parametrize("arguments, engine, image", [
    ([], "containerd", "escra-runc:"),
    (["--nodes", "crio", "--image", "registry.example/escra:1"], "crio",
     "registry.example/escra:1")])
def test_manifests_for_kubernetes_are_valid(arguments, engine, image):
    """By the schemas of its API, without a field that they do not know."""
    found = subprocess.run(
        [os.path.join(REPOSITORY, "scripts/deps-kubernetes")], capture_output=True, text=True)
    if found.returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(found.stderr.strip())
    script = """
import json, sys, yaml, kubernetes_validate
documents = list(yaml.safe_load_all(sys.stdin))
for one in documents:
    kubernetes_validate.validate(one, sys.argv[1], strict=True)
print(json.dumps(documents))
"""

    def validated(text):
        for version in ("1.25", "1.37"):
            done = subprocess.run(
                ["/usr/bin/python3", "-c", script, version], input=text, capture_output=True,
                text=True, env={"PYTHONPATH": found.stdout.strip()})
            assert done.returncode == 0, done
        return json.loads(done.stdout)

    documents = validated(escra_setup("kubernetes", *arguments))
    assert [one["kind"] for one in documents] == ["RuntimeClass", "DaemonSet"] + ["Deployment"] * 3
    assert documents[0]["handler"] == "escra"
    [install] = documents[1]["spec"]["template"]["spec"]["initContainers"]
    assert install["image"].startswith(image)
    shell = install["command"][-1]
    assert f"escra setup {engine}" in shell and f"systemctl restart {engine}" in shell
    assert subprocess.run(["sh", "-n", "-c", shell]).returncode == 0
    policies = []
    for one in documents[2:]:
        pod = one["spec"]["template"]
        assert pod["spec"]["runtimeClassName"] == "escra"
        policies.append(pod["metadata"]["annotations"]["io.escra.policy"])
        assert one["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    assert policies == ["reactive", "reactive", "strict"]
    documents = validated(escra_setup(
        "kubernetes", "--cluster", *([] if image.startswith("escra") else ["--image", image])))
    kinds = {one["kind"]: one for one in documents}
    assert list(kinds) == [
        "CustomResourceDefinition", "ServiceAccount", "ClusterRole", "ClusterRoleBinding",
        "ConfigMap", "DaemonSet"]
    names = kinds["CustomResourceDefinition"]["spec"]["names"]
    assert kinds["CustomResourceDefinition"]["metadata"]["name"] == names["plural"] + ".escra.io"
    config = json.loads(kinds["ConfigMap"]["data"]["config.json"])["cluster"]
    assert config["engine"] == "kubernetes"
    [agent] = kinds["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    assert agent["image"].startswith(image)
    # Each command line is of its own target.
    assert "prints manifests" in escra_setup("kubernetes", "--undo", code=64)
    assert "escra setup kubernetes" in escra_setup("docker", "--image", "x", code=64)


@pytest.mark.parametrize("annotations, cpu", [
    ({"io.escra.policy": "reactive", "io.escra.cpu.max": "1"}, 50_000),
    ({"io.escra.policy": "reactive", "io.escra.app": "shop"}, 50_000),
    ({"io.escra.policy": "strict"}, 100_000)])
def test_the_annotations_of_the_manifests_are_taken(container, annotations, cpu):
    """They are in the text as they are here, and a container with them starts."""
    text = escra_setup("kubernetes")
    for key, value in annotations.items():
        assert re.search(rf'(?m)^ +{re.escape(key)}: "?{value}"?$', text)
    if annotations["io.escra.policy"] == "strict" and os.cpu_count() < 2:
        pytest.skip("one CPU is always shared")
    made = container(annotations, policy=annotations["io.escra.policy"], quota=cpu)
    made.started().supervisor()


def test_where_nothing_may_be_written_nothing_is(world, programs):
    """A program that is not there, a directory that is a file, a user who is not root."""
    path = world.path("etc/daemon.json")
    assert "install escra-runc there" in escra_setup(
        "docker", "--config", path, "--binary", "/nope", code=1)
    write(path, "{}")
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--clear-groups", ESCRA, "setup", "docker", "--config",
         path, "--binary", programs], capture_output=True, text=True)
    assert done.returncode == 1 and read(path) == "{}"
