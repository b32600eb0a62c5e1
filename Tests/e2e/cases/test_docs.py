# SPDX-License-Identifier: Apache-2.0
"""The pages about engines: the commands in them are commands that ran."""
import os
import re
import shutil
import signal
import subprocess
import tomllib

import pytest

import cgroups
import kernel
import pages
from containerd import Containerd
from driver import DRIVER, Parent
from engines import version
from images import busybox_archive
from pods import Pod, pause_archive, pod_parent
from processes import PATIENCE, in_our_world, kill, wait_until
from world import ESCRA, PATH, Supervised

# The page's `systemctl`, which does to a daemon of ours what the service manager does to Docker's
# and containerd's: start it, stop it and wait, or tell it that its config has changed.
SYSTEMCTL = """#!/bin/sh
pid=/run/page-$2.pid
case $1 in
start)
  "$PAGE_DIRECTORY/$2.daemon" >>"$PAGE_DIRECTORY/$2.log" 2>&1 </dev/null &
  echo $! >$pid
  for _ in $(seq 300); do
    case $2 in
    docker) docker version ;;
    containerd) ctr version ;;
    esac >/dev/null 2>&1 && exit
    sleep 0.1
  done
  tail "$PAGE_DIRECTORY/$2.log"
  exit 1
  ;;
stop) kill "$(cat $pid)" && while kill -0 "$(cat $pid)" 2>/dev/null; do sleep 0.05; done ;;
restart) "$0" stop "$2" && "$0" start "$2" ;;
reload) kill -HUP "$(cat $pid)" && sleep 1 ;;
*) exit 1 ;;
esac
"""
# A bridge would be one of the machine's; so would be the group that Docker puts containers in.
PARENT = Parent("page")
DAEMONS = {
    "docker": f"dockerd --bridge none --iptables=false --cgroup-parent {PARENT.word} "
              f"--exec-opt native.cgroupdriver={DRIVER}",
    "containerd": "containerd",
}
# In the pages those sections need what not every machine has.
STRICT = "Exclusive CPUs"
NEEDS = [] if "cpuset" in cgroups.HIERARCHIES and os.cpu_count() > 1 else [STRICT]
ANNOTATIONS = "By annotations"
# What the suite runs is built already.
INSTALL = ["/usr/bin/make", "--assume-old=build", "-C", pages.REPOSITORY, "install"]
CONFIG = "/etc/containerd/config.toml"
# The CRI plugin's table of runtimes, by the config's version.
RUNTIMES = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}
# Where ctr's containers are, by its default.
DEFAULT = "/default"
# Where Podman's are, by its default.
LIBPOD = "/machine.slice" if DRIVER == "systemd" else "/libpod_parent"


class Machine:
    """A machine for a page to happen on: an engine, and places that commands may write to."""

    def __init__(self, world):
        self.world = world
        self.before = set(in_our_world())
        self.mounts = []
        self.had_default = cgroups.exists(DEFAULT)
        # An engine's images cannot lie in an overlay, which the suite's /var is.
        for directory in ("/var/lib/docker", "/var/lib/containerd", "/var/lib/containers"):
            os.makedirs(directory, exist_ok=True)
            kernel.mount("tmpfs", directory, "tmpfs")
            self.mounts.append(directory)
        for directory in ("/etc", "/usr/local"):
            kernel.overlay(directory, f"/run/page{directory}")
            self.mounts.append(directory)
        self._write("systemctl", SYSTEMCTL)
        if not shutil.which("swift"):
            # Nothing is built where there is no compiler: what is to be installed lies there.
            self._write("make", '#!/bin/sh\nexec /usr/bin/make --assume-old=build "$@"\n')
        if not shutil.which("strip"):
            # Of the binutils, which come with a compiler.
            self._write("strip", "#!/bin/sh\n")
        for name, command in DAEMONS.items():
            self._write(name + ".daemon", f"#!/bin/sh\nexec {command}\n")
        self.environment = {
            "PATH": f"{world.directory}:{PATH}:{os.environ['PATH']}",
            "HOME": os.environ.get("HOME", "/root"), "PAGE_DIRECTORY": world.directory}
        self.archive = busybox_archive(world.directory)

    def _write(self, name, text):
        path = self.world.path(name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o755)

    def __call__(self, *command):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60 * PATIENCE, env=self.environment)
        assert done.returncode == 0, done
        return done.stdout

    def close(self):
        def left():
            return set(in_our_world()) - self.before

        try:
            wait_until(lambda: not left(), 5)
        except AssertionError:
            kill(*left(), signal=signal.SIGKILL)
            wait_until(lambda: not left(), 5, "what a page has started is gone")
        if not self.had_default:
            cgroups.remove(DEFAULT)
        for directory in reversed(self.mounts):
            kernel.unmount(directory)
        shutil.rmtree("/run/page")


@pytest.fixture
def machine(world):
    made = Machine(world)
    yield made
    made.close()


