# SPDX-License-Identifier: Apache-2.0
"""Containers of one application share one limit, whoever lives or dies."""
import json
import os
import signal
import subprocess
import time

import pytest

import cgroups
import driver
from applications import APPS, Sums, broker, members, room
from processes import is_alive, is_at_rest, kill, ours, supervisors, switches, wait_until
from world import escra_tool

FLOOR = 5_000  # 50m of a period of 100 ms


@pytest.fixture
def member(container):
    """Makes members of an application, not yet created."""

    def make(annotations=None, app="shop", **options):
        made = container({"io.escra.app": app, **(annotations or {})}, **options)
        # Who gets no CPU time on a busy machine needs no higher limit, and asks for none.
        made.bundle.config["linux"]["resources"].setdefault("cpu", {})["shares"] = 262_144
        made.bundle.write()
        return made

    return make


@pytest.mark.v2
def test_two_containers_trade_what_they_declare(member):
    """One works and the other rests, then the other way around; the sum stays what it was."""
    one, two = member(quota=30_000), member(quota=30_000)
    with Sums(one, two) as sums:
        for each in (one, two):
            each.started().supervisor()
        for busy, idle in ((one, two), (two, one)):
            busy.work(2)
            busy.wait_for_quota(lambda quota: quota >= 50_000, 6, "all but what the other needs")
            assert idle.quota <= 10_000
            busy.rest()
            busy.wait_for_quota(lambda quota: quota == FLOOR, 6, "down to the floor")
    assert sums.most <= 0.6 + 1e-9


def test_after_the_last_container_nothing_is_left_of_the_application(member):
    """No process, socket, lock, file or directory; the first to leave may have been the broker."""
    made = [member().started() for _ in range(3)]
    for each in made:
        each.supervisor()
    assert len(members("shop")) == 3
    for each in made:
        each.call("delete", "--force")
    wait_until(lambda: room("shop") is None and not ours(), 4, "nothing is left")
    assert os.listdir(APPS) == []


def three(member, **options):
    """Three members that share 0.9 of a CPU, and what kills or stops hits their supervisors."""
    made = [member(quota=30_000, **options).started() for _ in range(3)]
    for each in made:
        each.supervisor()
    return made


def all_but_the_floors(busy):
    busy.wait_for_quota(lambda quota: quota >= 75_000, 8, "all that the two others do not need")


@pytest.mark.v2
def test_another_takes_over_when_the_broker_is_killed(member):
    """At no moment is more in force than the limit, and what is asked for is granted again."""
    made = three(member)
    with Sums(*made) as sums:
        made[0].work(2)
        for busy, resting in ((0, 1), (1, 2), (2, 0)):
            all_but_the_floors(made[busy])
            first = broker("shop")
            assert first in supervisors()
            kill(first)
            wait_until(lambda: broker("shop") not in (None, first), 2, "another is the broker")
            for each in made:
                each.supervisor()
            made[busy].rest()
            made[resting].work(2)
            all_but_the_floors(made[resting])
    assert sums.most <= 0.9 + 1e-9


def test_a_stopped_broker_is_replaced(member):
    """Whoever asks gets no answer, and ends it."""
    made = three(member)
    with Sums(*made) as sums:
        stopped = broker("shop")
        kill(stopped, signal=signal.SIGSTOP)
        busy = next(each for each in made if stopped not in supervisors(each.id))
        busy.work(2)
        all_but_the_floors(busy)
    assert not is_alive(stopped)
    assert sums.most <= 0.9 + 1e-9


def test_a_stopped_member_costs_the_others_no_more_than_the_deadline(member):
    """It holds nearly all; another one wants its fair share, a second and a little later."""
    made = three(member)
    made[0].work(2)
    all_but_the_floors(made[0])
    with Sums(*made) as sums:
        stopped = made[0].supervisor()
        kill(stopped, signal=signal.SIGSTOP)
        made[1].work(2)
        made[1].wait_for_quota(lambda quota: quota >= 25_000, 4, "its fair share")
    assert not is_alive(stopped)
    assert sums.most <= 0.9 + 1e-9


@pytest.mark.v2
def test_every_supervisor_and_the_keeper_killed_at_once_leave_the_limit_kept(member):
    """The next call brings them all back, and they find each other again."""
    made = three(member)
    made[0].work(2)
    all_but_the_floors(made[0])
    with Sums(*made) as sums:
        dead = ours()
        kill(*dead)
        # A keeper that dies has its lock until it is dead.
        wait_until(lambda: not any(map(is_alive, dead)), 2, "none of them lives")
        made[0].call("state")
        for each in made:
            each.supervisor(4)
        made[0].rest()
        made[1].work(2)
        all_but_the_floors(made[1])
    assert sums.most <= 0.9 + 1e-9


