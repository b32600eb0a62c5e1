# SPDX-License-Identifier: Apache-2.0
"""Documentation that is executed: the ```console blocks of a page, in order, in one shell."""
import collections
import os
import re
import subprocess

from processes import PATIENCE
from world import REPOSITORY

# What the page says before the command, the command, and what it is to print.
Step = collections.namedtuple("Step", "line section command expected")
_MARK = "@@ page @@"


def blocks(name, language):
    """(number of its first line, section, lines) of each fenced block of a language."""
    section, inside = "", None
    with open(os.path.join(REPOSITORY, "docs", name)) as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if inside is not None:
                if line == "```":
                    yield inside
                    inside = None
                else:
                    inside[2].append(line)
            elif line == "```" + language:
                inside = (number + 1, section, [])
            elif line.startswith("## "):
                section = line[3:]
    assert inside is None, f"{name}: a block that does not end"


def steps(name):
    """Each line that begins with a prompt, and what follows it.

    A here-document belongs to the command, as it does when the block is copied into a shell.
    """
    for first, section, lines in blocks(name, "console"):
        step, end = None, None
        for number, line in enumerate(lines, first):
            if end is not None:
                step.command.append(line)
                end = None if line == end else end
            elif line.startswith(("# ", "$ ")):
                if step:
                    yield step
                step = Step(number, section, [line[2:]], [])
                heredoc = re.search(r"<<'(\w+)'", line)
                end = heredoc and heredoc[1]
            else:
                assert step, f"{name}:{number}: output of no command"
                step.expected.append(line)
        yield step


def sections(name):
    """Those that have commands."""
    return list(dict.fromkeys(step.section for step in steps(name)))


def execute(name, environment, without=(), timeout=300, within=(), directory=REPOSITORY):
    """Runs a page's commands to the first that fails, then compares what each has printed.

    - within: the beginning of a command that runs a shell elsewhere, as `chroot DIRECTORY`
    """
    todo = [step for step in steps(name) if step.section not in without]
    assert todo, f"{name}: no commands"
    script = "".join(
        "{\n%s\n} </dev/null 2>&1; printf '\\n%s %%d\\n' $?\n" % ("\n".join(step.command), _MARK)
        for step in todo)
    done = subprocess.run(
        [*within, "bash", "-c", script], capture_output=True, text=True,
        timeout=timeout * PATIENCE, env=environment, cwd=directory)
    outputs = re.split(rf"\n{_MARK} (\d+)\n", done.stdout)
    assert len(outputs) == 2 * len(todo) + 1, done
    for step, output, code in zip(todo, outputs[0::2], outputs[1::2]):
        where = f"docs/{name}:{step.line}: {step.command[0]}"
        assert code == "0", f"{where}\nended with {code}:\n{output}"
        assert matches(step.expected, output), "\n".join(
            [where, "is to print", *step.expected, "and printed", output])


def matches(expected, output):
    """Whether an output is what was expected.

    "..." alone in a line is any number of lines, elsewhere any text; spaces are as many as there
    have to be, because columns are as wide as what is in them.
    """
    pattern = ""
    for line in expected:
        if line.strip() == "...":
            pattern += r"(?:[^\n]*\n)*"
        else:
            words = [".*".join(map(re.escape, word.split("..."))) for word in line.split()]
            pattern += r"[ \t]*" + r"[ \t]+".join(words) + r"[ \t]*\n"
    output = output.rstrip("\n")
    return re.fullmatch(pattern, output + "\n" if output else "") is not None
