#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the emulated machine does for its host: runs a command, and says how that ended.

Speaks over a virtio serial port: every frame is a kind, a length and so many bytes.

From the host   H                                          are you ready?
                R {"command": [...], "directory": "..."}   run it
                I bytes                                    its standard input
                E                                          the end of that
To the host     H                                          yes
                O bytes                                    what it wrote to either stream
                S {"status": 0}                            how it ended: the exit code, or -signal
"""
import json
import os
import selectors
import signal
import struct
import subprocess
import time

PORT = "/dev/virtio-ports/escra"


class Port:
    """The frames of both directions."""

    def __init__(self, path):
        self.descriptor = os.open(path, os.O_RDWR)

    def read(self):
        """The next frame; nothing while no host listens."""
        kind, length = struct.unpack(">cI", self._exactly(5))
        return kind, self._exactly(length)

    def write(self, kind, data=b""):
        rest = struct.pack(">cI", kind, len(data)) + data
        while rest:
            rest = rest[os.write(self.descriptor, rest):]

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            piece = os.read(self.descriptor, count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data


def run(port, request):
    """Runs one command to its end, and to the end of everything in its session."""
    process = subprocess.Popen(
        request["command"], cwd=request["directory"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(port.descriptor, selectors.EVENT_READ)
            selector.register(process.stdout, selectors.EVENT_READ)
            # What a daemon of its own holds open is not waited for.
            ended = os.pidfd_open(process.pid)
            selector.register(ended, selectors.EVENT_READ)
            while process.poll() is None:
                for key, _ in selector.select():
                    if key.fileobj is process.stdout:
                        data = os.read(process.stdout.fileno(), 65536)
                        if data:
                            port.write(b"O", data)
                        else:
                            selector.unregister(process.stdout)
                    elif key.fileobj == port.descriptor:
                        feed(port.read(), process)
            os.close(ended)
        os.set_blocking(process.stdout.fileno(), False)
        while data := process.stdout.read(65536):
            port.write(b"O", data)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        status = process.wait()
    port.write(b"S", json.dumps({"status": status}).encode())


def feed(frame, process):
    kind, data = frame
    try:
        if kind == b"I":
            process.stdin.write(data)
            process.stdin.flush()
        elif kind == b"E":
            process.stdin.close()
    except (BrokenPipeError, ValueError):
        # It does not read, which is its business.
        pass


def main():
    port = Port(PORT)
    while True:
        try:
            kind, data = port.read()
            if kind == b"H":
                port.write(b"H")
            elif kind == b"R":
                run(port, json.loads(data))
        except EOFError:
            # No host, or no longer; whoever comes next begins anew. There is no waiting for him.
            time.sleep(0.1)


if __name__ == "__main__":
    main()
