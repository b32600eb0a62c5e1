# SPDX-License-Identifier: Apache-2.0
"""The ways to limit a container that is asked for a burst, and what each of them does."""
import os
import signal

from ..conversation import Conversation
from ..figures import percentile, summary
from ..supervisors.idle import wakeups
from ..sources import HOOKS, REACTIVE, SAMPLING

MS = 1_000_000
DECLARED = 0.1  # CPUs: 10 ms in 100 ms
STATIC, UNLIMITED = "static limit", "no limit"


class Kind:
    """One way: a row of the table.

    limit: CPUs, None for none. law: of a peer, at work beside the container. operator: the config
    of escra-runc, for its rows.
    """

    def __init__(self, title, limit=DECLARED, law=None, burst=False, fresh=False, operator=None):
        self.title, self.limit, self.law, self.operator = title, limit, law, operator
        self.burst, self.fresh = burst, fresh

    @property
    def has_controller(self):
        return bool(self.law or self.operator)


def kinds(sources):
    """sources: escra-runc's, as `available` finds them."""
    return [
        Kind(STATIC),
        Kind("cpu.cfs_burst_us at its maximum", burst=True),
        Kind("polling nr_throttled each 100 ms", law="poll"),
        Kind("Koordinator's law, from its base", law="koordinator", fresh=True),
        Kind("Koordinator's law, from 300 %", law="koordinator"),
        Kind("Escra's law, a report a period", law="escra"),
        *(Kind(f"escra-runc, {source}", operator=sources[source])
          for source in (SAMPLING, HOOKS) if source in sources),
        Kind(UNLIMITED, limit=None),
    ]


class Subject:
    """A container of one kind whose threads wait for their burst, and its controller."""

    def __init__(self, shop, kind, threads, work):
        self.kind = kind
        annotations = {**REACTIVE, "io.escra.cpu.max": str(threads)} if kind.operator else None
        self.container = shop.waiting(
            "burst", ["burst", threads, work // threads], annotations, kind.limit,
            operator=kind.operator).start()
        group = self.group = self.container.group
        self.controller = self.container.supervisor if kind.operator else None
        base = group.quota()
        if kind.burst:
            name = "cpu.max.burst" if group.is_v2 else "cpu.cfs_burst_us"
            with open(os.path.join(group.cpu, name), "w") as file:
                file.write(str(base))
        if kind.law:
            self.helper = shop.start_helper(
                "peers", kind.law, base, threads * group.period(), group.quota_file,
                os.path.join(group.cpu, "cpu.stat"), group.usage_file)
            self.controller = self.helper.pid
        self.talk, self.ended = Conversation(self.container, 3), 0

    def begin(self):
        """Before the first burst of a part."""
        if self.kind.law == "koordinator" and not self.kind.fresh:
            self.helper.send_signal(signal.SIGUSR2)

    def prepare(self):
        """Before a burst, and long enough before it that its period goes on undisturbed."""
        if self.kind.fresh:
            self.helper.send_signal(signal.SIGUSR1)

    def burst(self):
        """Nanoseconds: from its first instruction to its end, how late the first one was, and how
        long it had rested."""
        asked, (begun, ended, _) = self.talk.ask(b"!")
        rested, self.ended = begun - self.ended, ended
        return ended - begun, begun - asked, rested

    def controller_ns(self):
        return wakeups(self.controller)[1] if self.controller else 0


class Found:
    """What was found of one kind in one situation, summed up over rounds."""

    def __init__(self):
        self.done, self.late, self.rested = [], [], []
        self.throttled = self.slack = self.seconds = 0.0
        self.controller_ns = self.writes = 0

    def percentiles(self):
        return [percentile(self.done, percent) for percent in (50, 90, 99, 100)]

    def slack_cpus(self):
        """Reserved and not used, on average; None where nothing is reserved."""
        return self.slack / self.seconds if self.seconds else None

    def controller_share(self):
        """Of one CPU."""
        return self.controller_ns / 1e9 / self.seconds if self.seconds else 0

    def published(self):
        return {
            "done_us": [round(value / 1000) for value in self.done],
            "woken_late_ns": summary(self.late), "rested_ns": summary(self.rested),
            "throttled_seconds": round(self.throttled, 6),
            "slack_core_seconds": round(self.slack, 3), "container_seconds": round(self.seconds, 1),
            "controller_ns": self.controller_ns, "quota_writes": self.writes,
        }


def reserved(begin, end, quota, period, events):
    """Core-seconds that a quota reserved: it held `quota` at `begin`, then changed at `events`.

    Moments in nanoseconds; events are (moment, quota), in their order.
    """
    total, last = 0.0, begin
    for moment, changed in events:
        if moment >= end:
            break
        if moment > last:
            total += (moment - last) / 1e9 * quota / period
            last = moment
        quota = changed
    return total + (end - last) / 1e9 * quota / period