def test_the_page_about_installing_is_what_happens_from_source(machine):
    """Its other sections happen in a fresh Debian: test_package.py."""
    name = "install.md"
    pages.execute(name, machine.environment, set(pages.sections(name)) - {"From source"})


@pytest.fixture
def docker(machine, world):
    """A Docker that nobody has configured, with the images of the pages."""
    if not shutil.which("dockerd", path=PATH):
        pytest.fail("dockerd is missing; run: make deps")
    world.groups.append(PARENT.path)
    if os.path.exists("/etc/docker/daemon.json"):
        os.unlink("/etc/docker/daemon.json")
    machine("systemctl", "start", "docker")
    machine("docker", "load", "--input", machine.archive)
    machine("docker", "tag", "escra-e2e/busybox", "busybox")
    yield machine
    machine("systemctl", "stop", "docker")
    PARENT.close()


def test_the_docker_page_is_what_happens(docker):
    """From `make install` to `make uninstall`."""
    without = NEEDS + ([] if version(shutil.which("dockerd", path=PATH)) >= (24, 0) else [
        ANNOTATIONS])
    pages.execute("docker.md", docker.environment, without)


def test_the_first_screen_of_the_readme_is_what_happens(docker):
    """With an image that is called as the one there, and does nothing."""
    docker(*INSTALL)
    made = docker("docker", "create", "busybox").strip()
    docker("docker", "commit", "--change", 'CMD ["sleep", "1000"]', made, "nginx")
    docker("docker", "rm", made)
    pages.execute("../README.md", docker.environment)
    docker("docker", "rm", "--force", "web")


# Networks, journals and more open files are not everywhere.
PODMAN = f"""
[containers]
netns = "none"
log_driver = "k8s-file"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "{DRIVER}"
events_logger = "file"
infra_image = "localhost/pause:latest"
"""
# What a pod's first container runs, which no registry is asked for.
PAUSE = "#!/bin/sh\ntrap exit TERM\nsleep 1000 &\nwait\n"


@pytest.fixture
def podman(machine, world):
    """Podman with its usual files, and the image of the pages."""
    if not shutil.which("podman", path=PATH):
        pytest.fail("podman is missing; run: make deps")
    os.makedirs("/etc/containers", exist_ok=True)
    with open("/etc/containers/containers.conf", "w") as file:
        file.write(PODMAN)
    machine("podman", "load", "--quiet", "--input", machine.archive)
    machine("podman", "tag", "localhost/escra-e2e/busybox", "localhost/busybox")
    machine("podman", "run", "--name", "pause", "busybox", "sh", "-c",
            f"printf {PAUSE!r} >/pause; chmod +x /pause")
    machine("podman", "commit", "--quiet", "--change", 'ENTRYPOINT ["/pause"]', "pause",
            "localhost/pause")
    machine("podman", "rm", "pause")
    had_group = cgroups.exists(LIBPOD)
    yield machine
    machine("podman", "rm", "--all", "--force", "--time", "0")
    if not had_group:
        cgroups.remove(LIBPOD)


def test_the_podman_page_is_what_happens(podman, world):
    """From `make install` to the last command of the uninstallation."""
    with open(world.path("shop.yaml"), "w") as file:
        file.write("\n".join(next(pages.blocks("podman.md", "yaml"))[2]) + "\n")
    name, first = "podman.md", "Installing"
    pages.execute(name, podman.environment, set(pages.sections(name)) - {first})
    pages.execute(name, podman.environment, {first}, directory=world.directory)


@pytest.mark.parametrize("name", ["tools.md", "release-and-adopt.md"])
def test_the_pages_about_the_tool_are_what_happens(podman, name):
    """On a machine where the runtime is installed and Podman knows it."""
    podman(*INSTALL)
    podman("escra", "setup", "podman")
    pages.execute(name, podman.environment)


@pytest.mark.parametrize(
    "name", ["crio.md", "kubernetes.md", "configuration.md", "troubleshooting.md"])
def test_pages_that_need_no_engine_are_what_happens(machine, world, name):
    """On a machine where the runtime is installed."""
    machine(*INSTALL)
    pages.execute(name, machine.environment, directory=world.directory)


def test_each_command_of_the_tool_in_a_page_is_one():
    """Also where it is not executed: the subcommand and its options."""
    found, known = set(), {}
    for name in sorted(os.listdir(pages.REPOSITORY + "/docs")) + ["../README.md"]:
        if name.endswith(".md"):
            with open(os.path.join(pages.REPOSITORY, "docs", name)) as file:
                text = file.read()
            found |= {(name, command) for command in re.findall(
                r"(?:^    |^[#$] |`)(escra [a-z][^`\n#|;&>]*)", text, re.MULTILINE)}
    assert len(found) > 50
    for name, command in sorted(found):
        words = command.split()[1:]
        nested = {"app": ["list", "show", "set"], "history": ["show", "forget", "export"]}
        verb = words[:2] if words[1:2] and words[1] in nested.get(words[0], []) else words[:1]
        if tuple(verb) not in known:
            # What history does without a verb is to show.
            known[tuple(verb)] = "".join(subprocess.run(
                [ESCRA, "help", *one], capture_output=True, text=True).stdout
                for one in ([verb, ["history", "show"]] if verb == ["history"] else [verb]))
        told = known[tuple(verb)]
        assert f"escra {' '.join(verb)}" in told, (name, command)
        for option in re.findall(r"(?<= )--[a-z-]+", command):
            assert option in told, (name, command, option)


