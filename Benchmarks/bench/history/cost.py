# SPDX-License-Identifier: Apache-2.0
"""What a history costs: memory and wake-ups of supervisors, and the start of a container."""
import glob
import os
import struct
import time

from ..supervisors import idle
from ..figures import Pairs, interval, median, spread, verdict
from .loads import Memory
from ..report import Result

NAME = "history"
SECONDS = 20
GOAL_MEMORY, GOAL_START = 4, 100_000  # KiB, ns
RECORDS = 128
WORDS, SIZE = 24, 1024
REACTIVE = {"io.escra.policy": "reactive", "io.escra.cpu.max": "1"}
PROFILE = {**REACTIVE, "io.escra.profile": "cost"}


def write_records(path, count):
    """So many runs in a segment, in the form of Sources/Control/History/RunRecordCoding.swift."""
    now = time.time_ns()
    with open(path, "wb") as file:
        for number in range(count):
            words = [0] * (SIZE // 8)
            words[0] = 0x52485345 | 1 << 32 | 1 << 40
            words[1:6] = number + 1, now - 10**9, now, 10**9, 100_000_000
            words[6], words[8], words[13], words[14] = 5 * 10**8, 10**8, 4 * 10**8, 4 * 10**8
            words[11] = words[12] = 32 << 20
            total = 0xCBF29CE484222325
            for index, word in enumerate(words):
                if index != WORDS - 1:
                    total = (total ^ word) * 0x100000001B3 & (1 << 64) - 1
            words[WORDS - 1] = total
            file.write(struct.pack(f"<{len(words)}Q", *words))


def idlers(shop, operator, counts, seconds, result):
    """Adds what supervisors cost with a history and without one, side by side."""
    found, made = {}, {}
    for title, annotations in (("without a history", REACTIVE), ("with a history", PROFILE)):
        made[title] = [
            shop.container("idle", ["/bin/sleep", "100000"], annotations, cpu=0.5,
                           operator=operator).start() for _ in range(counts)]
    shop.sleep(idle.SETTLE, "history: settling")
    os.sync()
    pids = {title: [each.supervisor for each in group] for title, group in made.items()}
    before = {pid: idle.wakeups(pid)[0] for group in pids.values() for pid in group}
    shop.sleep(seconds, "history: asleep")
    for title, group in pids.items():
        memory = [idle.memory(pid)["Private"] for pid in group]
        woken = sum(idle.wakeups(pid)[0] - before[pid] for pid in group)
        found[title] = median(memory)
        more = found[title] - found["without a history"]
        goals = "" if title.startswith("without") else "; ".join((
            verdict(more, GOAL_MEMORY, f"private <= +{GOAL_MEMORY} KiB"),
            verdict(woken, 0, "no wake-up")))
        result.add(
            f"{counts} supervisors {title}, private memory",
            f"{found[title]:.0f} KiB ({more:+.0f}), {woken} wake-ups in {seconds} s", goals)
        result.figures[title] = {"private_kib": memory, "wakeups": woken}
    for container in [each for group in made.values() for each in group]:
        container.stop()


def starts(shop, title, config, pairs, result):
    """Adds what a profile adds to `run`."""
    arguments = ["--escra-config", config, "--root", shop.root, "run", "--bundle"]
    bundles = [shop.bundle(f"{title}-{name}", ["/bin/true"], annotations, cpu=0.5)
               for name, annotations in (("plain", REACTIVE), ("profile", PROFILE))]
    measured = Pairs(shop.alternate(
        *([shop.escra, *arguments, bundle, f"{shop.prefix}-{title}{{}}"] for bundle in bundles),
        pairs, 5, 0.02, 0, f"history: run with {title}"))
    low, high = interval(measured.differences)
    result.add(
        f"run with {title}, ms: without a profile {spread(measured.peer)}, with one "
        f"{spread(measured.ours)}",
        f"{measured.difference / 1e6:+.3f} ms ({low / 1e6:+.3f}, {high / 1e6:+.3f})",
        verdict(measured.difference, GOAL_START, "<= +0.1 ms"))
    result.figures[f"run with {title}"] = measured.published()


def run(shop, quick):
    counts, seconds, pairs = (10, 5, 40) if quick else (25, SECONDS, 300)
    memory = Memory(shop)
    history = {**memory.operator["history"], "predict": "start"}
    result = Result(
        NAME, "What a history costs", ["what", "figure", "goal"],
        [f"Supervisors side by side, one half with a profile. {pairs} pairs of `run` in turns, "
         f"with one operator's config, which has `predict`; the profile has {RECORDS} runs, which "
         "`run` reads.",
         "`nothing` in the place of runc makes no container: what is timed is escra-runc alone."])
    idlers(shop, {"history": history}, counts, seconds, result)
    for path in glob.glob(os.path.join(history["directory"], "*", "[0-9]*")):
        os.unlink(path)
    for path in glob.glob(os.path.join(history["directory"], "*", "name")):
        for number in (1, 2):
            write_records(os.path.join(os.path.dirname(path), str(number)), RECORDS // 2)
    other = shop.container("other", ["/bin/sleep", "100000"], REACTIVE, cpu=0.5).start()
    for title, runtime in (("nothing", shop.helper("nothing")), ("runc", shop.runc)):
        config = shop.operator_config({"history": history, "runtimes": [runtime]})
        starts(shop, title, config, pairs, result)
    other.stop()
    return result