def test_a_newcomer_into_a_full_application_starts_with_what_is_free(member):
    """One has all of app.cpu but the floor; the next one's limit holds at its first instruction."""
    one = member({"io.escra.app.cpu": "1"}, quota=100_000).started()
    one.supervisor()
    one.work(2)
    one.wait_for_quota(lambda quota: quota >= 95_000, 6, "all there is")
    two = member(quota=50_000)
    with Sums(one, two) as sums:
        two.started().supervisor()
        assert FLOOR <= two.first_quota <= 50_000
        two.work(2)
        two.wait_for_quota(lambda quota: quota >= 45_000, 6, "its fair share")
    assert sums.most <= 1 + 1e-9


def test_what_is_left_behind_is_had_by_the_others(member):
    """With app.cpu the limit does not shrink with the members."""
    one, two = member({"io.escra.app.cpu": "1"}), member()
    for each in (one, two):
        each.started().supervisor()
    one.work(2)
    two.work(2)
    one.wait_for_quota(lambda quota: quota >= 45_000, 6, "half of it")
    two.call("delete", "--force")
    one.wait_for_quota(lambda quota: quota >= 95_000, 6, "all of it")


def test_an_update_of_a_member_changes_what_all_may_have(member):
    """What is declared adds up, also later; what is in force never exceeds it."""
    one, two = member(quota=30_000), member(quota=30_000)
    for each in (one, two):
        each.started().supervisor()
    one.work(2)
    one.wait_for_quota(lambda quota: quota >= 50_000, 6, "all but what the other needs")
    with Sums(one, two) as sums:
        two.call("update", "--cpu-quota", "90000", "--cpu-period", "100000")
        one.wait_for_quota(lambda quota: quota >= 100_000, 6, "what the other declares by now")
    assert sums.most <= 1.2 + 1e-9
    two.call("update", "--cpu-quota", "30000", "--cpu-period", "100000")
    one.wait_for_quota(lambda quota: quota <= 55_000, 6, "no more than both declare")


def test_two_applications_do_not_mix(member):
    """Nor do equal names in different namespaces."""
    kubernetes = {"io.kubernetes.cri.sandbox-namespace": "other"}
    groups = [
        [member(app="a", quota=20_000) for _ in range(2)],
        [member(app="b", quota=20_000) for _ in range(2)],
        [member(kubernetes, app="a", quota=20_000) for _ in range(2)]]
    for made in groups:
        for each in made:
            each.started().supervisor()
    assert len(os.listdir(APPS)) == 3
    with Sums(*groups[0]) as first, Sums(*groups[1]) as second, Sums(*groups[2]) as third:
        for made in groups:
            made[0].work()
        for made in groups:
            made[0].wait_for_quota(lambda quota: quota >= 30_000, 6, "what the other leaves")
    assert max(sums.most for sums in (first, second, third)) <= 0.4 + 1e-9


def test_minima_that_do_not_fit_are_refused_with_the_figures(member, world, escra):
    """And nothing is left of the one that was refused."""
    one = member({"io.escra.app.cpu": "300m", "io.escra.cpu.min": "200m"}).started()
    one.supervisor()
    two = member({"io.escra.cpu.min": "200m"})
    result = escra("create", "--bundle", two.bundle.path, two.id)
    assert result.code == 1
    for word in ("io.escra.app", '"shop"', "100m", "200m", "io.escra.cpu.min", "io.escra.app.cpu"):
        assert word in result.err
    assert len(members("shop")) == 1 and not two.states()


@pytest.mark.parametrize("policy", ["standard", "observe"])
def test_only_reactive_containers_are_members(member, policy):
    """standard ignores the key; observe would not do what its application says."""
    made = member(policy=policy).started()
    if policy == "observe":
        made.supervisor()
    assert room("shop") is None
    assert made.quota == 20_000


def test_the_limit_of_an_application_changes_while_it_runs(member):
    """escra app set: more at once, less when it was recalled, and never less than the minima."""
    made = three(member)
    made[0].work(2)
    all_but_the_floors(made[0])
    with Sums(*made) as sums:
        said = json.loads(escra_tool("app", "set", "shop", "--cpu", "500m", "--json"))
        assert said == {"cpu": {"limit": 0.5, "inForce": 0.5, "asked": 0.5}}
        changed = time.monotonic()
        time.sleep(0.5)
    assert max(total for moment, total in sums.sums if moment > changed) <= 0.5 + 1e-9
    escra_tool("app", "set", "shop", "--cpu", "1500m")
    made[0].wait_for_quota(lambda quota: quota >= 135_000, 6, "more than they declare")
    escra_tool("app", "set", "shop", "--cpu", "100m", code=1)


