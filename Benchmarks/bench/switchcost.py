# SPDX-License-Identifier: Apache-2.0
"""What supervised containers cost those who are in none, at each context switch."""
import os

from . import cgroups, sources
from .conversation import Conversation
from .crowd import Crowd
from .figures import median, with_interval
from .foreign import Foreign
from .report import Result

NAME = "switch"
COUNTS = (0, 1, 100, 1000, 100, 1, 0)
REPEATS = 10
SECONDS = 180  # that a crowd may take to gather
LOOPS = (("p", "pipe"), ("y", "yield"))


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


class Stage:
    """What was found beside so many containers, on the way up or down."""

    def __init__(self, count, seconds):
        self.count, self.seconds = count, seconds
        self.found, self.foreign = {}, 0

    def measure(self, shop, places, repeats):
        groups = [each.container.group for each in places.values()
                  if hasattr(each.container, "group")]
        outside = [each.container.helper.pid for each in places.values()
                   if hasattr(each.container, "helper")]
        foreign = Foreign(groups, outside)
        for repeat in range(repeats):
            shop.tell(f"switch: beside {self.count}, {repeat + 1} of {repeats}")
            for where, talk in places.items():
                for byte, loop in LOOPS:
                    _, (nanoseconds, switches) = talk.ask(byte.encode())
                    self.found.setdefault((where, loop), []).append(nanoseconds / switches)
        self.foreign = foreign.close()


def table(stages, source, notes):
    result = Result(
        NAME, "What a context switch costs those who are in no supervised container",
        ["who switches, beside how many", "ns a switch, median (95 %)", "to none", "switches",
         "measured"],
        ["Two processes on one CPU hand a byte to each other by pipes, or yield to each other, for "
         "0.25 s at a time, all four in turns; CPU time of both; ratios of medians. Beside none nothing of ours is "
         "loaded, at the beginning and at the end; the crowd grows, then shrinks.",
         "In a container with a limit: runc's, whose quota is never short.",
         f"Each of the crowd is supervised ({source}), reactive, with one process that sleeps.",
         *notes])
    keys = list(stages[0].found)
    counts = sorted({stage.count for stage in stages})
    for key in keys:
        found = {
            count: [value for stage in stages if stage.count == count
                    for value in stage.found.get(key, [])]
            for count in counts}
        for count in counts:
            ratio = median(found[count]) / median(found[0])
            runs = [stage for stage in stages if stage.count == count]
            title = f"{key[0]}, {key[1]}: {count}"
            result.add(
                title, with_interval(found[count], 0), "" if count == 0 else f"{ratio:.3f}",
                len(found[count]), "twice" if len(runs) > 1 else "once")
            result.figures[title] = {
                "ns": [[round(value, 1) for value in stage.found[key]] for stage in runs],
                "to_none": round(ratio, 4)}
    gathered = max(stages, key=lambda stage: stage.count)
    result.notes.append(
        f"Starting the last {gathered.added} containers took {gathered.seconds:.0f} s. Others used "
        f"at most {max(stage.foreign for stage in stages):.1%} of the machine's CPU time.")
    result.figures["stages"] = [
        {"count": stage.count, "seconds": round(stage.seconds, 1),
         "foreign": round(stage.foreign, 4)} for stage in stages]
    return result


def run(shop, quick):
    counts, repeats = ((0, 1, 20, 0), 2) if quick else (COUNTS, REPEATS)
    found, notes = sources.available(shop)
    source = sources.HOOKS if sources.HOOKS in found else sources.SAMPLING
    cpu = max(os.sched_getaffinity(0))
    limited = shop.waiting("switch", ["switches", cpu], cpu=cgroups.online_cpus()).start()
    outside = Outside(shop, cpu)
    places = {"in no container": Conversation(outside, 2),
              "in a container with a limit": Conversation(limited, 2)}
    crowd, stages, before = Crowd(shop, found[source]), [], 0
    # Programs and pages are warm.
    Stage(0, 0).measure(shop, places, 1)
    for count in counts:
        seconds = crowd.become(count, SECONDS)
        if len(crowd.members) != count:
            notes.append(f"{count} containers were not there in {SECONDS} s: "
                         f"{len(crowd.members)} stand for them.")
        shop.sleep(0 if not count else 4, "switch: waiting for the limits to come down")
        stage = Stage(len(crowd.members), seconds)
        stage.added = stage.count - before
        before = stage.count
        stage.measure(shop, places, repeats)
        stages.append(stage)
        shop.publish(table(stages, source, notes))
    for talk in places.values():
        talk.close()
        talk.container.stop()
    return table(stages, source, notes)
