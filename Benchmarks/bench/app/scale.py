# SPDX-License-Identifier: Apache-2.0
"""An application of many members: how soon one that wakes gets more, and what the broker costs."""
import ctypes
import glob
import os
import time

from .. import sources
from ..container import Failure
from ..crowd import Crowd
from ..figures import milliseconds, percentile, summary
from ..supervisors.idle import memory, wakeups
from ..cpu.reaction import SLOT, play, raises, schedule
from ..report import Result

NAME = "app-scale"
# ESCRA_BENCH_SCALE=1,100: for some of them.
COUNTS = tuple(map(int, os.environ.get("ESCRA_BENCH_SCALE", "1,10,100,1000").split(",")))
QUICK_COUNTS = (1, 10)
PLAYERS, ROUNDS, SETTLE = 3, 20, 4
QUESTIONS, GAP = 1000, 2000  # of the broker, and the microseconds between two
DECLARED = 0.01  # CPUs of each that wakes: the least there is for a period of 100 ms
# Of each that sleeps: the least that the kernel takes at all.
LEAST = {"quota": 1000, "period": 1000000}
GOAL_P50, GOAL_P99 = 60_000, 250_000  # ns, with 100 members


def annotations(least):
    """What a member says: of two CPUs, one is the floors of a thousand who sleep."""
    return {
        "io.escra.policy": "reactive", "io.escra.app": "scale", "io.escra.cpu.min": least,
        "io.escra.cpu.max": "1", "io.escra.app.cpu": "2",
        # Nothing of it moves: there is as much for each.
        "io.escra.memory.min": "16Mi", "io.escra.memory.max": "16Mi",
        "io.escra.app.memory": "16Gi"}


def socket():
    """Where the broker listens."""
    found = glob.glob("/run/escra/apps/*/socket")
    if len(found) != 1:
        raise Failure(f"{len(found)} applications have a broker, expected one")
    return found[0]


def broker():
    """Its pid: whoever has the lock beside the socket."""
    node = os.stat(os.path.join(os.path.dirname(socket()), ".lock")).st_ino
    with open("/proc/locks") as file:
        for words in map(str.split, file):
            if "->" not in words and int(words[5].split(":")[2]) == node:
                return int(words[4])
    raise Failure("nobody holds the lock of the application")


def ask(shop, path):
    """Nanoseconds from each question to its answer, and what was said last."""
    helper = shop.start_helper("appstatus", path, QUESTIONS, GAP)
    *times, last = helper.stdout.read().split("\n")[:-1] or [""]
    helper.wait()
    shop.helpers.remove(helper)
    return list(map(int, times)), last


def questions(shop, count):
    """Nanoseconds from each question to the broker's answer."""
    times, last = ask(shop, socket())
    if last != f"members {count}":
        raise Failure(f"the broker has {last or 'not answered'}, expected {count} members")
    return times


def echoes(shop):
    """The same of a process that answers whatever it is asked."""
    path = os.path.join(shop.path, f"echo-{time.monotonic_ns()}")
    helper = shop.start_helper("appecho", path)
    if helper.stdout.readline().strip() != "ready":
        raise Failure("appecho does not start; its message is above")
    times, _ = ask(shop, path)
    helper.wait()
    shop.helpers.remove(helper)
    return times


class Found:
    """What was found with one number of members."""

    def __init__(self, shop, operator, crowd, count, rounds, inotify):
        alone, asked = count == 1, annotations("10m")
        if alone:
            # Nobody to ask: what a container gets by itself.
            asked = {"io.escra.policy": "reactive", "io.escra.cpu.min": "10m",
                     "io.escra.cpu.max": "1"}
        else:
            crowd.become(count - PLAYERS, 30 + count)
            if len(crowd.members) < count - PLAYERS:
                raise Failure(f"only {len(crowd.members)} containers of {count - PLAYERS}")
        slots = PLAYERS + 1
        players, creates = [], []
        for index in range(PLAYERS):
            player = shop.player("scale", schedule(index, slots, rounds), asked, DECLARED)
            player.options = ["--escra-config", shop.operator_config(operator)]
            begin = time.monotonic_ns()
            players.append(player.start())
            creates.append(time.monotonic_ns() - begin)
        self.create = min(creates)
        shop.sleep(SETTLE, f"app-scale: {count} members settling")
        self.times, self.echoes, self.pss, self.private = [], [], 0, 0
        if not alone:
            self.times, self.echoes = questions(shop, count), echoes(shop)
            pid = broker()
            before = wakeups(pid)
        events = play(shop, players, slots, rounds, inotify)
        self.done, self.raised, self.missed = [], [], 0
        for index, player in enumerate(players):
            times = shop.times(player)
            if not all(end for _, end in times):
                raise Failure("app-scale: a member did not finish its load in time")
            mine = [(moment, quota) for moment, which, quota in events if which == index]
            some, few, _ = raises(times, mine, min((quota for _, quota in mine), default=0))
            self.raised += some
            self.missed += few
            self.done += [end - begun for begun, end in times]
        if not alone:
            if broker() != pid:
                raise Failure("app-scale: the broker has changed meanwhile; see the system's log")
            after = wakeups(pid)
            # Nothing else happens in the application: what it did was for those that woke.
            self.broker_ns = (after[1] - before[1]) / (PLAYERS * rounds)
            os.sync()
            found = memory(pid)
            self.pss, self.private = found["Pss"], found["Private"]
        for player in players:
            player.stop()


