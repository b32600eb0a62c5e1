# SPDX-License-Identifier: Apache-2.0
"""Images for the emulated machine: Debian, the engines of its packages, and our agent.

An image is kept as long as its recipe, which is this file, the agent and a shape, stays the same.
"""
import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.abspath(os.path.join(HERE, "../../.."))
CACHE = os.environ.get("ESCRA_MACHINES", os.path.join(REPOSITORY, ".build/machines"))

# Where Debian keeps what makes file systems.
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"

SYSTEM = (
    "dbus", "dbus-user-session", "e2fsprogs", "initramfs-tools", "iproute2", "kmod",
    "libpam-systemd", "linux-image-cloud-amd64", "procps", "systemd", "systemd-sysv", "udev",
    "zstd")
# What the suite itself wants, and builds of nothing.
SUITE = (
    "busybox-static", "curl", "default-jre-headless", "make", "nodejs", "python3", "python3-pytest")
ENGINES = (
    "ca-certificates", "conmon", "containerd", "criu", "crun", "docker.io", "fuse-overlayfs",
    "iptables", "podman", "runc", "uidmap")
# Nobody asked for these, and each costs a second of every boot.
MASKED = (
    "apt-daily-upgrade.timer", "apt-daily.timer", "containerd.service", "dpkg-db-backup.timer",
    "docker.service", "docker.socket", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer",
    "getty@tty1.service", "podman-auto-update.timer", "podman-restart.service", "podman.socket",
    "serial-getty@ttyS0.service", "systemd-networkd-wait-online.service",
    "systemd-timesyncd.service")

UNIT = """[Unit]
Description=What the host of this emulated machine asks for
DefaultDependencies=no
After=local-fs.target dbus.socket basic.target
Conflicts=shutdown.target

[Service]
ExecStart=/usr/local/lib/escra-agent
Restart=always
RestartSec=1
Delegate=yes
KillMode=process
OOMScoreAdjust=-1000
Environment=LANG=C.UTF-8 HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
"""


@dataclasses.dataclass(frozen=True)
class Shape:
    """What machine it is."""
    suite: str
    packages: tuple = ()
    cpus: int = 2
    topology: tuple = ()

    @property
    def recipe(self):
        """By what an image is told from others: the shape of the machine is not in it."""
        told = [self.suite, *self.packages, *SYSTEM, *SUITE, *ENGINES, *MASKED, UNIT]
        for name in ("image.py", "agent.py"):
            with open(os.path.join(HERE, name)) as file:
                told.append(file.read())
        return hashlib.sha256("\0".join(told).encode()).hexdigest()[:12]

    @property
    def directory(self):
        return os.path.join(CACHE, f"{self.suite}-{self.recipe}")


# Two sockets with a node each, of two cores with two threads each.
NUMA = tuple(
    word for node in (0, 1) for word in (
        "-object", f"memory-backend-ram,size=1G,id=node{node}",
        "-numa", f"node,nodeid={node},cpus={4 * node}-{4 * node + 3},memdev=node{node}"))
TODAY = ("docker-cli", "docker-compose")
SHAPES = {
    "trixie": Shape("trixie", TODAY),
    "numa": Shape("trixie", TODAY, 8, ("-smp", "8,sockets=2,cores=2,threads=2", *NUMA)),
    "bookworm": Shape("bookworm"),
}


def mirror():
    """Where this machine gets its own packages, and how it was told to."""
    pattern = re.compile(r"^\s*(?:deb\s+(?:\[[^]]*\]\s+)?|URIs:\s*)(\S+)(.*)$")
    directory = "/etc/apt/sources.list.d"
    paths = ["/etc/apt/sources.list"] + sorted(
        os.path.join(directory, name) for name in os.listdir(directory))
    found = []
    for path in paths:
        if not os.path.exists(path):
            continue
        with open(path) as file:
            found += [match.group(1) for match in map(pattern.match, file) if match]
    # Debian's own archive, wherever that is mirrored, and not that of its security team.
    for address in found:
        if address.rstrip("/").endswith("/debian"):
            return address
    raise SystemExit(
        "machine: apt's configuration names no mirror of Debian (an address that ends with "
        "/debian); add one to /etc/apt/sources.list")


def build(shape, say):
    """Makes the image of a shape unless there is one; returns its directory."""
    target = shape.directory
    if os.path.isdir(target):
        return target
    for program in ("mmdebstrap", "mke2fs"):
        if not shutil.which(program, path=PATH):
            raise SystemExit(f"machine: {program} is missing; run: make e2e-v2")
    os.makedirs(CACHE, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=CACHE) as work:
        root, made = os.path.join(work, "root"), os.path.join(work, "made")
        os.mkdir(made)
        say(f"installing Debian {shape.suite} and its engines")
        install(shape, root)
        say("making the disk")
        for name in ("vmlinuz", "initrd.img"):
            shutil.copy(os.path.join(root, name), os.path.join(made, name))
        make_disk(root, os.path.join(made, "disk"), "5G")
        os.rename(made, target)
        # By hand: the temporary directory's own way trips over what root alone may remove.
        subprocess.run(["rm", "-rf", root], check=True)
    return target


def make_disk(directory, target, size):
    """A file system with what is in a directory; nothing on it is worth a journal."""
    subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0", "-O", "^has_journal",
         "-d", directory, target, size], check=True, stderr=subprocess.DEVNULL,
        env={**os.environ, "PATH": PATH})


def install(shape, root):
    """Debian with all packages, and what makes it this machine."""
    include = ",".join((*SYSTEM, *SUITE, *ENGINES, *shape.packages))
    command = [
        "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={include}",
        # This machine's apt may be told to take an archive whose date is past.
        '--aptopt=Acquire::Check-Valid-Until "false"', "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
        # Java's alternatives have links to pages, which have to have a place.
        '--essential-hook=mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/man/man1"',
        # A driver of nothing that is emulated makes no initrd larger.
        '--essential-hook=printf "MODULES=list\\nCOMPRESS=zstd\\n" '
        '> "$1/etc/initramfs-tools/conf.d/machine"',
        '--essential-hook=printf "virtio_pci\\nvirtio_blk\\next4\\n" '
        '> "$1/etc/initramfs-tools/modules"',
        shape.suite, root, mirror()]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    def write(path, text, mode=0o644):
        path = root + path
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)

    write("/etc/hostname", "machine\n")
    write("/etc/hosts", "127.0.0.1 localhost machine\n")
    write("/etc/fstab", "/dev/vda / ext4 defaults 0 0\n/dev/vdb /repository ext4 defaults 0 0\n")
    os.mkdir(root + "/repository")
    shutil.copy(os.path.join(HERE, "agent.py"), root + "/usr/local/lib/escra-agent")
    os.chmod(root + "/usr/local/lib/escra-agent", 0o755)
    write("/etc/systemd/system/escra-agent.service", UNIT)
    write("/etc/modules-load.d/machine.conf", "virtio_console\noverlay\n")
    write("/etc/subuid", "nobody:100000:65536\n")
    write("/etc/subgid", "nobody:100000:65536\n")

    def in_root(*command):
        done = subprocess.run(
            ["chroot", root, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"machine: {' '.join(command)}: {done.stderr}")

    # Masked by a link would also be out of a test's reach: it starts some of them itself.
    subprocess.run(
        ["chroot", root, "systemctl", "--quiet", "disable", *MASKED], stderr=subprocess.DEVNULL)
    in_root("systemctl", "--quiet", "enable", "escra-agent.service")
    in_root("systemctl", "--quiet", "set-default", "multi-user.target")
