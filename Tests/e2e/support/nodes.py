# SPDX-License-Identifier: Apache-2.0
"""Several nodes on one kernel, and an engine of three members that they reach over a network.

A node is a mount namespace with a /run of its own, a network namespace, and a cgroup that its
containers are in. A member of etcd is a network namespace. All hang on a switch in one more. A
namespace lives as long as the process that holds it: nothing has a name, so nothing is left.
"""
import base64
import contextlib
import glob
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time

import cgroups
from processes import kill, wait_until
from world import ESCRA, ESCRA_RUNC, PATH, Runtime

ESCRA_AGENT = os.environ.get(
    "ESCRA_AGENT", os.path.join(os.path.dirname(ESCRA_RUNC), "escra-agent"))
# scripts/deps-etcd finds a newer one.
ETCD = os.environ.get("ESCRA_ETCD", "etcd")
NETWORK = "10.77.0."


def run(*words, **options):
    return subprocess.run(
        [str(word) for word in words], check=True, capture_output=True, text=True, timeout=20,
        **options).stdout


def figure(test, text):
    """Notes what an acceptance test has found: scripts/chaos-nodes prints a table."""
    print(f"test {test}: {text}")
    if os.environ.get("ESCRA_NODES_FIGURES"):
        with open(os.environ["ESCRA_NODES_FIGURES"], "a") as file:
            file.write(f"{test}\t{text}\n")


