# SPDX-License-Identifier: Apache-2.0
"""The same case through plain runc and through us: what differed, and how long it took.

    def case(it, runtime):
        with it.timing("create"):
            ...
        it.saw("exit code", engine.run(runtime, "sh", "-c", "exit 7").code)

    compare("docker", "run", case, {"runc": plain, "escra": ours, "reactive": policy})

A case fails when something differs that ALLOWED does not list. What differed and what it took is
told at the end of the session, because conftest.py registers this module as a plugin.
"""
import collections
import contextlib
import json
import os
import re
import statistics
import time

STEPS = ("create", "start", "delete")

Allowed = collections.namedtuple("Allowed", "where ours plain why")
# What we say (`ours`, a pattern) may stand where the plain runtime, whose name is {}, says `plain`;
# nothing else may differ.
ALLOWED = (
    Allowed(r"\b(HostConfig\.Runtime|OCIRuntime)$", r"^escra\S*$", "{}",
            "the name by which the runtime was chosen"),
    Allowed(r"\bAnnotations\.io\.escra\.policy$", r"^\w+$", "",
            "the policy that was asked for"),
    Allowed(r"\berror\b", r"escra-runc(\.\w+)?: ", "{}: ",
            "Podman puts the runtime's name before the runtime's sentence"),
    Allowed(r"\b(inspect\.output|State\.Error)$", r'((?<="Error":")|^)escra-runc(\.\w+)?: ', "{}: ",
            "Podman 5 keeps that sentence with the container"),
    Allowed(r"\berror$", r"^escra-runc: [^\n]*unsupervised[^\n]*\n", "",
            "a policy that cannot be kept is said once"),
)

# What differs from one container to the next, whatever the runtime.
_VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[0-9.]*( ?[+-]\d\d:?\d\d| ?[A-Z]+\b)*"), "TIME"),
    (re.compile(r"\b([0-9a-f]{64}|[0-9a-f]{12}|[A-Z2-7]{26})\b"), "ID"),
    (re.compile(r"\be2e-\d+-\d+\b"), "NAME"),
)
_PID = re.compile(r"\b(Conmon)?Pid$")


class Account:
    """What one case looked like through one runtime."""

    def __init__(self):
        self.seen = {}
        self.seconds = collections.defaultdict(list)

    def saw(self, what, value):
        """Notes something to compare: a text, a number, or the JSON of an inspection."""
        for path, text in _flat(what, value):
            assert path not in self.seen, f"{path} was noted before"
            self.seen[path] = text
        return value

    @contextlib.contextmanager
    def timing(self, step):
        """Notes how long one of STEPS took; more than once is a series."""
        assert step in STEPS
        before = time.monotonic()
        yield
        self.seconds[step].append(time.monotonic() - before)


def _flat(path, value):
    """Each leaf of a JSON value with the way to it, and without what always varies."""
    if isinstance(value, dict) and value:
        for name, member in sorted(value.items()):
            yield from _flat(f"{path}.{name}", member)
    elif isinstance(value, (list, tuple)) and value:
        for index, member in enumerate(value):
            yield from _flat(f"{path}[{index}]", member)
    else:
        text = value if isinstance(value, str) else json.dumps(value)
        if _PID.search(path):
            text = "PID" if value else "no PID"
        for pattern, word in _VARYING:
            text = pattern.sub(word, text)
        yield path, text


Difference = collections.namedtuple("Difference", "path plain before runtime after why")
Compared = collections.namedtuple("Compared", "engine case accounts differences")
_compared = []


def compare(engine, name, case, runtimes, rounds=1):
    """Lets `case(account, runtime)` happen through each of {name: runtime}, the plain one first.

    Returns {name: account}. Fails when one saw what the plain one did not, or the other way round.
    More rounds, for a case that only times, alternate between the runtimes.
    """
    accounts = {runtime: Account() for runtime in runtimes}
    for _ in range(rounds):
        for runtime, handle in runtimes.items():
            case(accounts[runtime], handle)
    plain, *others = accounts
    differences = [
        difference for other in others
        for difference in _differences(plain, other, accounts)]
    _compared.append(Compared(engine, name, accounts, differences))
    forbidden = [difference for difference in differences if not difference.why]
    assert not forbidden, "\n".join(map(_sentence, forbidden))
    return accounts


