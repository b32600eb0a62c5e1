# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks compare us with does what its authors publish, and is summed up right."""
import os
import shutil
import subprocess
import sys

import pytest

from world import REPOSITORY

BENCHMARKS = os.path.join(REPOSITORY, "Benchmarks")
sys.path.insert(0, BENCHMARKS)

from bench.app import arrivals, plot  # noqa: E402
from bench.cpu.burstrows import reserved  # noqa: E402

pytestmark = pytest.mark.skipif(
    not shutil.which("gcc"), reason="the laws of others are C, and there is no compiler")

BASE, CEILING = 10_000, 100_000


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    program = str(tmp_path_factory.mktemp("peers") / "peers")
    subprocess.run(
        ["gcc", "-static", "-o", program, os.path.join(BENCHMARKS, "helpers", "peers.c")],
        check=True)

    def decide(law, seen):
        """The quotas after each of (quota, use, throttled periods, silence, busy node)."""
        lines = "".join(" ".join(map(str, line)) + "\n" for line in seen)
        run = subprocess.run(
            [program, law, str(BASE), str(CEILING)], input=lines, capture_output=True, text=True,
            check=True)
        return [int(line) for line in run.stdout.split()]

    return decide


def follow(decide, law, seen):
    """The same, each decision being the next one's quota; seen has no quotas."""
    quotas = [BASE]
    for count in range(len(seen)):
        lines = [(quota, *each) for quota, each in zip(quotas, seen[:count + 1])]
        quotas.append(decide(law, lines)[-1])
    return quotas[1:]


def test_polling_gives_all_there_is_and_takes_it_back_after_300_ms_that_the_base_would_do(peers):
    short, busy, calm = (10_000, 1, 0, 0), (30_000, 0, 0, 0), (0, 0, 0, 0)
    assert follow(peers, "poll", [calm, short, busy, calm, calm, calm, calm]) == [
        10_000, 100_000, 100_000, 100_000, 100_000, 10_000, 10_000]


def test_koordinator_takes_seven_ticks_to_three_times_the_base_and_keeps_it(peers):
    short, calm = (30_000, 1, 0, 0.1), (0, 0, 0, 0.1)
    assert follow(peers, "koordinator", [short] * 8 + [calm] * 3) == [
        12_000, 14_400, 17_280, 20_736, 24_883, 29_859, 30_000, 30_000, 30_000, 30_000, 30_000]


@pytest.mark.parametrize("node, quota", [(0.44, 24_000), (0.46, 20_000), (0.5, 16_000)])
def test_koordinator_goes_up_stays_or_goes_down_by_how_busy_the_node_is(peers, node, quota):
    assert peers("koordinator", [(20_000, 20_000, 1, 0, node)]) == [quota]


def test_koordinator_does_not_go_below_the_base(peers):
    assert peers("koordinator", [(11_000, 0, 0, 0, 1)]) == [BASE]


def test_escra_gives_one_core_or_what_is_left_to_who_wakes_after_two_seconds(peers):
    assert peers("escra", [(10_000, 10_000, 1, 2_000_001, 0)]) == [90_000]


def test_escra_takes_a_fifth_where_more_than_a_fifth_was_left(peers):
    silent = 100_000
    assert follow(peers, "escra", [(10_000, 1, 2_000_001, 0)] + [(0, 0, silent, 0)] * 3) == [
        90_000, 72_000, 57_600, 46_080]


def test_escra_goes_up_by_the_lack_in_its_share_while_most_of_the_window_was_throttled(peers):
    # Half of the fair share of 100 ms: a lack of 50 ms, its share of it a half.
    assert peers("escra", [(50_000, 50_000, 1, 100_000, 0)]) == [75_000]
    # Less than half a slice is given whole.
    assert peers("escra", [(90_000, 90_000, 1, 100_000, 0)]) == [100_000]


def test_escra_gives_twenty_slices_for_what_was_throttled_of_the_window_if_they_are_there(peers):
    calm = (50_000, 45_000, 0, 100_000, 0)
    assert peers("escra", [calm] * 9 + [(50_000, 50_000, 1, 100_000, 0)])[-1] == 100_000


def test_escra_takes_5_ms_where_as_much_was_left_on_average(peers):
    assert peers("escra", [(50_000, 44_000, 0, 100_000, 0)]) == [45_000]


