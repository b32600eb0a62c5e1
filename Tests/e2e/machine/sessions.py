# SPDX-License-Identifier: Apache-2.0
"""What of the suite runs in which emulated machine: one pytest session for each of these.

Emulated, everything takes ten times as long. So there is a selection that says something about each
combination and is done within a change's patience, and everything.
"""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Session:
    """Cases that run with one cgroup driver and one low-level runtime."""
    name: str
    shape: str
    # Arguments of pytest: a selection, and everything that makes sense there.
    some: tuple
    all: tuple
    driver: str = "cgroupfs"
    runtime: str = "runc"

    def command(self, is_all, results):
        return [
            "env", f"ESCRA_E2E_DRIVER={self.driver}", f"ESCRA_E2E_RUNTIME={self.runtime}",
            f"ESCRA_E2E_RESULTS={results}", "scripts/e2e", "--durations=5",
            *(self.all if is_all else self.some)]


def files(*names):
    return tuple(f"Tests/e2e/test_{name}.py" for name in names)


# What calls the runtime itself, as engines do.
CALLS = files("errors", "lifecycle", "passthrough", "reactive", "supervisor", "tool", "update")
SESSIONS = (
    Session("runc", "trixie", ("-m", "v2", *CALLS), CALLS),
    Session("runc-systemd", "trixie", ("-m", "v2", *CALLS, *files("systemd")),
            (*CALLS, *files("systemd")), driver="systemd"),
)
