# SPDX-License-Identifier: Apache-2.0
"""Many containers at once, each with one process that sleeps."""
import concurrent.futures
import json
import os
import shutil
import time

from .container import Container, Failure
from .sources import REACTIVE

HANDS = 8  # runtimes at a time: most of a create is waiting for the kernel's grace periods


class Crowd:
    """Grows and shrinks to a number of containers."""

    def __init__(self, shop, name, operator=None):
        """operator: the config of escra-runc; None for runc's containers."""
        self.shop, self.name = shop, name
        self.runtime, self.options = shop.runc, []
        if operator:
            self.runtime = shop.escra
            self.options = ["--escra-config", shop.operator_config(operator)]
        self.members, self.made = [], 0
        with open(os.path.join(
                shop.bundle(name, ["/bin/sleep", "100000"], REACTIVE if operator else None, 0.5),
                "config.json")) as file:
            self.config = json.load(file)

    def _bundle(self, name):
        bundle = os.path.join(self.shop.path, "bundle-" + name)
        os.makedirs(bundle)
        self.config["linux"]["cgroupsPath"] = f"/{self.shop.prefix}-{name}"
        with open(os.path.join(bundle, "config.json"), "w") as file:
            json.dump(self.config, file)
        return bundle

    def _do(self, work, containers, text, until):
        """Returns how many were done before the time was up."""
        count = 0
        with concurrent.futures.ThreadPoolExecutor(HANDS) as pool:
            for place in range(0, len(containers), HANDS):
                if time.monotonic() > until:
                    break
                some = containers[place:place + HANDS]
                list(pool.map(work, some))
                count += len(some)
                self.shop.tell(f"{text}: {count} of {len(containers)}")
        return count

    def become(self, count, seconds):
        """Grows or shrinks; a crowd that is not `count` after `seconds` stays smaller than asked.

        Returns the seconds that it took.
        """
        begin = time.monotonic()
        if count > len(self.members):
            new = []
            for _ in range(count - len(self.members)):
                self.made += 1
                name = f"{self.name}{self.made}"
                new.append(Container(
                    self.shop, self.runtime, name, self._bundle(name), self.options))
            made = self._do(lambda each: each.start(), new, f"starting {len(new)} containers",
                            begin + seconds)
            self.members += new[:made]
        else:
            old = self.members[count:]
            self._do(lambda each: each.stop(), old, f"deleting {len(old)} containers",
                     begin + 10 * seconds)
            for each in old:
                shutil.rmtree(each.bundle)
            del self.members[count:]
            if count == 0:
                self._wait_for_the_last()
        return time.monotonic() - begin

    def _wait_for_the_last(self):
        deadline = time.monotonic() + 10
        while self.shop.ours():
            if time.monotonic() > deadline:
                raise Failure("supervisors are still there ten seconds after the last container")
            time.sleep(0.1)
        # The keeper ends with the last of them, and with it whatever was loaded into the kernel.
        time.sleep(1)