def test_the_tool_shows_what_an_application_has(member):
    """As text and as JSON: limit, broker, members and what each holds."""
    made = three(member)
    report = json.loads(escra_tool("app", "show", "shop", "--json"))
    assert report["brokerPid"] == broker("shop")
    assert report["cpu"]["limit"] == report["cpu"]["inForce"] == 0.9
    assert sorted(each["id"] for each in report["members"]) == sorted(each.id for each in made)
    assert sum(each["cpu"] for each in report["members"]) <= 0.9 + 1e-9
    assert json.loads(escra_tool("app", "list", "--json")) == [
        json.loads(escra_tool("app", "show", "shop", "--json"))]
    assert "shop" in escra_tool("app")
    assert "shop has 3 members." in escra_tool("app", "show", "shop")
    assert all(each["app"] == "shop" for each in json.loads(escra_tool("ps", "--json")))
    assert 'the application "shop"' in escra_tool("explain", made[0].id)


def test_an_idle_application_does_not_wake_anybody(member):
    """Two seconds after all have gone to rest no supervisor runs, nor the broker."""
    made = three(member)
    for each in made:
        each.wait_for_quota(lambda quota: quota == FLOOR, 6, "down to the floor")
    pids = [each.supervisor() for each in made]
    wait_until(lambda: all(map(is_at_rest, pids)), 6, "they have nothing to do")
    before = [switches(pid) for pid in pids]
    time.sleep(2)
    assert [switches(pid) for pid in pids] == before


MIB = 1 << 20


def memory_limit(made):
    """In MiB; 0 for a group that is not there yet, or any more."""
    try:
        return cgroups.memory_limit(cgroups.inner(made.cgroup)) / MIB
    except OSError:
        return 0


@pytest.fixture
def memory_member(member):
    """Members that declare so many MiB of memory, and have a tmpfs to fill."""

    def make(declared, annotations=None, **options):
        # Emulated, filling it takes a minute of the CPU that others declare.
        made = member(annotations, quota=100_000, **options)
        made.bundle.give_memory(declared * MIB)
        return made

    return make


def test_two_containers_trade_their_memory(memory_member):
    """One grows beyond what it declared, by what the other does not need; then the other."""
    one, two = memory_member(128), memory_member(128)
    for each in (one, two):
        each.started().supervisor()
        if driver.IS_SYSTEMD:
            # It is told the most that one may have, and for a moment writes that.
            wait_until(lambda: memory_limit(each) == 128, 2, "what it declares")
        assert memory_limit(each) == 128
    sums = []
    for each in (one, two):
        wait_until(lambda: memory_limit(each) < 64, 8, "what it does not need is given back")
    for grown, other in ((one, two), (two, one)):
        grown.fill(170)

        def has_grown():
            sums.append(memory_limit(one) + memory_limit(two))
            return memory_limit(grown) >= 170

        def told():
            """What was in the way."""
            return "it has what the other does not need:\n" + "".join(
                escra_tool("explain", each.id, "--last", "30") for each in (grown, other))

        wait_until(has_grown, 4, told)
        assert memory_limit(other) < 86
        grown.do(": >/tmp/file")
        wait_until(lambda: memory_limit(grown) < 64, 8, "and gives it back")
    assert max(sums) <= 256


@pytest.mark.skipif(cgroups.VERSION == 2, reason="what is ahead there is a room that stays")
def test_whoever_grows_has_what_others_keep_ahead_before_it_is_killed(memory_member):
    """Three that idle keep some MiB ahead each; together with those the fourth finds its place."""
    small = [
        memory_member(16, {"io.escra.app.memory": "96Mi", "io.escra.memory.min": "1Mi"}).started()
        for _ in range(3)]
    grown = memory_member(16, {"io.escra.memory.min": "1Mi"}).started()
    for each in (*small, grown):
        each.supervisor()
    # Not at full speed: what is recalled comes a millisecond later than what is free.
    grown.do(
        "for i in $(seq 72); do dd if=/dev/zero bs=65536 count=16 >>/tmp/file || exit 1; "
        "sleep 0.02; done; touch /tmp/done")
    wait_until(
        lambda: os.path.exists(f"/proc/{grown.pid}/root/tmp/done"), 20, "every write succeeds")
    assert memory_limit(grown) >= 72
    assert memory_limit(grown) + sum(map(memory_limit, small)) <= 96


