# SPDX-License-Identifier: Apache-2.0
"""Applications over several nodes: the agent, and an etcd of three members."""
import json
import os
import random
import resource
import signal
import subprocess
import time

import pytest

from nodes import (
    ESCRA_AGENT, Cluster, FakeBroker, FakeKubernetes, ManyBrokers, figure, largest_sum,
    middle_and_tail)
from processes import is_at_rest, switches, wait_until
from world import ESCRA

CORE = 10**9
# How often: `make chaos-nodes` says.
ROUNDS = int(os.environ.get("ESCRA_CHAOS_NODES_ROUNDS", "0"))


@pytest.fixture
def cluster(world):
    """Makes engines; afterwards nothing may be left of them and of the nodes."""
    made = []

    def make(**options):
        made.append(Cluster(**options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def broker():
    """Makes brokers that do what they are told."""
    made = []

    def make(node, **options):
        options.setdefault("declared", CORE // 10)
        options.setdefault("explicit", 2 * CORE)
        made.append(FakeBroker(node, "web", **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def pair(cluster, broker, **options):
    """Two nodes with an agent and a broker each, of one application with two CPUs."""
    nodes = [cluster.node(f"n{number}", **options).start_agent() for number in (1, 2)]
    brokers = [broker(node, wanted=CORE // 10) for node in nodes]
    wait_until(
        lambda: len((cluster.ledger("web") or {"nodes": {}})["nodes"]) == 2, 5,
        "both in the ledger")
    return nodes, brokers


def balance(ledger):
    return ledger["free"] + sum(node["held"] for node in ledger["nodes"].values())


def share(broker_):
    return broker_.shares[-1][1] if broker_.shares else None


def want(broker_, amount, least):
    """Has the members want so much, and returns when at least so much was granted."""
    before = len(broker_.shares)
    start = time.monotonic()
    broker_.want(amount)
    wait_until(lambda: (share(broker_) or 0) >= least, 8, f"a share of at least {least}")
    return next(when for when, limit, *_ in broker_.shares[before - 1:] if limit >= least) - start


def test_a_share_moves_from_an_idle_node_to_a_busy_one(cluster, broker):
    cluster = cluster()
    nodes, brokers = pair(cluster, broker)
    times = []
    for number in range(300 if ROUNDS else 30):
        idle, busy = brokers[number % 2], brokers[1 - number % 2]
        idle.want(CORE // 10)
        time.sleep(0.03)
        times.append(want(busy, 18 * CORE // 10, 17 * CORE // 10))
    ledger = cluster.ledger("web")
    assert balance(ledger) == ledger["limit"] == 2 * CORE
    assert largest_sum(brokers) <= 2 * CORE
    p50, p99 = middle_and_tail(times)
    figure(3, f"{len(times)} moves, p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms")
    assert p50 < 0.05
    status = wait_until(lambda: nodes[0].status("web"), 1, "a status")
    assert status["engine"]["reachable"] and status["node"] == "n1"
    assert status["resources"]["cpu"]["limit"] == 2 * CORE


def test_a_node_that_a_change_does_not_concern_asks_nothing(cluster, broker):
    """The watch says what the ledger is: no node has to read that."""
    cluster = cluster(members=1)
    nodes, brokers = pair(cluster, broker)
    third = cluster.node("n3").start_agent()
    brokers.append(broker(third, wanted=CORE // 10))
    wait_until(lambda: share(brokers[2]), 5, "a share")
    time.sleep(1.2)
    before = third.status("web")["engine"]["requests"]
    for number in range(10):
        brokers[number % 2].want(CORE // 10)
        want(brokers[1 - number % 2], 17 * CORE // 10, 16 * CORE // 10)
    time.sleep(0.3)
    status = third.status("web")
    assert status["engine"]["requests"] == before
    # And it knows what the others have.
    held = {node["name"]: node["held"] for node in status["resources"]["cpu"]["nodes"]}
    assert held["n1"] + held["n2"] >= 17 * CORE // 10, status


def test_nodes_that_wait_do_not_ask_again_and_again(cluster, broker):
    """What members could use changes all the time; what the ledger says of it need not."""
    cluster = cluster(members=1)
    nodes, brokers = pair(cluster, broker)
    wait_until(lambda: all(node.status("web") for node in nodes), 3, "a status")
    before = [node.status("web")["resources"]["cpu"]["counters"] for node in nodes]
    draw = random.Random(7)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        # The one about its fair share, the other one more than that.
        brokers[0].want(draw.randrange(80, 120) * CORE // 100)
        brokers[1].want(draw.randrange(15, 20) * CORE // 10)
        time.sleep(0.05)
    after = [node.status("web")["resources"]["cpu"]["counters"] for node in nodes]
    swaps = [b["swaps"] - a["swaps"] for a, b in zip(before, after)]
    reads = [b["reads"] - a["reads"] for a, b in zip(before, after)]
    print(f"{swaps} swaps and {reads} reads in 5 s, in which each wanted something else 100 times")
    assert sum(swaps) <= 40
    # Four reads per validity, and one after each swap that another has won.
    assert sum(reads) <= 2 * 5 * 4 / 3 + 15


def test_the_agent_sleeps_while_its_applications_rest(cluster, broker):
    cluster = cluster(members=1)
    [node], brokers = [cluster.node("n1").start_agent()], []
    brokers.append(broker(node, wanted=CORE // 10))
    wait_until(lambda: share(brokers[0]), 5, "a share")
    # What only its start needs is unmapped after 2 s.
    time.sleep(2)
    wait_until(lambda: is_at_rest(node.agent.pid), 5, "an agent that sleeps")
    before, requests = switches(node.agent.pid), node.status("web")["engine"]["requests"]
    time.sleep(2)
    assert switches(node.agent.pid) - before <= 1
    assert node.status("web")["engine"]["requests"] == requests
    assert len(os.listdir(f"/proc/{node.agent.pid}/task")) == 1
    with open(f"/proc/{node.agent.pid}/smaps_rollup") as file:
        words = {line.split()[0]: line.split()[1:] for line in list(file)[1:]}
    rss, pss = (int(words[name][0]) / 1024 for name in ("Rss:", "Pss:"))
    figure(14, f"{rss:.1f} MB resident ({pss:.1f} MB PSS beside other agents), one thread, no "
               "wake-up in 2 s")
    # Its PSS is no more if no other process has its libraries.
    assert rss < 12


def test_a_second_agent_of_a_node_does_not_start(cluster):
    node = cluster(members=1).node("n1").start_agent()
    first = node.agent
    wait_until(lambda: os.path.isdir(node.run + "/agent"), 5, "the first one is at work")
    node.start_agent()
    assert node.agent.wait(5) == 1
    assert "another escra-agent serves" in node.said()
    assert first.poll() is None
    node.agent = first


def test_an_agent_that_is_told_to_end_does_so_and_its_successor_goes_on(cluster, broker):
    cluster = cluster(members=1)
    nodes, brokers = pair(cluster, broker)
    want(brokers[0], 18 * CORE // 10, 17 * CORE // 10)
    nodes[0].agent.terminate()
    assert nodes[0].agent.wait(2) == 0
    nodes[0].start_agent()
    # It knows what it held, and the ledger that it has seen.
    wait_until(lambda: share(brokers[0]) >= 17 * CORE // 10, 5, "the share")
    assert balance(cluster.ledger("web")) == 2 * CORE


def test_what_a_node_holds_that_was_cut_off_goes_to_the_others(cluster, broker):
    cluster = cluster()
    nodes, brokers = pair(cluster, broker)
    want(brokers[0], 18 * CORE // 10, 17 * CORE // 10)
    deadline = brokers[0].shares[-1][3]
    cluster.network.cut(nodes[0])
    cut = time.monotonic()
    # Both want all of it.
    want(brokers[1], 18 * CORE // 10, CORE)
    taken = time.monotonic()
    # The one that was cut off has told its broker to lower, before the other one took it.
    lowered = next(when for when, limit, *_ in brokers[0].shares if when > cut)
    assert share(brokers[0]) == CORE // 10
    assert lowered < taken and deadline
    figure(6, f"the others have the rest {taken - cut:.2f} s after the cut, lowered before that")
    # Validity, clocks that differ by 2 % each, and the second after which it is suspected.
    assert taken - cut < 3 * 1.05 + 1 + 1.5
    cluster.network.heal(nodes[0])
    brokers[1].want(CORE // 10)
    want(brokers[0], 18 * CORE // 10, 17 * CORE // 10)
    assert largest_sum(brokers) <= 2 * CORE


def test_a_leader_that_dies_costs_nobody_a_share(cluster, broker):
    cluster = cluster()
    nodes, brokers = pair(cluster, broker)
    want(brokers[0], 18 * CORE // 10, 17 * CORE // 10)
    leader = cluster.leader()
    leader.process.kill()
    before = len(brokers[0].shares)
    time.sleep(3)
    assert all(limit >= 17 * CORE // 10 for _, limit, *_ in brokers[0].shares[before:])
    # And it goes on moving.
    brokers[0].want(CORE // 10)
    want(brokers[1], 18 * CORE // 10, 17 * CORE // 10)


def test_an_engine_that_is_away_leaves_each_node_its_minimum(cluster, broker):
    cluster = cluster(members=1)
    nodes, brokers = pair(cluster, broker)
    want(brokers[0], 18 * CORE // 10, 17 * CORE // 10)
    cluster.members[0].process.kill()
    cluster.members[0].process.wait()
    wait_until(lambda: share(brokers[0]) == CORE // 10, 4, "the minimum")
    wait_until(lambda: not nodes[0].status("web")["engine"]["reachable"], 2, "it says so")
    assert "the engine did not answer in time" in nodes[0].said()
    cluster.members[0].start()
    back = time.monotonic()
    wait_until(lambda: share(brokers[0]) >= 17 * CORE // 10, 5, "the share")
    assert time.monotonic() - back < 2.5


def test_memory_of_a_silent_node_is_not_taken(cluster, broker):
    """Test 16 of the design: it may be in use there, and its limit cannot be lowered from here."""
    mib = 1 << 20
    cluster = cluster(members=1)
    nodes = [cluster.node(f"n{number}").start_agent() for number in (1, 2)]
    brokers = [
        broker(node, declared=64 * mib, explicit=512 * mib, wanted=64 * mib, resource=2)
        for node in nodes]
    wait_until(lambda: all(map(share, brokers)), 5, "both have a share")
    want(brokers[0], 400 * mib, 400 * mib)
    brokers[0].used = 320 * mib
    brokers[0].tell()
    nodes[0].agent.send_signal(signal.SIGSTOP)
    brokers[1].want(400 * mib)
    time.sleep(6)
    ledger = cluster.ledger("web", "memory")
    assert balance(ledger) == 512 * mib and ledger["nodes"]["n1"]["held"] >= 400 * mib
    assert share(brokers[1]) <= 112 * mib
    # What it does not use it gives, once it speaks again.
    nodes[0].agent.send_signal(signal.SIGCONT)
    brokers[0].want(320 * mib)
    want(brokers[1], 400 * mib, 120 * mib)
    assert cluster.ledger("web", "memory")["nodes"]["n1"]["held"] >= 320 * mib
    assert largest_sum(brokers) <= 512 * mib
    figure(16, "nothing taken of 320 MiB in use of 400 MiB on a silent node")


@pytest.mark.parametrize("count", [50, *(
    pytest.param(count, marks=pytest.mark.skipif(
        not ROUNDS, reason="make chaos-nodes runs it"), id=f"chaos-{count}")
    for count in (1000, 10000))])
def test_many_applications_at_rest_cause_no_request(cluster, count):
    """Test 13 of the design."""
    cluster = cluster(members=1)
    node = cluster.node("n1")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # It lives as long as the case.
    _brokers = ManyBrokers(node, count, CORE // 10)
    node.start_agent()

    def keys():
        answer = cluster.members[0].call("/v3/kv/range", {
            "key": "L2VzY3JhL3YxLw==", "range_end": "L2VzY3JhL3YxMA==", "count_only": True})
        return int((answer or {}).get("count", 0))

    wait_until(lambda: keys() == 2 * count, max(60, count // 10), "all ledgers")

    wait_until(lambda: is_at_rest(node.agent.pid, 1), 20, "an agent that sleeps")
    before, revision = switches(node.agent.pid), cluster.members[0].status()["header"]["revision"]
    time.sleep(5)
    assert switches(node.agent.pid) - before <= 1
    assert cluster.members[0].status()["header"]["revision"] == revision
    with open(f"/proc/{node.agent.pid}/smaps_rollup") as file:
        pss = next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    figure(13, f"{count} applications at rest: no request in 5 s; PSS {pss / 1024:.1f} MB")


@pytest.mark.skipif(not ROUNDS, reason="make chaos-nodes runs it")
def test_chaos_the_disk_of_the_leader_is_frozen(cluster, broker):
    """Test 8 of the design."""
    cluster = cluster(fast=False, disks=True)
    nodes, brokers = pair(cluster, broker, validity="6s")
    want(brokers[0], 18 * CORE // 10, 17 * CORE // 10)
    for _ in range(3):
        before = len(brokers[0].shares)
        with cluster.leader().frozen():
            time.sleep(10)
        time.sleep(2)
        assert all(limit >= 17 * CORE // 10 for _, limit, *_ in brokers[0].shares[before:])
    brokers[0].want(CORE // 10)
    want(brokers[1], 18 * CORE // 10, 17 * CORE // 10)
    assert largest_sum(brokers) <= 2 * CORE
    figure(8, f"etcd {cluster.members[0].status()['version']}: 3 times 10 s, the share kept, "
              f"the largest sum {largest_sum(brokers) / CORE:g} of 2")


def test_with_floors_what_is_declared_moves_too(cluster, broker):
    """Without a limit of the application it is what all declare, of which `onLost` keeps all."""
    cluster = cluster(members=1)
    nodes = [cluster.node(f"n{number}", onLost="floor").start_agent() for number in (1, 2)]
    brokers = [
        broker(node, declared=CORE, explicit=-1, wanted=CORE // 10, floors=CORE // 20)
        for node in nodes]
    wait_until(lambda: all(map(share, brokers)), 5, "both have a share")
    want(brokers[0], 18 * CORE // 10, 15 * CORE // 10)
    brokers[0].want(CORE // 10)
    want(brokers[1], 18 * CORE // 10, 15 * CORE // 10)
    assert cluster.ledger("web")["limit"] == 2 * CORE
    assert largest_sum(brokers) <= 2 * CORE


def test_a_ledger_of_a_backup_is_refused(cluster, broker):
    cluster = cluster(members=1)
    nodes, brokers = pair(cluster, broker)
    old = cluster.ledger("web")
    want(brokers[0], 18 * CORE // 10, 17 * CORE // 10)
    cluster.put("web", old)
    wait_until(lambda: "older than one seen before" in nodes[0].said(), 3, "a complaint")
    assert "restored from a backup" in nodes[0].said()


def test_an_object_that_is_no_ledger_is_named(cluster, broker):
    cluster = cluster(members=1)
    cluster.put("web", "rubbish")
    node = cluster.node("n1").start_agent()
    broker(node, wanted=CORE)
    complaint = wait_until(
        lambda: (node.status("web") or {"resources": {"cpu": {}}})["resources"]["cpu"].get(
            "complaint"), 3, "a complaint")
    assert "default/web/cpu is no ledger" in complaint


def test_a_watch_that_was_away_during_a_compaction_goes_on(cluster, broker):
    """Test 12 of the design: at another member, from a revision that is gone."""
    cluster = cluster()
    nodes, brokers = pair(cluster, broker)
    for number in range(4):
        brokers[number % 2].want(CORE // 10)
        want(brokers[1 - number % 2], 18 * CORE // 10, 17 * CORE // 10)
    # Every member is started anew, one after the other: each watch breaks.
    for member in cluster.members:
        revision = cluster.members[0].status()["header"]["revision"]
        member.process.kill()
        member.process.wait()
        for other in cluster.members:
            if other is not member:
                other.call("/v3/kv/compaction", {"revision": revision})
        member.start()
        wait_until(member.status, 10, "the member")
    wait_until(cluster.leader, 10, "a leader")
    brokers[0].want(CORE // 10)
    want(brokers[1], 18 * CORE // 10, 17 * CORE // 10)
    assert balance(cluster.ledger("web")) == 2 * CORE
    assert largest_sum(brokers) <= 2 * CORE
    figure(12, "right after three compactions, each while a watch was away")


@pytest.mark.parametrize("moves", [
    8, pytest.param(200 * ROUNDS, marks=pytest.mark.skipif(
        not ROUNDS, reason="make chaos-nodes runs it"), id="chaos")])
def test_late_swaps_give_nobody_too_much(cluster, broker, moves):
    """Test 9 of the design: a swap that its sender has given up may still happen."""
    cluster = cluster(members=1)
    nodes = [cluster.node(f"n{number}") for number in (1, 2)]
    for number, node in enumerate(nodes):
        node.proxy(0.2, moves + number)
        node.start_agent()
    brokers = [broker(node, wanted=CORE // 10) for node in nodes]
    wait_until(lambda: all(map(share, brokers)), 20, "both have a share")
    doubts = 0
    for number in range(moves):
        brokers[number % 2].want(CORE // 10)
        brokers[1 - number % 2].want(18 * CORE // 10)
        time.sleep(0.1 if moves > 100 else 0.3)
        if number % 10 == 0 or moves < 100:
            ledger = cluster.ledger("web")
            assert balance(ledger) == ledger["limit"] == 2 * CORE
    assert largest_sum(brokers) <= 2 * CORE
    doubts = sum(node.status("web")["resources"]["cpu"]["counters"]["doubts"] for node in nodes)
    figure(9, f"{moves} moves with {doubts} late swaps, the largest sum "
           f"{largest_sum(brokers) / CORE:g} of 2")
    # And it heals.
    brokers[0].want(CORE // 10)
    want(brokers[1], 18 * CORE // 10, 17 * CORE // 10)


def openssl(directory, *words):
    subprocess.run(
        ["openssl", *words], cwd=directory, check=True, capture_output=True, timeout=20)


def certificates(directory):
    """An authority, and certificates by it for the servers and for a node."""
    openssl(directory, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout",
            "ca.key", "-out", "ca.crt", "-subj", "/CN=authority")
    for name, extension in (
            ("server", "subjectAltName=" + ",".join(
                f"IP:10.77.0.{number}" for number in range(1, 9)) + ",IP:127.0.0.1"),
            ("node", "extendedKeyUsage=clientAuth")):
        with open(f"{directory}/{name}.ext", "w") as file:
            file.write(extension)
        openssl(directory, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key",
                "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey",
                "ca.key", "-CAcreateserial", "-days", "2", "-out", f"{name}.crt", "-extfile",
                f"{name}.ext")
        os.chmod(f"{directory}/{name}.key", 0o600)
    return {name: f"{directory}/{name}" for name in ("ca.crt", "node.crt", "node.key")}


def test_a_connection_is_protected_by_certificates(world, cluster, broker):
    files = certificates(world.directory)
    cluster = cluster(members=1, tls=world.directory)
    node = cluster.node(
        "n1", ca=files["ca.crt"], cert=files["node.crt"], key=files["node.key"]).start_agent()
    brokers = [broker(node, wanted=CORE // 10)]
    wait_until(lambda: share(brokers[0]), 5, "a share")
    # A node without a certificate has nothing to say.
    other = cluster.node("n2", ca=files["ca.crt"]).start_agent()
    broker(other, wanted=CORE // 10)
    wait_until(lambda: (other.status("web") or {"engine": {"failures": 0}})["engine"]["failures"],
               3, "a failure")
    assert not other.status("web")["engine"]["reachable"]
    # And one that trusts somebody else says nothing.
    third = cluster.node("n3").start_agent()
    broker(third, wanted=CORE // 10)
    # Reading all authorities that the machine trusts takes longer than the first connection may.
    wait_until(
        lambda: "certificate" in ((third.status("web") or {"engine": {}})["engine"]
                                  .get("complaint") or ""), 10, "a complaint about the certificate")


def test_kubernetes_keeps_the_ledger(world, cluster, broker):
    files = certificates(world.directory)
    with open(world.path("token"), "w") as file:
        os.chmod(world.path("token"), 0o600)
        file.write(FakeKubernetes.TOKEN + "\n")
    cluster = cluster(members=0)
    server = FakeKubernetes(cluster.network, world.directory)
    try:
        config = {
            "engine": "kubernetes", "endpoints": [server.url], "ca": files["ca.crt"],
            "token": world.path("token")}
        nodes = [cluster.node(f"n{number}", **config).start_agent() for number in (1, 2)]
        brokers = [broker(node, wanted=CORE // 10) for node in nodes]
        wait_until(lambda: all(map(share, brokers)), 5, "both have a share")

        def move(number):
            idle, busy = brokers[number % 2], brokers[1 - number % 2]
            idle.want(CORE // 10)
            time.sleep(0.05)
            return want(busy, 18 * CORE // 10, 17 * CORE // 10)

        times = sorted(move(number) for number in range(10))
        print(f"moved in p50 {times[5] * 1e3:.1f} ms, most {times[-1] * 1e3:.1f} ms")
        assert balance(server.ledger("web")) == 2 * CORE
        # What others have written beside the ledger stays.
        server.control("label")
        assert move(12) < 2.5
        wait_until(lambda: server.ledger("web"), 1, "an object")
        labels = server.object("web")
        assert labels["metadata"]["labels"] == {"team": "shop"}
        assert labels["metadata"]["annotations"] == {"example.com/note": "\"1\""}
        assert labels["status"] == {"seen": [True]}
        # A watch that ends goes on where it was; one whose place is forgotten begins anew.
        server.control("bookmark")
        server.control("hangup")
        assert move(10) < 2.5
        server.control("hangup")
        server.control("compact")
        assert move(11) < 2.5
        wait_until(lambda: server.control("count")["watches"] == 2, 3, "both watch")
        assert nodes[0].status("web")["engine"]["kind"] == "kubernetes"
        # The last one that leaves removes the object.
        for each in brokers:
            each.close()
        wait_until(lambda: server.ledger("web") is None, 5, "no object")
        # Without the right token nothing is read, and it says why.
        with open(world.path("token"), "w") as file:
            file.write("another")
        broker(nodes[0], wanted=CORE)
        complaint = wait_until(
            lambda: (nodes[0].status("web") or {"engine": {}})["engine"].get("complaint"), 3,
            "a complaint")
        assert "HTTP status 401" in complaint
    finally:
        server.namespace.close()


def run_agent(config, directory):
    path = os.path.join(directory, "agent.json")
    with open(path, "w") as file:
        json.dump({"cluster": config} if config is not None else {}, file)
    return subprocess.run(
        [ESCRA_AGENT, "--escra-config", path], capture_output=True, text=True, timeout=5)


@pytest.mark.parametrize("config, sentence", [
    (None, 'has no "cluster"; write "cluster": {"endpoints": ["https://HOST:2379"]}'),
    ({}, "cluster {...} names no endpoint"),
    ({"endpoints": ["https://a:1"], "validity": "1s"},
     'cluster.validity "1s" is out of range; write "3s" to "3600s"'),
    ({"endpoints": ["a:1"]}, 'cluster.endpoints[0] "a:1" is no address'),
    ({"endpoints": ["https://a:1"], "Node": "x"},
     "unknown key cluster.Node; the nearest known one is cluster.node"),
    ({"endpoints": ["https://a:1"], "cert": "/x"}, 'cluster.cert "/x" needs cluster.key'),
    ({"endpoints": ["http://a:1"], "ca": "/x"}, 'cluster.endpoints "http://a:1" is not protected'),
])
def test_a_config_with_an_error_is_refused_in_a_sentence(world, config, sentence):
    done = run_agent(config, world.directory)
    assert done.returncode == 1
    assert sentence in done.stderr and done.stderr.count("\n") == 1


def test_the_doctor_looks_at_the_engine_the_certificate_and_the_clock(world, cluster):
    files = certificates(world.directory)
    cluster = cluster(members=1, tls=world.directory)
    node = cluster.node(
        "n1", ca=files["ca.crt"], cert=files["node.crt"], key=files["node.key"])

    def doctor():
        # It ends with 1 where anything of the machine is a problem.
        done = subprocess.run(
            node.words(ESCRA, "doctor", "--json", "--escra-config", node.config),
            capture_output=True, text=True, timeout=20)
        return {check["name"]: check for check in json.loads(done.stdout)["checks"]}

    found = doctor()
    assert found["engine"]["level"] == "ok" and "is etcd 3." in found["engine"]["sentence"]
    # Three days are not much.
    assert found["certificate"]["level"] == "warning"
    assert "days; renew it" in found["certificate"]["sentence"]
    assert found["clock"]["level"] == "ok"
    cluster.network.cut(cluster.members[0].namespace)
    engine = doctor()["engine"]
    assert engine["level"] == "problem" and "does not answer" in engine["sentence"]


def test_a_private_key_that_others_can_read_is_refused(world):
    for name in ("cert", "key"):
        with open(world.path(name), "w"):
            os.chmod(world.path(name), 0o640)
    done = run_agent(
        {"endpoints": ["https://a:1"], "cert": world.path("cert"), "key": world.path("key")},
        world.directory)
    assert done.returncode == 1
    assert "can be read by others than root; run chmod 600" in done.stderr
