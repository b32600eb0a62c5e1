# SPDX-License-Identifier: Apache-2.0
"""nginx, a Python service, redis and memcached as one application, under whatever limits it."""
import os
import re
import struct
import subprocess
import tempfile
import time

from .. import sources
from . import plot, rootfs
from .arrivals import KINDS, RATE, TRACE, arrivals
from .rows import (
    AMPLE, MIB, NETWORK, SERVICES, UNLIMITED, Application, Row, Sizes, make_network, rows, share)
from ..container import Failure
from ..figures import median, percentile
from ..foreign import Foreign
from ..report import Result
from ..workshop import TOP

NAME = "app"
MS = 1_000_000
# ESCRA_BENCH_APP=ROUNDS,SECONDS: for a longer look, or a shorter one.
ROUNDS, SECONDS = map(int, os.environ.get("ESCRA_BENCH_APP", "3,10").split(","))
CLOSED, CLOSED_SECONDS = "wrk, 16 connections", 4
LATE = 5  # seconds after the last request that answers are waited for
BIN = 0.1  # seconds over which use is a mean
PLOTS = [os.path.join(TOP, "docs", f"application-{name}.svg") for name in ("cpu", "memory")]
HEADROOM = "escra-runc, headroom"
NEAR, MEDIAN_SLACK, HIGH_SLACK = 0.03, 10, 3.2  # the goals; the ratios are those of Escra's paper


def prepare():
    """Before the workshop."""
    rootfs.prepare()


class Slice:
    """What was found of one application under one kind of arrival."""

    def __init__(self):
        self.latencies, self.rates, self.failed = [], [], 0
        self.slack, self.memory = [], []  # CPUs, MiB: of the application, a sample a bin
        self.throttled = self.seconds = 0.0
        self.kills = self.controller_ns = 0
        self.foreign, self.curve = [], None

    def percentiles(self):
        return [percentile(self.latencies, percent) / MS for percent in (50, 99, 99.9)]

    @property
    def rate(self):
        return median(self.rates)

    def published(self):
        found = {
            "answers_per_second": self.rates, "failed": self.failed,
            "throttled_seconds": round(self.throttled, 3), "oom_kills": self.kills,
            "controller_ns": self.controller_ns, "foreign": self.foreign}
        if self.latencies:
            found["latency_ms"] = [round(value, 3) for value in self.percentiles()]
        for name, values in (("slack_cpus", self.slack), ("slack_mib", self.memory)):
            if values:
                found[name] = [round(percentile(values, p), 3) for p in (50, 99)]
        return found


