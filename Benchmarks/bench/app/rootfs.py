# SPDX-License-Identifier: Apache-2.0
"""A root file system with Debian's nginx, Python, redis, memcached and wrk; made once.

Kept under .build/benchmarks as long as its recipe, which is this file, stays the same.
"""
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

from ..container import Failure
from ..workshop import TOP

PACKAGES = ("memcached", "nginx", "python3", "redis-server", "wrk")
CACHE = os.path.join(TOP, ".build", "benchmarks")
# What a program asks for when it starts, and no package's maintainer script has made.
PASSWD = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
GROUP = "root:x:0:\nnogroup:x:65534:\n"


def _suite():
    with open("/etc/os-release") as file:
        names = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    try:
        return names["VERSION_CODENAME"].strip('"')
    except KeyError:
        raise Failure("the application's programs are Debian's packages, and this is no Debian")


def _mirror():
    """Debian's, as this machine's apt is told: the emulated machines need it as well."""
    sys.path.insert(0, os.path.join(TOP, "Tests/e2e/machine"))
    import image
    return image.mirror()


def path():
    with open(os.path.abspath(__file__), "rb") as file:
        recipe = hashlib.sha256(file.read()).hexdigest()[:12]
    return os.path.join(CACHE, f"{_suite()}-{recipe}")


def prepare():
    """Makes it unless it is there. Before the workshop: it takes this machine's apt and network."""
    target = path()
    if os.path.isdir(target):
        return
    if not shutil.which("mmdebstrap"):
        raise Failure("mmdebstrap is missing, with which the application's programs are fetched; "
                      "run: apt-get install mmdebstrap")
    print(f"fetching {', '.join(PACKAGES)}, once", file=sys.stderr)
    os.makedirs(CACHE, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=CACHE) as work:
        root = os.path.join(work, "root")
        # Extracted, not installed: no script of a package runs, and no service is started.
        made = subprocess.run(
            ["mmdebstrap", "--quiet", "--mode=root", "--variant=extract",
             f"--include={','.join(PACKAGES)}", '--aptopt=Acquire::Check-Valid-Until "false"',
             '--aptopt=APT::Install-Recommends "false"', _suite(), root, _mirror()],
            stdin=subprocess.DEVNULL)
        if made.returncode:
            raise Failure("mmdebstrap could not fetch the application's programs, see above")
        for name in ("app", "dev", "proc", "sys", "tmp", "etc"):
            os.makedirs(os.path.join(root, name), exist_ok=True)
        for name, text in (("passwd", PASSWD), ("group", GROUP)):
            with open(os.path.join(root, "etc", name), "w") as file:
                file.write(text)
        os.chmod(root, 0o755)
        os.rename(root, target)
