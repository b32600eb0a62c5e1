# SPDX-License-Identifier: Apache-2.0
"""A container in a scope of systemd's, which writes that scope's limits again when it likes."""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time

import pytest

import cgroups
import driver
import engines
import images
import kernel
from processes import PATIENCE, is_alive, keepers, kill, ours, supervisors, wait_until
from world import PREFIX, Sampler, Supervised, escra_tool

FLOOR = 5_000
DECLARED = 20_000
DRIFT, NEWS = 8, 9  # As in the record.
# No dash: a dash makes a slice below another one.
SLICE = f"e2e{os.getpid()}.slice"

pytestmark = pytest.mark.skipif(
    not os.path.isdir("/run/systemd/system") or cgroups.VERSION == 1,
    reason="no systemd with cgroup v2 runs here")


def systemctl(*arguments):
    done = subprocess.run(
        ["systemctl", *arguments], capture_output=True, text=True, timeout=30 * PATIENCE)
    assert done.returncode == 0, done
    return done.stdout


def start_a_unit():
    """Any unit of the container's slice."""
    driver.start_a_unit(SLICE)


def apply_again():
    """Makes systemd write what every scope of the slice has."""
    driver.apply_again(SLICE)


def units():
    """What systemd knows of ours; the machine's agent is none."""
    listed = systemctl(
        "list-units", "--all", "--plain", "--no-legend", "escra-supervisor*", "escra-keeper*",
        "escra.slice")
    return [line.split()[0] for line in listed.splitlines()]


@pytest.fixture(autouse=True)
def nothing_left(world):
    """Behind the sweeping up of each test systemd has no unit of ours any more."""
    yield
    assert world.sweep() == []
    wait_until(lambda: not units(), 2, "no unit of ours is left")
    systemctl("stop", SLICE)


@pytest.fixture
def scoped(container, escra):
    """Makes containers that runc asks systemd for."""

    def make(annotations=None, **options):
        made = container(annotations, runtime=escra.using("--systemd-cgroup"), **options)
        made.bundle.config["linux"]["cgroupsPath"] = f"{SLICE}:escra:{made.id}"
        made.bundle.write()
        made.scope = f"escra-{made.id}.scope"
        made.cgroup = f"/{SLICE}/{made.scope}"
        return made

    return make


def idle(made):
    made.started().supervisor(4)
    made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")
    return made


def base(made):
    [state] = made.states()
    quota = state.get("declaredQuota")
    return (quota and int(quota)), int(state["declaredPeriod"])


def rules(made):
    return [entry.rule for entry in made.record()]


def drifts(made):
    return rules(made).count(DRIFT)


def is_written_over(made, write, quota=FLOOR):
    """Whatever systemd writes, the declared limit holds, and ours soon; nothing is news."""
    news, declared = rules(made).count(NEWS), base(made)[0] or float("inf")
    with Sampler(made) as sampler:
        write()
        made.wait_for_quota(lambda found: found == quota, 1, "ours again")
    assert max(sampler.quotas) <= declared
    assert rules(made).count(NEWS) == news


def test_a_reload_alone_changes_nothing(scoped):
    """systemd reads its units; it writes nothing."""
    made = idle(scoped())
    watch = kernel.Watch(cgroups.quota_file(made.cgroup))
    systemctl("daemon-reload")
    time.sleep(1)
    assert watch.writes() == 0
    watch.close()
    assert drifts(made) == 0


each_group_count = pytest.mark.parametrize("visible", ["declared", "current"])


@pytest.mark.v2
@each_group_count
def test_what_a_reload_and_the_start_of_another_unit_write_is_drift(scoped, visible):
    """All scopes of a slice are applied again; ours is back within a second, time and again."""
    made = idle(scoped({"io.escra.visible": visible}))
    for _ in range(2):
        is_written_over(made, apply_again)
    assert base(made) == (DECLARED, 100_000)


def test_a_systemd_that_is_executed_again_takes_nothing_away(scoped):
    """It writes everything at once or with the next unit; our scopes live through it."""
    made = idle(scoped())
    pid = made.supervisor()
    wait_for_a_scope(pid, "supervisor")
    wait_until(keepers, 2, "the keeper lives")
    for _ in range(2):
        is_written_over(made, lambda: (systemctl("daemon-reexec"), start_a_unit()))
    assert base(made) == (DECLARED, 100_000)
    assert made.supervisor() == pid and is_alive(keepers()[0])
    wait_for_a_scope(pid, "supervisor")
    wait_for_a_scope(keepers()[0], "keeper")