class Trace:
    """Limits and use of an application's containers over time."""

    def __init__(self, path, start, seconds):
        size = 1 + 4 * len(SERVICES)
        with open(path, "rb") as file:
            data = file.read()
        data = data[:len(data) // (8 * size) * 8 * size]
        self.samples = [
            sample for sample in struct.iter_unpack(f"={size}q", data)
            if start <= sample[0] <= start + seconds * 1e9]
        self.start = start
        if len(self.samples) < 2:
            raise Failure("appsample does not sample; its message is above")

    def bins(self):
        """(second, limit in CPUs or None, use, memory limit in bytes or None, memory) a bin; the
        limits are means over it, for they may have changed within."""
        found, begin = [], 0
        for index, sample in enumerate(self.samples):
            first = self.samples[begin]
            if sample[0] - first[0] < BIN * 1e9:
                continue
            span = self.samples[begin:index]
            limits = [sum(each[1::4]) / 1e5 for each in span if min(each[1::4]) > 0]
            memory = [sum(each[3::4]) for each in span if max(each[3::4]) < 1 << 60]
            used = sum(sample[2::4]) - sum(first[2::4])
            found.append((
                (first[0] - self.start) / 1e9,
                sum(limits) / len(limits) if limits else None, used / (sample[0] - first[0]),
                sum(memory) / len(memory) if memory else None,
                sum(sum(each[4::4]) for each in span) / len(span)))
            begin = index
        return found

    def peaks(self, window=1.0):
        """By service: the highest use in CPUs over a second, and the most memory in bytes."""
        cpu, memory = [0.0] * len(SERVICES), [0] * len(SERVICES)
        begin = 0
        for sample in self.samples:
            while sample[0] - self.samples[begin][0] > window * 1e9:
                begin += 1
            first = self.samples[begin]
            for service in range(len(SERVICES)):
                memory[service] = max(memory[service], sample[4 + 4 * service])
                if sample[0] - first[0] > 0.95 * window * 1e9:
                    used = sample[2 + 4 * service] - first[2 + 4 * service]
                    cpu[service] = max(cpu[service], used / (sample[0] - first[0]))
        return cpu, memory


def sampled(shop, application, work):
    """What `work` returns, and the file of samples taken meanwhile."""
    output = tempfile.NamedTemporaryFile(dir=shop.path, delete=False)
    sampler = shop.start_helper("appsample", 10000, *application.directories, output=output)
    try:
        return work(sampler.pid), output.name
    finally:
        sampler.terminate()
        sampler.wait()
        shop.helpers.remove(sampler)
        output.close()


def asked(shop, application, kind, seed, seconds, found):
    """One slice of open-loop requests."""
    schedule = os.path.join(shop.path, "requests.schedule")
    answers = os.path.join(shop.path, "requests.answers")
    moments = arrivals(kind, seed, seconds)
    with open(schedule, "wb") as file:
        file.write(b"".join(struct.pack("=2q", *each) for each in moments))

    def work(sampler):
        client = shop.start_helper(
            "appload", NETWORK, application.port, schedule, answers, LATE)
        foreign = Foreign(application.groups, [client.pid, sampler, *application.pids])
        start = int(client.stdout.readline() or 0)
        client.stdout.read()
        # The client is gone, and its CPU time with it, unless it is waited for afterwards.
        found.foreign.append(round(foreign.close(), 4))
        client.wait()
        shop.helpers.remove(client)
        return start

    start, samples = sampled(shop, application, work)
    with open(answers, "rb") as file:
        answered = list(struct.iter_unpack("=2q", file.read()))
    os.remove(answers)
    fine = 0
    for (moment, _), (took, status) in zip(moments, answered):
        found.latencies.append(took)
        if not 200 <= status < 400:
            found.failed += 1
        elif moment + took <= seconds * 1e9:
            fine += 1
    found.rates.append(fine / seconds)
    trace = Trace(samples, start, seconds)
    os.remove(samples)
    return trace


def closed(shop, application, seconds, found):
    """One slice of wrk, which asks again when it was answered: what it comes to."""
    def work(sampler):
        start = time.monotonic_ns()
        done = subprocess.run(
            ["nsenter", f"--net={NETWORK}", "chroot", rootfs.path(), "/usr/bin/wrk", "-t1",
             "-c16", f"-d{seconds}s", "--latency", f"http://127.0.0.1:{application.port}/page/7"],
            capture_output=True, text=True)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
        if done.returncode or not rate:
            raise Failure(f"wrk failed: {(done.stdout + done.stderr).strip()}")
        found.rates.append(float(rate.group(1)))
        return start

    start, samples = sampled(shop, application, work)
    trace = Trace(samples, start, seconds)
    os.remove(samples)
    return trace


def play(shop, application, kind, seed, seconds):
    found = application.slices.setdefault(kind, Slice())
    application.begin()
    before = application.throttled(), application.kills(), application.controller_ns()
    if kind == CLOSED:
        trace = closed(shop, application, min(seconds, CLOSED_SECONDS), found)
    else:
        trace = asked(shop, application, kind, seed, seconds, found)
    found.throttled += application.throttled() - before[0]
    found.kills += application.kills() - before[1]
    found.controller_ns += application.controller_ns() - before[2]
    found.seconds += (trace.samples[-1][0] - trace.samples[0][0]) / 1e9
    application.rest()
    bins = trace.bins()
    found.slack += [limit - used for _, limit, used, _, _ in bins if limit is not None]
    found.memory += [
        (limit - used) / MIB for _, _, _, limit, used in bins if limit is not None]
    if found.curve is None:
        found.curve = bins
    return trace


def measure(shop, shared, seconds):
    """What 1x is: the highest use in a second, and the most memory, of each service without a
    limit, under all kinds of arrival."""
    application = Application(shop, Row(UNLIMITED, None), None, shared, 20000)
    application.wait()
    cpu, memory = dict.fromkeys(SERVICES, 0.0), dict.fromkeys(SERVICES, 0)
    for kind in KINDS:
        shop.say(f"app: what it uses, {kind}")
        trace = play(shop, application, kind, 0, seconds)
        for index, name in enumerate(SERVICES):
            found = trace.peaks()
            cpu[name] = max(cpu[name], found[0][index])
            memory[name] = max(memory[name], found[1][index])
    application.stop()
    return Sizes(cpu, memory)


def verdicts(kind, application, applications):
    """The goals, where they are ours to reach."""
    if application.row.title != HEADROOM:
        return ""
    ours = application.slices[kind]
    others = {each.row.title: each.slices[kind] for each in applications}
    free, ample = others[UNLIMITED], others[AMPLE]
    goals = []
    # What wrk comes to without a limit is more than the application has.
    if ours.latencies:
        goals.append((f"rate within {NEAR:.0%} of no limit", ours.rate >= free.rate * (1 - NEAR)))
        goals.append((
            f"p99 within {NEAR:.0%} of no limit",
            ours.percentiles()[1] <= free.percentiles()[1] * (1 + NEAR)))
    for percent, ratio in ((50, MEDIAN_SLACK), (99, HIGH_SLACK)):
        goals.append((
            f"slack p{percent} {ratio} x below static 1.5x",
            percentile(ours.slack, percent) * ratio <= percentile(ample.slack, percent)))
    if ours.latencies:
        ahead = [
            title for title, each in others.items()
            if each is not ours and each.slack and each.percentiles()[1] < ours.percentiles()[1]
            and percentile(each.slack, 50) < percentile(ours.slack, 50)]
        goals.append(("nobody ahead in both", not ahead))
    missed = [text for text, is_met in goals if not is_met]
    return f"MISSED: {', '.join(missed)}" if missed else "met"


def cells(found, application):
    latencies = ["-"] * 3
    if found.latencies:
        latencies = [f"{value:.1f} ms" for value in found.percentiles()]
    slack = [f"{percentile(found.slack, p):.2f}" if found.slack else "-" for p in (50, 99)]
    memory = [f"{percentile(found.memory, p):.0f}" if found.memory else "-" for p in (50, 99)]
    share = found.controller_ns / 1e9 / found.seconds
    return [
        f"{found.rate:.1f}", found.failed, *latencies, *slack, *memory,
        f"{found.throttled:.2f} s", found.kills, f"{share:.2%}" if application.pids else "-"]


def table(applications, sizes, rounds, seconds, notes):
    result = Result(
        NAME, "An application of four containers under whatever limits it",
        ["arrival, limit", "answers/s", "failed", "p50", "p99", "p99.9", "CPU slack p50", "p99",
         "memory slack p50, MiB", "p99", "throttled", "OOM kills", "controller", "goal"],
        ["nginx (compresses) before a Python service (one thread), which asks memcached and redis; "
         f"{RATE} requests a second on average, seeded, sent whether or not the last was answered, "
         "by up to 64 connections. Latency is from the moment when a request was to be sent, so "
         "that waiting for a connection counts. Answers in the time of the slice, good ones only. "
         f"Last, wrk's {CLOSED.split(', ')[1]} that ask again when they were answered.",
         "Arrivals: fixed; exponential; bursts of a second at thrice the average every 5 s; a "
         "trace of two days in the slice, from night to noon 1 to 5, noise of a fifth, and now and "
         "then a quarter of a second at thrice the rate.",
         "1x is the highest use in a second, and the most memory, that each service came to under "
         "all arrivals without a limit, at least 0.05 CPUs: "
         + ", ".join(f"{name} {sizes.cpu[name]:.2f} CPUs and {sizes.memory[name] / MIB:.0f} MiB"
                     for name in SERVICES)
         + f". All but static 1x and no limit have 1.5x of their sum: {sizes.all_cpu:.2f} CPUs and "
         f"{sizes.all_memory / MIB:.0f} MiB for the application.",
         "Slack: the sum of the limits minus the sum of the use, of the application, in samples of "
         "0.1 s. Throttled: cpu.stat's, summed over containers and CPUs. Controller: its own CPU "
         "time, of one CPU, for the application.",
         "Autopilot's rule: its moving window recommender for services, with times 300 times "
         "shorter (5 minutes are a second); it has seen the slices before. Koordinator's: "
         "cfsQuotaBurst at its defaults, from 1x to 300 %, CPU alone. Escra's: that of the "
         "authors' controller, a report each 100 ms, a slice of 10 ms where theirs is 30 ms, "
         "memory included; it may overrun the application's limit and pays that back. All rest "
         "while others play.",
         f"{rounds} rounds of slices of {seconds} s, all limits in turns with the same requests; "
         "percentiles are over all of them.", *notes])
    for application in applications:
        if application.overrun > 0:
            result.notes.append(f"{application.row.title} granted up to {application.overrun:.2f} "
                                "CPUs more than the application's limit.")
    for kind in (*KINDS, CLOSED):
        for application in applications:
            found = application.slices.get(kind)
            if found is None:
                continue
            title = f"{kind}: {application.row.title}"
            result.add(title, *cells(found, application), verdicts(kind, application, applications))
            result.figures[title] = found.published()
    result.figures["sizes"] = {
        "cpu": sizes.cpu, "memory": sizes.memory, "all_cpu": sizes.all_cpu,
        "all_memory": sizes.all_memory}
    foreign = [
        value for each in applications for found in each.slices.values()
        for value in found.foreign]
    result.foreign = median(foreign)
    result.notes.append(
        f"Others used {median(foreign):.1%} of the machine's CPU time (median; at most "
        f"{max(foreign):.1%} in a slice).")
    result.drawings = dict(zip(PLOTS, (
        plot.draw(
            [(each.row.title, [bin[:3] for bin in each.slices[TRACE].curve])
             for each in applications], seconds, sizes.all_cpu, "CPUs"),
        plot.draw(
            [(each.row.title, [
                (bin[0], bin[3] and bin[3] / MIB, bin[4] / MIB)
                for bin in each.slices[TRACE].curve])
             for each in applications], seconds, sizes.all_memory / MIB, "MiB"))))
    return result


def run(shop, quick):
    rounds, seconds = (1, 4) if quick else (ROUNDS, SECONDS)
    found, notes = sources.available(shop)
    operator = found.get(sources.HOOKS) or found[sources.SAMPLING]
    make_network(shop)
    shared = share(shop)
    sizes = measure(shop, shared, seconds)
    applications = []
    for index, row in enumerate(rows({HEADROOM: operator})):
        shop.say(f"app: containers, {row.title}")
        applications.append(Application(shop, row, sizes, shared, 20010 + 10 * index))
    for application in applications:
        application.wait()
    # A supervisor keeps what was declared for the first two seconds.
    shop.sleep(3, "app: waiting for the limits to come down")
    result = None
    for number in range(rounds):
        for kind in (*KINDS, CLOSED):
            turn = (number + KINDS.index(kind) if kind in KINDS else number) % len(applications)
            for application in applications[turn:] + applications[:turn]:
                shop.tell(f"app: round {number + 1} of {rounds}, {kind}, {application.row.title}")
                play(shop, application, kind, number + 1, seconds)
        result = table(applications, sizes, number + 1, seconds, notes)
        shop.publish(result)
    for application in applications:
        application.stop()
    return result
