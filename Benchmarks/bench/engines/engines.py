# SPDX-License-Identifier: Apache-2.0
"""Create, start and delete through an engine: with runc, and with escra-runc in its place."""
import os
import shutil
import signal
import time

from .daemons import Containerd, Docker, Podman
from ..figures import Pairs, spread, verdict
from ..report import Result
from ..container import Failure

NAME = "engines"
CALLS = ("create", "start", "delete")
# What escra-runc is compared in, its goal, and the limit that both containers have.
WAYS = (("no policy", "escra-runc", 1.05, None), ("reactive", "escra-runc.reactive", 1.10, 0.5))
WARMUP, PAUSE = 2, 0.1


class Stopwatch:
    """A runtime that notes what each call of the real one took."""

    def __init__(self, shop, target):
        self.directory = os.path.join(shop.path, "watch-" + os.path.basename(target))
        os.makedirs(self.directory)
        # Engines tell runtimes apart by this name.
        self.path = os.path.join(self.directory, "runtime")
        shutil.copy(shop.helper("stopwatch"), self.path)
        with open(os.path.join(self.directory, "target"), "w") as file:
            file.write(target + "\n")
        self.times = os.path.join(self.directory, "times")

    def take(self):
        """{verb: ns} of the one container that lived; waits for its delete."""
        deadline = time.monotonic() + 5
        while True:
            calls, id = {}, None
            with open(self.times) as file:
                for line in file:
                    verb, nanoseconds, status, last = line.split()
                    if verb == "create":
                        id = last
                    # Engines delete again, by force; and after a container whose turn is over.
                    if last == id and status == "0":
                        calls.setdefault(verb, int(nanoseconds))
            if all(verb in calls for verb in CALLS):
                os.truncate(self.times, 0)
                return calls
            if time.monotonic() > deadline:
                raise Failure(f"the engine called {sorted(calls)} of {self.path} and no more")
            time.sleep(0.02)


def timed(shop, command):
    """Nanoseconds from posix_spawn(3) to the client's end, which must be a good one."""
    errors = os.path.join(shop.path, "errors")
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2)]
    begin = time.monotonic_ns()
    pid = os.posix_spawn(
        command[0], command, os.environ, file_actions=actions, setsid=True,
        setsigdef=[signal.SIGPIPE])
    _, status = os.waitpid(pid, 0)
    end = time.monotonic_ns()
    if status != 0:
        with open(errors) as file:
            raise Failure(f"{' '.join(command)} ended with {status}: {file.read().strip()}")
    return end - begin


def life(shop, engine, watch, runtime, cpus):
    """{what: ns} of one container: three calls of the runtime, two of the client."""
    shop.count += 1
    id = engine.living = f"{shop.prefix}-{shop.count}"
    time.sleep(PAUSE)
    run, remove = engine.verbs
    found = {run: timed(shop, engine.run(runtime, id, cpus))}
    time.sleep(PAUSE)
    found[remove] = timed(shop, engine.remove(id))
    found.update(watch.take())
    if tidy := engine.tidy(id):
        timed(shop, tidy)
    engine.living = None
    return found


def measure(shop, engine, watches, ours, cpus, pairs):
    """{what: Pairs}: runc and ours in turns; who is first in a pair alternates, too."""
    found = []
    for number in range(-WARMUP, pairs):
        order = ("runc", ours) if number % 2 else (ours, "runc")
        pair = {name: life(shop, engine, watches[name], name, cpus) for name in order}
        if number >= 0:
            found.append((pair["runc"], pair[ours]))
        shop.say(f"engines: {engine.name}, {ours}: pair {number + 1} of {pairs}")
    return {
        what: Pairs([(peer[what], our[what]) for peer, our in found])
        for what in (*CALLS, *engine.verbs)}


def through(shop, result, engine, watches, pairs):
    """Fills the table's rows of one engine."""
    measured = {way: measure(shop, engine, watches, program, cpus, pairs)
                for way, program, _, cpus in WAYS}
    for what in (*CALLS, *engine.verbs):
        cells = []
        for way, _, goal, _ in WAYS:
            one = measured[way][what]
            low, high = one.ratio_interval()
            cells += [
                spread(one.peer), f"{one.ratio_of_medians:.3f} ({low:.3f}, {high:.3f})",
                verdict(one.ratio_of_medians, goal, f"<= {goal:.2f}")]
            result.figures[f"{engine.name}, {what}, {way}"] = {
                **one.published(), "ratio_of_medians_95": [round(low, 4), round(high, 4)]}
        result.add(f"{engine.name}: {what}", *cells)


def run(shop, quick):
    pairs = 4 if quick else 50
    result = Result(
        NAME, "Create, start and delete through engines",
        ["ms: median (min, p90)", "runc, no limit", "no policy, ratio (95 %)", "goal",
         "runc, 0.5 CPU", "reactive, ratio (95 %)", "goal"],
        [f"{pairs} pairs in alternation, {WARMUP} to warm up, {PAUSE} s before each command; who "
         "is first in a pair alternates. Ratios of medians with their bootstrap intervals.",
         "create, start, delete: the engine's calls of the runtime, timed by the same program "
         "before runc and before us. The other rows: the engine's client, from its start to its "
         "end.",
         "Nobody else is supervised: each container under reactive starts a keeper as well."])
    reactive = shop.escra + ".reactive"
    os.symlink(shop.escra, reactive)
    targets = {"runc": shop.runc, "escra-runc": shop.escra, "escra-runc.reactive": reactive}
    for kind in (Docker, Containerd, Podman):
        if missing := kind.missing():
            result.notes.append(f"{kind.name} is not here: {', '.join(missing)}")
            continue
        watches = {name: Stopwatch(shop, target) for name, target in targets.items()}
        engine = kind(shop, {name: watch.path for name, watch in watches.items()})
        try:
            engine.start()
            through(shop, result, engine, watches, pairs)
        finally:
            engine.stop()
            for watch in watches.values():
                shutil.rmtree(watch.directory)
    return result
