# SPDX-License-Identifier: Apache-2.0
"""What supervised containers cost those who are in none, at each context switch."""
import dataclasses
import os

from .. import cgroups, sources
from ..conversation import Conversation
from ..crowd import Crowd
from ..figures import median, with_interval
from ..foreign import Foreign
from ..report import Result

NAME = "switch"
REPEATS = 8
SECONDS = 180  # that a crowd may take to gather
LOOPS = (("c", "control"), ("p", "pipe"), ("y", "yield"))
NOBODY, RUNC = "nobody", "runc's"
# What matters most comes first, should somebody end the run.
STAGES = (
    (NOBODY, 0), (sources.HOOKS, 1), (sources.HOOKS, 100), (sources.HOOKS, 1000),
    (sources.HOOKS, 100), (NOBODY, 0), (RUNC, 1000), (NOBODY, 0), (sources.SAMPLING, 1),
    (sources.SAMPLING, 100), (NOBODY, 0))
QUICK = (
    (NOBODY, 0), (sources.HOOKS, 1), (sources.HOOKS, 10), (RUNC, 10), (sources.SAMPLING, 10),
    (NOBODY, 0))


class Outside:
    """A program of ours in no container; looks like one to a conversation."""

    def __init__(self, shop, cpu):
        self.shop, self.id = shop, "no container"
        self.shared = os.path.join(shop.path, "outside")
        os.makedirs(self.shared)
        for fifo in ("go", "done"):
            os.mkfifo(os.path.join(self.shared, fifo))
        self.helper = shop.start_helper("switches", self.shared, cpu)

    def stop(self):
        self.helper.kill()
        self.helper.wait()
        self.shop.helpers.remove(self.helper)


@dataclasses.dataclass
class Stage:
    """What was found beside so many containers of one kind."""
    kind: str
    count: int
    seconds: float = 0  # that they took to gather, or to go
    added: int = 0
    foreign: float = 0
    found: dict = dataclasses.field(default_factory=dict)

    @property
    def title(self):
        return f"{self.count}, {self.kind}" if self.count else NOBODY

    def measure(self, shop, places, repeats):
        groups = [each.container.group for each in places.values()
                  if hasattr(each.container, "group")]
        outside = [each.container.helper.pid for each in places.values()
                   if hasattr(each.container, "helper")]
        foreign = Foreign(groups, outside)
        for repeat in range(repeats):
            shop.tell(f"switch: beside {self.title}, {repeat + 1} of {repeats}")
            for where, talk in places.items():
                for byte, loop in LOOPS:
                    _, (nanoseconds, switches) = talk.ask(byte.encode())
                    self.found.setdefault((where, loop), []).append(nanoseconds / switches)
        self.foreign = foreign.close()


def controlled(stages, key, title):
    """What a switch takes, in what the control right before it took; of all such stages."""
    return [
        value / control for stage in stages if stage.title == title
        for value, control in zip(stage.found[key], stage.found[(key[0], "control")])]


def table(stages, notes):
    result = Result(
        NAME, "What a context switch costs those who are in no supervised container",
        ["who switches, beside how many", "ns a switch, median (95 %)", "to nobody",
         "to nobody, by control (95 %)", "switched"],
        ["Two processes on one CPU hand a byte to each other by pipes, or yield to each other, for "
         "0.25 s at a time, all in turns: CPU time of both; ratios of medians. Beside nobody "
         "nothing of ours is loaded: at the beginning, in between and at the end.",
         "By control: divided by what it takes a process, right before, to hand a byte to itself, "
         "which no hook sees: how fast the machine is at the moment cancels out.",
         "In a container with a limit: runc's, whose quota is never short.",
         "Beside them: reactive containers with one process that sleeps, by where their "
         "supervisors hear of a shortage from; or as many of runc's, which nobody supervises.",
         *notes])
    for key in stages[0].found:
        if key[1] == "control":
            continue
        titles = dict.fromkeys(stage.title for stage in stages)
        found = {
            title: [value for stage in stages if stage.title == title
                    for value in stage.found[key]]
            for title in titles}
        for title, values in found.items():
            ratio = median(values) / median(found[NOBODY])
            steady = controlled(stages, key, title)
            base = median(controlled(stages, key, NOBODY))
            by_control = [value / base for value in steady]
            row = f"{key[0]}, {key[1]}: {title}"
            runs = [stage.found[key] for stage in stages if stage.title == title]
            result.add(
                row, with_interval(values, 0), "" if title == NOBODY else f"{ratio:.3f}",
                with_interval(by_control, 3), f"{len(runs)} x {len(runs[0])}")
            result.figures[row] = {
                "ns": [[round(value, 1) for value in run] for run in runs],
                "to_nobody": round(ratio, 4),
                "to_nobody_by_control": round(median(by_control), 4),
                "control_ns": [
                    [round(value, 1) for value in stage.found[(key[0], "control")]]
                    for stage in stages if stage.title == title]}
    result.foreign = max(stage.foreign for stage in stages)
    largest = max(stages, key=lambda stage: stage.added)
    result.notes.append(
        f"{largest.added} more containers ({largest.kind}) were there in {largest.seconds:.0f} s. "
        "Others used "
        f"at most {result.foreign:.1%} of the machine's CPU time.")
    result.figures["stages"] = [
        {"beside": stage.title, "added": stage.added, "seconds": round(stage.seconds, 1),
         "foreign": round(stage.foreign, 4)} for stage in stages]
    return result


def gather(crowds, kind, count, notes):
    """As many containers of this kind as are asked for, and of no other; a Stage."""
    for other, crowd in crowds.items():
        if other != kind and crowd.members:
            crowd.become(0, SECONDS)
    if not count:
        return Stage(NOBODY, 0)
    crowd = crowds[kind]
    before = len(crowd.members)
    seconds = crowd.become(count, SECONDS)
    if len(crowd.members) != count:
        notes.append(f"{count} containers {kind} were not there in {SECONDS} s: "
                     f"{len(crowd.members)} stand for them.")
    return Stage(kind, len(crowd.members), seconds, len(crowd.members) - before)


def run(shop, quick):
    plan, repeats = (QUICK, 2) if quick else (STAGES, REPEATS)
    found, notes = sources.available(shop)
    cpu = max(os.sched_getaffinity(0))
    limited = shop.waiting("switch", ["switches", cpu], cpu=cgroups.online_cpus()).start()
    outside = Outside(shop, cpu)
    places = {"in no container": Conversation(outside, 2),
              "in a container with a limit": Conversation(limited, 2)}
    crowds = {RUNC: Crowd(shop, "beside")}
    for source, operator in found.items():
        crowds[source] = Crowd(shop, source.replace(" ", "-"), operator)
    # Programs and pages are warm.
    Stage(NOBODY, 0).measure(shop, places, 1)
    stages, result = [], None
    for kind, count in plan:
        if count and kind not in crowds:
            continue
        stage = gather(crowds, kind, count, notes)
        shop.sleep(4 if count else 1, "switch: waiting for the limits to come down")
        if kind == sources.HOOKS:
            missing = sources.without_hooks(shop, crowds[kind].members)
            if missing:
                notes.append(f"{missing} of {count} containers with kernel hooks had none.")
        stage.measure(shop, places, repeats)
        stages.append(stage)
        result = table(stages, notes)
        shop.publish(result)
    for talk in places.values():
        talk.close()
        talk.container.stop()
    return result
