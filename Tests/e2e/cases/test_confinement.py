# SPDX-License-Identifier: Apache-2.0
"""What an attacker reaches who runs code inside of a supervisor."""
import contextlib
import ctypes
import errno
import os
import socket
import stat
import struct
import subprocess

import pytest

import cgroups
from applications import room
from injection import IS_POSSIBLE, LIBC, Injected
from processes import RUN, keepers, kill, status, supervisors, wait_until

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="calls are injected on x86-64 only")

AT_FDCWD = -100
O_PATH = 0o10000000
UP = "../" * 12
DENIED = (-errno.EPERM, -errno.EACCES, -errno.ENOENT, -errno.EROFS, -errno.ENOTDIR)


def landlock():
    """The version of landlock; 0 where the kernel has none."""
    return max(0, LIBC.syscall(444, None, 0, 1))


@contextlib.contextmanager
def bystander():
    """A process of root, without capabilities, that is none of ours."""
    words = ["sleep", "1000"]
    if os.path.exists("/usr/bin/setpriv"):
        words = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", *words]
    process = subprocess.Popen(words)
    try:
        yield process
        assert process.poll() is None, "it lives"
    finally:
        process.kill()
        process.wait()


def directories(pid):
    """{number: (device, inode)} of the directories that a process has open."""
    found = {}
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            seen = os.stat(f"/proc/{pid}/fd/{number}")
            if stat.S_ISDIR(seen.st_mode):
                found[int(number)] = (seen.st_dev, seen.st_ino)
    return found


def identity(path):
    seen = os.stat(path)
    return seen.st_dev, seen.st_ino


def filters(pid):
    """How many seccomp filters a process has, those that it was started with among them."""
    return int(status(pid).get("Seccomp_filters", 0))


def confined(made, inherited=0):
    """The pid of a container's supervisor behind its last step.

    - inherited: how many filters it was started with beside those of this process
    """
    pid = made.supervisor(4)
    wait_until(lambda: filters(pid) > filters(os.getpid()) + inherited, 2, "the filter is there")
    return pid


def check_calls(pid, init):
    """System calls that no supervisor has, or not with these arguments."""
    with bystander() as other, Injected(pid) as inside:
        refused = {
            "execve": inside.execve(b"/proc/self/exe", 0, 0),
            "execveat": inside.execveat(AT_FDCWD, b"/", 0, 0, 0),
            "ptrace": inside.ptrace(16, other.pid, 0, 0),
            "fork": inside.fork(), "clone": inside.clone(17, 0, 0, 0, 0),
            "clone3": inside.clone3(0, 0), "unshare": inside.unshare(0),
            "setns": inside.setns(0, 0), "chroot": inside.chroot(b"."), "mount": inside.mount(0),
            "open_tree": inside.open_tree(AT_FDCWD, b"/", 1),
            "fchdir": inside.fchdir(3), "chmod": inside.chmod(b"/", 0o777),
            "fchmod": inside.fchmod(3, 0o777), "fchmodat": inside.fchmodat(3, b"..", 0o777),
            "link": inside.link(b"a", b"b"), "linkat": inside.linkat(3, b"state", 3, b"b", 0),
            "kill": inside.kill(other.pid, 9), "tgkill": inside.tgkill(other.pid, other.pid, 9),
            "setuid": inside.setuid(1), "sendmsg": inside.sendmsg(0, 0, 0),
            "bpf": inside.bpf(0, 0, 0), "openat2": inside.openat2(3, b"state", 0, 0),
            "pidfd_getfd": inside.pidfd_getfd(4, 0, 0),
            "process_vm_writev": inside.process_vm_writev(other.pid, 0, 0, 0, 0, 0),
            "mprotect": inside.mprotect(0, 4096, 7),
            "mmap for code": inside.mmap(0, 4096, 7, 0x22, -1, 0),
            "a descriptor of a path": inside.openat(3, b"..", O_PATH),
            "F_SETOWN": inside.fcntl(3, 8, other.pid), "F_SETOWN of root's": inside.fcntl(3, 8, 1),
            "F_SETLEASE": inside.fcntl(3, 1024, 0), "F_NOTIFY": inside.fcntl(3, 1026, 1),
            "FIOSETOWN": inside.ioctl(3, 0x8901, struct.pack("i", other.pid)),
            "SIOCSPGRP": inside.ioctl(3, 0x8902, struct.pack("i", other.pid)),
            "another ioctl": inside.ioctl(3, 0x5401, b" " * 64),
        }
        for family, kind in (
                (socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET6, socket.SOCK_DGRAM),
                (socket.AF_NETLINK, socket.SOCK_RAW), (socket.AF_PACKET, socket.SOCK_RAW),
                (socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_UNIX, socket.SOCK_DGRAM)):
            refused[f"socket {family.name} {kind.name}"] = inside.socket(family, kind, 0)
        handle = os.pidfd_open(other.pid)
        os.close(handle)
        assert {name: result for name, result in refused.items() if result != -errno.EPERM} == {}
    assert os.path.exists(f"/proc/{init}")


