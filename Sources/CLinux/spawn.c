// SPDX-License-Identifier: Apache-2.0
//
// fork and exec belong in C: between the two, only async-signal-safe calls are allowed, and the
// Swift runtime promises no such thing.
#include "CLinux.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>

extern char **environ;

static void default_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; signal++)
        sigaction(signal, &action, NULL);  // KILL, STOP and glibc's own two refuse: fine
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int no_stdio(void) {
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
        return -1;
    if (null > 2)
        close(null);
    return 0;
}

// Leaves exactly: 0-2 as they are, the named descriptors from 3 on, the executable behind them.
static int arrange_descriptors(const struct escra_spawn *spawn) {
    int count = spawn->descriptor_count;
    int base = 3 + count;
    int from[count + 1];
    memcpy(from, spawn->descriptors, (size_t)count * sizeof *from);
    from[count] = spawn->executable;
    for (int i = 0; i <= count; i++) {
        int to = 3 + i;
        // What is there and goes to a later place is put behind all places, and closed when it is
        // in its own: all of them twice would take too many numbers.
        int aside = -1;
        bool is_used = false;
        for (int j = i + 1; j <= count; j++) {
            if (from[j] == to) {
                if (aside < 0 && (aside = fcntl(to, F_DUPFD_CLOEXEC, base + 1)) < 0)
                    return -1;
                from[j] = aside;
            }
            is_used |= from[j] == from[i];
        }
        if (from[i] == to ? fcntl(to, F_SETFD, 0) < 0 : dup2(from[i], to) < 0)
            return -1;
        if (from[i] > base && !is_used)
            close(from[i]);
    }
    if (fcntl(base, F_SETFD, FD_CLOEXEC) < 0)
        return -1;
    // Not by trusting everybody's close-on-exec: containerd leaks a listening socket, bats has 3.
    if (syscall(SYS_close_range, base + 1, ~0U, 0) < 0)
        for (int fd = base + 1; fd < 65536; fd++)  // Linux < 5.9
            close(fd);
    return base;
}

pid_t escra_spawn_detached(const struct escra_spawn *spawn) {
    int told[2];
    if (pipe2(told, O_CLOEXEC) < 0)
        return -1;
    pid_t child = fork();
    if (child == 0) {
        setsid();
        pid_t grandchild = fork();
        if (grandchild > 0 && write(told[1], &grandchild, sizeof grandchild) < 0)
            _exit(1);
        if (grandchild != 0)
            _exit(grandchild < 0 ? 1 : 0);
        default_signals();
        umask(077);
        escra_allow_descriptors();  // the caller's limit is for other things
        int executable = arrange_descriptors(spawn);
        if (executable >= 0 && no_stdio() == 0 && chdir("/") == 0)
            syscall(SYS_execveat, executable, "", spawn->argv, spawn->envp, AT_EMPTY_PATH);
        _exit(127);
    }
    close(told[1]);
    pid_t grandchild = -1;
    int status = 0;
    if (child > 0) {
        while (read(told[0], &grandchild, sizeof grandchild) < 0 && errno == EINTR) {
        }
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
    }
    close(told[0]);
    if (child < 0 || status != 0 || grandchild <= 0) {
        errno = EAGAIN;
        return -1;
    }
    return grandchild;
}

int escra_reexec(const struct escra_spawn *spawn) {
    int executable = arrange_descriptors(spawn);
    if (executable < 0)
        return -1;
    return (int)syscall(SYS_execveat, executable, "", spawn->argv, spawn->envp, AT_EMPTY_PATH);
}

pid_t escra_fork_exec(const char *path, char *const *argv, char *const *envp, int stdout_fd) {
    pid_t caller = getpid();
    pid_t child = fork();
    if (child != 0)
        return child;
    // A process that ends the caller means to end this program as well.
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != caller)
        _exit(127);
    if (stdout_fd >= 0 && dup2(stdout_fd, 1) < 0)
        _exit(127);
    execve(path, argv, envp);
    _exit(127);
}
