# SPDX-License-Identifier: Apache-2.0
"""Containers have the names that engines gave them, and are found by them."""
import json

import pytest

import engines
from processes import wait_until
from test_engines import POLITE
from world import escra_tool


@pytest.fixture(
    scope="module", params=[engines.Docker, engines.Podman], ids=lambda kind: kind.name)
def engine(request, run_engine):
    with run_engine(request.param) as engine:
        yield engine


def listed(id):
    [one] = [one for one in json.loads(escra_tool("ps", "--json")) if one["id"] == id]
    return one


def test_an_engines_name_is_shown_and_accepted(through, engine):
    """In tables, sentences, JSON and metrics; also after Docker has renamed the container."""

    def case(view):
        made = view.started("--cpus", "0.5", view.image, *POLITE)
        made.supervisor()
        id = made.inspect()["Id"]
        label = f"{made.name} ({id[:12]})"
        wait_until(lambda: listed(id)["name"] == made.name, 2, "it has its name")
        header, row = escra_tool("ps").splitlines()
        assert header.split()[:2] == ["NAME", "ID"] and row.split()[:2] == [made.name, id[:12]]
        assert made.name in escra_tool("top", "--count", "1")
        assert escra_tool("explain", made.name).startswith(f"{label} runs as process ")
        assert json.loads(escra_tool("events").splitlines()[0])["name"] == made.name
        assert f'name="{made.name}"' in escra_tool("metrics")
        assert escra_tool("watch", made.name, "--for", "100ms", "--tick", "50ms")
        assert escra_tool("release", made.name).startswith(f"{label} is released: ")
        assert escra_tool("adopt", made.name) == f"{label} is supervised again.\n"
        if engine.name == "docker":
            view("rename", made.name, "other")
            assert escra_tool("explain", "other").startswith("other (")
            view("rename", "other", made.name)

    through(case, runtimes=["reactive"])
