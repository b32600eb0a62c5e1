# SPDX-License-Identifier: Apache-2.0
"""Applications whose containers, supervisors and brokers come to grief at random.

Seeded: the same seed makes the same choices, as far as what they meet is the same.
"""
import collections
import heapq
import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import time

from limitrecords import Records, replay
from processes import RUN, arguments, keepers, supervisors, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
APPS = os.path.join(RUN, "apps")
MIB = 1 << 20
# The keeper gives up who dies three times, each within ten seconds of the last: two is enough.
SOUND_AFTER = 11.0


class Checker:
    """The program that looks on."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-B", os.path.join(HERE, "limitchecker.py")], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, bufsize=1)

    def tell(self, **what):
        self.process.stdin.write(json.dumps(what) + "\n")

    def end(self):
        """What it found."""
        self.tell(end=True)
        assert select.select([self.process.stdout], [], [], 20)[0], "the checker does not answer"
        found = json.loads(self.process.stdout.readline())
        self.process.wait()
        return found


class Signals:
    """Sends signals to processes that we know, and never to who has their pid later."""

    def __init__(self):
        self.due, self.count = [], 0

    def send(self, pid, number, is_still):
        """is_still: whether the process is the one that is meant, looked at behind a pidfd."""
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        if is_still():
            try:
                signal.pidfd_send_signal(handle, number)
                return handle
            except ProcessLookupError:
                pass
        os.close(handle)
        return None

    def kill(self, pid, is_still):
        handle = self.send(pid, signal.SIGKILL, is_still)
        if handle is not None:
            os.close(handle)
        return handle is not None

    def stop(self, pid, is_still, seconds):
        """Stops it, and has it go on later, if it lives."""
        handle = self.send(pid, signal.SIGSTOP, is_still)
        if handle is not None:
            self.count += 1
            heapq.heappush(self.due, (time.monotonic() + seconds, self.count, handle))
        return handle is not None

    def resume(self, everybody=False):
        while self.due and (everybody or self.due[0][0] <= time.monotonic()):
            handle = heapq.heappop(self.due)[2]
            try:
                signal.pidfd_send_signal(handle, signal.SIGCONT)
            except ProcessLookupError:
                # Somebody did not wait for its answer any longer.
                pass
            os.close(handle)


def brokers():
    """Pids of those who hold the lock of an application's directory."""
    nodes = set()
    for parent, _, names in os.walk(APPS):
        if ".lock" in names:
            try:
                nodes.add(os.stat(os.path.join(parent, ".lock")).st_ino)
            except FileNotFoundError:
                # The last member has left.
                pass
    found = set()
    with open("/proc/locks") as file:
        for words in map(str.split, file):
            # Those who wait have an arrow; the device is on a tmpfs of ours, so the inode will do.
            if "->" not in words and int(words[5].split(":")[2]) in nodes:
                found.add(int(words[4]))
    return sorted(found & set(supervisors()))


class Application:
    def __init__(self, name, cpus, memory):
        self.name, self.cpus, self.memory = name, cpus, memory
        self.live, self.ids = [], set()


