# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks compare us with does what its authors publish, and is summed up right."""
import os
import shutil
import subprocess
import sys

import pytest

BENCHMARKS = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "Benchmarks")
sys.path.insert(0, BENCHMARKS)

from bench.burstrows import reserved  # noqa: E402

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
