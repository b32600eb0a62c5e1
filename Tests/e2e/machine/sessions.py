# SPDX-License-Identifier: Apache-2.0
"""What of the suite runs in which emulated machine: one pytest session for each of these.

Emulated, everything takes ten times as long. So there is a selection that says something about each
combination and is done within a change's patience, and everything.
"""
import dataclasses
import os


@dataclasses.dataclass(frozen=True)
class Session:
    """Cases that run with one cgroup driver and one low-level runtime."""
    name: str
    shape: str
    # Arguments of pytest: a selection, which may be nothing, and everything that makes sense there.
    some: tuple
    all: tuple
    driver: str = "cgroupfs"
    runtime: str = "runc"
    # Sessions with the same number and shape share a machine.
    machine: int = 1

    def command(self, is_all, results):
        return [
            "env", f"ESCRA_E2E_DRIVER={self.driver}", f"ESCRA_E2E_RUNTIME={self.runtime}",
            f"ESCRA_E2E_RESULTS={results}", f"CI={os.environ.get('CI', '')}",
            "scripts/e2e", "--durations=5",
            *(self.all if is_all else self.some)]


def files(*names):
    return tuple(f"Tests/e2e/cases/test_{name}.py" for name in names)


# What calls the runtime itself, as engines do.
CALLS = files(
    "application", "confinement", "ended", "errors", "hooks", "lifecycle", "outer_groups",
    "passthrough", "reactive", "supervisor", "tool", "transaction", "two_groups", "unsupervised",
    "update")
# A life under a policy through each engine, and what engines do to one that runs.
LIVES = (
    "Tests/e2e/cases/test_engines_today.py::test_a_life_under_a_policy",
    "Tests/e2e/cases/test_containerd.py::test_under_the_policy_the_limit_follows_the_use",
    "Tests/e2e/cases/test_pods.py::test_an_update_of_resources_goes_through_us")
ENGINES = files("containerd", "docker", "engines", "engines_today", "podman", "pods")
# Where the runtime's verb makes no difference to how the first limit gets there: once by `run`.
FIRST = ("-m", "v2", "-k", "not run-annotations1 and not run-annotations2")
RESTORED = "Tests/e2e/cases/test_checkpoint.py::test_a_restored_container_is_what_it_was[reactive]"
STRICT = files("strict", "strict_v2")

SESSIONS = (
    Session("runc", "trixie", ("-m", "v2", *CALLS, RESTORED),
            (*CALLS, *files("checkpoint", "parents"))),
    Session("runc-systemd", "trixie", (*FIRST, *files("reactive", "systemd")),
            (*CALLS, *files("checkpoint", "systemd", "packaged")), driver="systemd"),
    Session("crun-systemd", "trixie", (*FIRST, *files("reactive")), (*CALLS, *files("systemd")),
            driver="systemd", runtime="crun"),
    Session("crun", "trixie", (), CALLS, runtime="crun"),
    Session("engines", "trixie", LIVES, (*ENGINES, *files("docs")), machine=2),
    Session("engines-systemd", "trixie", LIVES[:1], (*ENGINES, *files("docs")), driver="systemd",
            machine=2),
    Session("memory", "trixie",
            ("-k", "grows or base or room or race or below_what", *files("memory", "shrink_race")),
            files("memory", "shrink_race"), machine=2),
    Session("memory-systemd", "trixie", (), files("memory"), driver="systemd", machine=4),
    Session("memory-crun", "trixie", (), files("memory"), driver="systemd", runtime="crun",
            machine=4),
    Session("strict", "trixie", files("strict_v2"), (*STRICT, *files("strict_random")), machine=3),
    Session("release", "trixie",
            ("-k", "undoes or strict or memory or begun or update", *files("release")),
            files("books", "release"), machine=3),
    Session("release-crun", "trixie", (), files("release"), driver="systemd", runtime="crun",
            machine=3),
    Session("strict-systemd", "trixie", (), STRICT, driver="systemd", machine=3),
    Session("strict-crun", "trixie", (), STRICT, runtime="crun", machine=3),
    Session("strict-crun-systemd", "trixie", (), STRICT, driver="systemd", runtime="crun",
            machine=3),
    Session("runtimes", "trixie", ("-k", "own and (java- or c-)", *files("runtimes")),
            files("runtimes"), machine=3),
    Session("runtimes-systemd", "trixie", (), files("runtimes"), driver="systemd", machine=4),
    Session("runtimes-crun", "trixie", (), files("runtimes"), runtime="crun", machine=4),
    Session("runtimes-crun-systemd", "trixie", (), files("runtimes"), driver="systemd",
            runtime="crun", machine=4),
    Session("runc-6.1", "bookworm", (*FIRST, *files("reactive")), CALLS),
    Session("runtimes-6.1", "bookworm", (), files("runtimes")),
    # Go counts no less than two CPUs, so it tells something where there are more.
    Session("runtimes-numa", "numa", (), ("-k", "own and (go or c-)", *files("runtimes"))),
    Session("strict-6.1", "bookworm", (), STRICT),
    Session("strict-numa", "numa", ("-k", "node or core or side", *files("strict_v2")), STRICT),
)
