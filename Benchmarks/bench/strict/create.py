# SPDX-License-Identifier: Apache-2.0
"""What it takes to create a strict container, beside plain runc."""
from ..figures import Pairs, spread, verdict, with_interval
from ..report import Result
from .scene import RESERVED

NAME = "strict-create"
GOAL = 1.10
MANY = 20


def run(shop, quick):
    pairs = 12 if quick else 100
    result = Result(
        NAME, "The create of a strict container",
        ["create, ms: median (min, p90)", "runc", "escra-runc", "ratio of medians",
         "median of ratios (95 %)", "goal"],
        [f"{pairs} pairs in alternation, 3 to warm up; each is deleted, and the CPUs are given "
         "back, before the next; both get the same bundle, and runc ignores the annotation.",
         "Alone: a keeper is started with each container; beside a reactive one it lives. Beside "
         "many: each of them is put off the CPU first, and let back after the delete."])
    bundle = shop.bundle(
        "strict", ["/bin/true"], {"io.escra.policy": "strict"}, cpu=RESERVED)
    reactive = {"io.escra.policy": "reactive"}
    rows = (
        ("strict, alone on the host", 0, None),
        ("strict, beside a reactive one", 1, reactive),
        (f"strict, beside {MANY} of runc's", MANY, None),
    )
    for index, (title, count, annotations) in enumerate(rows):
        others = [
            shop.container("other", ["/bin/sleep", "100000"], annotations, cpu=0.5).start()
            for _ in range(count)]
        name = f"{shop.prefix}-create{index}-{{}}"
        arguments = ["--root", shop.root, "create", "--bundle", bundle, name]
        delete = [shop.escra, "--root", shop.root, "delete", "--force", name]
        measured = Pairs(shop.alternate(
            [shop.runc, *arguments], [shop.escra, *arguments], pairs, 3, 0.1, 0,
            f"create: {title}", delete))
        for other in others:
            other.stop()
        result.add(
            title, spread(measured.peer), spread(measured.ours),
            f"{measured.ratio_of_medians:.3f}", with_interval(measured.ratios, 3),
            verdict(measured.ratio_of_medians, GOAL, f"<= {GOAL:.2f}"))
        result.figures[title] = measured.published()
    return result
