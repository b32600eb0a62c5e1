# SPDX-License-Identifier: Apache-2.0
"""A whole `run` of /bin/true, from the call to its exit."""
from ..figures import Pairs, interval, spread, verdict
from ..report import Result

NAME = "run"


def run(shop, quick):
    # A run takes 30 to 50 ms, by what the kernel's grace periods cost it: to see a difference of
    # 1 ms takes many.
    many, some = (16, 8) if quick else (400, 100)
    result = Result(
        NAME, "A whole run of /bin/true",
        ["bundle, ms: median (min, p90)", "runc", "escra-runc", "ratio of medians",
         "median of ratios (95 %)", "goal"],
        [f"{many} and twice {some} pairs in alternation, 3 to warm up, a pause before each; both "
         "get the same bundle, and runc ignores the annotation.",
         "Alone: a keeper is started with each container, since none is there. Beside another: "
         "the keeper lives, as on a host that has supervised containers."])
    reactive = {"io.escra.policy": "reactive"}
    plain_bundle = shop.bundle("plain", ["/bin/true"])
    reactive_bundle = shop.bundle("reactive", ["/bin/true"], reactive, cpu=0.5)
    rows = (
        ("no annotation", plain_bundle, 1.03, many, 0.02, False),
        ("reactive, alone on the host", reactive_bundle, 1.10, some, 0.1, False),
        ("reactive, beside another", reactive_bundle, 1.10, some, 0.1, True),
    )
    for index, (title, bundle, goal, pairs, gap, beside) in enumerate(rows):
        other = None
        if beside:
            other = shop.container("other", ["/bin/sleep", "100000"], reactive, cpu=0.5).start()
        arguments = [
            "--root", shop.root, "run", "--bundle", bundle, f"{shop.prefix}-run{index}-{{}}"]
        measured = Pairs(shop.alternate(
            [shop.runc, *arguments], [shop.escra, *arguments], pairs, 3, gap, 0,
            f"run: {title}"))
        if other:
            other.stop()
        low, high = interval(measured.ratios)
        result.add(
            title, spread(measured.peer), spread(measured.ours),
            f"{measured.ratio_of_medians:.3f}",
            f"{measured.median_ratio:.3f} ({low:.3f}, {high:.3f})",
            verdict(measured.ratio_of_medians, goal, f"<= {goal:.2f}"))
        result.figures[title] = measured.published()
    return result