def test_setting_another_property_of_the_scope_is_drift(scoped):
    """Its weight: systemd writes its quota, too."""
    made = idle(scoped())
    is_written_over(
        made, lambda: systemctl("set-property", "--runtime", made.scope, "CPUWeight=200"))
    assert base(made) == (DECLARED, 100_000)
    assert cgroups.read(made.cgroup, "cpu.weight") == "200"


@pytest.mark.v2
@each_group_count
def test_what_an_operator_sets_by_systemctl_is_the_new_base(scoped, visible):
    """Up, and back to what it was at first; what a reload writes then is drift again."""
    made = idle(scoped({"io.escra.visible": visible}))
    for percent in (70, 20):
        systemctl("set-property", "--runtime", made.scope, f"CPUQuota={percent}%")
        wait_until(lambda: base(made) == (percent * 1000, 100_000), 1, "the base")
        made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")
        is_written_over(made, apply_again)
        assert base(made) == (percent * 1000, 100_000)


def test_no_quota_any_more_is_a_base_too(scoped):
    """CPUQuota= without a value: all that the machine has."""
    made = idle(scoped())
    systemctl("set-property", "--runtime", made.scope, "CPUQuota=")
    wait_until(lambda: base(made) == (None, 100_000), 1, "the base")
    made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")
    is_written_over(made, apply_again)


def test_an_update_is_the_new_base_in_one_group(scoped):
    made = idle(scoped({"io.escra.cpu.max": "300m", "io.escra.visible": "current"}))
    made.call("update", "--cpu-quota", "25000")
    wait_until(lambda: base(made) == (25_000, 100_000), 1, "the base")
    made.wait_for_quota(lambda found: found == FLOOR, 4, "down to the floor")
    is_written_over(made, apply_again)
    assert base(made) == (25_000, 100_000)


@pytest.mark.parametrize("through", ["escra", "plain"])
@pytest.mark.parametrize("quota", [30_000, 12_345])
def test_an_update_is_the_new_base(scoped, plain, through, quota):
    """Through us or past us; systemd has it in whole percents, and those are no news."""
    made = idle(scoped())
    period = []
    if through == "plain":
        made.runtime = plain.using("--systemd-cgroup")
        # Without a period crun 1.21 does not tell systemd, and the old quota comes back for good.
        period = ["--cpu-period", "100000"]
    made.call("update", "--cpu-quota", str(quota), *period)
    wait_until(lambda: base(made) == (quota, 100_000), 1, "the base")
    made.wait_for_quota(lambda found: found == FLOOR, 4, "down to the floor")
    is_written_over(made, apply_again)
    assert base(made) == (quota, 100_000)


def test_a_first_limit_that_was_not_declared_is_no_news_when_it_comes_back(scoped):
    """systemd knows what the runtime told it at create, and that was within the bounds."""
    made = scoped({"io.escra.cpu.max": "300m"}, quota=150_000)
    idle(made)
    is_written_over(made, apply_again)
    assert base(made) == (150_000, 100_000)


def test_another_period_comes_back_as_systemd_counts(scoped):
    """It has no quota below 1 ms, and makes the period longer instead."""
    made = scoped(quota=25_300, period=50_000).started()
    made.supervisor(4)
    made.wait_for_quota(lambda quota: quota == 2_500, 4, "down to the floor")
    is_written_over(made, apply_again, quota=2_500)
    assert base(made) == (25_300, 50_000)
    assert cgroups.limit(made.cgroup) == (2_500, 50_000)


@pytest.mark.v2
def test_explain_names_who_wrote(scoped, plain):
    """fanotify says it: systemd what it had, runc what it was told past us."""
    made = idle(scoped())
    is_written_over(made, apply_again)
    assert "systemd had written an old value over it" in escra_tool("explain", made.id)
    made.runtime = plain.using("--systemd-cgroup")
    made.call("update", "--cpu-quota", "30000")
    wait_until(lambda: base(made) == (30_000, 100_000), 1, "the base")
    assert "the declared limit was changed" in escra_tool("explain", made.id)


def test_the_next_supervisor_knows_drift_from_news(scoped):
    """What the runtime was told is written down with the base."""
    made = idle(scoped({"io.escra.cpu.max": "300m"}, quota=150_000))
    pid = made.supervisor()
    wait_until(keepers, 2, "the keeper lives")
    kill(pid)
    wait_until(lambda: supervisors(made.id) not in ([], [pid]), 2, "another one")
    made.supervisor(4)
    made.wait_for_quota(lambda quota: quota == FLOOR, 4, "at the floor")
    is_written_over(made, apply_again)
    assert base(made) == (150_000, 100_000)


def group(pid):
    return cgroups.membership(pid)[""]


def wait_for_a_scope(pid, role):
    wait_until(
        lambda: group(pid) == f"/escra.slice/escra-{role}-{pid}.scope", 2,
        f"a scope of the {role}'s own")