class Chaos:
    """One play: `size` containers in `count` applications.

    make: the container fixture. cpus: an application's limit. memory: likewise in MiB; None for an
    application that shares no memory.
    """

    ACTS = (
        ("work", 30), ("rest", 22), ("grow", 8), ("kill a supervisor", 8), ("kill a broker", 4),
        ("stop a supervisor", 6), ("stop a broker", 4), ("kill a container", 6),
        ("stop a container", 5), ("delete a container", 5), ("kill the keeper", 2))

    def __init__(self, seed, make, size, count, cpus, memory):
        self.seed, self.random, self.make = seed, random.Random(seed), make
        self.checker, self.records, self.signals = Checker(), Records(), Signals()
        self.applications = [
            Application(f"chaos-{number}", cpus, memory) for number in range(count)]
        self.size, self.loaded, self.deaths = size, {}, {}
        self.counts = dict.fromkeys([name for name, _ in self.ACTS], 0)
        self.counts.update({"created": 0, "refused": 0, "given up": 0})
        self.reasons = collections.Counter()
        for each in self.applications:
            self.checker.tell(
                application=each.name, cpu=cpus, memory=memory and memory * MIB)

    # Containers

    def create(self, application):
        """A container more, and whether there is one: under fire it may be refused."""
        annotations = {
            "io.escra.app": application.name, "io.escra.app.cpu": str(application.cpus),
            "io.escra.cpu.min": "10m", "io.escra.priority": str(self.random.randrange(3))}
        if application.memory:
            annotations["io.escra.app.memory"] = f"{application.memory}Mi"
            annotations["io.escra.memory.min"] = "4Mi"
        made = self.make(annotations, quota=int(application.cpus * 100_000 / 4))
        if application.memory:
            limit = application.memory * MIB // 8
            made.bundle.config["linux"]["resources"]["memory"] = {"limit": limit}
            made.bundle.write()
        # Before there is anything to see.
        application.ids.add(made.id)
        self.checker.tell(watch=application.name, id=made.id, cgroup=made.cgroup)
        log = os.path.join(os.path.dirname(made.bundle.path), made.id + ".stderr")
        with open(log, "w") as errors:
            code = made.create(stderr=errors).wait(30)
        if code:
            with open(log) as errors:
                self.refused = errors.read().strip()
            # By what is said, not of whom.
            self.reasons[re.sub(r'"[^"]*"|chaos-\d+', "X", self.refused)[:160]] += 1
            self.counts["refused"] += 1
            made.close()
            made.runtime("delete", "--force", made.id)
            self.records.end(made.id, time.time_ns())
            self.checker.tell(forget=made.id)
            return False
        made.call("start")
        application.live.append(made)
        self.counts["created"] += 1
        return True

    def end(self, application, made, how):
        application.live.remove(made)
        self.loaded.pop(made.id, None)
        # What it does from now on is to leave. What it did before is read afterwards: a limit that
        # it lowered between the reading and this moment would be taken for the larger one.
        moment = time.time_ns()
        self.records.read()
        self.records.end(made.id, moment)
        if how == "kill":
            pid = made.pid
            self.signals.kill(pid, lambda: self.is_of(made, pid))
        elif how == "exit":
            self.do(made, "exit")
        made.close()
        made.runtime("delete", "--force", made.id)
        self.checker.tell(forget=made.id)

    @staticmethod
    def is_of(made, pid):
        try:
            with open(f"/proc/{pid}/cgroup") as file:
                return made.cgroup in file.read()
        except OSError:
            return False

    @staticmethod
    def do(made, line):
        try:
            made.do(line)
        except BrokenPipeError:
            pass

    def everybody(self):
        return [(each, made) for each in self.applications for made in each.live]

    def supervisor(self, among=None):
        """A pid that may die, and its container's id; none where too many have."""
        now = time.monotonic()
        live = {made.id for _, made in self.everybody()}
        found = []
        for pid in supervisors() if among is None else among:
            words = arguments(pid)
            id = words[1] if len(words) > 1 else None
            deaths = [each for each in self.deaths.get(id, ()) if now - each < SOUND_AFTER]
            if id in live and not deaths:
                found.append((pid, id))
        return self.random.choice(found) if found else None

    def strike(self, found, seconds=None):
        """Kills a supervisor, or stops it for a time."""
        if not found:
            return False
        pid, id = found

        def is_still():
            return pid in supervisors(id)

        self.deaths.setdefault(id, []).append(time.monotonic())
        if seconds is None:
            return self.signals.kill(pid, is_still)
        return self.signals.stop(pid, is_still, seconds)

    # What happens

    def act(self, name):
        """Whether it could be done."""
        application, made = self.random.choice(self.everybody())
        seconds = self.random.choice([0.02, 0.1, 0.3, 1, 2.5])
        if name == "work":
            # Not everybody at once: supervisors need a CPU as well.
            if len(self.loaded) >= self.size / 2:
                return False
            self.loaded[made.id] = True
            loops = self.random.choice([1, 1, 2])
            self.do(made, "while :; do :; done & b=\"$b $!\"\n" * loops)
        elif name == "rest":
            if made.id not in self.loaded:
                return False
            del self.loaded[made.id]
            self.do(made, "kill $b; wait $b; b=; rm -f /dev/shm/x")
        elif name == "grow":
            if not application.memory:
                return False
            megabytes = self.random.randrange(1, application.memory // 4)
            self.do(made, f"dd if=/dev/zero of=/dev/shm/x bs=1M count={megabytes} 2>/dev/null")
        elif name == "kill a supervisor":
            return self.strike(self.supervisor())
        elif name == "kill a broker":
            return self.strike(self.supervisor(brokers()))
        elif name == "stop a supervisor":
            return self.strike(self.supervisor(), seconds)
        elif name == "stop a broker":
            return self.strike(self.supervisor(brokers()), seconds)
        elif name == "kill the keeper":
            found = keepers()
            return bool(found) and self.signals.kill(found[0], lambda: found[0] in keepers())
        elif name == "stop a container":
            pid = made.pid
            return self.signals.stop(pid, lambda: self.is_of(made, pid), seconds)
        else:
            self.end(application, made, "kill" if name == "kill a container" else "delete")
            self.fill(application)
        return True

    def fill(self, application):
        """Puts a container where one has ended; later, if that is refused now."""
        wanted = self.size // len(self.applications)
        if len(application.live) < wanted:
            self.create(application)

    def tend(self):
        """Replaces who is without a supervisor for good, which it says in the system's log."""
        supervised = {words for words in self.records.names.values()}
        present = set()
        for parent, _, names in os.walk(os.path.join(RUN, "containers")):
            if "state" in names:
                present.add(self.records.names.get(parent))
        for application, made in self.everybody():
            if made.id in supervised and made.id not in present:
                self.counts["given up"] += 1
                self.end(application, made, "delete")
        for application in self.applications:
            self.fill(application)

    def run(self, seconds):
        names, weights = zip(*self.ACTS)
        begin = read = time.monotonic()
        while (now := time.monotonic()) < begin + seconds:
            self.signals.resume()
            if now - read > 2:
                self.records.read()
                self.tend()
                read = now
            name = self.random.choices(names, weights)[0]
            if self.everybody() and self.act(name):
                self.counts[name] += 1
            time.sleep(self.random.uniform(0.02, 4 / self.size))

    def settle(self):
        """Nobody is stopped any more, nobody works, and everybody is supervised."""
        self.signals.resume(everybody=True)
        for _, made in self.everybody():
            self.do(made, "kill $b; wait $b; b=; rm -f /dev/shm/x")
        self.loaded.clear()
        for application in self.applications:
            wait_until(
                lambda: self.fill(application) or self.is_full(application), 10,
                f"all containers of {application.name}, the last refusal being "
                + getattr(self, "refused", "none"))
        for _, made in self.everybody():
            # Where keeper and supervisor have died, it is the next call that starts another.
            made.runtime("state", made.id)
        for _, made in self.everybody():
            made.supervisor(20)
            # Nobody's shell may still be at what it was told before.
            wait_until(lambda: made.quota and made.quota <= 5_000, 20, f"{made.id} at its floor")

    def is_full(self, application):
        return len(application.live) >= self.size // len(self.applications)

    def prove_whole(self):
        """One alone gets all that the others leave: nothing has leaked."""
        for application in self.applications:
            worker, *others = application.live
            self.do(worker, "while :; do :; done & b=\"$b $!\"\n" * 2)
            rest = sum(made.quota for made in others)
            all_there_is = int(application.cpus * 100_000) - rest
            worker.wait_for_quota(
                lambda quota: quota >= all_there_is * 0.95, 10,
                f"{all_there_is} for the only one of {application.name} that works")
            self.do(worker, "kill $b; wait $b; b=")

    def finish(self):
        """Ends all containers, each in its way, and returns what both checks found."""
        while self.everybody():
            application, made = self.random.choice(self.everybody())
            self.end(application, made, self.random.choice(["kill", "exit", "delete"]))
        found = self.checker.end()
        if found["broken"]:
            found["broken"] = [each[3] for each in found["broken"]] + self.around(
                *found["broken"][0][:3])
        found["replayed"], found["entries"] = [], 0
        for each in self.applications:
            for resource, limit in (
                    ("cpu", each.cpus), ("memory", each.memory and each.memory * MIB)):
                if limit:
                    changes = self.records.changes(each.ids, resource)
                    found["entries"] += len(changes)
                    broken = replay(changes, [(0, limit)])
                    found["replayed"] += broken
                    if broken:
                        moment = float(broken[0].split(":")[0])
                        found["replayed"] += self.near(moment, each.ids, resource)
        found["lost"] = self.records.lost()
        return found

    def around(self, moment, resource, name):
        """What was written down of an application around a moment of the monotonic clock."""
        ids = next(each.ids for each in self.applications if each.name == name)
        return self.near(moment + time.time() - time.monotonic(), ids, resource)

    def near(self, moment, ids, resource):
        """What was written down of containers around a moment of the wall clock, in seconds.

        Of one that has ended the instance's name is all that is left.
        """
        return [
            f"{when / 1e9 - moment:+.6f} s "
            f"{self.records.names.get(instance, instance)} {os.path.basename(instance)} {value:g}"
            for when, instance, value in self.records.changes(ids, resource)
            if abs(when / 1e9 - moment) < 5]

    def close(self):
        """For a play that has failed: nobody stays stopped, nothing of ours stays."""
        self.signals.resume(everybody=True)
        if self.checker.process.poll() is None:
            self.checker.process.kill()
        self.checker.process.wait()
        for pipe in (self.checker.process.stdin, self.checker.process.stdout):
            pipe.close()
