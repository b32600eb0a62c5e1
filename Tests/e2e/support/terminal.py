# SPDX-License-Identifier: Apache-2.0
"""A client on a terminal: what a person sees and types."""
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

from processes import PATIENCE, read_to_the_end


class Terminal:
    """A process whose controlling terminal is a pseudo-terminal of ours."""

    def __init__(self, command, env, rows=24, columns=80):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(
            command, env={"TERM": "xterm", **env}, preexec_fn=lambda: os.login_tty(slave))
        os.close(slave)
        self.text = ""

    def resize(self, rows, columns):
        """The kernel tells the process by SIGWINCH."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize_until(self, rows, columns, text, seconds=10):
        """Docker's client listens for SIGWINCH once it has passed its first size on, not before."""
        self.resize(rows, columns)
        deadline = time.monotonic() + seconds * PATIENCE
        while text not in self.text:
            assert time.monotonic() < deadline, f"no {text!r}, but {self.text!r}"
            if select.select([self.master], [], [], 1)[0]:
                self.text += os.read(self.master, 65536).decode()
            else:
                self.process.send_signal(signal.SIGWINCH)

    def type(self, text):
        os.write(self.master, text.encode())

    def press(self, *keys):
        """Keys as a person presses them: each is read by itself."""
        for key in keys:
            self.type(key)
            time.sleep(0.2)

    def wait_for(self, text, seconds=10):
        """Reads until `text` is there."""
        deadline = time.monotonic() + seconds * PATIENCE
        while text not in self.text:
            ready = select.select([self.master], [], [], max(0, deadline - time.monotonic()))[0]
            assert ready, f"no {text!r} within {seconds * PATIENCE} s, but {self.text!r}"
            self.text += os.read(self.master, 65536).decode()

    def end(self, seconds=10):
        """Waits for the process; returns its exit code and all that it wrote."""
        self.text += read_to_the_end(self.master, seconds).decode()
        return self.process.wait(seconds * PATIENCE), self.text
