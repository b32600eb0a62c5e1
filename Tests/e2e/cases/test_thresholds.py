# SPDX-License-Identifier: Apache-2.0
"""Start-up and memory stay within a ratio to a static C program measured in the same run."""
import os
import shutil
import subprocess

import pytest

from world import REPOSITORY


@pytest.mark.skipif(not shutil.which("gcc"), reason="compares with C, and there is no compiler")
def test_start_up_and_private_memory_stay_within_their_thresholds(world):
    world.machine.be_alone()
    run = subprocess.run(
        [os.path.join(REPOSITORY, "Benchmarks", "thresholds")],
        capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    # Both were measured: a script that measures nothing exceeds nothing.
    assert "start-up: " in run.stdout and "private memory: " in run.stdout
