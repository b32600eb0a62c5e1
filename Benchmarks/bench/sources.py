# SPDX-License-Identifier: Apache-2.0
"""Where escra-runc hears of a shortage from: by usage sampling, or by hooks in the kernel."""
import glob
import os
import time

from .container import Failure, processes

REACTIVE = {"io.escra.policy": "reactive"}
SAMPLING, HOOKS = "usage sampling", "kernel hooks"


def operator(source):
    """The operator's config that chooses it."""
    return {"law": "headroom", "hooks": {SAMPLING: "sampling", HOOKS: "auto"}[source]}


def available(shop):
    """The sources that this escra-runc has here: {source: operator's config}, and sentences about
    what it has not."""
    found, notes = {}, []
    try:
        _try(shop, operator(SAMPLING))
    except Failure as failure:
        if "hooks" not in str(failure):
            raise
        notes.append(
            "This escra-runc does not know the operator's key `hooks`: no row with kernel hooks.")
        return {SAMPLING: {"law": "headroom"}}, notes
    found[SAMPLING] = operator(SAMPLING)
    if _try(shop, operator(HOOKS)):
        found[HOOKS] = operator(HOOKS)
    else:
        notes.append("This kernel takes no programs in its scheduler: no row with kernel hooks.")
    return found, notes


def _holds_bpf(pid):
    for file in glob.glob(f"/proc/{pid}/fd/*"):
        try:
            if "bpf" in os.readlink(file):
                return True
        except OSError:
            # Closed meanwhile.
            continue
    return False


def without_hooks(shop, containers):
    """How many of them have a supervisor that does not hear from the scheduler, or none."""
    supervisors = processes(shop.escra, "escra-supervisor")
    pids = [supervisors.get(container.id) for container in containers]
    return sum(pid is None or not _holds_bpf(pid) for pid in pids)


def _try(shop, config):
    """Whether a supervisor with this config hears from the scheduler."""
    container = shop.container(
        "source", ["/bin/sleep", "1000"], REACTIVE, cpu=0.1, operator=config)
    try:
        container.start()
        # It opens them once it has found its cgroup, which no caller waits for.
        deadline = time.monotonic() + 2
        while (missing := without_hooks(shop, [container])) and time.monotonic() < deadline:
            time.sleep(0.05)
        return not missing
    finally:
        container.stop()
