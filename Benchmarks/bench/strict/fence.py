# SPDX-License-Identifier: Apache-2.0
"""How long a newcomer may run on a strict container's CPU before it is put off."""
import os
import time

from .. import cgroups
from ..container import Container, Failure
from ..figures import milliseconds, percentile, summary, verdict
from ..report import Result
from .scene import RESERVED, Scene

NAME = "strict-fence"
GOAL = 100_000_000


def newcomers(shop, count, text):
    """Creates plain containers beside a strict one.

    Returns nanoseconds from the first process in the group and from the end of `runc create` to the
    group without the strict CPU; the latter is negative where create was still at work.
    """
    strict = shop.container(
        "strict", ["/bin/sleep", "100000"], {"io.escra.policy": "strict"}, cpu=RESERVED).start()
    directory = cgroups.directory(strict.pid, "cpuset")
    with open(os.path.join(directory, "cpuset.cpus")) as file:
        own = file.read().strip()
    prefix = f"{shop.prefix}-newcomer"
    watcher = shop.start_helper("fencewatch", os.path.dirname(directory), prefix, own)
    if watcher.stdout.readline().strip() != "ready":
        raise Failure("fencewatch does not start; its message is above")
    shop.count += 1
    bundle = shop.bundle(f"newcomer-{shop.count}", ["/bin/sleep", "100000"])
    created, all_ = {}, []
    for number in range(count):
        shop.say(f"{text}: newcomer {number + 1} of {count}")
        newcomer = Container(shop, shop.runc, f"newcomer-{shop.count}-{number}", bundle)
        newcomer.create()
        created[newcomer.id] = time.monotonic_ns()
        all_.append(newcomer)
    time.sleep(1)
    watcher.terminate()
    seen = {
        name: (int(populated), int(fenced))
        for name, populated, fenced in (line.split() for line in watcher.stdout)}
    watcher.wait()
    shop.helpers.remove(watcher)
    for container in (*all_, strict):
        container.stop()
    never = [name for name in created if name not in seen]
    if never:
        raise Failure(f"{len(never)} of {count} newcomers are not put off the CPU {own} after a "
                      "second; see escra explain")
    return ([fenced - populated for populated, fenced in seen.values()],
            [seen[name][1] - moment for name, moment in created.items()])


def run(shop, quick):
    count = 5 if quick else 50
    scene = Scene(shop, quick)
    result = Result(
        NAME, "A newcomer is put off the CPU of a strict container",
        ["the host, from the first process in the group", "newcomers", "p50", "p99", "max",
         "p99 from runc create's end", "put off before its end", "goal"],
        [f"{count} plain runc containers, created one after the other; p99 of fewer than 100 is "
         "their maximum. Seen by inotify on the group's files, from a real-time process.",
         f"Busy: {4 * scene.cpus} spinning threads in other containers, without a quota, share "
         "the CPUs on which the supervisor runs."])
    for title, kind in (("idle", None), ("busy", "burstable")):
        others = scene.neighbours(kind)
        populated, created = newcomers(shop, count, f"strict: {title} host")
        for other in others:
            other.stop()
        p50, p99, last = (percentile(populated, p) for p in (50, 99, 100))
        result.add(
            title, count, *[milliseconds(value) for value in (p50, p99, last)],
            milliseconds(percentile(created, 99)), sum(each < 0 for each in created),
            verdict(p99, GOAL, "p99 <= 100 ms"))
        result.figures[title] = {
            "from_first_process_ns": summary(populated), "from_end_of_create_ns": summary(created),
            "all_from_first_process_ns": populated, "all_from_end_of_create_ns": created}
    return result
