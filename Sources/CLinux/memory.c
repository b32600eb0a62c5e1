// SPDX-License-Identifier: Apache-2.0
#include "CLinux.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

int escra_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

static void close_between(int above, int below) {
    if (below - above > 1) syscall(SYS_close_range, above + 1, below - 1, 0);
}

/// Closes everything from 3 on but three descriptors.
static void keep_three(int a, int b, int c) {
    int kept[3] = {a, b, c};
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 2 - i; j++) {
            if (kept[j] > kept[j + 1]) {
                int other = kept[j];
                kept[j] = kept[j + 1];
                kept[j + 1] = other;
            }
        }
    }
    close_between(2, kept[0]);
    close_between(kept[0], kept[1]);
    close_between(kept[1], kept[2]);
    syscall(SYS_close_range, kept[2] + 1, ~0U, 0);
}

int escra_register_thresholds(int control, int event, int usage, const int64_t *thresholds,
                              int count) {
    pid_t child = fork();
    if (child < 0) return -1;
    if (child > 0) {
        int status;
        while (waitpid(child, &status, 0) == -1 && errno == EINTR) {
        }
        return 0;
    }
    // Twice, so that nobody has to wait for it.
    if (fork() != 0) _exit(0);
    keep_three(control, event, usage);
    // Not to be taken for the supervisor that it was.
    static const char name[] = "escra-ladder";
    prctl(PR_SET_NAME, name);
    char **arguments = escra_arguments();
    size_t room = arguments[0] ? strlen(arguments[0]) : 0;
    if (room >= sizeof(name)) {
        memset(arguments[0], 0, room);
        memcpy(arguments[0], name, sizeof(name));
    }
    for (int i = 0; i < count; i++) {
        char line[64];
        int length =
            snprintf(line, sizeof(line), "%d %d %lld", event, usage, (long long)thresholds[i]);
        if (write(control, line, length) != length && errno != EINTR) break;
    }
    _exit(0);
}

/// struct sched_attr (sched_setattr(2)), whose header glibc 2.36 does not have.
struct attributes {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

int escra_set_realtime(void) {
    const uint64_t reset_on_fork = 1;
    struct attributes first = {
        .size = sizeof(first), .policy = SCHED_FIFO, .flags = reset_on_fork, .priority = 1};
    struct rlimit limit = {.rlim_cur = 500 * 1000, .rlim_max = 500 * 1000};
    if (setrlimit(RLIMIT_RTTIME, &limit) == 0 && syscall(SYS_sched_setattr, 0, &first, 0) == 0)
        return 0;
    struct attributes early = {.size = sizeof(early), .policy = SCHED_OTHER,
                               .flags = reset_on_fork, .nice = -10, .runtime = 100 * 1000};
    if (syscall(SYS_sched_setattr, 0, &early, 0) == 0) return 0;
    early.nice = 0;
    return (int)syscall(SYS_sched_setattr, 0, &early, 0);
}
