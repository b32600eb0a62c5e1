// SPDX-License-Identifier: Apache-2.0
//
// Where a release of escra-runc starts: before glibc and Swift, whose initialisation takes half a
// millisecond.
//
// A call that is runc's alone becomes runc at once: a verb that makes and changes nothing of ours,
// on a machine that has no config of the operator's and no container that is supervised. Of
// anything else this knows nothing, and the program starts as usual and decides for itself. So
// what is here may be wrong in one direction only, and it gives up where it is not sure.
//
// No function of libc can be called here: there is no thread pointer yet, and the addresses of
// memcpy and others are not resolved.
#include "CEntry.h"

#include <fcntl.h>
#include <linux/errno.h>
#include <linux/stat.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

static const char *const runtimes[] = {
    "/usr/bin/runc",
    "/usr/local/sbin/runc",
    "/usr/local/bin/runc",
    "/usr/sbin/runc",
    "/sbin/runc",
    "/bin/runc",
    NULL,
};
static const char config[] = "/etc/escra/config.json";
static const char *const state[] = {"/run/escra/containers", "/run/escra/groups", NULL};

const char *const *escra_entry_runtime_list(void) { return runtimes; }
const char *escra_entry_config_path(void) { return config; }
const char *const *escra_entry_state_list(void) { return state; }

enum { EXECUTABLE = 1, DIRECTORY_FLAGS = O_RDONLY | O_DIRECTORY | O_CLOEXEC };

#if defined(__x86_64__)
static long call(long number, long a, long b, long c, long d, long e) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
static long call(long number, long a, long b, long c, long d, long e) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4)
                     : "memory");
    return x0;
}
#endif

#if defined(__x86_64__) || defined(__aarch64__)

static int is(const char *text, const char *other) {
    while (*text && *text == *other) text++, other++;
    return *text == *other;
}

// Whether a text begins so.
static int begins(const char *text, const char *prefix) {
    while (*prefix && *text == *prefix) text++, prefix++;
    return *prefix == 0;
}

// Whether the program's name is that of a runtime; our own processes have names of their own.
static int is_runtime(const char *name) {
    return !begins(name, "escra-") || begins(name, "escra-runc");
}

// The verbs that are passed on: those that start or change a container's supervision are not here.
static int is_passed_on(const char *verb) {
    return is(verb, "delete") || is(verb, "events") || is(verb, "exec") || is(verb, "kill") ||
           is(verb, "list") || is(verb, "pause") || is(verb, "ps") || is(verb, "resume") ||
           is(verb, "start") || is(verb, "state");
}

// Whether a call has such a verb, and before it only flags of runc that engines use.
static int is_plain(char **argument) {
    for (argument++; *argument; argument++) {
        if (is(*argument, "--root") || is(*argument, "--log") || is(*argument, "--log-format")) {
            if (!*++argument) return 0;
        } else if (!is(*argument, "--systemd-cgroup") && !is(*argument, "--debug") &&
                   !begins(*argument, "--root=") && !begins(*argument, "--log=") &&
                   !begins(*argument, "--log-format=")) {
            return is_passed_on(*argument);
        }
    }
    return 0;
}

// Whether a directory is not there, or has nothing in it.
static int is_empty(const char *path) {
    long directory = call(SYS_openat, AT_FDCWD, (long)path, DIRECTORY_FLAGS, 0, 0);
    if (directory < 0) return directory == -ENOENT;
    // struct linux_dirent64: 8 bytes inode, 8 offset, 2 length of the entry, 1 type, then the name.
    char entries[1024] __attribute__((aligned(8)));
    long size = call(SYS_getdents64, directory, (long)entries, sizeof entries, 0, 0);
    int found = size < 0;
    for (long at = 0; at < size; at += *(uint16_t *)(entries + at + 16)) {
        const char *name = entries + at + 19;
        if (!is(name, ".") && !is(name, "..")) found = 1;
    }
    call(SYS_close, directory, 0, 0, 0, 0);
    return !found;
}

// The same file, or a copy of it.
static int is_same(const struct statx *one, const struct statx *other) {
    return one->stx_size == other->stx_size ||
           (one->stx_ino == other->stx_ino && one->stx_dev_major == other->stx_dev_major &&
            one->stx_dev_minor == other->stx_dev_minor);
}

static long look(const char *path, struct statx *found) {
    return call(SYS_statx, AT_FDCWD, (long)path, 0, STATX_TYPE | STATX_INO | STATX_SIZE,
                (long)found);
}

// The runtime that LowLevelRuntime.find() would take; NULL where it is not sure.
static const char *runtime(void) {
    struct statx ourselves, found;
    if (look("/proc/self/exe", &ourselves) < 0) return NULL;
    for (const char *const *path = runtimes; *path; path++) {
        long error = look(*path, &found);
        if (error == -ENOENT) continue;
        if (error < 0 || (found.stx_mode & 0170000) != 0100000 || is_same(&found, &ourselves) ||
            call(SYS_faccessat, AT_FDCWD, (long)*path, EXECUTABLE, 0, 0) < 0)
            return NULL;
        return *path;
    }
    return NULL;
}

// Becomes the low-level runtime, or returns.
__attribute__((used)) void escra_pass_on(long *stack) {
    long count = stack[0];
    char **arguments = (char **)(stack + 1);
    if (count < 2 || !is_runtime(arguments[0]) || !is_plain(arguments)) return;
    if (call(SYS_faccessat, AT_FDCWD, (long)config, 0, 0, 0) != -ENOENT) return;
    for (const char *const *path = state; *path; path++)
        if (!is_empty(*path)) return;
    const char *program = runtime();
    if (!program) return;
    char *name = arguments[0];
    arguments[0] = (char *)program;
    call(SYS_execve, (long)program, (long)arguments, (long)(arguments + count + 1), 0, 0);
    arguments[0] = name;
}

#if defined(__x86_64__)
// rdx is for _start, which finds the stack as the kernel left it.
__asm__(".globl escra_entry\n"
        ".type escra_entry, @function\n"
        "escra_entry:\n"
        "  mov %rsp, %rdi\n"
        "  push %rdx\n"
        "  sub $8, %rsp\n"
        "  call escra_pass_on\n"
        "  add $8, %rsp\n"
        "  pop %rdx\n"
        "  jmp _start\n");
#else
// x0 is for _start.
__asm__(".globl escra_entry\n"
        ".type escra_entry, %function\n"
        "escra_entry:\n"
        "  mov x19, x0\n"
        "  mov x0, sp\n"
        "  bl escra_pass_on\n"
        "  mov x0, x19\n"
        "  b _start\n");
#endif

#endif