def check_signals(pid, init):
    """No signal leaves a reactive supervisor, not even by the pidfd of its container's init."""
    with bystander() as other, Injected(pid) as inside:
        for process in (1, other.pid, init):
            assert inside.pidfd_open(process, 0) == -errno.EPERM
        for number in os.listdir(f"/proc/{pid}/fd"):
            assert inside.pidfd_send_signal(int(number), 0, 0, 0) == -errno.EPERM


def opened(inside, victim):
    """Files outside of its reach that a supervisor can open, or make."""
    found = []
    places = [AT_FDCWD, *directories(inside.pid)]
    paths = {
        victim: os.O_RDWR, "/etc/cron.d/escra-e2e": os.O_CREAT | os.O_WRONLY,
        "/proc/sys/kernel/core_pattern": os.O_RDWR, "/etc/shadow": os.O_RDONLY,
        "/proc/1/comm": os.O_RDONLY, f"/proc/{os.getpid()}/root{victim}": os.O_RDWR,
        "/dev/null": os.O_RDWR, f"/proc/self/fd/3/{UP}{victim}": os.O_RDWR,
        "/run/escra": os.O_RDONLY | os.O_DIRECTORY,
        "/run/escra/keeper": os.O_RDONLY | os.O_DIRECTORY,
    }
    for state in _states():
        paths[state] = os.O_RDWR
    for place in places:
        for path, flags in paths.items():
            for name in (path, UP + path, "." + path):
                result = inside.openat(place, name.encode(), flags, 0o600)
                if result >= 0:
                    inside.close(result)
                    found.append((place, name))
                else:
                    assert result in DENIED, (place, name, result)
    return found


def _states():
    return [
        os.path.join(parent, "state")
        for parent, _, names in os.walk(RUN + "/containers") if "state" in names]


def check_files(pid, made, victim, has_landlock):
    """Descriptors are files; a directory is the container's own, or its application's."""
    [state] = made.states()
    own = identity(state["directory"])
    app = state.get("appName") and identity(room("confined"))
    assert set(directories(pid).values()) <= {own, app}
    assert identity(f"/proc/{pid}/root") == (app or own)
    assert os.readlink(f"/proc/{pid}/cwd") == os.readlink(f"/proc/{pid}/root")
    with Injected(pid) as inside:
        assert opened(inside, victim) == []
        # Neighbours of its own directory, and the way up to them.
        for path in ("..", "../..", f"../{os.path.basename(state['directory'])}/state"):
            number = inside.openat(3, path.encode(), os.O_RDONLY)
            if number >= 0:
                assert directories(pid)[number] == own, "where its root directory is its own"
                inside.close(number)
            else:
                assert number in DENIED
            assert inside.unlinkat(3, path.encode(), 0) in (*DENIED, -errno.EISDIR)
        if app:
            assert inside.renameat(3, b"state", 3, b"../state") in (*DENIED, -errno.EXDEV)
        # What it needs, and nothing for anybody else.
        number = inside.openat(3, b"state", os.O_RDONLY)
        assert number >= 0
        inside.close(number)
        assert inside.mknodat(3, b"x", 0o020666, 0x103) == -errno.EPERM, "a device"
        if app:
            # Without landlock the list of calls allows this, for the application's directory.
            made_one = inside.mknodat(3, b"x", 0o010600, 0)
            assert made_one == (-errno.EACCES if has_landlock else 0)
            inside.unlinkat(3, b"x", 0)
    assert not os.path.exists("/etc/cron.d/escra-e2e")
    with open(victim) as file:
        assert file.read() == "mine\n"


def check_sockets(pid, made, has_landlock):
    """A member reaches its application's socket, and none of another supervisor or the keeper."""
    with Injected(pid) as inside:
        def connect(path):
            number = inside.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | 0o2004000, 0)
            if number < 0:
                return number
            address = struct.pack("H", socket.AF_UNIX) + path.encode()
            result = inside.connect(number, address, len(address))
            inside.close(number)
            return result

        if not made.states()[0].get("appName"):
            assert connect("/socket") == -errno.EPERM, "it has no socket at all"
            return
        assert connect("/socket") == 0
        for path in ("/run/escra/keeper/socket", UP + "keeper/socket", "/keeper/socket",
                     UP + "run/escra/keeper/socket"):
            assert connect(path) in DENIED, path
        if has_landlock and landlock() >= 6:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as abstract:
                abstract.bind("\0escra-e2e")
                abstract.listen()
                assert connect("\0escra-e2e") == -errno.EPERM


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "victim"
    path.write_text("mine\n")
    path.chmod(0o600)
    return str(path)


