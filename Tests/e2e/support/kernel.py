# SPDX-License-Identifier: Apache-2.0
"""System calls that Python 3.11 has no names for."""
import ctypes
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS = 0x0002_0000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG = 1
IN_MODIFY, IN_NONBLOCK = 0x2, os.O_NONBLOCK


def _checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def unshare_mounts():
    """A mount namespace of our own; what happens in it is nobody else's."""
    _checked(_libc.unshare(CLONE_NEWNS))
    mount("none", "/", None, MS_REC | MS_PRIVATE)


def mount(source, target, kind, flags=0, data=None):
    def encode(text):
        return None if text is None else os.fsencode(text)

    _checked(_libc.mount(encode(source), encode(target), encode(kind), flags, encode(data)))


def unmount(target):
    _checked(_libc.umount2(os.fsencode(target), 2))


def private_run():
    """A /run of our own, in which systemd and its bus, where there are any, still answer."""
    # What is mounted there already stays reachable by its descriptor.
    kept = {
        name: os.open(os.path.join("/run", name), os.O_PATH)
        for name in ("systemd", "dbus") if os.path.isdir(os.path.join("/run", name))}
    mount("tmpfs", "/run", "tmpfs", 0, "mode=755")
    for name, descriptor in kept.items():
        os.mkdir(os.path.join("/run", name))
        mount(f"/proc/self/fd/{descriptor}", os.path.join("/run", name), None, MS_BIND | MS_REC)
        os.close(descriptor)


def overlay(directory, above):
    """Whatever is written to `directory` from now on is written to `above`."""
    for name in ("upper", "work"):
        os.makedirs(os.path.join(above, name))
    mount("overlay", directory, "overlay", 0,
          f"lowerdir={directory},upperdir={above}/upper,workdir={above}/work")


def mount_points():
    """Where something is mounted, in our mount namespace."""
    with open("/proc/self/mountinfo") as file:
        return sorted(line.split()[4] for line in file)


def bind_read_only(directory):
    mount(directory, directory, None, MS_BIND)
    mount(None, directory, None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def die_with_parent(signal):
    _checked(_libc.prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0))


class Watch:
    """Counts the writes to one file (inotify)."""

    def __init__(self, path):
        self.descriptor = _checked(_libc.inotify_init1(IN_NONBLOCK))
        _checked(_libc.inotify_add_watch(self.descriptor, os.fsencode(path), IN_MODIFY))
        self.count = 0

    def writes(self):
        """The writes seen so far; the kernel folds equal events that nobody has read yet."""
        try:
            while True:
                data = os.read(self.descriptor, 65536)
                offset = 0
                while offset < len(data):
                    _, _, _, length = struct.unpack_from("iIII", data, offset)
                    offset += 16 + length
                    self.count += 1
        except BlockingIOError:
            return self.count

    def close(self):
        os.close(self.descriptor)
