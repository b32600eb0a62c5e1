# SPDX-License-Identifier: Apache-2.0
"""Completions, asked for as a person does: by Tab, in each shell."""
import os
import re

import pytest

from terminal import Terminal
from world import ESCRA, PATH, escra_tool

# How a shell is started with no settings of a user, and told of the completions.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile"], "source {script}"),
    "zsh": (["zsh", "-f"], "fpath=({directory} $fpath); autoload -Uz compinit; compinit -u -D"),
    "fish": (["fish", "--no-config"], "source {script}"),
}


@pytest.fixture(params=SHELLS)
def shell(request, world):
    command, prepare = SHELLS[request.param]
    directory = world.path("completions")
    os.mkdir(directory)
    script = os.path.join(directory, "_escra")
    with open(script, "w") as file:
        file.write(escra_tool("--generate-completion-script", request.param))
    terminal = Terminal(
        command, {"PATH": f"{os.path.dirname(ESCRA)}:{PATH}", "HOME": directory}, columns=300)
    world.spawn(terminal.process)
    terminal.type(prepare.format(script=script, directory=directory) + "; echo re''ady\n")
    terminal.wait_for("ready\r\n")
    return terminal


def test_a_shell_completes_commands_ids_and_applications(container, shell):
    """What is typed is the beginning of a word; what runs is the whole one."""
    made = container({"io.escra.app": "shop"}).started()
    made.supervisor()
    for typed, whole in (
            (f"escra expl\t{made.id[:-1]}\t", f"escra explain {made.id}"),
            (f"escra release {made.id[:-1]}\t", f"escra release {made.id}"),
            ("escra app sh\tsh\t", "escra app show shop")):
        # With an echo at its beginning (^A) and quotes (^E) the line itself is what is printed.
        shell.press(typed, "\x01", "echo '", "\x05", "'; echo do''ne\n")
        shell.wait_for("done\r\n")
        assert re.search(re.escape(whole) + " ?\r\n", shell.text), shell.text
        shell.text = ""
    shell.type("exit\n")
    assert shell.end()[0] == 0, shell.text
