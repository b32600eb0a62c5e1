# SPDX-License-Identifier: Apache-2.0
"""How long a batch with barriers takes in a container that reserves a CPU, beside neighbours."""
import time

from ..figures import median, with_interval
from ..report import Result
from .scene import ALONE, BESIDE, RESERVED, Scene, middle, paired

NAME = "strict-batch"
PHASES, STEPS = 8000, 200_000  # 0.4 ms of CPU a phase, where a step takes 2 ns


def run(shop, quick):
    rounds, phases = (1, PHASES // 8) if quick else (5, PHASES)
    scene = Scene(shop, quick)
    result = Result(
        NAME, "A batch with a barrier each 0.4 ms in a container that reserves one CPU",
        ["threads, neighbours", "done in s", "time to standard", "time to alone",
         "of its CPU used", "neighbours' CPUs", "host idle CPUs"],
        [f"{rounds} rounds, all cases in turns; medians over the rounds. Ratios are of the same "
         "round: median (smallest, largest); below 1 is faster.",
         scene.cast(),
         "Standard is runc; alone is standard without neighbours. The work is the same however "
         "many threads share it; one thread has nobody to wait for at its barriers."])

    def work(target):
        shop.go(target, time.monotonic_ns())
        return shop.answer(target, 120)

    for threads in (RESERVED, 2 * RESERVED):
        found = scene.play(
            [ALONE, *BESIDE], rounds, ["batch", threads, phases, STEPS // threads], work,
            f"strict: batch of {threads}")
        took = {case: [wall for (wall, _), _ in runs] for case, runs in found.items()}
        for case, runs in found.items():
            alone, peer = paired(took, ALONE, case), paired(took, case.standard, case)
            used = [cpu / wall / RESERVED for (wall, cpu), _ in runs]
            title = f"{threads} thread{'s' * (threads > 1)}: {case.title}"
            result.add(
                title, f"{median(took[case]) / 1e9:.2f}",
                with_interval(peer.ratios) if case.is_strict else "",
                with_interval(alone.ratios) if case != ALONE else "",
                f"{median(used):.0%}", *[middle(runs, who) for who in ("neighbours", "idle")])
            result.figures[title] = {
                "time_to_alone": alone.published(), "time_to_standard": peer.published(),
                "of_its_cpu_used": used, "cpus": [vars(shares) for _, shares in runs]}
    result.notes.append(scene.note())
    return result