def test_what_a_quota_reserves_is_summed_up_from_write_to_write():
    second = 1_000_000_000
    # The first was written between the look at the quota and the beginning.
    events = [(-1, 10_000), (second, 50_000), (3 * second, 10_000), (9 * second, 99)]
    assert reserved(0, 4 * second, 20_000, 100_000, events) == pytest.approx(
        1 * 0.1 + 2 * 0.5 + 1 * 0.1)
    assert reserved(0, 2 * second, 10_000, 100_000, []) == pytest.approx(0.2)


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    """Compiles a few lines of C with the rules for applications; returns the numbers it says."""

    def run(lines):
        directory = tmp_path_factory.mktemp("applaws")
        source, program = str(directory / "try.c"), str(directory / "try")
        with open(source, "w") as file:
            file.write('#include <stdio.h>\n#include "applaws.h"\n'
                       f"int main(void) {{ {lines} return 0; }}\n")
        subprocess.run(
            ["gcc", "-I", os.path.join(BENCHMARKS, "helpers"), "-o", program, source], check=True)
        said = subprocess.run([program], capture_output=True, text=True, check=True).stdout
        return [int(line) for line in said.split()]

    return run


def test_autopilot_takes_the_95th_percentile_by_load_and_keeps_what_it_took(pooled):
    cpu, memory, *later = pooled("""
        struct autopilot it = {0}; int64_t cpu, memory;
        // Of 100 periods 90 use 1 ms and 10 use 50: those are 85 % of the load.
        for (int i = 0; i < 100; i++) autopilot_see(&it, i < 90 ? 1000 : 50000, 1 << 20);
        autopilot_law(&it, &cpu, &memory);
        printf("%lld\\n%lld\\n", (long long)cpu, (long long)memory);
        for (int i = 0; i < 576; i++) {
          for (int k = 0; k < 100; k++) autopilot_see(&it, 1000, 1000);
          autopilot_law(&it, &cpu, &memory);
          printf("%lld\\n%lld\\n", (long long)cpu, (long long)memory);
        }""")
    assert cpu == pytest.approx(50_500 * 1.15, abs=1)
    assert memory == int(1.15 * (1 << 20))
    # What came in one window of hundreds is no percentile any more; memory has a memory of 576.
    assert later[:22:2] == [cpu] * 11 and later[-2] < cpu
    assert later[1::2] == [memory] * 575 + [1150]


def test_limits_that_are_too_much_in_sum_are_cut_above_their_floors(pooled):
    assert pooled("""
        int64_t wanted[] = {10, 50, 90}, floors[] = {10, 10, 10};
        fit(wanted, floors, 3, 90);
        for (int i = 0; i < 3; i++) printf("%lld\\n", (long long)wanted[i]);""") == [10, 30, 50]


def test_escra_overruns_for_who_is_short_and_takes_it_back_from_who_has_more(pooled):
    short, rich, overrun = pooled("""
        struct pool pool = {.cpu = 100000, .count = 2};
        pool.members[0].quota = 20000, pool.members[1].quota = 80000;
        struct seen throttled = {20000, 20000, 1, 100000, 0}, calm = {80000, 80000, 0, 100000, 0};
        pool.members[0].quota = escra_pool_law(&pool, &pool.members[0], throttled, 10000);
        pool.members[1].quota = escra_pool_law(&pool, &pool.members[1], calm, 10000);
        printf("%lld\\n%lld\\n%lld\\n", (long long)pool.members[0].quota,
               (long long)pool.members[1].quota, (long long)pool.overrun);""")
    # A fair share of 50: it lacks 30, which is 0.6 of it; who has 30 above gives as much back.
    assert (short, rich, overrun) == (38_000, 62_000, 0)


@pytest.mark.parametrize("kind", arrivals.KINDS)
def test_requests_come_at_the_same_moments_for_a_seed_and_as_often_for_every_kind(kind):
    found = arrivals.arrivals(kind, 1, 20)
    assert found == arrivals.arrivals(kind, 1, 20) == sorted(found, key=lambda each: each[0])
    assert len(found) == pytest.approx(20 * arrivals.RATE, rel=0.05)
    assert found[-1][0] < 20e9
    assert sum(asset for _, asset in found) == pytest.approx(len(found) * 0.3, rel=0.1)


def test_a_picture_of_limits_leaves_out_who_has_none():
    curve = [(0.0, 0.5, 0.2), (0.1, 0.6, 0.3), (0.2, 0.4, 0.1)]
    drawn = plot.draw(
        [("limited", curve), ("free", [(moment, None, use) for moment, _, use in curve])], 4, 1,
        "CPUs")
    assert drawn.count('fill-opacity="0.75"/>') == 3 and drawn.count('stroke-width="1.8"') == 1
