# SPDX-License-Identifier: Apache-2.0
"""What it takes to create a strict container, beside plain runc."""
from .figures import Pairs, spread, verdict, with_interval
from .report import Result
from .scene import RESERVED

NAME = "strict-create"
GOAL = 1.10


def run(shop, quick):
    pairs = 8 if quick else 100
    result = Result(
        NAME, "The create of a strict container",
        ["create, ms: median (min, p90)", "runc", "escra-runc", "ratio of medians",
         "median of ratios (95 %)", "goal"],
        [f"{pairs} pairs in alternation, 3 to warm up; each is deleted, and the CPUs are given "
         "back, before the next; both get the same bundle, and runc ignores the annotation.",
         "Alone: a keeper is started with each container. Beside another: the keeper lives."])
    bundle = shop.bundle(
        "strict", ["/bin/true"], {"io.escra.policy": "strict"}, cpu=RESERVED)
    for title, beside in (("strict, alone on the host", False), ("strict, beside another", True)):
        other = None
        if beside:
            other = shop.container(
                "other", ["/bin/sleep", "100000"], {"io.escra.policy": "reactive"}, cpu=0.5)
            other.start()
        name = f"{shop.prefix}-create{int(beside)}-{{}}"
        arguments = ["--root", shop.root, "create", "--bundle", bundle, name]
        delete = [shop.escra, "--root", shop.root, "delete", "--force", name]
        measured = Pairs(shop.alternate(
            [shop.runc, *arguments], [shop.escra, *arguments], pairs, 3, 0.1, 0,
            f"create: {title}", delete))
        if other:
            other.stop()
        result.add(
            title, spread(measured.peer), spread(measured.ours),
            f"{measured.ratio_of_medians:.3f}", with_interval(measured.ratios, 3),
            verdict(measured.ratio_of_medians, GOAL, f"<= {GOAL:.2f}"))
        result.figures[title] = measured.published()
    return result
