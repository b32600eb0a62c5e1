# SPDX-License-Identifier: Apache-2.0
"""30 ms of CPU asked of a container that declares 10 ms in 100 ms, under whatever limits it."""
import os
import random
import tempfile
import time

from .. import sources
from . import burstplot
from .burstrows import DECLARED, MS, STATIC, Found, Subject, kinds, reserved
from ..container import Failure
from ..figures import median, percentile
from ..foreign import Foreign
from ..report import Result
from ..workshop import TOP

NAME = "burst"
WORK = 30 * MS  # of all threads together
COPIES = 4  # of each kind take turns, so that each of them rests
ROUNDS, CYCLES = 5, 40
PAUSE = (10 * MS, 110 * MS)  # before a burst: one period's width, so that each phase is as likely
SETTLE = 3  # escra-runc keeps what was declared for two seconds
DISTURBED = 0.05
PLOT = os.path.join(TOP, "docs", "burst-completion.svg")
# A goal for the hooks: nothing else on the machine, one thread.
GOAL_P50, GOAL_P99 = 30.02, 31.5


class Situation:
    """How many threads, and whether somebody else keeps the other CPU busy."""

    def __init__(self, threads, busy):
        self.threads, self.busy = threads, busy
        self.title = f"{threads} thread{'s' if threads > 1 else ''}" + (
            ", the other CPU busy" if busy else "")
        self.foreign = []
        self.found = {}


def neighbour(shop):
    """Somebody else's work: a thread in another container, without a limit, on the first CPU."""
    container = shop.container("neighbour", ["/bin/spin", "1"]).start()
    os.sched_setaffinity(container.pid, {0})
    return container


def watch(shop, subjects):
    """Starts to write down every write of a quota; what it says goes to a file."""
    file = tempfile.NamedTemporaryFile("w+", dir=shop.path)
    watcher = shop.start_helper(
        "quotawatch", "--ordinary", *[each.group.quota_file for each in subjects], output=file)
    deadline = time.monotonic() + 5
    while os.path.getsize(file.name) == 0:
        if watcher.poll() is not None or time.monotonic() > deadline:
            raise Failure("quotawatch does not start; its message is above")
        time.sleep(0.01)
    return watcher, file


def events(shop, watcher, file):
    """By index of the subject: (ns, quota)."""
    watcher.terminate()
    watcher.wait()
    shop.helpers.remove(watcher)
    found = {}
    with open(file.name) as lines:
        for line in lines:
            if line.count(" ") == 2:
                moment, index, quota = map(int, line.split())
                found.setdefault(index, []).append((moment, quota))
    file.close()
    return found


def play(shop, draw, situation, everybody, cycles, text):
    """`cycles` bursts of each kind, in turns; sums up in the situation."""
    mine = everybody[situation.threads]
    subjects = [each for copies in mine.values() for each in copies]
    other = neighbour(shop) if situation.busy else None
    for each in subjects:
        each.begin()
    shop.sleep(SETTLE, text)
    watcher, file = watch(shop, subjects)
    groups = [each.group for all in everybody.values() for row in all.values() for each in row]
    pids = [each.controller for all in everybody.values() for row in all.values()
            for each in row if each.controller]
    foreign = Foreign(
        [each.group for each in [other] if each] + groups, [watcher.pid, *pids])
    before = [(each.group.throttled()[0], each.group.used(), each.group.quota(),
               each.controller_ns()) for each in subjects]
    begin = time.monotonic_ns()
    order = list(mine)
    for cycle in range(cycles):
        shop.tell(f"{text}: burst {cycle + 1} of {cycles} of each kind")
        for kind in order[cycle % len(order):] + order[:cycle % len(order)]:
            subject = mine[kind][cycle % len(mine[kind])]
            subject.prepare()
            time.sleep(draw.randrange(*PAUSE) / 1e9)
            found = situation.found.setdefault(kind, Found())
            for values, value in zip((found.done, found.late, found.rested), subject.burst()):
                values.append(value)
    end = time.monotonic_ns()
    situation.foreign.append(foreign.close())
    written = events(shop, watcher, file)
    for index, (each, (throttled, used, quota, controller)) in enumerate(zip(subjects, before)):
        found = situation.found[each.kind]
        found.throttled += each.group.throttled()[0] - throttled
        found.controller_ns += each.controller_ns() - controller
        found.writes += len(written.get(index, []))
        if quota is not None:
            found.seconds += (end - begin) / 1e9
            found.slack += reserved(
                begin, end, quota, each.group.period(), written.get(index, []))
            found.slack -= each.group.used() - used
    if other:
        other.stop()


def verdicts(situation, kind, found):
    """The goals for the hooks, where nobody else is on the machine."""
    if situation.threads > 1 or situation.busy or "hooks" not in kind.title:
        return ""
    p50, _, p99, _ = (value / MS for value in found.percentiles())
    missed = [
        text for text, is_met in (
            (f"p50 <= {GOAL_P50} ms", p50 <= GOAL_P50), (f"p99 <= {GOAL_P99} ms", p99 <= GOAL_P99),
            ("not throttled", found.throttled == 0)) if not is_met]
    goal = f"p50 <= {GOAL_P50} ms, p99 <= {GOAL_P99} ms, not throttled"
    return f"{goal}: " + (f"MISSED ({', '.join(missed)})" if missed else "met")