def test_the_containerd_page_is_what_happens(machine):
    """From `make install` to `make uninstall`; the config is as before then.

    It is the one that most guides have written. The pod below has the distribution's.
    """
    before = machine("containerd", "config", "default")
    with open(CONFIG, "w") as config:
        config.write(before)
    machine("systemctl", "start", "containerd")
    machine("ctr", "images", "import", machine.archive)
    pages.execute("containerd.md", machine.environment, NEEDS)
    machine("systemctl", "stop", "containerd")
    with open(CONFIG) as config:
        assert config.read() == before


def test_the_pod_of_the_kubernetes_page_gets_its_policies(machine, world):
    """The page's handler and the page's annotations, asked for as a kubelet does it."""
    [(_, _, yaml)] = pages.blocks("kubernetes.md", "yaml")
    text = "\n".join(yaml)
    [handler] = re.findall(r"^handler: (\S+)$", text, re.MULTILINE)
    annotations = dict(re.findall(r'^ +(io\.escra\.\S+): "(.*)"$', text, re.MULTILINE))
    [name] = re.findall(r"^    - name: (\S+)$", text, re.MULTILINE)
    install = [step for step in pages.steps("containerd.md")
               if "make install" in step.command[0]
               or step.section == "For Kubernetes" and "escra setup" in step.command[0]]
    for step in install:
        machine("bash", "-c", "cd %s\n%s" % (pages.REPOSITORY, "\n".join(step.command)))
    # Root may lack CAP_SYS_RESOURCE, without which no sandbox is protected from the OOM killer.
    with open(CONFIG) as file:
        text = file.read()
    cri = RUNTIMES[tomllib.loads(text)["version"]]
    table = rf"""^ *\[plugins\.["']{re.escape(cri)}["']\]$"""
    if not re.search(table, text, re.MULTILINE):
        text += f'[plugins."{cri}"]\n'
    with open(CONFIG, "w") as file:
        file.write(re.sub(
            table, lambda found: found[0] + "\nrestrict_oom_score_adj = true", text,
            flags=re.MULTILINE))
    machine("systemctl", "start", "containerd")
    engine = Containerd(world.directory, socket="/run/containerd/containerd.sock")
    # Its name in a config of version 2, and in one of version 3.
    [sandbox] = re.findall(
        r"""^ *sandbox(?:_image)? = ["'](.+)["']$""", machine("containerd", "config", "dump"),
        re.MULTILINE)
    machine("ctr", "-n", "k8s.io", "images", "import",
            pause_archive(machine.archive, world.directory, sandbox))
    engine.image = engine.load(machine.archive, "k8s.io")
    pod = Pod(engine, world.name(), annotations, handler, pod_parent(world))
    for container, policy in ((name, "reactive"), ("other", "observe")):
        one = pod.container(container)
        found = Supervised(one, pod.cgroup(one))
        found.supervisor()
        assert [state["policy"] for state in found.states()] == [policy]
        label = f"{pod.name}/{container} ({one[:12]})"
        assert machine("escra", "explain", f"{pod.name}/{container}").startswith(label)
    pod.remove()
    machine("systemctl", "stop", "containerd")


def test_the_page_lists_the_environment_variables_that_are_read():
    """All that Sources ask for by name, and no other."""
    read = set()
    for parent, _, names in os.walk(os.path.join(pages.REPOSITORY, "Sources")):
        for name in names:
            if name.endswith((".swift", ".c", ".h")) and "skel" not in name:
                with open(os.path.join(parent, name)) as file:
                    text = file.read()
                calls = re.findall(r"\b(?:secure_)?getenv\b.*", text)
                assert all(call.startswith('getenv("') for call in calls), (name, calls)
                read |= set(re.findall(r'\bgetenv\("(\w+)"\)', text))
    with open(os.path.join(pages.REPOSITORY, "docs/configuration.md")) as file:
        section = file.read().split("## Environment variables\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == read


@pytest.mark.parametrize("expected, output, does", [
    (["hello"], "hello", True), (["hello"], "hello\nmore", False), ([], "", True),
    ([], "more", False), (["..."], "", True), (["...", "last"], "one\ntwo\nlast", True),
    (["...", "last"], "one\nlast\ntwo", False), (["a  b"], "a      b ", True),
    (["a b"], "ab", False), (["id ... 0.50"], "id 12 34 0.50", True),
    (["id ... 0.50"], "id 12 0.05", False), (["a.c"], "abc", False)])
def test_a_page_that_says_something_else_is_found(expected, output, does):
    """The comparison itself, on which the other tests rest."""
    assert pages.matches(expected, output) == does