@pytest.mark.v2
def test_supervisor_and_keeper_have_scopes_of_their_own(scoped):
    """In a slice of ours, which ends with them; whoever looks at it sees what they are for."""
    made = scoped().started()
    pid = made.supervisor(4)
    wait_for_a_scope(pid, "supervisor")
    wait_until(keepers, 2, "the keeper lives")
    wait_for_a_scope(keepers()[0], "keeper")
    assert sorted(units()) == [
        f"escra-keeper-{keepers()[0]}.scope", f"escra-supervisor-{pid}.scope", "escra.slice"]
    shown = systemctl("show", "-P", "Description", f"escra-supervisor-{pid}.scope")
    assert shown.strip() == f"escra-supervisor {made.id}"
    # Of two containers one ends: the slice stays.
    other = scoped().started()
    other.supervisor(4)
    made.call("delete", "--force")
    wait_until(lambda: not is_alive(pid), 2, "its supervisor has left")
    wait_until(lambda: f"escra-supervisor-{pid}.scope" not in units(), 2, "the scope, too")
    assert "escra.slice" in units()


def test_a_supervisor_that_was_killed_is_back_in_a_scope(scoped):
    made = idle(scoped())
    pid = made.supervisor()
    wait_until(keepers, 2, "the keeper lives")
    kill(pid)
    wait_until(lambda: supervisors(made.id) not in ([], [pid]), 2, "another one")
    wait_for_a_scope(made.supervisor(4), "supervisor")


# Containerd's shims and conmon are such: whatever loses its parent becomes their child, and they
# may have something else to do when it ends.
SUBREAPER = """
import ctypes, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
subprocess.run(sys.argv[1:])
print("done", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def busy_systemd():
    """A process 1 that has no time for anybody."""
    # Its group is the only one that it does not freeze itself.
    path = "/sys/fs/cgroup/init.scope/cgroup.freeze"
    try:
        with open(path, "w") as file:
            file.write("1")
        yield
    finally:
        with open(path, "w") as file:
            file.write("0")


@pytest.mark.v2
def test_who_has_nothing_to_do_does_not_end_before_it_is_in_its_scope(escra, bundle, world):
    """The runtime fails at once, and with it go supervisor and keeper.

    systemd moves what has ended and was not reaped without noticing, never hears that the group is
    empty, and would have the scope until it reads all units again.
    """
    program, config = world.path("no-runtime"), world.path("config.json")
    shutil.copy("/bin/false", program)
    with open(config, "w") as file:
        json.dump({"runtimes": [program]}, file)
    runtime = escra.using("--escra-config", config)
    with busy_systemd():
        reapers = []
        for _ in range(4):
            made = bundle({"io.escra.policy": "reactive"}, 20_000)
            command = runtime.command("create", "--bundle", made.path, world.name())
            reapers.append(world.spawn(subprocess.Popen(
                [sys.executable, "-c", SUBREAPER, *command], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE)))
        for reaper in reapers:
            assert reaper.stdout.readline() == b"done\n"
    wait_until(lambda: not ours(), 2, "all have left")
    wait_until(lambda: not units(), 2, "and so have their scopes")
    for reaper in reapers:
        reaper.communicate()


def work(world, made):
    """Work in a container whose stdin is nobody's."""
    return world.spawn(made.runtime.start("exec", made.id, "sh", "-c", "while :; do :; done"))


@pytest.fixture
def service():
    """Runs a script in a service of systemd's that goes on until it is stopped."""
    started = []

    def start(script, *properties):
        unit = f"{PREFIX}{len(started)}.service"
        started.append(unit)
        # Not in the mount namespace of process 1 but in the suite's.
        subprocess.run(
            ["systemd-run", "--quiet", "--collect", f"--unit={unit}",
             *(f"--property={property}" for property in properties),
             "nsenter", f"--mount=/proc/{os.getpid()}/ns/mnt", "sh", "-c", script],
            check=True, stdin=subprocess.DEVNULL, timeout=30 * PATIENCE)
        return unit

    yield start
    for unit in started:
        subprocess.run(["systemctl", "stop", unit], capture_output=True)


