# SPDX-License-Identifier: Apache-2.0
"""How soon a container that wakes from idle gets its CPU."""
import random
import time

from ..container import Failure
from ..figures import milliseconds, percentile, summary
from ..report import Result

NAME = "reaction"
MS = 1_000_000
WORK = 30 * MS  # CPU time asked for after each silence
BUSY = 150 * MS  # and busy for at least this long, so that a late raise is still seen
SLOT = 480 * MS  # one container is busy in a slot, all others are silent


def play(shop, players, slots, rounds, inotify=None):
    """Lets each player wake in its own slot of every round; jitter is seeded.

    inotify: an instance for the watcher, where there may be none left for it.

    Returns events of the watcher: (ns, index of the player, quota).
    """
    watcher = shop.start_helper(
        "quotawatch", *(["--inotify", inotify] if inotify else []),
        *[each.group.quota_file for each in players], passed=[inotify] if inotify else [])
    if watcher.stdout.readline().strip() != "ready":
        raise Failure("quotawatch does not start; its message is above")
    # Until the first slot all of them are silent for long enough to be at their floor.
    start = time.monotonic_ns() + 3000 * MS
    for player in players:
        shop.go(player, start)
    shop.sleep(3 + rounds * slots * SLOT / 1e9 + 1, "reaction: waking and sleeping")
    watcher.terminate()
    events = [tuple(map(int, line.split())) for line in watcher.stdout if line.count(" ") == 2]
    watcher.wait()
    shop.helpers.remove(watcher)
    return events


def schedule(slot, slots, rounds):
    jitter = random.Random(slot)
    return [
        ((index * slots + slot) * SLOT + jitter.randrange(100 * MS), WORK, BUSY)
        for index in range(rounds)]


def raises(times, events, floor):
    """Nanoseconds from each start of work to the first raise after it.

    Returns those, how many starts saw no raise while busy, and how many began above the floor.
    """
    found, missed, above = [], 0, 0
    for begun, done in times:
        before = [quota for moment, quota in events if moment < begun]
        held = before[-1] if before else floor
        if held > floor:
            above += 1
        later = [
            moment for moment, quota in events
            if begun <= moment <= max(done, begun + BUSY) and quota > held]
        if later:
            found.append(later[0] - begun)
        else:
            missed += 1
    return found, missed, above


def run(shop, quick):
    rounds, copies = (3, 3) if quick else (35, 3)
    kinds = [
        ("reactive, 0.5 declared, at most 1",
         {"io.escra.policy": "reactive", "io.escra.cpu.max": "1"}, 0.5, copies),
        ("runc, static 0.5", None, 0.5, 1),
        ("runc, static 0.05: the floor of the reactive", None, 0.05, 1),
        ("runc, no limit", None, None, 1),
    ]
    # The static floor needs 0.6 s for its work, at 5 % of a CPU: it runs into the next slot.
    slots = sum(kind[3] for kind in kinds) + 1
    players, of_kind = [], []
    for title, annotations, cpu, count in kinds:
        for _ in range(count):
            player = shop.player(
                "wake", schedule(len(players), slots, rounds), annotations, cpu)
            players.append(player.start())
            of_kind.append(title)
    events = play(shop, players, slots, rounds)

    result = Result(
        NAME, "A container wakes from idle and asks for 30 ms of CPU",
        ["limit", "wakes", "raised after p50", "p90", "p99", "30 ms done after p50", "p90", "p99",
         "max"],
        [f"{copies} reactive containers and one of each other kind take turns, one awake at a "
         f"time, after {slots * SLOT / 1e9 - 0.3:.1f} s of silence; jitter of 0-100 ms, seeded.",
         "Begin is CLOCK_MONOTONIC in the container; the raise is seen by inotify on the quota "
         "file, from a real-time process. p99 of fewer than 100 wakes is their maximum."])
    for title, annotations, *_ in kinds:
        done, raised, missed, above = [], [], 0, 0
        for index, player in enumerate(players):
            if of_kind[index] != title:
                continue
            times = shop.times(player)
            if not all(end for _, end in times):
                raise Failure(f"reaction: {title} did not finish its load in time")
            done += [end - begun for begun, end in times]
            if annotations:
                mine = [(moment, quota) for moment, which, quota in events if which == index]
                floor = min((quota for _, quota in mine), default=0)
                some, few, high = raises(times, mine, floor)
                raised, missed, above = raised + some, missed + few, above + high
        cells = ["-"] * 3
        if raised:
            cells = [milliseconds(percentile(raised, p)) for p in (50, 90, 99)]
        result.add(
            title, len(done), *cells,
            *[milliseconds(percentile(done, p), 1) for p in (50, 90, 99, 100)])
        figures = {"done_ns": summary(done)}
        if annotations:
            figures["raised_ns"] = summary(raised) if raised else None
            figures.update(
                never_raised=missed, began_above_the_floor=above, all_raised_ns=raised)
            result.notes.append(
                f"{title}: {missed} of {len(done)} wakes saw no raise while busy; {above} began "
                "above the floor.")
        result.figures[title] = figures
    for player in players:
        player.stop()
    return result
