# SPDX-License-Identifier: Apache-2.0
"""A service whose static limit is ample: what it costs to have the limit follow its use."""
import os
import random
import struct

from .. import sources
from ..container import Failure
from ..figures import Pairs, median, percentile, verdict
from ..foreign import Foreign
from ..supervisors.idle import wakeups
from ..report import Result

NAME = "requests"
MS = 1_000_000
WORK, RATE, LIMIT = 1 * MS, 400, 1  # a second: 0.4 of the one CPU that is its limit
ROUNDS, SECONDS = 12, 5
GOAL = 1.02
PERCENTS = (50, 99)
STATIC, UNLIMITED = "runc, static limit", "runc, no limit"


def arrivals(seed, seconds):
    """Moments in nanoseconds at which requests are sent, whatever became of those before."""
    draw, moment, found = random.Random(seed), 0.0, []
    while (moment := moment + draw.expovariate(RATE)) < seconds:
        found.append(int(moment * 1e9))
    return found


class Service:
    """A container with the service, and what was found of it, a list a slice."""

    def __init__(self, shop, title, operator=None, cpu=LIMIT):
        self.shop, self.title = shop, title
        self.container = shop.waiting(
            "requests", ["requests", "serve", WORK],
            sources.REACTIVE if operator else None, cpu, operator=operator)
        self.container.start()
        self.supervisor = self.container.supervisor if operator else None
        self.slices, self.foreign = [], []
        self.throttled = self.used = self.seconds = 0.0
        self.supervisor_ns = 0

    def _state(self):
        group = self.container.group
        return (group.throttled()[0] if group.quota() else 0, group.used(),
                wakeups(self.supervisor)[1] if self.supervisor else 0)

    def play(self, schedule, seconds):
        before = self._state()
        client = self.shop.start_helper("requests", self.container.shared, "ask", schedule)
        foreign = Foreign([self.container.group], [client.pid])
        answers = [int(line) for line in client.stdout]
        # The client is gone, and its CPU time with it, unless it is waited for afterwards.
        self.foreign.append(foreign.close())
        client.wait()
        self.shop.helpers.remove(client)
        if not answers:
            raise Failure(f"requests: {self.title} got no answers; the message is above")
        self.slices.append(answers)
        after = self._state()
        self.throttled += after[0] - before[0]
        self.used += after[1] - before[1]
        self.supervisor_ns += after[2] - before[2]
        self.seconds += seconds

    def each(self, percent):
        return [percentile(answers, percent) for answers in self.slices]

    def all(self):
        return [answer for answers in self.slices for answer in answers]


def table(services, notes):
    static = next(each for each in services if each.title == STATIC)
    rounds = len(static.slices)
    result = Result(
        NAME, "Requests to a service whose static limit is ample",
        ["limit", "requests", "p50", "p99", "p99.9", "max", "p50 to static (95 %)",
         "p99 to static (95 %)", "throttled", "supervisor", "goal"],
        [f"One thread, {WORK // MS} ms of CPU a request, {RATE} requests a second (exponential, "
         f"seeded, sent whether or not the last one was answered): {WORK * RATE / 1e9:.1f} CPUs, "
         f"under a limit of {LIMIT}. From the moment when it was to be sent to its answer, by "
         "pipes, with a client outside of the container.",
         f"{rounds} rounds of slices of {static.seconds / rounds:.0f} s, all limits in turns with "
         "the same requests; whoever waits for its turn rests, so each slice begins with waking "
         "up. Ratios of the medians over the rounds, bootstrapped over the rounds.", *notes])
    for service in services:
        answers = service.all()
        ratios, goals = ["", ""], ""
        figures = {
            "requests": len(answers), "p50_ns": service.each(50), "p99_ns": service.each(99),
            "p99.9_ns": percentile(answers, 99.9), "throttled_seconds": service.throttled,
            "used_core_seconds": round(service.used, 3), "supervisor_ns": service.supervisor_ns,
            "foreign": [round(value, 4) for value in service.foreign]}
        if service is not static:
            ratios = []
            for percent in PERCENTS:
                pairs = Pairs(list(zip(static.each(percent), service.each(percent))))
                low, high = pairs.ratio_interval()
                ratios.append(f"{pairs.ratio_of_medians:.3f} ({low:.3f}, {high:.3f})")
                figures[f"p{percent}_to_static"] = [pairs.ratio_of_medians, low, high]
            if service.supervisor:
                goals = "; ".join(
                    verdict(figures[f"p{percent}_to_static"][0], GOAL, f"p{percent} <= {GOAL} x")
                    for percent in PERCENTS)
        result.add(
            service.title, len(answers),
            *[f"{percentile(answers, percent) / MS:.3f} ms" for percent in (50, 99, 99.9, 100)],
            *ratios, f"{service.throttled:.3f} s" if service.title != UNLIMITED else "-",
            f"{service.supervisor_ns / 1e9 / service.seconds:.3%}" if service.supervisor else "-",
            goals)
        result.figures[service.title] = figures
    foreign = [value for each in services for value in each.foreign]
    result.foreign = median(foreign)
    result.notes.append(
        f"Others used {median(foreign):.1%} of the machine's CPU time (median; at most "
        f"{max(foreign):.1%} in a slice), the client included.")
    return result


def run(shop, quick):
    rounds, seconds = (2, 2) if quick else (ROUNDS, SECONDS)
    found, notes = sources.available(shop)
    services = [
        Service(shop, STATIC),
        *(Service(shop, f"reactive, {name}", operator) for name, operator in found.items()),
        Service(shop, UNLIMITED, cpu=None)]
    # A supervisor keeps what was declared for the first two seconds.
    shop.sleep(3, "requests: waiting for the limits to come down")
    for service in services:
        if sources.HOOKS in service.title and sources.without_hooks(shop, [service.container]):
            notes.append("The container in the row of the kernel hooks had to do without them.")
    schedule = os.path.join(shop.path, "arrivals")
    for number in range(rounds):
        moments = arrivals(number + 1, seconds)
        with open(schedule, "wb") as file:
            file.write(struct.pack(f"={len(moments)}q", *moments))
        turn = number % len(services)
        for service in services[turn:] + services[:turn]:
            shop.tell(f"requests: round {number + 1} of {rounds}, {service.title}")
            service.play(schedule, seconds)
        result = table(services, notes)
        shop.publish(result)
    for service in services:
        service.container.stop()
    return result
