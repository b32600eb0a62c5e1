# SPDX-License-Identifier: Apache-2.0
"""System calls inside of another process, as an attacker makes them who runs code in it."""
import ctypes
import os
import platform
import signal
import time

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long

IS_POSSIBLE = platform.machine() == "x86_64"

_REGISTERS = (
    "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss "
    "fs_base gs_base ds es fs gs").split()
_SINGLESTEP, _GETREGS, _SETREGS, _ATTACH, _DETACH = 9, 12, 13, 16, 17

# Numbers of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl).
NUMBERS = {
    "mmap": 9, "mprotect": 10, "ioctl": 16, "socket": 41, "connect": 42, "sendmsg": 46, "clone": 56,
    "fork": 57, "execve": 59, "kill": 62, "fcntl": 72, "truncate": 76, "ftruncate": 77,
    "pwrite64": 18, "fchdir": 81, "mkdir": 83,
    "link": 86, "chmod": 90, "fchmod": 91, "ptrace": 101, "setuid": 105, "chroot": 161,
    "mount": 165, "tgkill": 234, "openat": 257, "mknodat": 259, "unlinkat": 263, "close": 3,
    "write": 1, "renameat": 264, "linkat": 265, "fchmodat": 268, "unshare": 272, "setns": 308,
    "process_vm_writev": 311, "bpf": 321, "execveat": 322, "pidfd_send_signal": 424,
    "open_tree": 428, "clone3": 435, "pidfd_open": 434, "openat2": 437, "pidfd_getfd": 438,
}


class _Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in _REGISTERS]


def _ptrace(request, pid, data=None):
    if LIBC.ptrace(request, pid, None, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Injected:
    """Holds a process at a system call that it waits in, and makes others in its name."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        # One that works is let go on: it waits again in a moment.
        for _ in range(200):
            _ptrace(_ATTACH, self.pid)
            os.waitpid(self.pid, 0x40000000)  # __WALL
            self._before = self._registers()
            with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
                memory.seek(self._before.rip - 2)
                if memory.read(2) == b"\x0f\x05":
                    break
            _ptrace(_DETACH, self.pid)
            time.sleep(0.005)
        return self

    def __exit__(self, *_):
        _ptrace(_SETREGS, self.pid, ctypes.byref(self._before))
        _ptrace(_DETACH, self.pid)

    def _registers(self):
        registers = _Registers()
        _ptrace(_GETREGS, self.pid, ctypes.byref(registers))
        return registers

    def __getattr__(self, name):
        return lambda *arguments: self.call(NUMBERS[name], *arguments)

    def call(self, number, *arguments):
        """What the call returns: -errno where it fails. Bytes are passed as a pointer to them."""
        registers = _Registers.from_buffer_copy(self._before)
        place = registers.rsp - 8192
        words = []
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(registers.rip - 2)
            assert memory.read(2) == b"\x0f\x05", "it waits in a system call"
            for argument in arguments:
                if isinstance(argument, bytes):
                    memory.seek(place)
                    memory.write(argument + b"\0")
                    words.append(place)
                    place += (len(argument) + 16) & ~15
                else:
                    words.append(argument & (1 << 64) - 1)
        for register, word in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), words + [0] * 6):
            setattr(registers, register, word)
        registers.rax, registers.orig_rax = number, (1 << 64) - 1
        registers.rip -= 2
        registers.rsp -= 16384
        _ptrace(_SETREGS, self.pid, ctypes.byref(registers))
        _ptrace(_SINGLESTEP, self.pid)
        _, status = os.waitpid(self.pid, 0x40000000)
        assert os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGTRAP, status
        return ctypes.c_longlong(self._registers().rax).value
