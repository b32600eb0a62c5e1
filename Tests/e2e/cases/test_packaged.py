# SPDX-License-Identifier: Apache-2.0
"""Docker and containerd as their packages run them: the machine's own services, in its own /run.

Nothing of the suite's is around them, so this happens in an emulated machine only, which is thrown
away.
"""
import json
import os
import shlex
import shutil
import subprocess

import pytest

import cgroups
import compatibility
import driver
import images
from engines import Docker, RootlessPodman
from processes import PATIENCE, is_alive, wait_until
from world import ESCRA, ESCRA_RUNC, PATH, RUNC, Supervised

FLOOR, DECLARED = 5_000, 20_000
CONFIG, DROP_IN = "/etc/docker/daemon.json", "/run/systemd/system/docker.service.d"
SERVICES = ("docker.service", "docker.socket", "containerd.service")

pytestmark = pytest.mark.skipif(
    not os.path.exists("/usr/local/lib/escra-agent") or not driver.IS_SYSTEMD,
    reason="only an emulated machine's own services are the suite's to start, and by systemd")


def outside(*words, input=None, code=0):
    """Runs a command in the machine's own mount namespace; returns what it wrote."""
    done = subprocess.run(
        ["nsenter", "--target=1", "--mount", "--wd=/", *words], input=input or "",
        capture_output=True, text=True, timeout=30 * PATIENCE)
    assert code is None or done.returncode == code, done
    return done.stdout


def docker(*words):
    return outside(Docker.CLIENT, *words)


def systemctl(*words):
    return outside("systemctl", *words)


class Served(Supervised):
    """A container of the machine's own Docker."""

    def __init__(self, id):
        super().__init__(id, f"/system.slice/docker-{id}.scope")

    @property
    def seen(self):
        """What `escra ps` says of it."""
        told = json.loads(outside(ESCRA, "ps", "--json"))
        return next((one for one in told if one["id"] == self.id), None)

    @property
    def pid(self):
        return int(docker("inspect", "--format", "{{.State.Pid}}", self.id))

    def supervisor(self, seconds=6):
        return wait_until(
            lambda: (self.seen or {}).get("supervisorPid"), seconds, "somebody supervises it")


@pytest.fixture(params=["process", "mixed", "control-group"])
def served(request, world):
    """The packaged services with a container in them; `process` is how they are packaged."""
    config = {
        "runtimes": {"escra": {"path": ESCRA_RUNC}}, "live-restore": True,
        "bridge": "none", "iptables": False, "ip6tables": False, "ip-forward": False}
    outside("sh", "-c", f"mkdir -p /etc/docker; cat > {CONFIG}", input=json.dumps(config))
    os.makedirs(DROP_IN, exist_ok=True)
    with open(DROP_IN + "/e2e.conf", "w") as file:
        file.write(f"[Service]\nKillMode={request.param}\n")
    systemctl("daemon-reload")
    try:
        start()
        archive = images.busybox_archive(world.directory)
        outside("sh", "-c", f"{Docker.CLIENT} load --input {shlex.quote(archive)}")
        id = docker(
            "run", "--detach", "--runtime", "escra", "--annotation", "io.escra.policy=reactive",
            "--network", "none", "--cpus", "0.2", images.NAME, "sleep", "10000").strip()
        compatibility.ran(Docker.CLIENT, RUNC, "reactive")
        yield Served(id)
        docker("rm", "--force", id)
    finally:
        outside("systemctl", "stop", *SERVICES, code=None)
        os.unlink(DROP_IN + "/e2e.conf")
        os.rmdir(DROP_IN)
        outside("rm", "-rf", CONFIG, code=None)
        systemctl("daemon-reload")
    wait_until(lambda: not cgroups.exists("/escra.slice"), 4, "no supervisor and no keeper is left")
    assert outside("sh", "-c", "ls /run/escra/containers").split() == []


def start():
    systemctl("start", "docker.service")
    answers = f"{Docker.CLIENT} version >/dev/null 2>&1 && echo yes"
    wait_until(lambda: outside("sh", "-c", answers, code=None), 20, "Docker answers")


