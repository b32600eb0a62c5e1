# SPDX-License-Identifier: Apache-2.0
"""A private place to measure in: compiled helpers, bundles, containers; all gone at the end."""
import ctypes
import glob
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib

from .container import Container, Failure, processes

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOP = os.path.dirname(HERE)
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x00020000, 0x4000, 1 << 18


def private_machine():
    """Gives this process and its children a /run of their own, and copies of /etc and /var.

    The keeper is one a host and known by its directory in /run: a container of somebody else's must
    not lend us its keeper, nor ours to it. Engines write into all three whatever they are told.
    Goes away with the last process in the namespace.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source, target, kind, flags=0, data=None):
        if libc.mount(source, target, kind, ctypes.c_ulong(flags), data) != 0:
            raise Failure(f"cannot mount a private {target.decode()}: "
                          f"errno {ctypes.get_errno()}; run as root outside of a container")

    if libc.unshare(CLONE_NEWNS) != 0:
        raise Failure(f"cannot make a mount namespace: errno {ctypes.get_errno()}; run as root")
    mount(None, b"/", None, MS_REC | MS_PRIVATE)
    mount(b"tmpfs", b"/run", b"tmpfs")
    os.mkdir("/run/escra", mode=0o700)
    for directory in ("/etc", "/var"):
        above = f"/run/bench{directory}"
        for name in ("upper", "work"):
            os.makedirs(os.path.join(above, name))
        mount(b"overlay", directory.encode(), b"overlay", data=(
            f"lowerdir={directory},upperdir={above}/upper,workdir={above}/work".encode()))


class Workshop:
    """The directory, helpers and containers of one run; a context manager that leaves nothing."""

    def __init__(self, escra, runc, progress=True):
        self.escra, self.runc = os.path.abspath(escra), runc
        self.original = self.escra
        self.prefix = f"escra-bench-{os.getpid()}"
        self.containers, self.helpers = [], []
        self.progress, self.told = progress, 0
        # What has been found so far is written down by whoever runs the benchmarks.
        self.publish = lambda result: None
        self.count = 0
        if os.geteuid() != 0:
            raise Failure("starting containers needs root; run: sudo make bench")
        for program, hint in ((self.escra, "make build"), (runc, "make deps")):
            if not program or not os.access(program, os.X_OK):
                raise Failure(f"cannot run {program or 'runc'}; run: {hint}")
        busybox = shutil.which("busybox")
        if not busybox:
            raise Failure("cannot find busybox; run: make deps")
        self.busybox = busybox

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(1))
        private_machine()
        self.path = tempfile.mkdtemp(prefix="escra-bench-")
        self.root = os.path.join(self.path, "root")
        try:
            self._install()
            self._make_helpers()
            self._make_rootfs()
            # Pages that were never written back count as private to whoever maps them.
            os.sync()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for helper in self.helpers:
            helper.kill()
            helper.wait()
        for container in list(self.containers):
            container.stop()
        self._sweep()
        deadline = time.monotonic() + 5
        while self.ours() and time.monotonic() < deadline:
            time.sleep(0.05)
        if self.ours():
            print(f"warning: still there five seconds after the last container: {self.ours()}",
                  file=sys.stderr)
        shutil.rmtree(self.path, ignore_errors=True)
        self.say(None)

    def _sweep(self):
        """Deletes what spawnbench was in the middle of when it was ended."""
        for path in glob.glob(os.path.join(self.root, "*")):
            subprocess.call([self.runc, "--root", self.root, "delete", "--force",
                             os.path.basename(path)],
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)

    def ours(self):
        """Names of our processes that live."""
        supervisors = processes(self.escra, "escra-supervisor")
        return [id for id in supervisors if id.startswith(self.prefix)]

    def _install(self):
        """Measures a copy, as `make install` makes one.

        The linker leaves its output in the page cache in single pages, where a copied file has
        large folios that one fault maps at once: what was just linked starts 0.2 ms later.
        """
        copy = os.path.join(self.path, "escra-runc")
        shutil.copy(self.escra, copy)
        self.escra = copy

    def _make_helpers(self):
        for source in glob.glob(os.path.join(HERE, "helpers", "*.c")):
            name = os.path.basename(source)[:-2]
            output = os.path.join(self.path, name)
            # Where there is no compiler they come with what is measured: scripts/bench-memory-v2.
            built = os.path.join(os.path.dirname(self.original), "helpers", name)
            if not shutil.which("gcc") and os.path.exists(built):
                shutil.copy(built, output)
                continue
            command = ["gcc", "-O2", "-static", "-Wall", "-Wextra", "-o", output, source]
            if subprocess.call(command) != 0:
                raise Failure(f"cannot compile {os.path.basename(source)}; run: make deps")

    def helper(self, name):
        return os.path.join(self.path, name)

    def start_helper(self, name, *arguments, output=subprocess.PIPE, passed=()):
        """A helper whose standard output is read; ended with the workshop at the latest.

        output: a file for it, of a helper that says more than a pipe holds.
        passed: descriptors that it gets.
        """
        helper = subprocess.Popen(
            [self.helper(name), *map(str, arguments)], stdin=subprocess.DEVNULL,
            stdout=output, text=True, bufsize=1, pass_fds=passed)
        self.helpers.append(helper)
        return helper

    def _make_rootfs(self):
        self.rootfs = os.path.join(self.path, "rootfs")
        for name in ("bin", "proc", "dev", "sys", "tmp", "shared"):
            os.makedirs(os.path.join(self.rootfs, name))
        shutil.copy(self.busybox, os.path.join(self.rootfs, "bin/busybox"))
        programs = (
            "player", "wake", "batch", "spin", "burst", "switches", "requests", "grow", "saw",
            "cache", "swing", "function")
        for name in programs:
            shutil.copy(self.helper(name), os.path.join(self.rootfs, "bin"))
        for applet in ("true", "sleep", "sh"):
            os.symlink("busybox", os.path.join(self.rootfs, "bin", applet))

    def bundle(self, name, arguments, annotations=None, cpu=None, shared=None, shares=None,
               period=100000):
        """A bundle with `runc spec`'s config.

        cpu: quota in cores, None for no limit. shared: a directory to be seen as /shared.
        shares: the weight, as cgroup v1 counts it. period: of the quota, in microseconds.
        """
        bundle = os.path.join(self.path, "bundle-" + name)
        os.makedirs(bundle)
        subprocess.run([self.runc, "spec", "--bundle", bundle], check=True)
        path = os.path.join(bundle, "config.json")
        with open(path) as file:
            config = json.load(file)
        config["process"].update(terminal=False, args=arguments)
        config["root"] = {"path": self.rootfs, "readonly": True}
        if annotations:
            config["annotations"] = annotations
        limits = {}
        if cpu is not None:
            limits.update(quota=int(cpu * period), period=period)
        if shares is not None:
            limits["shares"] = shares
        if limits:
            config["linux"]["resources"]["cpu"] = limits
        if shared:
            config["mounts"].append({
                "destination": "/shared", "type": "bind", "source": shared,
                "options": ["bind", "rw"]})
        with open(path, "w") as file:
            json.dump(config, file, indent=1)
        return bundle

    def container(self, name, arguments, annotations=None, cpu=None, shared=None, shares=None,
                  operator=None, period=100000):
        """A container that was not started yet; under escra-runc if it has annotations.

        operator: the operator's config, where it is not the default one.
        """
        self.count += 1
        name = f"{self.count}-{name}"
        bundle = self.bundle(name, arguments, annotations, cpu, shared, shares, period)
        path = os.path.join(bundle, "config.json")
        with open(path) as file:
            config = json.load(file)
        config["linux"]["cgroupsPath"] = f"/{self.prefix}-{name}"
        with open(path, "w") as file:
            json.dump(config, file, indent=1)
        options = ["--escra-config", self.operator_config(operator)] if operator else []
        return Container(self, self.escra if annotations else self.runc, name, bundle, options)

    def operator_config(self, operator):
        """A file with it; equal ones share it."""
        text = json.dumps(operator, sort_keys=True)
        path = os.path.join(self.path, f"operator-{zlib.crc32(text.encode()):08x}.json")
        with open(path, "w") as file:
            file.write(text)
        return path

    def player(self, name, schedule, annotations=None, cpu=None, operator=None,
               quietly=False):
        """A container that waits for its start, then plays a schedule.

        schedule: triples of arrival, CPU time and least wall time, in nanoseconds.
        quietly: it looks at its CPU clock as seldom as ordinary programs do.
        """
        container = self.waiting(
            name, ["player", "quietly"] if quietly else ["player"], annotations, cpu,
            operator=operator)
        with open(os.path.join(container.shared, "schedule"), "wb") as file:
            for request in schedule:
                file.write(struct.pack("=3q", *request))
        with open(os.path.join(container.shared, "times"), "wb") as file:
            file.write(bytes(16 * len(schedule)))
        return container

    def waiting(self, name, arguments, annotations=None, cpu=None, shares=None, operator=None):
        """A container with one of our programs that wait for their start.

        arguments: the helper's name and what follows the directory.
        """
        shared = os.path.join(self.path, f"shared-{self.count + 1}-{name}")
        os.makedirs(shared)
        for fifo in ("go", "done"):
            os.mkfifo(os.path.join(shared, fifo))
        program, *rest = arguments
        container = self.container(
            name, [f"/bin/{program}", "/shared", *map(str, rest)], annotations, cpu, shared,
            shares, operator)
        container.shared = shared
        return container

    def go(self, container, start):
        """Tells a program that waits when its time begins, on CLOCK_MONOTONIC in nanoseconds."""
        deadline = time.monotonic() + 5
        while True:
            try:
                pipe = os.open(os.path.join(container.shared, "go"), os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError as error:
                # ENXIO: it has not opened its end yet.
                if time.monotonic() > deadline:
                    raise Failure(f"the program in {container.id} does not listen") from error
                time.sleep(0.01)
        os.write(pipe, struct.pack("=q", start))
        os.close(pipe)

    def answer(self, container, seconds):
        """The 64-bit numbers that a program leaves when it has done its work."""
        path = os.path.join(container.shared, "answer")
        deadline = time.monotonic() + seconds
        while not os.path.exists(path):
            if time.monotonic() > deadline:
                raise Failure(f"the program in {container.id} did not answer in {seconds:.0f} s; "
                              "the machine is too busy")
            time.sleep(0.02)
        with open(path, "rb") as file:
            return [number for number, in struct.iter_unpack("=q", file.read())]

    def times(self, container):
        """Pairs of begun and done so far, in nanoseconds; zeros for what is still to come."""
        with open(os.path.join(container.shared, "times"), "rb") as file:
            return list(struct.iter_unpack("=2q", file.read()))

    def say(self, text):
        """Progress: one line that replaces itself on a terminal; None wipes it."""
        if not self.progress:
            return
        terminal = sys.stderr.isatty()
        if text is None:
            if terminal:
                sys.stderr.write("\r\x1b[K")
        else:
            sys.stderr.write(f"\r\x1b[K{text}" if terminal else f"  {text}\n")
        sys.stderr.flush()

    def tell(self, text):
        """Progress of many small steps: on a terminal all of them, else one in 15 seconds."""
        if sys.stderr.isatty() or time.monotonic() - self.told > 15:
            self.told = time.monotonic()
            self.say(text)

    def sleep(self, seconds, text):
        """Waits, and says for how long still."""
        end = time.monotonic() + seconds
        last = None
        while (left := end - time.monotonic()) > 0:
            if sys.stderr.isatty() or last is None or last - left > 15:
                self.say(f"{text}: {left:.0f} s to go")
                last = left
            time.sleep(min(left, 1))

    def alternate(self, peer, ours, pairs, warmup, gap, expected, text, after=None):
        """Times two command lines in turns.

        gap: seconds slept before each run. expected: the exit status that both must have.
        after: clears up what one has left, untimed.
        Returns pairs of nanoseconds.
        """
        helper = self.start_helper(
            "spawnbench", pairs, warmup, int(gap * 1e6), "--", *peer, "--", *ours,
            *(["--", *after] if after else []))
        result = []
        for line in helper.stdout:
            peer_time, peer_status, our_time, our_status = map(int, line.split())
            for who, status in (("runc", peer_status), ("escra-runc", our_status)):
                if os.waitstatus_to_exitcode(status) != expected:
                    helper.kill()
                    raise Failure(f"{text}: {who} ended with wait status {status}, "
                                  f"expected exit code {expected}")
            result.append((peer_time, our_time))
            if len(result) % 10 == 0 and sys.stderr.isatty():
                self.say(f"{text}: pair {len(result)} of {pairs}")
        helper.wait()
        self.helpers.remove(helper)
        if len(result) != pairs:
            raise Failure(f"{text}: spawnbench ended early; its message is above")
        return result
