# SPDX-License-Identifier: Apache-2.0
"""The package in a fresh Debian without a compiler: install, run, upgrade, remove, purge.

`make package-test` builds the packages and runs this; it is no part of `make e2e`.
"""
import glob
import json
import os
import shutil
import signal
import subprocess
import time

import pytest

import cgroups
import images
import kernel
import pages
from driver import DRIVER, Parent
from processes import PATIENCE, is_alive, keepers, supervisors, wait_until
from world import PATH, REPOSITORY, Runtime

# Two of them, of which the second is newer, and the tarball.
PACKAGES = sorted(glob.glob(os.path.join(REPOSITORY, ".build/package/*.deb")))
TARBALLS = glob.glob(os.path.join(REPOSITORY, ".build/package/*.tar.gz"))
NAMES = ["escra-runc", "escra-runc.observe", "escra-runc.reactive", "escra-runc.strict"]
FLOOR, DECLARED = 5_000, 20_000

pytestmark = pytest.mark.skipif(
    "ESCRA_PACKAGE_TEST" not in os.environ, reason="run: make package-test")


class Root:
    """A fresh Debian, of which nothing stays; what lies in `directory` has the same path in it."""

    def __init__(self, suite, directory):
        lower = subprocess.run(
            [os.path.join(REPOSITORY, "scripts/deps-root"), suite], check=True, text=True,
            stdout=subprocess.PIPE).stdout.strip()
        self.path = os.path.join(directory, "root-of-" + suite)
        self.directory = directory
        for name in ("", ".upper", ".work"):
            os.mkdir(self.path + name)
        kernel.mount("overlay", self.path, "overlay", 0, (
            f"lowerdir={lower},upperdir={self.path}.upper,workdir={self.path}.work"))
        for name in ("/proc", "/sys", "/dev", "/run", directory):
            os.makedirs(self.path + name, exist_ok=True)
            # Not what is mounted in it: the root itself is.
            flags = 0 if name == directory else kernel.MS_REC
            kernel.mount(name, self.path + name, None, kernel.MS_BIND | flags)

    def __call__(self, *words, code=0):
        done = subprocess.run(
            ["chroot", self.path, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL,
            timeout=120 * PATIENCE, env={"PATH": PATH, "DEBIAN_FRONTEND": "noninteractive"})
        assert code is None or done.returncode == code, done
        return done.stdout

    def apt(self, *words):
        """What apt and the package's scripts say; nothing can be downloaded."""
        return self("apt-get", "-y", "-q", "-o", "Acquire::http::Proxy=http://127.0.0.1:9", *words)

    def put(self, path):
        """Copies a file into it; returns where it is there."""
        shutil.copy(path, self.path)
        return "/" + os.path.basename(path)

    def installed(self):
        said = self("dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\n")
        return {line.split()[1] for line in said.splitlines() if line.startswith("ii")}

    def ours(self):
        """Every file of ours in it, in any directory."""
        found = []
        for parent, directories, names in os.walk(self.path):
            directories[:] = [name for name in directories if not os.path.ismount(
                os.path.join(parent, name))]
            found += [os.path.join(parent, name)[len(self.path):] for name in (*names, *directories)
                      if "escra" in name]
        return sorted(name for name in found if not name.endswith(".deb"))

    def names(self):
        return sorted(name for name in os.listdir(self.path + "/usr/bin") if "escra" in name)

    def close(self):
        for name in (self.directory, "/run", "/dev", "/sys", "/proc", ""):
            kernel.unmount(self.path + name)


@pytest.fixture(params=["bookworm", "trixie"])
def root(request, world, shared):
    made = Root(request.param, world.directory)
    kernel.mount(shared["rootfs"], made_rootfs(made, shared), None, kernel.MS_BIND)
    made.apt("install", "--no-install-recommends", "runc")
    yield made
    kernel.unmount(made.path + shared["rootfs"])
    made.close()


def made_rootfs(root, shared):
    os.makedirs(root.path + shared["rootfs"])
    return root.path + shared["rootfs"]


@pytest.fixture
def inside(root, world, container):
    """Makes containers that are called from within, by one of our names."""

    def make(name="escra-runc", **options):
        runtime = Runtime(
            "/usr/sbin/chroot", root.path, "/usr/bin/" + name, "--root", world.root)
        return container(runtime=runtime, **options)

    return make


@pytest.fixture
def engine(root, world):
    """An engine's process beside a container, as conmon is: its command line has the path."""
    started = []

    def start(id, name):
        path = root.path + "/usr/bin/conmon"
        shutil.copy("/bin/busybox", root.path + "/usr/bin/busybox")
        with open(path, "w") as file:
            file.write("#!/usr/bin/busybox sh\nread line\n")
        os.chmod(path, 0o755)
        process = subprocess.Popen(
            ["chroot", root.path, "/usr/bin/conmon", "-c", id, "-r", "/usr/bin/" + name],
            stdin=subprocess.PIPE)
        started.append(world.spawn(process))
        return process

    yield start
    for process in started:
        process.stdin.close()
        process.wait()


def test_from_the_installation_to_the_purge(root, inside, engine, capsys):
    """Under containers that run: upgraded, removed and purged."""
    before = root.installed()
    began = time.monotonic()
    root.apt("install", root.put(PACKAGES[0]))
    installed = time.monotonic() - began
    one = inside(quota=DECLARED).started()
    one.supervisor()
    with capsys.disabled():
        print(f"\n{os.path.basename(root.path)}: apt-get install {installed:.1f} s, to the first "
              f"reactive container {time.monotonic() - began:.1f} s")
    assert root.installed() - before == {"escra-runc"}, "no engine, and nothing else"
    one.wait_for_quota(lambda quota: quota == FLOOR, 6, "down to the floor")
    assert one.id in root("escra", "ps") and "escra-runc version" in root("escra-runc", "--version")
    for path in ("man/man8/escra-runc.reactive.8.gz", "man/man8/escra.8.gz",
                 "man/man5/escra-config.5.gz", "man/man7/escra-annotations.7.gz",
                 "bash-completion/completions/escra", "zsh/vendor-completions/_escra",
                 "fish/vendor_completions.d/escra.fish", "doc/escra-runc/examples/config.json",
                 "doc/escra-runc/copyright", "escra-runc/dashboard.json"):
        assert os.path.exists(os.path.join(root.path, "usr/share", path)), path

    # An upgrade under it: what runs goes on, what comes is of the new one.
    supervisor, inode = one.supervisor(), os.stat(root.path + "/usr/bin/escra-runc").st_ino
    root.apt("install", root.put(PACKAGES[1]))
    assert os.stat(root.path + "/usr/bin/escra-runc").st_ino != inode
    assert one.supervisor() == supervisor and is_alive(one.pid)
    one.work()
    one.wait_for_quota(lambda quota: quota == DECLARED, 6, "up when it works")
    one.rest()
    two = inside("escra-runc.reactive", policy=None, quota=DECLARED).started()
    two.supervisor()
    # Killed, a supervisor is replaced by one of the new program.
    os.kill(supervisor, 9)
    wait_until(lambda: one.supervisor() != supervisor, 4, "another supervisor")

    # A removal under both, of which an engine knows one by a policy's name.
    two.wait_for_quota(lambda quota: quota == FLOOR, 6, "down to the floor")
    conmon = engine(two.id, "escra-runc.reactive")
    said = root.apt("remove", "escra-runc")
    assert f"{one.id} is released" in said and f"{two.id} is released" in said
    assert f"the container {two.id} of conmon" in said and "pass-through to /usr/" in said
    assert root.names() == ["escra-runc.reactive"] and supervisors() == []
    assert one.quota == two.quota == DECLARED and is_alive(one.pid) and is_alive(two.pid)
    assert root("dpkg-divert", "--list", "/usr/bin/escra*") == ""
    assert "running" in two.call("state").out

    # A purge while it is needed, and the end.
    said = root("dpkg", "--purge", "escra-runc")
    assert "stays as a pass-through" in said and root.names() == ["escra-runc.reactive"]
    assert two.runtime("exec", two.id, "/bin/busybox", "echo", "here").out == "here\n"
    two.call("delete", "--force")
    conmon.stdin.close()
    conmon.wait()
    wait_until(lambda: not root.names(), 10, "the last delete has removed it")
    assert root.ours() == ["/etc/escra"] or root.ours() == []
    one.runtime = Runtime("/usr/sbin/chroot", root.path, "runc", "--root", one.runtime.globals[-1])
    one.call("delete", "--force")
    wait_until(lambda: not keepers(), 4, "no keeper is left")


@pytest.fixture
def dockerd(root, world):
    """Docker as its package leaves it, started in a root; it touches nothing of the network."""
    root.apt("install", "--no-install-recommends", *(
        ["docker.io"] if "bookworm" in root.path else ["docker.io", "docker-cli"]))
    parent = Parent("docker")
    world.groups.append(parent.path)
    storage = root.path + "/var/lib/docker"
    os.makedirs(storage, exist_ok=True)
    # Images cannot lie in an overlay, which the root is.
    kernel.mount("tmpfs", storage, "tmpfs")
    with open(world.path("dockerd.log"), "w") as log:
        process = world.spawn(subprocess.Popen(
            ["chroot", root.path, "dockerd", "--bridge", "none", "--iptables=false",
             "--cgroup-parent", parent.word, "--exec-opt", f"native.cgroupdriver={DRIVER}"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": PATH}))
    wait_until(lambda: root("docker", "version", code=None).count("Version:") > 1, 20,
               lambda: "dockerd answers: " + open(world.path("dockerd.log")).read())
    root("docker", "load", "--input", images.busybox_archive(world.directory))
    yield process
    process.terminate()
    process.wait(20 * PATIENCE)
    kernel.unmount(storage)
    parent.close()


def test_from_the_installation_to_the_first_docker_run(root, dockerd, capsys, record_property):
    """What the README begins with, and how long it takes: install, register, reload, run."""
    package, began, took = root.put(PACKAGES[0]), time.monotonic(), {}
    root.apt("install", package)
    took["apt-get install"] = time.monotonic() - began
    assert "wrote /etc/docker/daemon.json" in root("escra", "setup", "docker")
    # What systemctl reload does.
    dockerd.send_signal(signal.SIGHUP)
    wait_until(lambda: "escra-reactive" in root("docker", "info"), 5, "it has read its config")
    root("docker", "run", "--detach", "--name", "web", "--runtime", "escra-reactive", "--cpus",
         "0.5", "--network", "none", images.NAME, "sleep", "1000")
    [row] = json.loads(root("escra", "ps", "--json"))
    took["first reactive docker run"] = time.monotonic() - began
    assert (row["name"], row["policy"]) == ("web", "reactive")
    for what, seconds in took.items():
        record_property(what, f"{seconds:.1f} s")
    record_property("size of the package", f"{os.path.getsize(PACKAGES[0]) / 1e6:.1f} MB")
    with capsys.disabled():
        print(f"\n{os.path.basename(root.path)}: from apt-get install, "
              + ", ".join(f"{what} {seconds:.1f} s" for what, seconds in took.items()))
    assert took["first reactive docker run"] < 30 * PATIENCE
    wait_until(lambda: json.loads(root("escra", "ps", "--json"))[0]["cpu"]["limit"] < 0.5, 8,
               "its limit follows its use")
    root("docker", "rm", "--force", "web")
    assert "daemon.json" in root("escra", "setup", "docker", "--undo")
    root("dpkg", "--purge", "escra-runc")
    wait_until(lambda: not supervisors() and not keepers(), 4, "nobody of ours is left")
    assert root.ours() == []


def test_no_call_finds_nothing_while_it_is_replaced_and_removed(root, inside, engine):
    """At every moment of an upgrade and of a removal the name answers."""
    root.apt("install", root.put(PACKAGES[0]))
    made = inside(policy=None).started()
    engine(made.id, "escra-runc")
    script = f"""
        while [ ! -e /stop ]; do
          [ -x /usr/bin/escra-runc ] || echo missing
          i=$((i + 1))
          [ $((i % 500)) -gt 0 ] || /usr/bin/escra-runc --root {made.runtime.globals[-1]} \\
            state {made.id} >/dev/null || echo failed
        done"""
    looking = subprocess.Popen(
        ["chroot", root.path, "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True)
    root.apt("install", root.put(PACKAGES[1]))
    root.apt("remove", "escra-runc")
    with open(root.path + "/stop", "w"):
        pass
    assert looking.communicate(timeout=30)[0] == ""
    assert root.names() == ["escra-runc"]


def test_a_purge_leaves_nothing(root):
    """Not even the config, nor a directory."""
    root.apt("install", root.put(PACKAGES[0]))
    os.mkdir(root.path + "/etc/escra")
    with open(root.path + "/etc/escra/config.json", "w") as file:
        json.dump({"law": "escra"}, file)
    root("dpkg", "--remove", "escra-runc")
    # What an operator wrote stays until then, and so does dpkg's memory.
    assert "/etc/escra" in root.ours() and root.names() == []
    root("dpkg", "--purge", "escra-runc")
    assert root.ours() == []


def test_a_removal_that_is_broken_off_is_undone(root):
    """dpkg calls postinst then; the program is back under each of its names."""
    root.apt("install", root.put(PACKAGES[0]))
    whole = {name: os.lstat(f"{root.path}/usr/bin/{name}").st_ino for name in NAMES}
    info = "/var/lib/dpkg/info/escra-runc."
    root(info + "prerm", "remove")
    assert "pass-through" in root("sed", "-n", "3p", "/usr/bin/escra-runc.strict")
    root(info + "postinst", "abort-remove")
    assert {name: os.lstat(f"{root.path}/usr/bin/{name}").st_ino for name in NAMES} == whole
    assert root("dpkg", "--verify", "escra-runc") == ""
    assert root.names() == ["escra", "escra-agent", *NAMES]
    root("dpkg", "--purge", "escra-runc")
    assert root.ours() == []


def test_the_tarball_is_a_prefix_that_removes_itself(root, inside):
    """Unpacked, it works; its own script takes it away."""
    [tarball] = TARBALLS
    root("tar", "-C", "/usr/local", "--strip-components", "1", "-xf", root.put(tarball))
    os.symlink("../local/bin/escra-runc", root.path + "/usr/bin/escra-runc")
    made = inside(quota=DECLARED).started()
    made.supervisor()
    said = root("/usr/local/libexec/escra-runc/uninstall")
    assert f"{made.id} is released" in said and supervisors() == []
    left = [name for name in root.ours() if "local" in name]
    assert left == [], "only what is named stays"
    os.unlink(root.path + "/usr/bin/escra-runc")
    os.symlink("../sbin/runc", root.path + "/usr/bin/escra-runc")
    made.call("delete", "--force")


def test_the_page_about_installing_is_what_happens(root):
    """Each command of docs/install.md but those that need the repository."""
    for path in (*PACKAGES, *TARBALLS):
        root.put(path)
    pages.execute(
        "install.md", {"PATH": PATH, "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"},
        {"From source"}, within=["chroot", root.path], directory="/")


def test_lintian_finds_no_error_and_no_warning():
    """But for what the package overrides, with its reasons beside it."""
    if not shutil.which("lintian"):
        pytest.fail("lintian is missing; run: make package-test")
    done = subprocess.run(
        ["lintian", "--allow-root", PACKAGES[0]], capture_output=True, text=True)
    assert done.stdout == "" and done.returncode == 0, done.stdout


def test_the_same_commit_makes_the_same_file(world):
    """Byte for byte."""
    with open(PACKAGES[0], "rb") as file:
        before = file.read()
    subprocess.run(
        [os.path.join(REPOSITORY, "scripts/package"), "deb"], check=True, capture_output=True)
    with open(PACKAGES[0], "rb") as file:
        assert file.read() == before