def test_what_an_application_has_of_memory_is_no_more_than_it_says(memory_member, world, escra):
    """io.escra.app.memory: who wants more waits, and minima that do not fit are refused."""
    one = memory_member(64, {"io.escra.app.memory": "192Mi", "io.escra.memory.min": "64Mi"})
    one.started().supervisor()
    two = memory_member(64).started()
    two.supervisor()
    wait_until(lambda: memory_limit(two) < 60, 8, "what it does not need is given back")
    two.fill(100)
    wait_until(lambda: memory_limit(two) >= 100, 4, "more than it declared")
    assert memory_limit(one) + memory_limit(two) <= 192
    three = memory_member(64, {"io.escra.memory.min": "160Mi"})
    result = escra("create", "--bundle", three.bundle.path, three.id)
    assert result.code == 1
    for word in ("io.escra.app", '"shop"', "160Mi", "io.escra.memory.min"):
        assert word in result.err


def test_the_newest_create_wins_unless_the_operator_refuses(member, world, escra):
    """appConflict: the sentence has both figures; the running application has what it had."""
    config = world.path("escra.json")
    with open(config, "w") as file:
        json.dump({"appConflict": "refuse"}, file)
    strictly = escra.using("--escra-config", config)
    asked = {"io.escra.app.cpu": "600m"}
    first = member(asked, runtime=strictly).started()
    first.supervisor()
    other = member({"io.escra.app.cpu": "1"}, runtime=strictly)
    result = strictly("create", "--bundle", other.bundle.path, other.id)
    assert result.code == 1
    for word in ("io.escra.app.cpu", "600m", "is 1,", '"shop"', "escra app set shop --cpu 1"):
        assert word in result.err, result.err
    assert len(members("shop")) == 1 and not other.states()
    # The same value, or none.
    for annotations in (asked, {}):
        member(annotations, runtime=strictly).started().supervisor()

    def limit():
        return json.loads(escra_tool("app", "show", "shop", "--json"))["cpu"]["limit"]

    assert limit() == 0.6
    escra_tool("app", "set", "shop", "--cpu", "1")
    other.started().supervisor()
    member({"io.escra.app.cpu": "700m"}).started().supervisor()
    assert limit() == 0.7


def test_of_two_conflicting_creates_at_once_one_is_refused(member, world, escra):
    """Whoever joins first says what the limit is; who is refused leaves nothing."""
    config = world.path("escra.json")
    with open(config, "w") as file:
        json.dump({"appConflict": "refuse"}, file)
    strictly = escra.using("--escra-config", config)
    for round in range(12):
        made = [
            member({"io.escra.app.cpu": value}, app=f"race{round}", runtime=strictly)
            for value in ("600m", "700m")]
        said = [open(world.path(f"{round}-{each.id}"), "w+") for each in made]
        creates = [each.create(stderr=file) for each, file in zip(made, said)]
        codes = [process.wait(20) for process in creates]
        for file in said:
            file.seek(0)
        assert sorted(codes) == [0, 1], [file.read() for file in said]
        winner = made[codes.index(0)]
        # Its broker answers within 0.3 s, or there are no figures.
        report = wait_until(
            lambda: (found := json.loads(
                escra_tool("app", "show", f"race{round}", "--json")))["cpu"] and found, 2,
            "the broker answers")
        assert report["cpu"]["limit"] == (0.6 if winner is made[0] else 0.7)
        assert len(report["members"]) == 1
        winner.call("delete", "--force")


def test_what_an_operator_set_outlives_the_restart_of_a_member(member):
    """The annotation that was there before is no change; a changed one is."""

    def limit():
        return json.loads(escra_tool("app", "show", "shop", "--json"))["cpu"]["limit"]

    def started(cpu):
        made = member({"io.escra.app.cpu": cpu}).started()
        made.supervisor()
        return made

    first, second = started("600m"), started("600m")
    escra_tool("app", "set", "shop", "--cpu", "900m")
    second.call("delete", "--force")
    started("600m")
    assert limit() == 0.9
    kill(broker("shop"))
    first.supervisor()
    started("600m")
    assert limit() == 0.9
    started("700m")
    assert limit() == 0.7


def test_beside_a_busy_host_a_member_that_rests_releases(member, world, no_unified):
    """Without a unified hierarchy the container's own wait is asked, not the host's pressure."""
    for _ in range(os.cpu_count() + 1):
        world.spawn(subprocess.Popen(["sh", "-c", "while :; do :; done"]))
    idle, busy = member(quota=30_000).started(), member(quota=30_000).started()
    for each in (idle, busy):
        each.supervisor()
    busy.work(2)
    busy.wait_for_quota(lambda quota: quota >= 50_000, 8, "all but what the other needs")
