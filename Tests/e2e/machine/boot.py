# SPDX-License-Identifier: Apache-2.0
"""An emulated machine that runs: QEMU without KVM, and the connection to our agent in it."""
import contextlib
import ctypes
import glob
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

import image

QEMU = "qemu-system-x86_64"
PR_SET_PDEATHSIG = 1


class MachineError(Exception):
    """The machine, not what ran in it, is to blame."""


def require_qemu():
    """7.2 loses int3 while another CPU patches the kernel's code, which then panics."""
    try:
        text = subprocess.run([QEMU, "--version"], capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise MachineError(f"{QEMU} is missing; run: make e2e-v2") from None
    if int(text.split("version ")[1].split(".")[0]) < 10:
        raise MachineError(f"QEMU 10 or later is needed, this is {text.split()[3]}; "
                           "run: make e2e-v2")


def stage(target):
    """The second disk: the repository as it is now, and what was built of it."""
    directory = target + ".tree"
    tracked = subprocess.run(
        ["git", "-C", image.REPOSITORY, "ls-files", "-z", "-co", "--exclude-standard"],
        capture_output=True, check=True).stdout.split(b"\0")
    names = [name for name in tracked if name and os.path.isfile(
        os.path.join(os.fsencode(image.REPOSITORY), name))]
    built = [b".build/release/" + name
             for name in (b"escra-runc", b"escra", b"hammer", b"shrink-race")]
    for name in built:
        if not os.path.exists(os.path.join(os.fsencode(image.REPOSITORY), name)):
            raise MachineError(f"{name.decode()} is missing; run: make tools")
    # Programs of the benchmarks and for language runtimes, if they have been built.
    for helpers in (".build/release/helpers", ".build/runtimes"):
        if os.path.isdir(os.path.join(image.REPOSITORY, helpers)):
            names += [os.fsencode(os.path.join(helpers, name))
                      for name in os.listdir(os.path.join(image.REPOSITORY, helpers))]
    os.makedirs(directory)
    archive = subprocess.run(
        ["tar", "-C", image.REPOSITORY, "--null", "-T", "-", "-ch"],
        input=b"\0".join(names + built), capture_output=True, check=True).stdout
    subprocess.run(["tar", "-C", directory, "--no-same-owner", "-x"], input=archive, check=True)
    image.make_disk(directory, target, f"{len(archive) // 2**20 + 128}M")
    subprocess.run(["rm", "-rf", directory], check=True)
    return archive


class Machine:
    """One machine with a directory of its own; disks are thrown away when it ends."""

    def __init__(self, shape, directory):
        self.shape, self.directory = shape, directory
        self.socket = os.path.join(directory, "agent")
        self.console = os.path.join(directory, "console")
        self.monitor = os.path.join(directory, "monitor")
        self.process = None

    def start(self, detached=False):
        require_qemu()
        built = self.shape.directory
        second = os.path.join(self.directory, "second")
        stage(second)
        disk = "if=virtio,format=raw,cache=unsafe,snapshot=on,file="
        command = [
            QEMU, "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-m", "2048",
            *(self.shape.topology or ("-smp", str(self.shape.cpus))),
            "-kernel", os.path.join(built, "vmlinuz"),
            "-initrd", os.path.join(built, "initrd.img"),
            "-append", "root=/dev/vda rw console=ttyS0 psi=1 panic=-1 quiet "
            "systemd.show_status=false rd.udev.log_level=err mitigations=off",
            "-drive", disk + os.path.join(built, "disk"), "-drive", disk + second,
            "-device", "virtio-serial-pci", "-chardev",
            f"socket,id=agent,path={self.socket},server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=escra",
            "-nic", "none", "-no-reboot", "-display", "none",
            "-monitor", f"unix:{self.monitor},server=on,wait=off",
            "-serial", f"file:{self.console}"]
        libc = ctypes.CDLL(None)
        # Unless it is to stay it ends with us, however we end.
        dying = None if detached else lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with open(os.path.join(self.directory, "qemu"), "w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=dying)
        return self

    def wait_for_boot(self, seconds=180):
        """Waits until the agent answers."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process and self.process.poll() is not None:
                raise MachineError(f"QEMU ended: {self.said('qemu')}{self.said('console')}")
            try:
                with Connection(self.socket) as connection:
                    if connection.is_ready(2):
                        return self
            except OSError:
                pass
            time.sleep(0.2)
        raise MachineError(f"no answer after {seconds} s; the console: {self.said('console')}")

    def said(self, name):
        try:
            with open(os.path.join(self.directory, name), errors="replace") as file:
                return file.read()[-4000:]
        except FileNotFoundError:
            return ""

    def stop(self):
        """Nothing on its disks is worth an orderly end."""
        if self.process:
            self.process.kill()
            self.process.wait()


def monitors():
    """Where the monitors of all machines are, whoever booted them and wherever their images are."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            words = os.fsdecode(file.read()).split("\0")
            if words[0] == QEMU and "virtserialport,chardev=agent,name=escra" in words:
                place = words[words.index("-monitor") + 1]
                found.append(place.removeprefix("unix:").split(",")[0])
    return found


def order(monitor, command):
    """Has QEMU's monitor do something, and waits until it is done."""
    prompt = b"(qemu) "
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(monitor)
        for line in (b"", command.encode() + b"\n"):
            connection.sendall(line)
            said = b""
            while not said.endswith(prompt):
                piece = connection.recv(4096)
                if not piece:
                    raise MachineError("the machine has gone")
                said += piece


class Connection:
    """The host's end of what agent.py speaks."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def is_ready(self, seconds):
        self._write(b"H")
        return bool(select.select([self.socket], [], [], seconds)[0]) and self._read()[0] == b"H"

    def run(self, command, directory="/repository", input=None, write=None, timeout=600):
        """Runs a command and returns its exit code.

        - input: a descriptor to read its standard input from
        - write: is given what it writes, as that comes
        """
        write = write or print_bytes
        deadline = time.monotonic() + timeout
        self._write(b"R", json.dumps({"command": command, "directory": directory}).encode())
        sources = [self.socket] if input is None else [self.socket, input]
        if input is None:
            self._write(b"E")
        while True:
            ready = select.select(sources, [], [], max(0, deadline - time.monotonic()))[0]
            if not ready:
                raise MachineError(f"{' '.join(command)}: not done after {timeout} s")
            if input in ready:
                data = os.read(input, 32768)
                self._write(b"I" if data else b"E", data)
                if not data:
                    sources.remove(input)
            if self.socket in ready:
                kind, data = self._read()
                if kind == b"O":
                    write(data)
                elif kind == b"S":
                    status = json.loads(data)["status"]
                    return status if status >= 0 else 128 - status

    def _write(self, kind, data=b""):
        self.socket.sendall(struct.pack(">cI", kind, len(data)) + data)

    def _read(self):
        kind, length = struct.unpack(">cI", self._exactly(5))
        return kind, self._exactly(length)

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise MachineError("the machine has gone")
            data += piece
        return data


def print_bytes(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
