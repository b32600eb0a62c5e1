# SPDX-License-Identifier: Apache-2.0
"""Two nodes that share one limit while load moves between them, under three ways to share it.

Both nodes are on this machine: two instances of escra-runc with a state root of their own, an agent
each, and an etcd of one member on loopback.
"""
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

from . import nodesplot
from ..container import Failure
from ..cpu.load import Trace
from ..figures import milliseconds, percentile, summary
from ..report import Result
from ..workshop import TOP

NAME = "nodes"
MS = 1_000_000
LIMIT, DECLARED = 0.6, 0.1  # CPUs: of the application, and of each node's container
PHASE, TAIL = 6, 4  # seconds of each part of the load, and what late requests may take
ROUNDS = 3
PLOT = os.path.join(TOP, "docs", "nodes.svg")
# Which node works in which phase: the load moves, and then both want more than half.
PHASES = ((True, False), (False, True), (True, False), (True, True))
SECONDS = PHASE * len(PHASES) + TAIL
PERIOD = 100_000


def schedule(node):
    """9 ms of CPU each 20 ms while it works, which is 0.45 CPUs."""
    return [(int((PHASE * index + 0.02 * number) * 1e9), 9 * MS, 0)
            for index, busy in enumerate(PHASES) if busy[node]
            for number in range(int(PHASE / 0.02))]


class Controller:
    """The rules of the Escra authors' controller (docs/law-escra.md), by a program for both nodes.

    It hears of each period of each container, and writes their quotas; what is unallocated is what
    it believes that no container has.
    """

    WINDOW, STEP, GAIN = 10, 30_000, 20

    def __init__(self, players):
        self.players, self.done = players, threading.Event()
        self.quotas = [int(LIMIT * PERIOD) // 2] * 2
        for player, quota in zip(players, self.quotas):
            self.write(player, quota)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    @staticmethod
    def write(player, quota):
        with open(player.group.quota_file, "w") as file:
            file.write(f"{quota} {PERIOD}" if player.group.is_v2 else str(quota))

    def run(self):
        total, floor = int(LIMIT * PERIOD), 5_000
        fair = total // 2
        before = [player.group.used() for player in self.players]
        windows = [[], []]
        while not self.done.wait(PERIOD / 1e6):
            for index, player in enumerate(self.players):
                used = player.group.used()
                use, before[index] = (used - before[index]) * 1e6, used
                quota, unallocated = self.quotas[index], total - sum(self.quotas)
                left, window = max(0, quota - use), windows[index]
                window.append((use >= quota - 5_000, left))
                del window[:-self.WINDOW]
                throttled = sum(hit for hit, _ in window) / len(window)
                new = quota
                if quota < fair and throttled > 0.5:
                    new = quota + min(unallocated, fair - quota)
                elif throttled >= 0.1 and unallocated > 0:
                    new = quota + min(unallocated, int(self.GAIN * throttled * self.STEP))
                elif left > quota / 5:
                    new = max(floor, int(quota * 0.8))
                elif sum(rest for _, rest in window) / len(window) > 5_000:
                    new = max(floor, quota - 5_000)
                if new != quota:
                    self.quotas[index] = new
                    windows[index] = []
                    self.write(player, new)

    def close(self):
        self.done.set()
        self.thread.join()


class Engine:
    """An etcd of one member on loopback, and the agents of both nodes."""

    def __init__(self, shop):
        if not shutil.which("etcd"):
            raise Failure("cannot find etcd; run: make deps")
        self.shop, self.processes = shop, []
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            two.bind(("127.0.0.1", 0))
            client, peer = (f"http://127.0.0.1:{each.getsockname()[1]}" for each in (one, two))
        self.start("etcd", "--data-dir", os.path.join(shop.path, "etcd"), "--listen-client-urls",
                   client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                   "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
                   "--log-level", "error")
        self.wait(client)
        self.configs = []
        for name in ("one", "two"):
            path = os.path.join(shop.path, f"node-{name}.json")
            with open(path, "w") as file:
                json.dump({"stateRoot": f"/run/escra-{name}",
                           "cluster": {"endpoints": [client], "node": name}}, file)
            self.configs.append(path)
            self.start(os.path.join(os.path.dirname(shop.original), "escra-agent"),
                       "--escra-config", path)

    def start(self, *words):
        self.processes.append(subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL))

    @staticmethod
    def wait(address):
        for _ in range(100):
            try:
                with urllib.request.urlopen(address + "/health", timeout=1) as answer:
                    if json.load(answer).get("health") == "true":
                        return
            except OSError:
                pass
            time.sleep(0.1)
        raise Failure("etcd does not answer within 10 s")

    def close(self):
        for process in reversed(self.processes):
            process.terminate()
            process.wait()


