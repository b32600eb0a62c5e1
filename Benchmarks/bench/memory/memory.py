# SPDX-License-Identifier: Apache-2.0
"""Memory limits that grow before the OOM killer comes, and give slack back."""
import json
import os
import shutil
import subprocess
import time

from .. import cgroups, machine
from ..container import Failure
from ..figures import median, percentile
from ..report import Result
from ..workshop import HERE

MIB = 1 << 20
DECLARED = 64  # MiB
ESCRA_MARGIN, ESCRA_LOOP, ESCRA_GRANT = 50, 5.0, 5000 * 4096 / MIB  # as its controller has them
# Emulated, everything takes ten times as long, and only ratios mean something.
SLOWNESS = 5 if machine.is_emulated() else 1
# Until a supervisor has found its container, and its thresholds are registered; seconds. Emulated
# it takes twice as long, and there are no thresholds.
SETTLING = 2.5 * (2 if machine.is_emulated() else 1)


class Memory:
    """The memory files of a container that runs; MiB."""

    def __init__(self, container):
        self.directory = cgroups.directory(container.pid, "memory")
        self.is_v2 = os.path.exists(os.path.join(self.directory, "memory.max"))

    def read(self, old, new):
        with open(os.path.join(self.directory, new if self.is_v2 else old)) as file:
            return file.read()

    @staticmethod
    def number(text):
        return 1 << 40 if text.strip() == "max" else int(text) / MIB

    @property
    def limit(self):
        return self.number(self.read("memory.limit_in_bytes", "memory.max"))

    @property
    def line(self):
        """Where cgroup v2 slows down; the limit on v1."""
        return min(self.limit, self.number(self.read("memory.limit_in_bytes", "memory.high")))

    @property
    def working_set(self):
        lines = self.read("memory.stat", "memory.stat").splitlines()
        statistics = dict(line.split() for line in lines)
        usage = int(self.read("memory.usage_in_bytes", "memory.current"))
        inactive = statistics.get("total_inactive_file", statistics["inactive_file"])
        return (usage - int(inactive)) / MIB

    @property
    def kills(self):
        lines = self.read("memory.oom_control", "memory.events.local").splitlines()
        return int(dict(line.split() for line in lines)["oom_kill"])


def container(shop, program, annotations, limit):
    """One of our programs under a memory limit in MiB, or none; started."""
    made = shop.waiting("memory", program, annotations)
    path = os.path.join(made.bundle, "config.json")
    with open(path) as file:
        config = json.load(file)
    # Whoever calls us may be spared by the OOM killer; what is started so spins at its limit.
    config["process"]["oomScoreAdj"] = 0
    if limit:
        config["linux"]["resources"]["memory"] = {"limit": limit * MIB, "swap": limit * MIB}
    config["mounts"].append({
        "destination": "/memory", "type": "tmpfs", "source": "tmpfs", "options": ["size=4g"]})
    if program[0].endswith(".py"):
        # The host's interpreter, as it is.
        shutil.copy(os.path.join(HERE, "helpers", program[0]), made.shared)
        config["process"]["args"] = [
            "/usr/bin/python3", "/shared/" + program[0], *config["process"]["args"][1:]]
        config["mounts"] += [
            {"destination": "/" + name, "type": "bind", "source": os.path.realpath("/" + name),
             "options": ["rbind", "ro"]} for name in ("usr", "lib", "lib64")]
    with open(path, "w") as file:
        json.dump(config, file)
    return made.start()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def answer(shop, made, memory, seconds):
    """What the program says, or None if the kernel has killed it."""
    path = os.path.join(made.shared, "answer")
    deadline = time.monotonic() + seconds * SLOWNESS
    while not os.path.exists(path):
        try:
            if memory.kills:
                return None
        except OSError:
            return None
        if time.monotonic() > deadline:
            raise Failure(f"the program in {made.id} did not answer in {seconds:.0f} s; "
                          "the machine is too busy")
        time.sleep(0.02)
    return shop.answer(made, 1)


