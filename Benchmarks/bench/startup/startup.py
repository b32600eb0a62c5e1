# SPDX-License-Identifier: Apache-2.0
"""What a verb that is passed on costs: runc alone, and through escra-runc."""
from ..figures import Pairs, interval, spread, verdict
from ..report import Result

NAME = "startup"
GOAL = 1_000_000


def run(shop, quick):
    pairs, warmup = (40, 3) if quick else (300, 20)
    result = Result(
        NAME, "Start-up of a verb that is passed on",
        ["verb, ms: median (min, p90)", "runc", "through us", "difference (95 %)",
         "goal"],
        [f"{pairs} pairs in alternation, {warmup} to warm up; posix_spawn to wait4; the difference "
         "is the median of the pairs', with its 95 % interval.",
         "Nothing is supervised and there is no config, so a verb is passed on before libc begins; "
         "with a flag of ours it is not, as on a machine where a container is supervised.",
         "The last row is a program in front of runc that is nothing but libc and an execv."])
    root = ["--root", shop.root]
    missing, listing = [*root, "state", "no-such-id"], [*root, "list"]
    rows = (
        ("state no-such-id", [shop.escra, *missing], missing, 1, True),
        ("--root X list", [shop.escra, *listing], listing, 0, True),
        ("state no-such-id, with a flag of ours",
         [shop.escra, "--escra-policy=standard", *missing], missing, 1, True),
        ("state, a static C shim for us", [shop.helper("execshim"), shop.runc, *missing], missing,
         1, False),
    )
    for title, ours, arguments, expected, has_goal in rows:
        # A gap as long as the call keeps one run's aftermath out of the other.
        measured = Pairs(shop.alternate(
            [shop.runc, *arguments], ours, pairs, warmup, 0.002, expected, f"startup: {title}"))
        low, high = interval(measured.differences)
        result.add(
            title, spread(measured.peer), spread(measured.ours),
            f"{measured.difference / 1e6:.2f} ({low / 1e6:.2f}, {high / 1e6:.2f})",
            verdict(measured.difference, GOAL, "<= 1 ms") if has_goal else "")
        result.figures[title] = measured.published()
    return result