class Kind:
    def __init__(self, title, sort):
        self.title, self.sort = title, sort
        # Of requests of which one node has some, and of those of both nodes at once.
        self.one, self.both = [], []
        self.late, self.most, self.above, self.curves = 0, 0.0, 0.0, None


def largest(traces):
    """The largest sum of both limits, and for how many seconds it was above the application's.

    The nodes are read one after the other: limits are a sum once each was read again as it was.
    """
    changes = sorted(
        (sample[0], index, sample[1]) for index, trace in enumerate(traces)
        for sample in trace.samples)
    held, confirmed, since = [0.0, 0.0], [False, False], 0.0
    most = above = 0.0
    for moment, index, limit in changes:
        if limit != held[index]:
            held[index], confirmed, since = limit, [False, False], moment
            continue
        confirmed[index] = True
        if all(confirmed):
            most = max(most, sum(held))
            if sum(held) > LIMIT * 1.001:
                above += moment - since
            since = moment
    return most, above


def play(shop, kind, engine, text):
    players = []
    annotations = {
        "io.escra.policy": "reactive", "io.escra.app": "nodes", "io.escra.app.scope": "cluster",
        "io.escra.app.cpu": str(LIMIT), "io.escra.cpu.max": str(LIMIT)}
    for node in range(2):
        is_ours = kind.sort == "ours"
        player = shop.player("nodes", schedule(node), annotations if is_ours else None,
                             DECLARED if is_ours else LIMIT / 2)
        if is_ours:
            player.options = ["--escra-config", engine.configs[node]]
        players.append(player.start())
    shop.sleep(4, text)
    controller = Controller(players) if kind.sort == "controller" else None
    # In files: they say more than a pipe holds.
    outputs = [tempfile.TemporaryFile("w+", dir=shop.path) for _ in players]
    samplers = [shop.start_helper("sample", 5000, each.group.quota_file, each.group.usage_file,
                                  output=output) for each, output in zip(players, outputs)]
    start = time.monotonic_ns() + 200 * MS
    for player in players:
        shop.go(player, start)
    shop.sleep(SECONDS + 0.5, text)
    traces = []
    for sampler, output, player in zip(samplers, outputs, players):
        sampler.terminate()
        sampler.wait()
        output.seek(0)
        lines = [tuple(map(int, line.split())) for line in output if line.count(" ") == 2]
        output.close()
        shop.helpers.remove(sampler)
        traces.append(Trace(lines, start, SECONDS, player.group.period(), 1))
    if controller:
        controller.close()
    for node, player in enumerate(players):
        for (_, done), (arrival, _, _) in zip(shop.times(player), schedule(node)):
            if done:
                are_both = all(PHASES[int(arrival / 1e9 / PHASE)])
                (kind.both if are_both else kind.one).append(done - start - arrival)
            else:
                kind.late += 1
        player.stop()
    most, above = largest(traces)
    kind.most, kind.above = max(kind.most, most), kind.above + above
    kind.curves = kind.curves or [trace.curve() for trace in traces]


def run(shop, quick):
    kinds = [Kind(f"static halves: {LIMIT / 2:g} each (runc)", "static"),
             Kind("Escra's controller rules, by one program for both nodes", "controller"),
             Kind(f"escra-runc: one limit of {LIMIT:g}, {DECLARED:g} declared each", "ours")]
    rounds = 1 if quick else ROUNDS
    engine = Engine(shop)
    try:
        for number in range(rounds):
            for kind in kinds:
                play(shop, kind, engine, f"nodes: {kind.title}, round {number + 1} of {rounds}")
    finally:
        engine.close()
    result = Result(
        NAME, "One limit of two nodes while load moves between them",
        ["how it is shared", "done, one works p50", "p99", "done, both work p50", "p99",
         "not done", "largest sum of limits", "above the limit for"],
        [f"{rounds} times {SECONDS} s: 9 ms of CPU each 20 ms on node 1, then on node 2, on node "
         f"1, on both, {PHASE} s each; one thread each. The limit of both together is {LIMIT:g} "
         "CPUs.",
         "Done: from arrival to the last of its work, waiting behind earlier ones included. Limits "
         "are read each 5 ms, of one node after the other.",
         "Both nodes are on this machine: two state roots, two agents, an etcd of one member."])
    for kind in kinds:
        result.add(
            kind.title,
            *[milliseconds(percentile(some, p), 0) for some in (kind.one, kind.both)
              for p in (50, 99)],
            kind.late, f"{kind.most:.2f}", f"{kind.above / rounds:.2f} s")
        result.figures[kind.title] = {
            "one_works_ns": summary(kind.one), "both_work_ns": summary(kind.both),
            "not_done": kind.late, "largest_sum": round(kind.most, 3),
            "above_seconds": round(kind.above / rounds, 3)}
    result.drawing = nodesplot.draw(
        [(kind.title, kind.curves) for kind in kinds], LIMIT, SECONDS)
    result.drawing_path = PLOT
    return result
