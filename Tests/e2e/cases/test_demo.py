# SPDX-License-Identifier: Apache-2.0
"""`escra demo`: two real containers, without an engine or an image, and what differs."""
import os
import re
import signal
import subprocess
import time

import pytest

from processes import PATIENCE, files_of_ours, ours, wait_until
from terminal import Terminal
from world import ESCRA, PATH

FIGURES = re.compile(
    r"p99 of (\d+) requests: (\d+) ms under the static limit, (\d+) ms under reactive\.\n"
    r"Throttled: ([\d.]+) s under the static limit, ([\d.]+) s under reactive\.\n"
    r"Reserved, unused: ([\d.]+) core s under the static limit, ([\d.]+) core s under reactive\.")


def left():
    """What a demo leaves: nothing."""
    return ([name for name in os.listdir("/run") if name.startswith("escra-demo")]
            or ours() or files_of_ours())


@pytest.mark.skipif(os.cpu_count() < 2, reason="the two would have to share a CPU")
def test_the_reactive_container_is_faster_and_reserves_less(world):
    """The same requests; nothing is left, and it ends within 15 s and what starting takes."""
    world.machine.be_alone()
    before = time.monotonic()
    done = subprocess.run(
        [ESCRA, "demo", "--anyway"], capture_output=True, text=True, timeout=60 * PATIENCE)
    assert done.returncode == 0, done
    assert time.monotonic() - before < 20 * PATIENCE
    found = FIGURES.search(done.stdout)
    assert found, done.stdout
    count, static, reactive = map(int, found.groups()[:3])
    throttled, _, reserved, less = map(float, found.groups()[3:])
    assert count > 100 and throttled > 0.5
    assert reactive < static / 2 and less < reserved
    wait_until(lambda: not left(), 4, "nothing is left")


def test_a_terminal_gets_two_charts_and_a_signal_ends_it(world):
    """Side by side in 80 columns; the containers go with it."""
    terminal = Terminal([ESCRA, "demo", "--anyway", "--seconds", "60"], {"PATH": PATH})
    terminal.wait_for("reserved, unused 0.")
    lines = re.sub(r"\x1b\[[?0-9]*[a-zA-Z]", "", terminal.text).splitlines()
    assert all(len(line) <= 80 for line in lines) and lines[0].split() == ["static", "reactive"]
    assert sum(" |" in line[:10] and " |" in line[40:52] for line in lines) >= 8
    os.kill(terminal.process.pid, signal.SIGTERM)
    assert terminal.end()[0] == 130
    wait_until(lambda: not left(), 4, "nothing is left")


def test_a_busy_machine_is_told_instead():
    """By the kernel's own figure, and nothing is started."""
    script = 'printf "some avg10=35.00 avg60=0.00 avg300=0.00 total=1\\n" >/run/pressure\n' \
        'mount --bind /run/pressure /proc/pressure/cpu\nexec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", ESCRA, "demo"], capture_output=True,
        text=True, timeout=10 * PATIENCE)
    os.unlink("/run/pressure")
    assert done.returncode == 1 and done.stdout == "", done
    assert "this machine was busy: tasks waited for a CPU in 35 % of the last 10 s" in done.stderr
    assert not left()


def test_a_runtime_that_fails_is_told(world):
    """Its last words, and nothing is left."""
    config = "/etc/escra/config.json"
    os.makedirs(os.path.dirname(config), exist_ok=True)
    with open(config, "w") as file:
        file.write('{"flor": {}}')
    try:
        done = subprocess.run(
            [ESCRA, "demo", "--anyway", "--seconds", "2"], capture_output=True, text=True,
            timeout=30 * PATIENCE)
    finally:
        os.unlink(config)
    assert done.returncode == 1 and "the container reactive did not start: " in done.stderr, done
    assert "flor" in done.stderr
    wait_until(lambda: not left(), 4, "nothing is left")