def table(situations, notes, rounds):
    rested = [value for each in situations for found in each.found.values()
              for value in found.rested]
    result = Result(
        NAME, "30 ms of CPU asked at a random phase of a container that declares 10 ms in 100 ms",
        ["limit", "bursts", "p50", "p90", "p99", "max", "throttled", "reserved, not used",
         "controller", "quota writes", "goal"],
        ["From the first instruction to the end of the last thread; 30 ms in sum, so that with 2 "
         "threads 15 ms is the ideal. Every burst finds its container at rest: "
         f"{COPIES} containers of each kind take turns, and none was asked for anything in the "
         f"{min(rested) / 1e9:.1f} s before.",
         "All kinds in turns, one burst at a time, before each a pause of "
         f"{PAUSE[0] // MS}-{PAUSE[1] // MS} ms, seeded. {rounds} rounds of all situations.",
         "Throttled: cpu.stat's throttled time, summed over CPUs and bursts. Reserved, not used: "
         "the quota in force over the whole time minus the use, CPUs on average, for a container. "
         "Controller: its own CPU time, of one CPU, for a container.",
         "The ceiling is 1 CPU a thread, for every controller; Koordinator's is 300 % of the "
         "declared. Its law takes seven seconds to there, and gives nothing back while the node "
         "has CPUs to spare: one row is put back to its base before each burst, the other is put "
         "to 300 % three seconds before each part. Escra's floor is what is declared here, not "
         "its own of 30 ms; escra-runc's is its default, 5 ms.",
         "Somebody else's work is a spinning thread in another container, on one of two CPUs.",
         *notes])
    for situation in situations:
        for kind, found in situation.found.items():
            title = f"{situation.title}: {kind.title}"
            slack = found.slack_cpus()
            result.add(
                title, len(found.done), *[f"{value / MS:.2f} ms" for value in found.percentiles()],
                f"{found.throttled:.3f} s", "-" if slack is None else f"{slack:.3f}",
                f"{found.controller_share():.3%}" if kind.has_controller else "-",
                found.writes if kind.has_controller else "-", verdicts(situation, kind, found))
            result.figures[title] = found.published()
    late = [value for each in situations for found in each.found.values() for value in found.late]
    foreign = [value for each in situations for value in each.foreign]
    result.notes.append(
        f"Not counted: waking up, p50 {median(late) / 1000:.0f} us, p99 "
        f"{percentile(late, 99) / 1000:.0f} us. Others used {median(foreign):.1%} of the machine's "
        f"CPU time (median; at most {max(foreign):.1%}); "
        f"{sum(value > DISTURBED for value in foreign)} of {len(foreign)} parts had more than "
        f"{DISTURBED:.0%}.")
    result.foreign = median(foreign)
    result.figures["foreign"] = {
        each.title: [round(value, 4) for value in each.foreign] for each in situations}
    result.drawing = burstplot.draw([
        (f"{threads} thread{'s' if threads > 1 else ''}, ideal {WORK / MS / threads:.0f} ms",
         [(kind.title, [each.found[kind].done for each in situations
                        if each.threads == threads and kind in each.found])
          for kind in next(each for each in situations if each.threads == threads).found])
        for threads in sorted({each.threads for each in situations})])
    result.drawing_path = PLOT
    return result


def run(shop, quick):
    rounds, cycles = (1, 4) if quick else (ROUNDS, CYCLES)
    found, notes = sources.available(shop)
    rows = kinds(found)
    situations = [Situation(threads, busy) for threads in (1, 2) for busy in (False, True)]
    everybody = {1: {}, 2: {}}
    for threads, mine in everybody.items():
        for kind in rows:
            shop.say(f"burst: containers, {threads} threads, {kind.title}")
            mine[kind] = [Subject(shop, kind, threads, WORK) for _ in range(COPIES)]
    # What is learned is learned now: Escra's helper finds the end of a period.
    for mine in everybody.values():
        for subjects in mine.values():
            for subject in subjects:
                subject.burst()
    hooked = [each.container for mine in everybody.values() for kind, subjects in mine.items()
              if kind.operator == found.get(sources.HOOKS) for each in subjects]
    missing = sources.without_hooks(shop, hooked) if sources.HOOKS in found else 0
    if missing:
        notes.append(f"{missing} of {len(hooked)} containers in the row of the kernel hooks had to "
                     "do without them.")
    draw = random.Random(1)
    result = None
    for number in range(rounds):
        for situation in situations:
            text = f"burst: round {number + 1} of {rounds}, {situation.title}"
            play(shop, draw, situation, everybody, cycles, text)
            if number or situation is situations[-1]:
                result = table(situations, notes, number + 1)
                shop.publish(result)
    for mine in everybody.values():
        for subjects in mine.values():
            for subject in subjects:
                subject.talk.close()
                subject.container.stop()
    return result