class Growing:
    """A demand that grows at full speed, in one way of several."""

    def __init__(self, mode, program, title, step):
        self.NAME = "memory-grow-" + mode
        self.program, self.title, self.step = program, title, step

    def run(self, shop, quick):
        size, rounds = (256, 1) if quick else (512, 3) if SLOWNESS > 1 else (1024, 10)
        rounds = int(os.environ.get("ESCRA_BENCH_MEMORY") or rounds)
        asked = {"io.escra.policy": "reactive", "io.escra.memory.max": f"{size * 3 // 2}Mi"}
        kinds = (
            ("runc, no limit", None, None), (f"runc, static {DECLARED} MiB", None, DECLARED),
            (f"runc, static {DECLARED * 3 // 2} MiB", None, DECLARED * 3 // 2),
            (f"reactive, {DECLARED} MiB declared", asked, DECLARED))
        found = {kind[0]: [] for kind in kinds}
        for number in range(rounds):
            turn = number % len(kinds)
            for name, annotations, limit in kinds[turn:] + kinds[:turn]:
                shop.say(f"memory: {self.title}, {name}, round {number + 1} of {rounds}")
                found[name].append(self.once(shop, size, annotations, limit))
            # What is ended before its time has written what it found up to then.
            result = self.result(kinds, found, size, number + 1)
            if number + 1 < rounds:
                shop.publish(result)
        return result

    def once(self, shop, size, annotations, limit):
        """Answers or None, and the supervisor's CPU time in seconds or None."""
        made = container(shop, [*self.program, size], annotations, limit)
        memory, spent = Memory(made), None
        # All wait alike: free pages that the machine's host takes back meanwhile are slower to
        # touch, by as much as everything else takes, so they are touched before.
        time.sleep(SETTLING)
        subprocess.run([shop.helper("pages"), str(size * 3 // 2)], check=True)
        if annotations:
            spent = -cpu_seconds(made.supervisor)
        shop.go(made, time.monotonic_ns() + 20_000_000 * SLOWNESS)
        numbers = answer(shop, made, memory, 60)
        if spent is not None:
            spent += cpu_seconds(made.supervisor)
        made.stop()
        return numbers, spent

    def result(self, kinds, found, size, rounds):
        result = Result(
            self.NAME, f"A demand grows from nothing to {size} MiB at full speed: {self.title}",
            ["limit", "runs", "killed", "failed writes", "ms p50", "to no limit",
             "step p99.9, us", "longest, us p50", "p99", "supervisor, ms"],
            [f"Kinds take turns. A step is {self.step}; killed runs have no time. To no limit is "
             "the ratio of medians. Supervisor: its CPU time during a run.",
             "Before each run half as much again is touched and freed: a page that the machine's "
             "host has taken back costs more than all the rest.",
             "Goals: no kill, no failed write, a ratio of at most 1.05; a longest stall of at most "
             "300 us at p99 on cgroup v1, of at most 1.1 times that of no limit on v2."])
        base = [numbers[0] for numbers, _ in found[kinds[0][0]] if numbers]
        for name, *_ in kinds:
            alive = [numbers for numbers, _ in found[name] if numbers]
            spent = [seconds for _, seconds in found[name] if seconds is not None]
            cells = ["-"] * 6
            if alive:
                total, longest, tail, failed = zip(*alive)
                cells = [
                    sum(failed), f"{median(total) / 1e6:.0f}",
                    f"{median(total) / median(base):.2f}" if base else "-",
                    f"{median(tail) / 1e3:.0f}", f"{median(longest) / 1e3:.0f}",
                    f"{percentile(longest, 99) / 1e3:.0f}"]
            result.add(
                name, rounds, rounds - len(alive), *cells,
                f"{median(spent) * 1e3:.1f}" if spent else "-")
            result.figures[name] = {
                "answers_ns": [list(numbers) for numbers in alive], "supervisor_s": spent}
        return result


def escra_limits(uses):
    """What the limit would be under the constants of Escra's controller, for samples (s, MiB)."""
    limit, looked = uses[0][1] + ESCRA_MARGIN, uses[0][0]
    for moment, use in uses:
        while limit < use:
            limit += ESCRA_GRANT
        if moment - looked >= ESCRA_LOOP:
            looked = moment
            if limit - use > ESCRA_MARGIN:
                limit = use + ESCRA_MARGIN
        yield limit


def integral(samples, limits):
    """MiB s between limits and uses."""
    pairs = list(zip(samples, limits))
    return sum(
        (limit - use) * (pairs[index + 1][0][0] - moment)
        for index, ((moment, use), limit) in enumerate(pairs[:-1]))


class Sawtooth:
    """A demand that rises and falls."""

    NAME = "memory-slack"

    @staticmethod
    def run(shop, quick):
        low, peak = 64, 256 if quick else 768
        period, cycles = (6000, 2) if quick else (12000, 5)
        asked = {"io.escra.policy": "reactive", "io.escra.memory.max": f"{peak * 3 // 2}Mi"}
        made = container(shop, ["saw", low, peak, period, cycles], asked, 2 * low)
        memory = Memory(made)
        time.sleep(SETTLING)
        spent = -cpu_seconds(made.supervisor)
        start = time.monotonic()
        shop.go(made, time.monotonic_ns() + 20_000_000)
        shop.say(f"memory: a sawtooth for {period * cycles / 1000:.0f} s")
        samples, limits, lines = [], [], []
        while time.monotonic() - start < period * cycles / 1000:
            use = memory.working_set
            samples.append((time.monotonic(), use))
            limits.append(memory.limit)
            lines.append(memory.line)
            time.sleep(0.02)
        spent += cpu_seconds(made.supervisor)
        kills = memory.kills
        made.stop()
        most = max(use for _, use in samples)
        seconds = samples[-1][0] - samples[0][0]
        result = Result(
            Sawtooth.NAME, f"Memory slack over a sawtooth between {low} and {peak} MiB, "
            f"{period / 1000:.0f} s each time",
            ["limit", "MiB on average", "to static 1.5x", "kills"],
            ["Slack is limit less working set, sampled every 20 ms. Static limits and Escra's "
             f"constants ({ESCRA_MARGIN} MiB margin, every {ESCRA_LOOP:.0f} s, {ESCRA_GRANT:.1f} "
             "MiB a grant) are computed from the same trace of use; the first was not run.",
             f"Supervisor: {spent * 1e3:.0f} ms of CPU time in {seconds:.0f} s.",
             "Goal: a fifth of static 1.5x, and no kill."])
        rows = [
            ("static, 1x of the peak", [most] * len(samples), "-"),
            ("static, 1.5x of the peak", [1.5 * most] * len(samples), "-"),
            ("Escra's constants", list(escra_limits(samples)), "-"), ("reactive", limits, kills)]
        if memory.is_v2:
            rows.append(("reactive: to memory.high", lines, kills))
        reference = integral(samples, rows[1][1])
        for name, series, killed in rows:
            slack = integral(samples, series)
            result.add(name, f"{slack / seconds:.0f}", f"{slack / reference:.2f}", killed)
            result.figures[name] = {"slack_mib_s": slack, "seconds": seconds}
        result.figures["supervisor_s"] = spent
        return result


class Crowd:
    """Containers that need their peaks one after the other."""

    NAME = "memory-crowd"

    @staticmethod
    def run(shop, quick):
        count, low, peak, period = (4, 16, 96, 8000) if quick else (20, 16, 128, 20000)
        if SLOWNESS > 1:
            count = 4
        asked = {"io.escra.policy": "reactive", "io.escra.memory.max": f"{2 * peak}Mi"}
        players = [
            container(shop, ["saw", low, peak, period // 2, 4], asked, 2 * low)
            for _ in range(count)]
        memories = [Memory(each) for each in players]
        time.sleep(0.5 + SETTLING)
        start = time.monotonic_ns()
        for index, player in enumerate(players):
            shop.go(player, start + index * period // 2 * 1_000_000 // count)
        shop.say(f"memory: {count} containers, each at its peak at another time")
        sums, uses = [], []
        while time.monotonic_ns() - start < 2 * period * 1_000_000:
            sums.append(sum(each.limit for each in memories))
            uses.append(sum(each.working_set for each in memories))
            time.sleep(0.1)
        kills = sum(each.kills for each in memories)
        for player in players:
            player.stop()
        settled = len(sums) // 4
        result = Result(
            Crowd.NAME, f"{count} containers between {low} and {peak} MiB, their peaks one after "
            "the other",
            ["limits", "sum at its greatest, MiB", "of the sum of peaks", "kills"],
            ["Each container by itself; the sum of their limits is what one bound over them would "
             "have to be. The first quarter of the time is left out."])
        total = count * peak
        for name, value, killed in (
                ("static: the sum of peaks", total, "-"), ("reactive", max(sums[settled:]), kills),
                ("their use", max(uses[settled:]), "-")):
            result.add(name, f"{value:.0f}", f"{value / total:.2f}", killed)
            result.figures[name] = value
        return result


class Cached:
    """Throughput of what lives on page cache, or beside it."""

    NAME = "memory-cache"
    LOADS = (("serve", "64 KiB anywhere in a file"),
             ("scan", "a file from its beginning to its end"),
             ("store", "a store with a log"))

    @staticmethod
    def run(shop, quick):
        size, seconds, rounds = (64, 3, 1) if quick else (256, 10, 5)
        rounds = int(os.environ.get("ESCRA_BENCH_MEMORY") or rounds)
        asked = {"io.escra.policy": "reactive", "io.escra.memory.max": f"{4 * size}Mi"}
        kinds = (
            ("runc, no limit", None, None), (f"runc, static {DECLARED} MiB", None, DECLARED),
            (f"reactive, {DECLARED} MiB declared", asked, DECLARED))
        found = {(load, kind[0]): [] for load, _ in Cached.LOADS for kind in kinds}
        for number in range(rounds):
            for load, title in Cached.LOADS:
                turn = number % len(kinds)
                for name, annotations, limit in kinds[turn:] + kinds[:turn]:
                    shop.say(f"memory: {title}, {name}, round {number + 1} of {rounds}")
                    found[load, name].append(
                        Cached.once(shop, load, size, seconds, annotations, limit))
        result = Result(
            Cached.NAME,
            f"Throughput over {size} MiB of page cache, or memory, from the start, {seconds} s",
            ["limit", "load", "killed", "operations/s p50", "to no limit", "MiB from the disk p50",
             "limit in the end, MiB"],
            [f"Kinds take turns, {rounds} rounds. To no limit is the median of a round's ratios. "
             "Nothing of the file is in memory at the start; no page of it is written.",
             "The static limit has no room for the file, and none for the store.",
             "Goal: at least 0.97 of no limit, and no kill."])
        for load, title in Cached.LOADS:
            base = found[load, kinds[0][0]]
            for name, *_ in kinds:
                runs = found[load, name]
                alive = [run for run in runs if run]
                ratios = [run[0] / other[0] for run, other in zip(runs, base) if run and other]
                cells = ["-"] * 4
                if ratios:
                    done, fetched, last = zip(*alive)
                    cells = [
                        f"{median(done) / seconds:.0f}", f"{median(ratios):.2f}",
                        f"{median(fetched) / MIB:.0f}",
                        f"{median(last):.0f}" if max(last) < 1 << 20 else "-"]
                result.add(name, title, len(runs) - len(alive), *cells)
                result.figures[f"{name}, {load}"] = runs
        return result

    @staticmethod
    def once(shop, load, size, seconds, annotations, limit):
        """Operations, bytes from the disk and the limit in the end, or None if it was killed."""
        made = container(shop, ["cache", load, size, seconds], annotations, limit)
        memory = Memory(made)
        with open(os.path.join(made.shared, "data"), "wb") as file:
            for _ in range(size):
                file.write(os.urandom(MIB))
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        time.sleep(SETTLING)
        shop.go(made, time.monotonic_ns() + 20_000_000 * SLOWNESS)
        numbers = answer(shop, made, memory, seconds + 60)
        last = memory.limit if numbers else None
        made.stop()
        shutil.rmtree(made.shared, ignore_errors=True)
        return numbers and [*numbers, last]


PARTS = (
    Growing("touch", ["grow", "touch"], "pages touched", "64 KiB"),
    Growing("tmpfs", ["grow", "tmpfs"], "64 KiB writes to tmpfs", "64 KiB"),
    Growing("reserve", ["grow", "reserve"], "reserved as a whole, then touched", "64 KiB"),
    Growing("dictionary", ["dictionary.py"], "a Python dictionary that is filled",
            "a thousand entries"),
    Sawtooth, Crowd, Cached)