@pytest.mark.v2
@pytest.mark.parametrize("mode", ["control-group", "mixed"])
def test_the_end_of_the_unit_that_called_the_runtime_is_not_the_supervisors(
        scoped, service, world, mode):
    """As when an engine's service is stopped: the container has a scope, and so have we."""
    made = scoped(args=["sleep", "10000"])
    command = " ".join(made.runtime.command(
        "create", "--bundle", made.bundle.path, "--pid-file", made.pid_file, made.id))
    unit = service(f"{command}; exec sleep 1000", f"KillMode={mode}")
    pid = made.supervisor(6)
    wait_for_a_scope(pid, "supervisor")
    wait_until(keepers, 2, "the keeper lives")
    [keeper] = keepers()
    wait_for_a_scope(keeper, "keeper")
    systemctl("stop", unit)
    assert is_alive(pid) and is_alive(keeper)
    made.call("start")
    made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")
    work(world, made)
    made.wait_for_quota(lambda quota: quota == DECLARED, 4, "up when it works")
    assert made.supervisor() == pid


@pytest.fixture
def docker(world, service):
    """Docker with the systemd driver; its daemons are services, which are stopped as those are."""
    if not os.path.exists("/usr/sbin/dockerd"):
        pytest.skip("there is no Docker here")
    made = engines.Docker(world.directory)

    def start(live_restore):
        with open(made.dockerd.path) as file:
            config = json.load(file)
        config.update({
            "exec-opts": ["native.cgroupdriver=systemd"], "cgroup-parent": SLICE,
            "live-restore": live_restore})
        with open(made.dockerd.path, "w") as file:
            json.dump(config, file)
        # As packaged: containerd's shims outlive it, and so may whatever else it has started.
        if not made.units:
            made.units.append(service(daemon(made.containerd), "KillMode=process"))
        made.units[1:] = [service(daemon(made.dockerd), "KillMode=mixed")]
        wait_until(lambda: made.cli("version").code == 0, 20, "dockerd answers")
        return made

    def daemon(one):
        return f"exec {' '.join(one.command)} >>{one.path}.log 2>&1"

    made.units, made.start = [], start
    yield made
    ids = made.cli("ps", "--all", "--quiet").out.split()
    if ids:
        made.cli("rm", "--force", *ids)
    for unit in reversed(made.units):
        systemctl("stop", unit)
    storage = os.path.join(made.directory, made.STORAGE)
    # Mounted on itself, which os.path.ismount does not see.
    while storage in kernel.mount_points():
        kernel.unmount(storage)


def run_in(docker):
    docker.load(images.busybox_archive(docker.directory))
    id = docker.cli(
        "run", "--detach", "--runtime", "escra-reactive", "--network", "none", "--cpus", "0.2",
        docker.image, "sleep", "10000").out.strip()
    assert id
    made = Supervised(id, f"/{SLICE}/docker-{id}.scope")
    made.supervisor(6)
    made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")
    return made


@pytest.mark.v2
def test_supervision_outlives_the_services_of_the_engine_with_live_restore(docker, world):
    """Docker's service is stopped and started again, and containerd's, too; nothing moves."""
    made = run_in(docker.start(live_restore=True))
    pid = made.supervisor()
    wait_for_a_scope(pid, "supervisor")
    systemctl("stop", docker.units[1])
    systemctl("stop", docker.units.pop(0))
    docker.units.clear()
    assert is_alive(pid) and made.quota == FLOOR
    docker.start(live_restore=True)
    assert made.supervisor() == pid and made.quota == FLOOR
    world.spawn(docker.cli.start("exec", made.id, "sh", "-c", "while :; do :; done"))
    made.wait_for_quota(lambda quota: quota == DECLARED, 4, "up when it works")
    # What Docker writes on an update is the base, and what it writes beside that is drift.
    assert docker.cli("update", "--cpus", "0.4", made.id).code == 0
    wait_until(lambda: base(made) == (40_000, 100_000), 1, "the base")
    made.wait_for_quota(lambda quota: quota == 40_000, 4, "up to the new limit")


@pytest.mark.parametrize("flags", [
    ["--cpu-shares", "512"], ["--memory", "256m", "--memory-swap", "256m"], ["--pids-limit", "99"]])
def test_what_docker_updates_beside_the_limit_is_drift(docker, flags):
    """Whatever is updated, systemd writes all that the scope has."""
    made = run_in(docker.start(live_restore=False))
    was = base(made)

    def update():
        assert docker.cli("update", *flags, made.id).code == 0

    is_written_over(made, update)
    assert base(made) == was


def test_without_live_restore_nothing_of_ours_outlives_the_engines_service(docker):
    """Docker ends its containers, and with them go their supervisors."""
    made = run_in(docker.start(live_restore=False))
    pid = made.supervisor()
    systemctl("stop", docker.units[1])
    wait_until(lambda: not is_alive(pid) and not made.states(), 4, "its supervisor has left")
    docker.start(live_restore=False)
    assert docker.cli("start", made.id).code == 0
    assert made.supervisor(6) != pid
    made.wait_for_quota(lambda quota: quota == FLOOR, 4, "down to the floor")
