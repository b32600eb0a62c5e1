# SPDX-License-Identifier: Apache-2.0
"""containerd's own word on when something happened, read from `ctr events`."""
import calendar
import contextlib
import json
import subprocess
import time

from processes import wait_until


def _timestamp(day, clock):
    """Seconds since 1970 of "2026-11-21" and "11:22:28.441472704"."""
    clock, _, fraction = clock.partition(".")
    moment = time.strptime(f"{day} {clock}", "%Y-%m-%d %H:%M:%S")
    return calendar.timegm(moment) + float(f"0.{fraction or 0}")


class Events:
    """Follows a daemon's events as long as it lives."""

    def __init__(self, path):
        self.path, self.process = path, None

    def follow(self, command, env):
        with open(self.path, "a") as file:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.DEVNULL,
                env=env, start_new_session=True)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def of(self, id):
        """{topic: time} of a container; of several times the last."""
        found = {}
        with open(self.path) as file:
            for line in file:
                # Its end may not be written yet.
                if not line.endswith("}\n"):
                    continue
                day, clock, _, _, _, topic, text = line.split(" ", 6)
                event = json.loads(text)
                if event.get("container_id", event.get("id")) == id:
                    # An exec has an exit of its own.
                    if topic != "/tasks/exit" or event["id"] == id:
                        found[topic] = _timestamp(day, clock)
        return found

    def times(self, id, removed):
        """{verb: seconds} of one container; removed: when a client asked for it, or None."""

        def is_gone():
            found = self.of(id)
            return "/tasks/create" not in found or "/tasks/delete" in found

        wait_until(lambda: "/containers/delete" in self.of(id), 5, f"the events of {id}")
        # A shim of containerd 2 may end before it has sent its last one, whatever runs beneath.
        with contextlib.suppress(AssertionError):
            wait_until(is_gone, 0.3)
        found, times = self.of(id), {}
        if "/tasks/create" in found:
            times["create"] = found["/tasks/create"] - found["/containers/create"]
            if "/tasks/delete" in found:
                times["delete"] = found["/tasks/delete"] - max(
                    found.get("/tasks/exit", 0), removed or 0)
        if "/tasks/start" in found:
            times["start"] = found["/tasks/start"] - found["/tasks/create"]
        return times
