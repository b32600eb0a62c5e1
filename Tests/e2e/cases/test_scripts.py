# SPDX-License-Identifier: Apache-2.0
"""The scripts that build: what they install, and what they say."""
import os
import re
import subprocess

import pytest

from world import PATH, REPOSITORY

ENGINES = {"containerd", "docker.io", "podman", "conmon", "crun"}
TESTS = {"bpftool", "curl", "python3-pytest", "python3-pytest-xdist"}


def program(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w") as file:
        file.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


def script(name, *words, world, **options):
    return subprocess.run(
        [os.path.join(REPOSITORY, "scripts", name), *words], capture_output=True, text=True,
        env={"PATH": f"{world.directory}:{PATH}"}, timeout=20, **options)


def asked_for(purpose, world):
    """The packages that deps would have apt install, where none is installed."""
    program(world.directory, "dpkg-query", "exit 1")
    program(world.directory, "swift", "")
    program(world.directory, "apt-get", f'echo "$@" >>{world.path("asked")}')
    done = script("deps", purpose, world=world)
    assert done.returncode == 0, done
    with open(world.path("asked")) as file:
        return set(re.findall(r"(?<![-/=:])\b[a-z][a-z0-9.+-]+", file.read()))


@pytest.mark.parametrize("purpose", ["build", "demo"])
def test_building_and_the_demo_install_no_engine_and_no_test_tool(world, purpose):
    """And so make install, make deb and make demo."""
    asked = asked_for(purpose, world)
    assert "libseccomp-dev" in asked and ("busybox-static" in asked) == (purpose == "demo")
    assert not asked & (ENGINES | TESTS)


def test_testing_installs_what_the_suite_needs(world):
    """Engines that are there already are not asked for."""
    assert TESTS <= asked_for("test", world)


@pytest.mark.parametrize("target, purposes", [
    ("install", ["build"]), ("deb", ["build"]), ("tarball", ["build"]), ("demo", ["build", "demo"]),
    ("e2e", ["test", "build"])])
def test_a_target_installs_what_it_needs(target, purposes):
    """As make would call it."""
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=REPOSITORY, capture_output=True, text=True, check=True,
        env={"PATH": PATH})
    assert re.findall(r"^scripts/deps (\w+)$", done.stdout, re.MULTILINE) == purposes


def test_a_checkout_that_was_moved_is_told_what_to_do(world):
    """The compiler's own words do not say it."""
    program(world.directory, "swift", (
        "echo \"error: precompiled file 'a.pcm' was compiled with module cache path '/a', but\"\n"
        "exit 1"))
    done = script("swift", "build", world=world)
    assert done.returncode == 1 and "run make clean" in done.stdout, done