def test_a_supervised_container_lives_through_everything_that_happens_to_the_services(served):
    """Restarted and stopped with whatever KillMode= an operator chose; then an update goes on."""
    pid, supervisor = served.pid, served.supervisor()
    served.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")
    group = cgroups.membership(supervisor)[""]
    assert group == f"/escra.slice/escra-supervisor-{supervisor}.scope"
    systemctl("restart", "docker.service")
    systemctl("restart", "containerd.service")
    systemctl("stop", *SERVICES)
    assert is_alive(pid) and is_alive(supervisor) and served.quota == FLOOR
    start()
    assert (served.pid, served.supervisor()) == (pid, supervisor)
    docker("exec", "--detach", served.id, "sh", "-c", "while :; do :; done")
    served.wait_for_quota(lambda quota: quota == DECLARED, 4, "up when it works")
    docker("update", "--cpus", "0.4", served.id)
    served.wait_for_quota(lambda quota: quota == 40_000, 4, "up to the new limit")


USER = str(RootlessPodman.USER)
SESSION = {"XDG_RUNTIME_DIR": f"/run/user/{USER}",
           "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{USER}/bus"}


@pytest.fixture
def session(world):
    """Calls Podman in the session of a user who is not root: systemd delegates him cgroups."""
    outside("systemctl", "start", f"user@{USER}.service")
    directory = world.path("user")
    os.chmod(world.directory, 0o755)
    for name in ("", "/home", "/root", "/runroot", "/tmpdir"):
        os.mkdir(directory + name)
    program = shutil.copy(ESCRA_RUNC, directory + "/escra-runc")
    archive = shutil.copy(images.busybox_archive(world.directory), directory + "/image")
    with open(directory + "/containers.conf", "w") as file:
        file.write(f"""
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "systemd"
events_logger = "file"
[engine.runtimes]
runc = ["{RUNC}"]
escra-runc = ["{program}"]
""")
    outside("chown", "-R", f"{USER}:{USER}", directory)
    environment = {
        **SESSION, "PATH": PATH, "HOME": directory + "/home",
        "CONTAINERS_CONF": directory + "/containers.conf"}

    def podman(*words):
        return subprocess.run(
            ["nsenter", "--target=1", "--mount", "--wd=/", "setpriv", f"--reuid={USER}",
             f"--regid={USER}", "--clear-groups", "env", "--ignore-environment",
             *(f"{name}={value}" for name, value in environment.items()),
             "systemd-run", "--user", "--scope", "--quiet", "--property=Delegate=yes",
             RootlessPodman.CLIENT, "--root", directory + "/root",
             "--runroot", directory + "/runroot", "--tmpdir", directory + "/tmpdir", *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30 * PATIENCE)

    loaded = podman("load", "--quiet", "--input", archive)
    assert loaded.returncode == 0, loaded
    yield podman
    podman("system", "migrate")
    outside("systemctl", "stop", f"user@{USER}.service")


def test_in_a_users_own_session_a_container_has_its_limits_and_the_log_a_sentence(session):
    """Cgroups are delegated to him, so he has limits; nobody supervises, and that is said once."""
    words = ["run", "--rm", "--network", "none", "--cpus", "0.5", "--annotation",
             "io.escra.policy=reactive", RootlessPodman.image,
             "sh", "-c", "cat /sys/fs/cgroup/cpu.max; id -u; exit 7"]
    plain, told = (session("--runtime", one, *words) for one in ("runc", "escra-runc"))
    compatibility.ran(RootlessPodman.CLIENT, RUNC, "reactive")
    assert (plain.returncode, plain.stdout) == (7, "50000 100000\n0\n"), plain
    assert (told.returncode, told.stdout) == (plain.returncode, plain.stdout), told
    # Podman keeps to itself what a runtime says that succeeds; the operator finds it in the log.
    said = [line for line in outside("journalctl", "--identifier=escra", "--since=-2min",
                                     "--output=cat").splitlines() if "escra-runc: " in line]
    assert len(said) == 1 and "starts with its declared limits, unsupervised" in said[0], said
