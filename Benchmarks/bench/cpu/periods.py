# SPDX-License-Identifier: Apache-2.0
"""What a supervisor costs at short CFS periods, under loads that change all the time."""
from ..supervisors.idle import wakeups
from ..report import Result

NAME = "periods"
PERIODS = (1000, 10_000, 100_000)  # microseconds
LOADS = {
    "on and off, 1 ms each": ["toggle", "1000"],
    "fork and exit": ["fork"],
}
SETTLE = 3  # seconds until the container no longer keeps what it started with
GOAL = 2.0  # % of a CPU: a look in 5 ms is the most there is (LookBudget)


def measured(shop, period, words, seconds):
    """CPU time of the supervisor and of its container in % of a CPU, and wake-ups a second."""
    made = shop.container(
        f"period{period}", ["/bin/swing", *words],
        {"io.escra.policy": "reactive", "io.escra.cpu.min": "10m", "io.escra.cpu.max": "1"},
        1, period=period).start()
    try:
        supervisor = made.supervisor
        shop.sleep(SETTLE, f"periods: {period} us settling")
        before, used = wakeups(supervisor), made.group.used()
        shop.sleep(seconds, f"periods: {period} us")
        after, use = wakeups(supervisor), made.group.used()
    finally:
        made.stop()
    return ((after[1] - before[1]) / seconds / 1e7, 100 * (use - used) / seconds,
            (after[0] - before[0]) / seconds)


def run(shop, quick):
    seconds, rounds = (2, 1) if quick else (8, 5)
    result = Result(
        NAME, "A supervisor at short periods",
        ["period, ms", "load", "supervisor, % of a CPU: median", "most", "wake-ups a second",
         "container, % of a CPU", "goal"],
        [f"{rounds} containers for each row, one after the other, {seconds} s each."])
    found = {}
    for _ in range(rounds):
        for period in PERIODS:
            for load, words in LOADS.items():
                found.setdefault((period, load), []).append(
                    measured(shop, period, words, seconds))
    for (period, load), rows in found.items():
        costs = sorted(row[0] for row in rows)
        median = costs[len(costs) // 2]
        result.add(
            f"{period / 1000:g}", load, f"{median:.2f}", f"{costs[-1]:.2f}",
            f"{sorted(row[2] for row in rows)[len(rows) // 2]:.0f}",
            f"{sorted(row[1] for row in rows)[len(rows) // 2]:.0f}",
            f"<= {GOAL:g} %: {'met' if median <= GOAL else 'MISSED'}")
        result.figures[f"{period} {load}"] = rows
    return result