def middle_and_tail(values):
    """The median and the 99th of a hundred."""
    values = sorted(values)
    return values[len(values) // 2], values[min(len(values) - 1, len(values) * 99 // 100)]


class Namespace:
    """Namespaces that a sleeping process holds."""

    def __init__(self, *kinds):
        self.kinds = kinds
        self.holder = subprocess.Popen(
            ["unshare", *kinds, "sh", "-c", "echo; exec sleep infinity"],
            stdout=subprocess.PIPE)
        # It says a line once it is in them.
        self.holder.stdout.readline()
        self.pid = self.holder.pid
        self.children = []
        self("ip", "link", "set", "lo", "up")

    def words(self, *words):
        """The command that runs another one in here."""
        return ["nsenter", "-t", str(self.pid), *self.kinds, *[str(word) for word in words]]

    def __call__(self, *words):
        return run(*self.words(*words))

    def start(self, *words, **options):
        """Starts a program; it is killed at the end."""
        process = subprocess.Popen(self.words(*words), **options)
        self.children.append(process)
        return process

    def inside(self):
        """The processes in here but its holder, whoever has started them."""
        found = []
        for kind in ("mnt", "net"):
            if f"-{kind[0]}" not in self.kinds:
                continue
            ours = os.readlink(f"/proc/{self.pid}/ns/{kind}")
            for path in glob.glob(f"/proc/[0-9]*/ns/{kind}"):
                with contextlib.suppress(OSError):
                    if os.readlink(path) == ours:
                        found.append(int(path.split("/")[2]))
        return sorted(set(found) - {self.pid})

    def close(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        # What has been started in here by others, such as supervisors of a test that failed.
        kill(*self.inside())
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


class Network:
    """A switch, and namespaces that hang on it."""

    def __init__(self):
        self.switch = Namespace("-n")
        self.switch("ip", "link", "add", "br0", "type", "bridge")
        self.switch("ip", "link", "set", "br0", "up")
        self.count = 0

    def attach(self, namespace):
        """Gives a namespace a link and an address, and remembers both."""
        self.count += 1
        name = f"p{self.count}"
        self.switch(
            "ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns",
            namespace.pid)
        self.switch("ip", "link", "set", name, "master", "br0", "up")
        namespace.port = name
        namespace.address = NETWORK + str(self.count)
        namespace("ip", "addr", "add", namespace.address + "/24", "dev", "eth0")
        namespace("ip", "link", "set", "eth0", "up")

    def cut(self, namespace):
        """From now on nothing gets there, and nothing from there."""
        self.switch("ip", "link", "set", namespace.port, "down")

    def heal(self, namespace):
        self.switch("ip", "link", "set", namespace.port, "up")

    def close(self):
        self.switch.close()


class Etcd:
    """One member of the engine."""

    def __init__(self, namespace, name, directory, tls):
        self.namespace, self.name, self.directory = namespace, name, directory
        self.process, self.tls = None, tls
        self.scheme = "https" if tls else "http"
        self.url = f"{self.scheme}://{namespace.address}:2379"
        self.words = []

    @contextlib.contextmanager
    def frozen(self):
        """Nothing that it writes is written meanwhile."""
        run("fsfreeze", "-f", self.directory)
        try:
            yield
        finally:
            run("fsfreeze", "-u", self.directory)

    def start(self):
        self.process = self.namespace.start(
            ETCD, *self.words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={"PATH": PATH})
        return self

    def call(self, path, body, timeout=2):
        """Asks this member; from within its own namespace, as nobody else may be linked."""
        secrets = [
            "--cacert", self.tls + "/ca.crt", "--cert", self.tls + "/node.crt", "--key",
            self.tls + "/node.key"] if self.tls else []
        done = subprocess.run(
            self.namespace.words(
                "curl", "-s", "-m", timeout, f"{self.scheme}://127.0.0.1:2379{path}", *secrets,
                "-d", json.dumps(body)),
            capture_output=True, text=True)
        return json.loads(done.stdout) if done.stdout else None

    def status(self):
        return self.call("/v3/maintenance/status", {})

    def is_leader(self):
        status = self.status()
        return bool(status) and status.get("leader") == status["header"]["member_id"]


class FakeKubernetes:
    """The API server of the suite's own, with certificates of the suite's own."""

    TOKEN = "token-of-a-node"

    def __init__(self, network, certificates):
        self.namespace = Namespace("-n")
        network.attach(self.namespace)
        self.certificates = certificates
        self.url = f"https://{self.namespace.address}:6443"
        self.namespace.start(
            "python3", os.path.join(os.path.dirname(__file__), "fakekube.py"), "0.0.0.0", "6443",
            self.TOKEN, certificates + "/server.crt", certificates + "/server.key",
            stdout=subprocess.DEVNULL)
        wait_until(lambda: self.control("count"), 5, "an API server")

    def control(self, what):
        done = subprocess.run(
            self.namespace.words(
                "curl", "-s", "-m", "2", "--cacert", self.certificates + "/ca.crt", "-X", "POST",
                f"https://127.0.0.1:6443/control/{what}"), capture_output=True, text=True)
        return json.loads(done.stdout) if done.stdout else None

    def object(self, application, resource="cpu", namespace="default"):
        return self.control("count")["objects"].get(f"{namespace}/{application}.{resource}")

    def ledger(self, application, resource="cpu", namespace="default"):
        found = self.object(application, resource, namespace)
        return found and found["spec"]["ledger"]


class Cluster:
    """An engine of some members.

    - fast: it finds a new leader in 0.2 s instead of one
    - tls: where certificates are that it has and asks for
    - disks: each member has a file system of its own, which can be frozen
    """

    def __init__(self, members=3, fast=True, directory=None, tls=None, disks=False):
        self.network = Network()
        self.directory = tempfile.mkdtemp(prefix="escra-e2e-etcd-", dir=directory or "/dev/shm")
        self.nodes, self.members = [], []
        try:
            for number in range(members):
                namespace = Namespace("-n")
                self.network.attach(namespace)
                self.members.append(Etcd(
                    namespace, f"m{number}", os.path.join(self.directory, f"m{number}"), tls))
            if disks:
                for each in self.members:
                    image = each.directory + ".img"
                    os.mkdir(each.directory, 0o700)
                    with open(image, "wb") as file:
                        file.truncate(320 << 20)
                    run("mkfs.ext4", "-q", image)
                    run("mount", "-o", "loop", image, each.directory)
                    os.mkdir(each.directory + "/data", 0o700)
            peers = ",".join(
                f"{each.name}=http://{each.namespace.address}:2380" for each in self.members)
            for each in self.members:
                address = each.namespace.address
                each.words = [
                    "--name", each.name, "--data-dir", each.directory + "/data",
                    "--listen-client-urls", f"{each.url},{each.scheme}://127.0.0.1:2379",
                    "--advertise-client-urls", each.url,
                    "--listen-peer-urls", f"http://{address}:2380",
                    "--initial-advertise-peer-urls", f"http://{address}:2380",
                    "--initial-cluster", peers, "--log-level", "error",
                    *(["--heartbeat-interval", "20", "--election-timeout", "200"]
                      if fast else []),
                    *(["--client-cert-auth", "--trusted-ca-file", tls + "/ca.crt", "--cert-file",
                       tls + "/server.crt", "--key-file", tls + "/server.key"] if tls else [])]
                each.start()
            wait_until(lambda: self.leader() or not members, 10, "a leader of etcd")
        except BaseException:
            self.close()
            raise

    @property
    def urls(self):
        return [each.url for each in self.members]

    def leader(self):
        """The member that leads; None where none does."""
        found = [each for each in self.members if each.is_leader()]
        return found[0] if len(found) == 1 else None

    def node(self, name, **options):
        made = Node(self, name, **options)
        self.nodes.append(made)
        return made

    def ledger(self, application, resource="cpu", namespace="default"):
        """The ledger as the engine has it; None where there is none."""
        key = f"/escra/v1/{namespace}/{application}/{resource}"
        for member in self.members:
            answer = member.call(
                "/v3/kv/range", {"key": base64.b64encode(key.encode()).decode()}, timeout=1)
            if answer and "header" in answer:
                kvs = answer.get("kvs")
                return json.loads(base64.b64decode(kvs[0]["value"])) if kvs else None
        return None

    def put(self, application, value, resource="cpu", namespace="default"):
        """Replaces a ledger, as somebody who must not would."""
        key = f"/escra/v1/{namespace}/{application}/{resource}"
        text = value if isinstance(value, str) else json.dumps(value)
        self.members[0].call("/v3/kv/put", {
            "key": base64.b64encode(key.encode()).decode(),
            "value": base64.b64encode(text.encode()).decode()})

    def close(self):
        for node in self.nodes:
            node.close()
        for member in self.members:
            # A process that writes to a file system that is frozen cannot be killed.
            subprocess.run(["fsfreeze", "-u", member.directory], capture_output=True)
            member.namespace.close()
            subprocess.run(["umount", member.directory], capture_output=True)
        self.network.close()
        shutil.rmtree(self.directory, ignore_errors=True)


class Node(Namespace):
    """A node: containers that are started in here know nothing of other nodes."""

    def __init__(self, cluster, name, validity="3s", **config):
        super().__init__("-m", "-n")
        self.cluster, self.name = cluster, name
        cluster.network.attach(self)
        self("mount", "--make-rprivate", "/")
        self("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        self("mkdir", "-m", "700", "/run/escra")
        self.config = os.path.join(cluster.directory, name + ".json")
        with open(self.config, "w") as file:
            json.dump({"cluster": {
                "endpoints": cluster.urls, "node": name, "validity": validity, **config}}, file)
        self.proxies = 0
        self.agent = None
        self.log = os.path.join(cluster.directory, name + ".log")

    def start_agent(self):
        with open(self.log, "a") as log:
            self.agent = self.start(
                ESCRA_AGENT, "--escra-config", self.config, stderr=log,
                stdin=subprocess.DEVNULL, env={"PATH": PATH})
        return self

    def proxy(self, part, seed):
        """An endpoint in here that passes on to the first member, and a part of the swaps late."""
        self.proxies += 1
        port = 12378 + self.proxies
        self.start(
            "python3", os.path.join(os.path.dirname(__file__), "lateproxy.py"), port,
            self.cluster.members[0].namespace.address, 2379, part, seed)
        with open(self.config) as file:
            config = json.load(file)
        config["cluster"]["endpoints"] = [f"http://127.0.0.1:{port}"]
        with open(self.config, "w") as file:
            json.dump(config, file)

    def said(self):
        with open(self.log) as file:
            return file.read()

    def runtime(self, root):
        return NodeRuntime(self, root)

    def tool(self, *arguments):
        return self(ESCRA, *arguments)

    @property
    def run(self):
        """Its /run/escra, seen from outside."""
        return f"/proc/{self.pid}/root/run/escra"

    def rooms(self):
        return sorted(glob.glob(self.run + "/apps/*"))

    def status(self, name):
        """What the agent has said of an application; None where it has said nothing."""
        for room in self.rooms():
            with contextlib.suppress(OSError, ValueError):
                with open(room + "/cluster") as file:
                    status = json.load(file)
                if status["name"] == name:
                    return status
        return None

    def is_clean(self):
        """Whether nothing is left but the agent and empty directories."""
        agent = {self.agent.pid} if self.agent and self.agent.poll() is None else set()
        files = [
            name for _, _, names in os.walk(self.run) for name in names]
        return not files and not set(self.inside()) - agent


class NodeRuntime(Runtime):
    """escra-runc, called on a node."""

    def __init__(self, node, root):
        super().__init__(ESCRA_RUNC, "--root", root)
        self.node = node

    def command(self, *arguments):
        return self.node.words(self.program, *self.globals, *arguments)


class FakeBroker:
    """A directory of an application and a broker that does what it is told, for the agent alone."""

    FRAME = struct.Struct("<IBBBBQQQQ7q")

    def __init__(self, node, name, declared, wanted=None, namespace=None, explicit=-1, floors=0,
                 resource=1):
        self.node, self.declared, self.wanted = node, declared, wanted or declared
        self.in_force, self.explicit, self.floors = 0, explicit, floors
        self.resource, self.used = resource, 0
        self.shares = []
        # Of CLOCK_BOOTTIME, with the limit that the order gives, its minimum and its deadline.
        self.orders = []
        self.room = f"{node.run}/apps/{name}"
        os.makedirs(self.room, mode=0o700)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # The name of a Unix socket has 107 bytes at most.
        self.listener.bind(self.room + "/.socket")
        self.listener.listen()
        text = f"name={name}\n" + (f"namespace={namespace}\n" if namespace else "")
        with open(self.room + "/.new.name", "w") as file:
            file.write(text + "root=/x\nscope=cluster\nuser=0\n")
        os.rename(self.room + "/.new.name", self.room + "/name")
        os.rename(self.room + "/.socket", self.room + "/socket")
        self.peer, self.last = None, {}
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                self.peer, _ = self.listener.accept()
            except OSError:
                return
            while True:
                try:
                    frame = self.peer.recv(96)
                except OSError:
                    break
                if not frame:
                    break
                word = self.FRAME.unpack(frame)
                if word[3] == 9:
                    self.tell(word[4])
                if word[3] == 8:
                    with self.lock:
                        self.last[word[4]] = word[7]
                        if word[4] == self.resource:
                            # What is in use cannot be lowered.
                            self.in_force = max(min(word[9], max(self.wanted, 0)), self.used)
                            self.shares.append((time.monotonic(), word[9], word[10], word[11]))
                            self.orders.append((
                                time.clock_gettime_ns(time.CLOCK_BOOTTIME), *word[9:12]))
                    self.tell(word[4])

    def tell(self, resource=None):
        """Says what its members have and could use; of the other resource they need nothing."""
        resource = resource or self.resource
        with self.lock:
            words = (
                [self.in_force, self.wanted, self.used, self.declared, self.floors, self.explicit]
                if resource == self.resource else [0, 0, 0, 0, 0, -1])
            if self.peer:
                with contextlib.suppress(OSError):
                    self.peer.send(self.FRAME.pack(
                        0x50415345, 3, 3, 21, resource, 1, 0, 0, self.last.get(resource, 0),
                        *words, 0))

    def want(self, amount):
        self.wanted = amount
        self.tell()

    def close(self):
        self.listener.close()
        if self.peer:
            with contextlib.suppress(OSError):
                self.peer.shutdown(socket.SHUT_RDWR)
        shutil.rmtree(self.room, ignore_errors=True)


class ManyBrokers:
    """Brokers of many applications that need no more than they declare, in one thread."""

    def __init__(self, node, count, declared):
        self.declared, self.epoll = declared, select.epoll()
        self.listeners, self.peers = {}, {}
        for number in range(count):
            room = f"{node.run}/apps/app{number}"
            os.makedirs(room, mode=0o700)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            listener.bind(room + "/socket")
            listener.listen()
            self.listeners[listener.fileno()] = listener
            self.epoll.register(listener.fileno(), select.EPOLLIN)
            with open(room + "/.new.name", "w") as file:
                file.write(f"name=app{number}\nscope=cluster\n")
            os.rename(room + "/.new.name", room + "/name")
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            for number, _ in self.epoll.poll():
                if number in self.listeners:
                    peer, _ = self.listeners[number].accept()
                    # One connection each: twice as many descriptors may be more than there are.
                    self.epoll.unregister(number)
                    self.listeners.pop(number).close()
                    self.peers[peer.fileno()] = peer
                    self.epoll.register(peer.fileno(), select.EPOLLIN)
                    continue
                frame = self.peers[number].recv(96)
                if not frame:
                    self.epoll.unregister(number)
                    continue
                word = FakeBroker.FRAME.unpack(frame)
                amounts = [self.declared, self.declared, 0, self.declared, 0, -1]
                with contextlib.suppress(OSError):
                    self.peers[number].send(FakeBroker.FRAME.pack(
                        0x50415345, 3, 3, 21, word[4], 1, 0, 0, word[7] if word[3] == 8 else 0,
                        *(amounts if word[4] == 1 else [0, 0, 0, 0, 0, -1]), 0))


def largest_sum(brokers):
    """The most that brokers were allowed together, at any moment.

    An order holds until the next one, and what is above its minimum until its deadline.
    """
    changes = []
    for index, broker in enumerate(brokers):
        orders = broker.orders + [(1 << 62, 0, 0, -1)]
        for (begin, limit, least, deadline), (end, *_) in zip(orders, orders[1:]):
            changes.append((begin, index, limit))
            if -1 < deadline < end:
                changes.append((deadline, index, least))
    held, most = [0] * len(brokers), 0
    # What is lowered at the same moment was lowered before.
    for _, index, limit in sorted(changes, key=lambda one: (one[0], one[2] > held[one[1]])):
        held[index] = limit
        most = max(most, sum(held))
    return most


class Sums:
    """Adds up the CPU limits of containers from outside (sums.c), in microseconds of 100 ms."""

    def __init__(self, directory, limit, *containers):
        program = os.path.join(directory, "sums")
        if not os.path.exists(program):
            run("gcc", "-O2", "-o", program, os.path.join(os.path.dirname(__file__), "sums.c"))
        self.limit = limit
        self.process = subprocess.Popen(
            [program, str(limit),
             *(cgroups.quota_file(cgroups.moving(each.cgroup)) for each in containers)],
            stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        self.samples = self.stable = self.above = self.most = 0

    def stop(self):
        """Says what was seen: no stable sample above the limit."""
        if self.process.poll() is None:
            self.process.terminate()
        words = self.process.stdout.read().split()
        self.process.wait()
        self.process.stdout.close()
        self.samples, self.stable, self.above, self.most = map(int, words)
        return self

    def __enter__(self):
        return self

    @property
    def text(self):
        return (f"{self.stable} stable samples, the largest sum {self.most} of {self.limit}, "
                f"{self.above} above")

    def __exit__(self, *error):
        self.stop()
        print(self.text)
        if error == (None, None, None):
            assert self.stable > 20 and self.above == 0, vars(self)
