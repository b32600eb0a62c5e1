# SPDX-License-Identifier: Apache-2.0
"""Where escra-runc hears of a shortage from: by usage sampling, or by hooks in the kernel."""
from .container import Failure

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
    _try(shop, operator(HOOKS))
    found[HOOKS] = operator(HOOKS)
    return found, notes


def _try(shop, config):
    container = shop.container(
        "source", ["/bin/sleep", "1000"], REACTIVE, cpu=0.1, operator=config)
    try:
        container.start()
    finally:
        container.stop()
