# SPDX-License-Identifier: Apache-2.0
"""What a strict container costs the others: CPUs that stand idle while neighbours would run."""
from ..figures import median, with_interval
from ..report import Result
from .scene import BESIDE, Scene, middle, paired

NAME = "strict-price"


def run(shop, quick):
    rounds, seconds = (1, 1) if quick else (5, 3)
    scene = Scene(shop, quick)
    result = Result(
        NAME, "The price: a container that reserves one CPU and uses nothing",
        ["the idle container", "host idle CPUs", "of the host", "neighbours' CPUs",
         "neighbours get, to standard"],
        [f"{rounds} rounds of {seconds} s each, all cases in turns; medians over the rounds. "
         "Ratios are of the same round: median (smallest, largest).",
         scene.cast(),
         "The most that strict can cost. What it costs beside a container that works is in the "
         "tables of the sleeper and of the batch."])
    found = scene.play(
        BESIDE, rounds, ["wake", 1, 0, 1], lambda target: shop.sleep(seconds, "strict: idle"),
        "strict: idle")
    got = {case: [shares.neighbours for _, shares in runs] for case, runs in found.items()}
    for case, runs in found.items():
        peer = paired(got, case.standard, case)
        idle = median([shares.idle for _, shares in runs])
        result.add(
            case.title, f"{idle:.2f}", f"{idle / scene.cpus:.0%}", middle(runs, "neighbours"),
            with_interval(peer.ratios) if case.is_strict else "")
        result.figures[case.title] = {
            "cpus": [vars(shares) for _, shares in runs],
            "neighbours_to_standard": peer.ratios}
    result.notes.append(scene.note())
    return result
