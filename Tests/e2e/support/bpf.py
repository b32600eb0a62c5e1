# SPDX-License-Identifier: Apache-2.0
"""What BPF objects there are: bpf(2) by its number, since nothing here links libbpf."""
import ctypes
import errno
import os
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)
_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
_MAP_LOOKUP, _MAP_GET_NEXT_KEY, _PROG_GET_FD_BY_ID, _MAP_GET_FD_BY_ID = 1, 4, 13, 14
DIRECTORY = "/run/escra/bpf"
# As in Sources/CBPF/include/CBPF.h.
_MEMORY, _REFUSED = 4, 8


def _call(command, attributes):
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    result = _LIBC.syscall(_BPF, command, buffer, len(buffer))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command})")
    return result


def identity():
    """What is written down of the hooks: ids of two maps, of links and of programs; or None.

    Of the program that minds memory beside the others: None where there is none.
    """
    try:
        [name] = os.listdir(DIRECTORY)
        with open(os.path.join(DIRECTORY, name)) as file:
            numbers = [int(word) for word in file.read().split()]
    except (FileNotFoundError, ValueError):
        return None
    if len(numbers) < 3:
        # It is being written, which is nothing to who has the lock.
        return None
    links, programs = numbers[3::2], numbers[4::2]
    memory = programs.pop() if numbers[2] & _MEMORY else None
    return {"groups": numbers[0], "rings": numbers[1], "links": links[:len(programs)],
            "programs": programs, "memory": memory, "refused": bool(numbers[2] & _REFUSED)}


def exists(program):
    """Whether a program with this id is loaded."""
    try:
        os.close(_call(_PROG_GET_FD_BY_ID, struct.pack("I", program)))
        return True
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise


def keys(map_id):
    """The keys of a map of 64-bit keys."""
    descriptor = _call(_MAP_GET_FD_BY_ID, struct.pack("I", map_id))
    found, key = [], None
    try:
        while True:
            following = ctypes.c_uint64()
            before = ctypes.byref(ctypes.c_uint64(key)) if key is not None else None
            address = ctypes.cast(before, ctypes.c_void_p).value if before else 0
            try:
                _call(_MAP_GET_NEXT_KEY, struct.pack(
                    "IxxxxQQ", descriptor, address or 0, ctypes.addressof(following)))
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return sorted(found)
                raise
            key = following.value
            found.append(key)
    finally:
        os.close(descriptor)


def told_line(group):
    """The memory.high, in pages, of which a group's supervisor was told last; 0 for none."""
    descriptor = _call(_MAP_GET_FD_BY_ID, struct.pack("I", identity()["groups"]))
    # struct escra_hook_group in Sources/CBPF/include/hooks.h: the last but one.
    key, value = ctypes.c_uint64(group), (ctypes.c_uint64 * 12)()
    try:
        _call(_MAP_LOOKUP, struct.pack(
            "IxxxxQQQ", descriptor, ctypes.addressof(key), ctypes.addressof(value), 0))
    finally:
        os.close(descriptor)
    return value[10]