KINDS = {
    "alone": {"io.escra.cpu.max": "1"},
    "member": {"io.escra.app": "confined", "io.escra.app.cpu": "1"},
    "memory": {"io.escra.memory.max": "512Mi"},
}


def without_landlock():
    """For this process and all that it starts, as on Linux 5.12: ENOSYS for landlock."""
    program = struct.pack(
        "HBBI" * 4, 0x20, 0, 0, 0, 0x15, 0, 1, 444, 6, 0, 0, 0x50000 | errno.ENOSYS,
        6, 0, 0, 0x7FFF0000)
    instructions = ctypes.create_string_buffer(program)
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(instructions)))
    assert LIBC.prctl(22, 2, header, 0, 0) == 0


@pytest.mark.parametrize(
    ("kind", "has_landlock"), [
        pytest.param(kind, has, id=f"{kind}, {'' if has else 'no '}landlock",
                     marks=[pytest.mark.v2] if kind == "member" and has else [])
        for kind in KINDS for has in (True, False)])
def test_code_in_a_supervisor_reaches_nothing_but_its_container(
        container, victim, kind, has_landlock):
    """Also in one that a keeper has started, and in one of a second keeper."""
    if has_landlock and not landlock():
        pytest.skip("the kernel has no landlock")
    options = {} if has_landlock else {"preexec_fn": without_landlock}
    made, other = (container(KINDS[kind]) for _ in range(2))
    for each in made, other:
        if kind == "memory":
            each.bundle.give_memory(64 << 20)
        each.started(**options).supervisor()

    def check():
        pid = confined(made, 0 if has_landlock else 1)
        check_files(pid, made, victim, has_landlock)
        check_calls(pid, made.pid)
        check_signals(pid, made.pid)
        check_sockets(pid, made, has_landlock)
        return pid

    def replace(pid):
        kill(pid)
        wait_until(lambda: supervisors(made.id) not in ([], [pid]), 4, "a successor")

    first = check()
    wait_until(keepers, 2, "a keeper")
    replace(first)
    second = check()
    [keeper] = keepers()
    kill(keeper)
    wait_until(lambda: keepers() != [keeper], 2, "the keeper is gone")

    def another():
        # Until all of the dead one's files are closed, it counts as alive.
        made.call("state", **options)
        return keepers() not in ([], [keeper])

    wait_until(another, 4, "another keeper")
    replace(second)
    check()
    assert made.supervisor() and other.supervisor(), "both are still supervised"


@pytest.mark.skipif(not cgroups.has_cpuset(), reason="strict needs cpusets")
def test_code_in_a_strict_supervisor_writes_cpusets_and_our_state_alone(container, victim):
    """The page says what it keeps: reading, cpusets, our state, signals."""
    if not landlock():
        pytest.skip("without landlock only the list of system calls holds")
    made = container(policy="strict", quota=100_000, period=100_000).started()

    def check():
        pid = confined(made)
        check_calls(pid, made.pid)
        with Injected(pid) as inside:
            for path, flags in (
                    (victim, os.O_RDWR), ("/etc/cron.d/escra-e2e", os.O_CREAT | os.O_WRONLY),
                    ("/proc/sys/kernel/core_pattern", os.O_RDWR), ("/dev/null", os.O_RDWR)):
                assert inside.openat(AT_FDCWD, path.encode(), flags, 0o600) == -errno.EACCES, path
            assert inside.unlinkat(AT_FDCWD, victim.encode(), 0) == -errno.EACCES
        assert not os.path.exists("/etc/cron.d/escra-e2e")
        return pid

    first = check()
    kill(first)
    wait_until(lambda: supervisors(made.id) not in ([], [first]), 4, "a successor")
    check()


@pytest.fixture
def syslog():
    """What is said to syslog, where no daemon listens to it."""
    if os.path.exists("/dev/log"):
        pytest.skip("a daemon listens to syslog")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("/dev/log")
        listener.setblocking(False)
        said = []

        def messages():
            with contextlib.suppress(BlockingIOError):
                while True:
                    said.append(listener.recv(4096).decode())
            return said

        try:
            yield messages
        finally:
            os.unlink("/dev/log")


def test_a_supervisor_that_cannot_change_its_root_directory_ends(container, syslog):
    """It does not work on with the file system in reach; the container gets what it declared."""
    made = container({"io.escra.cpu.max": "1"})
    # PR_CAPBSET_DROP of CAP_SYS_CHROOT; runc pivots instead.
    assert made.create(preexec_fn=lambda: LIBC.prctl(24, 18, 0, 0, 0)).wait(20) == 0
    wait_until(
        lambda: any("cannot make the root directory" in each for each in syslog()), 4,
        lambda: f"a sentence in {syslog()}")
    wait_until(
        lambda: not supervisors(made.id) and any("unsupervised" in each for each in made.states()),
        8, "it is given up")
    assert made.quota == 20_000
    made.call("delete", "--force")