def _differences(plain, other, accounts):
    expected, seen = accounts[plain].seen, accounts[other].seen
    for path in sorted({*expected, *seen}):
        if expected.get(path) != seen.get(path):
            one, two = expected.get(path, ""), seen.get(path, "")
            yield Difference(path, plain, one, other, two, _why(path, plain, one, two))


def _why(path, name, plain, ours):
    """Why a difference is allowed, or None."""
    for allowed in ALLOWED:
        expected = re.sub(allowed.ours, allowed.plain.format(name), ours)
        if re.search(allowed.where, path) and expected == plain:
            return allowed.why
    return None


def _sentence(difference):
    one, two = _excerpts(difference.before, difference.after, 6 if difference.why else 60)
    return (f"{difference.path}: {one!r} through {difference.plain}, {two!r} through "
            f"{difference.runtime}: {difference.why or 'NOT ALLOWED'}")


def _excerpts(one, two, around):
    """What differs in two texts, with so many characters before and after it."""
    first = len(os.path.commonprefix([one, two]))
    last = len(os.path.commonprefix([one[first:][::-1], two[first:][::-1]]))
    return [text[max(0, first - around):len(text) - last + around] for text in (one, two)]


def pytest_terminal_summary(terminalreporter):
    """Says all differences, and the seconds of each case."""
    for engine in dict.fromkeys(compared.engine for compared in _compared):
        cases = [compared for compared in _compared if compared.engine == engine]
        terminalreporter.section(f"{engine}: differences")
        for line in _told(cases):
            terminalreporter.line(line)
        terminalreporter.section(f"{engine}: seconds, and times as many through us")
        for line in _table(cases):
            terminalreporter.line(line)


def _told(cases):
    """The same difference is told once, whatever it was a field of, with the cases that had it."""
    found = collections.defaultdict(set)
    for compared in cases:
        for difference in compared.differences:
            *_, field = difference.path.partition(".")
            found[_sentence(difference._replace(path=field or difference.path))].add(compared.case)
    for sentence, names in sorted(found.items()):
        yield f"{sentence} ({f'{len(names)} cases' if len(names) > 1 else min(names)})"
    if not found:
        yield f"none in {len(cases)} cases"


def _table(cases):
    """A line a case: for each step the plain runtime's median, and the others' ratios."""
    # A case that is about the policy alone has no plain runtime.
    plain, *others = dict.fromkeys(
        name for compared in sorted(cases, key=lambda compared: -len(compared.accounts))
        for name in compared.accounts)
    ratios = collections.defaultdict(list)

    def cells(step, seconds):
        yield f"{seconds[plain]:.3f}" if plain in seconds else ""
        for name in others:
            if name in seconds and plain in seconds:
                ratios[step, name].append(seconds[name] / seconds[plain])
                yield f"x {ratios[step, name][-1]:.2f}"
            else:
                yield ""

    def row(title, columns):
        return f"{title:44.44}" + "".join(f" {cell:>8}" for cell in columns)

    yield row("", (cell for step in STEPS for cell in (step, *[""] * len(others)))).rstrip()
    yield row("", [plain, *others] * len(STEPS))
    for compared in cases:
        medians = {step: {
            name: statistics.median(account.seconds[step])
            for name, account in compared.accounts.items() if account.seconds[step]}
            for step in STEPS}
        if any(medians.values()):
            columns = [cell for step in STEPS for cell in cells(step, medians[step])]
            yield row(compared.case, columns).rstrip()
    yield row("median of the ratios", (
        cell for step in STEPS for cell in ("", *(
            f"x {statistics.median(ratios[step, name]):.2f}" if ratios[step, name] else ""
            for name in others)))).rstrip()
