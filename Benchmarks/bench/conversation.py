# SPDX-License-Identifier: Apache-2.0
"""Asking a program in a container, which answers with numbers, as often as one likes."""
import os
import select
import struct
import time

from .container import Failure


class Conversation:
    """With a program that reads bytes from the FIFO `go` and answers each by the FIFO `done`."""

    def __init__(self, container, count):
        """count: 64-bit numbers in an answer."""
        self.container, self.format = container, f"={count}q"
        deadline = time.monotonic() + 5
        while True:
            try:
                self.go = os.open(self._path("go"), os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError as error:
                # ENXIO: it has not opened its end yet.
                if time.monotonic() > deadline:
                    raise Failure(f"the program in {container.id} does not listen") from error
                time.sleep(0.01)
        self.done = os.open(self._path("done"), os.O_RDONLY | os.O_NONBLOCK)

    def _path(self, fifo):
        return os.path.join(self.container.shared, fifo)

    def ask(self, byte, seconds=10):
        """When it was asked, on CLOCK_MONOTONIC in nanoseconds, and the answer."""
        moment = time.monotonic_ns()
        os.write(self.go, byte)
        if not select.select([self.done], [], [], seconds)[0]:
            raise Failure(f"the program in {self.container.id} did not answer in {seconds} s; "
                          "the machine is too busy")
        return moment, struct.unpack(self.format, os.read(self.done, struct.calcsize(self.format)))

    def close(self):
        os.close(self.go)
        os.close(self.done)
