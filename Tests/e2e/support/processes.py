# SPDX-License-Identifier: Apache-2.0
"""Processes of ours, and waiting for things to happen."""
import contextlib
import fcntl
import os
import select
import signal
import time

RUN = "/run/escra"


def _patience():
    with open("/proc/cpuinfo") as file:
        return 10 if "QEMU TCG" in file.read() else 1


# By how much this machine is slower: deadlines are for what hangs, not for what takes long.
PATIENCE = _patience()
# And a machine that others use, too, may stand still for a while.
_LENIENCE = 3 if PATIENCE == 1 else 1
# How many containers start at once: each supervisor has a second to be ready, and those of twenty
# are too much for two emulated CPUs.
MANY = 20 if PATIENCE == 1 else 4


def wait_until(condition, seconds, what=None):
    """Waits for a condition and returns what it returned; fails when it never holds.

    - seconds: how long it takes at most on a machine of our own
    - what: for what it waited, or a function that says so in the end
    """
    seconds *= PATIENCE * _LENIENCE
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            what = what() if callable(what) else what or condition.__doc__
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.005)


def status(pid):
    """The fields of /proc/PID/status; {} for a process that is gone, which a zombie is."""
    try:
        with open(f"/proc/{pid}/status") as file:
            fields = dict(line.rstrip("\n").split(":", 1) for line in file)
    except (FileNotFoundError, ProcessLookupError):
        return {}
    fields = {name: value.strip() for name, value in fields.items()}
    return {} if fields["State"][0] in "ZX" else fields


def is_alive(pid):
    return bool(status(pid))


def switches(pid):
    """Context switches of a process so far: how often it woke up."""
    return sum(int(status(pid)[kind + "voluntary_ctxt_switches"]) for kind in ("", "non"))


def is_at_rest(pid, seconds=0.5):
    """Whether a process sleeps for so long."""
    before = switches(pid)
    time.sleep(seconds)
    return switches(pid) == before


def arguments(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _is_in_our_world(pid):
    # The suite has a mount namespace of its own, and so has everything that it starts.
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    except OSError:
        return False


def in_our_world():
    """Everything that runs in the suite's mount namespace, whoever started it."""
    return sorted(
        int(entry) for entry in os.listdir("/proc")
        if entry.isdigit() and is_alive(entry) and _is_in_our_world(entry))


def ours(name=None):
    """Supervisors and keepers that this suite started, or all of one name: {pid: arguments}."""
    found = {}
    names = ("escra-supervisor", "escra-keeper") if name is None else (name,)
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            words = arguments(entry)
            if words and words[0] in names and is_alive(entry):
                if _is_in_our_world(entry):
                    found[int(entry)] = words
    return found


def keepers():
    return sorted(ours("escra-keeper"))


def supervisors(container=None):
    """Pids of supervisors, of one container or of all."""
    return sorted(
        pid for pid, words in ours("escra-supervisor").items()
        if container is None or words[1] == container)


def kill(*pids, signal=signal.SIGKILL):
    for pid in pids:
        try:
            os.kill(pid, signal)
        except ProcessLookupError:
            pass


def kill_at_once(*pids):
    """Ends processes so that none of them acts on the end of another."""
    kill(*pids, signal=signal.SIGSTOP)
    kill(*pids)


def files_of_ours():
    """Everything under /run/escra that is no directory, and directories that may not stay."""
    found = []
    for parent, directories, names in os.walk(RUN):
        found += [os.path.join(parent, name) for name in names]
        allowed = ("apps", "cpus", "containers", "bpf", "groups")
        found += [
            os.path.join(parent, name) for name in directories
            if parent != RUN or name not in allowed]
    return found


@contextlib.contextmanager
def locked(directory):
    """Holds the flock(2) by which processes of ours keep each other out."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class MachineLock:
    """Keeps a test that changes the whole machine apart from those of another suite on it."""

    _path = "/tmp/escra-e2e.lock"
    _kept = None

    @classmethod
    def taken(cls, is_alone):
        """A test's lock. Of tests in a row that are alone, the next takes over the one before's.

        Otherwise a test of another suite would run between any two of them, and neither beside it.
        """
        if not is_alone:
            cls.release()
        lock, cls._kept = cls._kept or cls(), None
        if is_alone:
            lock.be_alone()
        return lock

    def keep(self):
        """Leaves the lock to the next test."""
        MachineLock._kept = self

    @classmethod
    def release(cls):
        """Closes what no test took over."""
        if cls._kept:
            cls._kept.close()
            cls._kept = None

    def __init__(self):
        self._files = [os.open(self._path + name, os.O_RDWR | os.O_CREAT) for name in ("", ".next")]
        self._is_exclusive = False
        self._take(fcntl.LOCK_SH)

    def _take(self, kind):
        lock, turn = self._files
        # A test that waits to be alone is not overtaken.
        fcntl.flock(turn, fcntl.LOCK_EX)
        fcntl.flock(lock, kind)
        fcntl.flock(turn, fcntl.LOCK_UN)

    def be_alone(self):
        """Waits until no other test runs, for the rest of this one."""
        if not self._is_exclusive:
            self._is_exclusive = True
            # Two that hold it together would wait for each other.
            fcntl.flock(self._files[0], fcntl.LOCK_UN)
            self._take(fcntl.LOCK_EX)

    def close(self):
        for file in self._files:
            os.close(file)


def read_to_the_end(descriptor, seconds):
    """All of a pipe or a terminal; fails when somebody holds its other end for longer."""
    data, deadline = b"", time.monotonic() + seconds * PATIENCE
    while select.select([descriptor], [], [], max(0, deadline - time.monotonic()))[0]:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:
            # A terminal's way to say it (EIO).
            chunk = b""
        if not chunk:
            os.close(descriptor)
            return data
        data += chunk
    raise AssertionError(f"no end of file within {seconds} s")


def descriptors(pid):
    """{number: target} of the open descriptors of a process."""
    found = {}
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(number)] = os.readlink(f"/proc/{pid}/fd/{number}")
        except FileNotFoundError:
            pass
    return found
