# SPDX-License-Identifier: Apache-2.0
"""Tables for people, JSON for programs, and the README that shows the newest of each."""
import glob
import json
import os
import re

MACHINE = (
    ("CPU", "cpu"), ("memory, MiB", "memory_mib"), ("kernel", "kernel"), ("system", "os"),
    ("cgroup", "cgroup"), ("runc", "runc"), ("escra-runc", "escra_runc"))


class Result:
    """What one benchmark found.

    columns and rows make the table; figures is what a program would want to know; notes say what
    a reader has to know to judge the table; foreign is the part of the machine's CPU time that
    others used meanwhile, where it was measured.
    """

    def __init__(self, name, title, columns, notes=()):
        self.name, self.title, self.columns = name, title, columns
        self.rows, self.notes, self.figures, self.foreign = [], list(notes), {}, None

    def add(self, *cells):
        self.rows.append([str(cell) for cell in cells])

    def text(self):
        lines = [self.columns] + self.rows
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        pad = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths))).rstrip()
            for line in lines]
        rule = "-" * max(map(len, pad))
        notes = [f"  {note}" for note in self.notes]
        return "\n".join([f"\n{self.title}", rule, pad[0], rule, *pad[1:], *notes])

    def published(self, header):
        return {
            "benchmark": self.name, **header, "title": self.title, "columns": self.columns,
            "rows": self.rows, "notes": self.notes, "figures": self.figures,
        }


def write(result, header, directory):
    """Writes a result, and removes those that it supersedes."""
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, f"{header['date']}-{result.name}.json")
    text = json.dumps(result.published(header), indent=1)
    # Measurements one a line would make a diff of a thousand lines.
    text = re.sub(r"\[\s+([-\d.,\s]+?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    text = re.sub(r"\[\s+(\[[-\d.,\s\[\]]+\])\s+\]",
                  lambda m: f"[{' '.join(m[1].split())}]", text)
    with open(path, "w") as file:
        file.write(text + "\n")
    for older in glob.glob(os.path.join(directory, f"????-??-??-{result.name}.json")):
        if older < path:
            os.remove(older)


def newest(directory, names):
    """The latest result of each benchmark; a file's name begins with its date."""
    for name in names:
        files = sorted(glob.glob(os.path.join(directory, f"*-{name}.json")))
        if files:
            with open(files[-1]) as file:
                yield json.load(file)


def _section(title, columns, rows, notes):
    """Lines of Markdown."""
    return [
        "", f"## {title}", "", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|",
        *["| " + " | ".join(row) + " |" for row in rows], "", *[f"- {note}" for note in notes]]


def markdown(result):
    """Lines of Markdown, to be pasted into a page."""
    return _section(result.title, result.columns, result.rows, result.notes)


def write_readme(directory, names):
    lines = [
        "# Results", "",
        "Written by `Benchmarks/run`: the newest result of each benchmark. Peer and escra-runc are",
        "measured in the same run, in turns; nothing is left out. Goals that are missed say so.",
    ]
    for result in newest(directory, names):
        machine = result["machine"]
        lines += _section(result["title"], result["columns"], result["rows"], result["notes"])
        lines.append(
            f"- `{result['command']}`, {result['date']}, commit {machine['commit']}; load average "
            f"at the start {result['load']['average'][0]:.2f}"
            + (" (THE MACHINE WAS BUSY)" if result["busy"] else ""))
        lines.append("- " + "; ".join(f"{label} {machine[key]}" for label, key in MACHINE))
    with open(os.path.join(directory, "README.md"), "w") as file:
        file.write("\n".join(lines) + "\n")