def run(shop, quick):
    counts, rounds = (QUICK_COUNTS, 4) if quick else (COUNTS, ROUNDS)
    found, notes = sources.available(shop)
    operator = found.get(sources.HOOKS) or found[sources.SAMPLING]
    result = Result(
        NAME, "An application of many members, three of which wake in turns",
        ["members", "asked and answered p50", "p99", "raised after p50", "p99", "30 ms done p50",
         "p99", "broker's CPU a wake", "broker's private KiB", "PSS", "create", "goal"],
        ["All members are containers under runc with a supervisor each; all but three sleep, with "
         "1 ms in a second each. The application has two CPUs. Asked and answered: a status frame "
         f"of docs/protocol.md to the broker, {QUESTIONS} times, from a realtime process, "
         f"{GAP / 1000:.0f} ms apart. An echo: the same frames, answered at once by C code, "
         "behind each of these rows: what it takes two processes of this machine to wake each "
         "other, of whatever is between them.",
         f"Raised: from a wake after {(PLAYERS + 1) * SLOT / 1e9 - 0.3:.1f} s of silence to the "
         "first raise of the limit, seen by inotify; of one alone no round trip is a part. Of the "
         "broker's CPU the part that it needs for a container of its own is not taken off. Create: "
         "the quickest of three runs of a newcomer.", *notes])
    crowd = Crowd(shop, "scale", operator)
    crowd.config["annotations"] = annotations("1m")
    crowd.config["linux"]["resources"]["cpu"] = LEAST
    echoed = []
    # Supervisors take what there is of them; one that gets none looks for other writers itself.
    inotify = ctypes.CDLL(None, use_errno=True).inotify_init1(os.O_CLOEXEC)
    if inotify < 0:
        raise Failure("all instances of inotify are taken (fs.inotify.max_user_instances)")
    for count in counts:
        each = Found(shop, operator, crowd, count, rounds, inotify)
        asked = [f"{percentile(each.times, p) / 1000:.0f} us" if each.times else "-"
                 for p in (50, 99)]
        raised = [milliseconds(percentile(each.raised, p)) if each.raised else "-"
                  for p in (50, 99)]
        goal = ""
        if count == 100:
            met = (percentile(each.times, 50) <= GOAL_P50 and
                   percentile(each.times, 99) <= GOAL_P99)
            goal = f"p50 <= {GOAL_P50 // 1000} us, p99 <= {GOAL_P99 // 1000} us: " + (
                "met" if met else "MISSED")
        result.add(
            "one alone" if count == 1 else count, *asked, *raised,
            *[milliseconds(percentile(each.done, p), 1) for p in (50, 99)],
            f"{each.broker_ns / 1000:.0f} us" if each.times else "-", each.private or "-",
            each.pss or "-", milliseconds(each.create, 0), goal)
        result.figures[str(count)] = {
            "asked_ns": summary(each.times) if each.times else None,
            "echo_ns": summary(each.echoes) if each.echoes else None,
            "raised_ns": summary(each.raised) if each.raised else None,
            "never_raised": each.missed, "done_ns": summary(each.done),
            "broker_ns_a_wake": round(each.broker_ns) if each.times else None,
            "broker_private_kib": each.private, "broker_pss_kib": each.pss,
            "create_ns": each.create}
        echoed += each.echoes
        shop.publish(result)
    if echoed:
        result.add("an echo in C", *[f"{percentile(echoed, p) / 1000:.0f} us" for p in (50, 99)],
                   *["-"] * 8, "")
        result.figures["echo"] = {"asked_ns": summary(echoed)}
    crowd.become(0, 300)
    return result
