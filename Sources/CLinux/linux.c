// SPDX-License-Identifier: Apache-2.0
#include "CLinux.h"

#include <errno.h>
#include <link.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/mount.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <time.h>

int escra_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

int escra_pidfd_send_signal(int pidfd, int signal) {
    return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}

int escra_set_name(const char *name) { return prctl(PR_SET_NAME, name, 0, 0, 0); }

int escra_clear_parent_death_signal(void) { return prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0); }

void escra_trim_stack(void) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    // One page stays for the calls that are under way, this one among them. What is not mapped of
    // the range makes it fail in the end, with what is mapped given back.
    uintptr_t end = ((uintptr_t)__builtin_frame_address(0) & ~(page - 1)) - page;
    int error = errno;
    madvise((void *)(end - 64 * page), 64 * page, MADV_DONTNEED);
    errno = error;
}

static int unmap_text(struct dl_phdr_info *object, size_t size, void *unused) {
    (void)size, (void)unused;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = object->dlpi_phdr + i;
        if (header->p_type != PT_LOAD || (header->p_flags & PF_W)) continue;
        uintptr_t begin = (object->dlpi_addr + header->p_vaddr) & ~(page - 1);
        uintptr_t end = object->dlpi_addr + header->p_vaddr + header->p_memsz;
        madvise((void *)begin, end - begin, MADV_DONTNEED);
    }
    return 0;
}

void escra_trim_program(void) {
    int error = errno;
    dl_iterate_phdr(unmap_text, NULL);
    errno = error;
}

int escra_reset_affinity(void) {
    // Larger than any kernel's NR_CPUS; bits without a CPU are ignored (sched_setaffinity(2)).
    unsigned long mask[8192 / (8 * sizeof(unsigned long))];
    memset(mask, 0xff, sizeof mask);
    return (int)syscall(SYS_sched_setaffinity, 0, sizeof mask, mask);
}

int escra_set_affinity(pid_t pid, const uint64_t *words, size_t count) {
    // The mask is an array of longs, the first bit first: on 64 bits that of the words.
    _Static_assert(sizeof(unsigned long) == sizeof(uint64_t), "a mask of 64-bit words");
    return (int)syscall(SYS_sched_setaffinity, pid, count * sizeof *words, words);
}

int escra_peer_credentials(int socket, pid_t *pid, uid_t *uid) {
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
        return -1;
    *pid = credentials.pid;
    *uid = credentials.uid;
    return 0;
}

static int seqpacket_address(int dir, const char *name, struct sockaddr_un *address) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    int length = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", dir,
                          name);
    if (length < 0 || (size_t)length >= sizeof address->sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return 0;
}

static int seqpacket(int dir, const char *name,
                     int (*attach)(int, const struct sockaddr *, socklen_t)) {
    struct sockaddr_un address;
    if (seqpacket_address(dir, name, &address) < 0)
        return -1;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (attach(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int escra_seqpacket_listen(int dir, const char *name) {
    int fd = seqpacket(dir, name, bind);
    if (fd >= 0 && listen(fd, 128) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int escra_seqpacket_connect(int dir, const char *name) { return seqpacket(dir, name, connect); }

int escra_stream_connect(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int escra_anonymous_file(const char *label) { return memfd_create(label, MFD_CLOEXEC); }

int escra_accept(int listener) {
    return accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

union control {
    char bytes[CMSG_SPACE(sizeof(int) * ESCRA_FILES)];
    struct cmsghdr aligned;
};

ssize_t escra_send_files(int socket, const char *text, size_t length, const int *files,
                         int count) {
    union control control;
    struct iovec part = {.iov_base = (void *)text, .iov_len = length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > ESCRA_FILES) {
        errno = EINVAL;
        return -1;
    }
    if (count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
        memcpy(CMSG_DATA(header), files, sizeof(int) * (size_t)count);
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL);
}

ssize_t escra_receive_files(int socket, char *text, size_t size, int *files, int *count) {
    union control control;
    struct iovec part = {.iov_base = text, .iov_len = size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    *count = 0;
    ssize_t length = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (length < 0)
        return length;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        size_t bytes = header->cmsg_len - CMSG_LEN(0);
        memcpy(files, CMSG_DATA(header), bytes);
        *count = (int)(bytes / sizeof(int));
    }
    return length;
}

const char *escra_errno_name(int error) { return strerrorname_np(error); }

int64_t escra_boottime_ticks(void) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    int64_t hertz = sysconf(_SC_CLK_TCK);
    return (int64_t)now.tv_sec * hertz + now.tv_nsec * hertz / 1000000000;
}

int escra_exit_code(int status) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int escra_keep_capabilities(uint64_t keep) {
    for (int capability = 0; capability < 64; capability++)
        if (!(keep >> capability & 1) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 &&
            errno == EINVAL)
            break;  // past the last capability this kernel knows
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) < 0)
        return -1;
    for (int word = 0; word < 2; word++) {
        uint32_t mask = (uint32_t)(keep >> (32 * word));
        data[word].permitted &= mask;
        data[word].effective = data[word].permitted;
        data[word].inheritable = 0;
    }
    return (int)syscall(SYS_capset, &header, data);
}

int escra_load_filter(int file) {
    struct stat status;
    if (fstat(file, &status) < 0)
        return -1;
    // Mapped, not read: no page of this process gets dirty.
    void *instructions = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, file, 0);
    if (instructions == MAP_FAILED)
        return -1;
    struct sock_fprog program = {
        (unsigned short)((size_t)status.st_size / sizeof(struct sock_filter)), instructions};
    int result = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
    munmap(instructions, (size_t)status.st_size);
    return result;
}

int escra_perf_cgroup_clock(int cgroup, int cpu, uint64_t period_ns, int signal) {
    struct perf_event_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.size = sizeof attributes;
    attributes.type = PERF_TYPE_SOFTWARE;
    attributes.config = PERF_COUNT_SW_CPU_CLOCK;
    attributes.sample_period = period_ns;
    attributes.wakeup_events = 1;
    attributes.disabled = 1;
    int fd = (int)syscall(SYS_perf_event_open, &attributes, cgroup, cpu, -1,
                          PERF_FLAG_PID_CGROUP | PERF_FLAG_FD_CLOEXEC);
    if (fd < 0)
        return -1;
    // A queued signal instead of poll: perf_poll reports a hang-up for ever unless a ring buffer
    // is mapped, which would cost two pages a CPU. To this thread, which blocks the signal: sent to
    // the process, it would end it by way of any other thread.
    struct f_owner_ex owner = {F_OWNER_TID, gettid()};
    if (fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK) < 0 || fcntl(fd, F_SETSIG, signal) < 0 ||
        fcntl(fd, F_SETOWN_EX, &owner) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int escra_perf_arm(int event) { return ioctl(event, PERF_EVENT_IOC_REFRESH, 1); }

int escra_fanotify_writes(int file, int other) {
    int watch = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK,
                              O_RDONLY | O_CLOEXEC | O_LARGEFILE);
    if (watch >= 0 && (fanotify_mark(watch, FAN_MARK_ADD, FAN_MODIFY, file, NULL) < 0 ||
                       (other >= 0 &&
                        fanotify_mark(watch, FAN_MARK_ADD, FAN_MODIFY, other, NULL) < 0))) {
        int error = errno;
        close(watch);
        errno = error;
        return -1;
    }
    return watch;
}

int escra_fanotify_add(int watch, int file) {
    return fanotify_mark(watch, FAN_MARK_ADD, FAN_MODIFY, file, NULL);
}

int escra_fanotify_take(int watch, pid_t *writers) {
    struct fanotify_event_metadata events[ESCRA_EVENTS];
    ssize_t size = read(watch, events, sizeof events);
    int count = 0;
    // Without further information, which was not asked for, an event is as long as its header.
    for (struct fanotify_event_metadata *event = events; FAN_EVENT_OK(event, size);
         event = FAN_EVENT_NEXT(event, size)) {
        // Each comes with the file, opened once more; an overflow has none.
        if (event->fd >= 0)
            close(event->fd);
        writers[count++] = event->pid;
    }
    return count;
}

int escra_die_on_input(int fifo) {
    if (fcntl(fifo, F_SETOWN, getpid()) < 0 || fcntl(fifo, F_SETSIG, SIGKILL) < 0)
        return -1;
    return fcntl(fifo, F_SETFL, O_ASYNC | O_NONBLOCK);
}

// struct landlock_ruleset_attr as of its sixth version: older headers lack the end of it.
struct landlock_rules {
    uint64_t files, network, scopes;
};

// What each version of landlock(7) added to the rights on files, from the second version on.
static uint64_t landlock_file_rights(int version) {
    uint64_t rights = (1 << 13) - 1;
    if (version >= 2)
        rights |= 1 << 13;  // LANDLOCK_ACCESS_FS_REFER
    if (version >= 3)
        rights |= 1 << 14;  // LANDLOCK_ACCESS_FS_TRUNCATE
    if (version >= 5)
        rights |= 1 << 15;  // LANDLOCK_ACCESS_FS_IOCTL_DEV
    return rights;
}

static int landlock_version(void) {
    return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

int escra_landlock_rules(bool allows_signals) {
    int version = landlock_version();
    if (version < 0)
        return -1;
    struct landlock_rules rules = {.files = landlock_file_rights(version)};
    if (version >= 4)
        rules.network = 3;  // bind and connect of TCP
    if (version >= 6)
        rules.scopes = allows_signals ? 1 : 3;  // abstract Unix sockets; signals
    return (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0);
}

int escra_landlock_allow(int rules, int file, uint64_t rights) {
    struct landlock_path_beneath_attr rule = {
        .allowed_access = rights & landlock_file_rights(landlock_version()), .parent_fd = file};
    return (int)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

int escra_landlock_enter(int rules) { return (int)syscall(SYS_landlock_restrict_self, rules, 0); }

int escra_sigrtmin(void) { return SIGRTMIN; }

int escra_fstatat(int dir, const char *name, struct stat *status, bool follow) {
    return fstatat(dir, name, status, follow ? 0 : AT_SYMLINK_NOFOLLOW);
}

int escra_exchange(int dir, const char *one, const char *other) {
    return (int)syscall(SYS_renameat2, dir, one, dir, other, 1U << 1);  // RENAME_EXCHANGE
}

int escra_terminal_size(int fd, int *columns, int *rows) {
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) < 0)
        return -1;
    *columns = size.ws_col;
    *rows = size.ws_row;
    return 0;
}

void escra_open_syslog(void) { openlog("escra", LOG_PID | LOG_NDELAY, LOG_DAEMON); }

void escra_syslog(bool error, const char *message) {
    // Messages quote texts of others; a log takes one line of printable ASCII.
    char line[2048];
    size_t length = 0;
    for (const char *next = message; *next && length + 5 < sizeof line; next++)
        if (*next >= ' ' && *next <= '~')
            line[length++] = *next;
        else
            length += (size_t)snprintf(line + length, 5, "\\x%02x", (unsigned char)*next);
    line[length] = 0;
    openlog("escra", LOG_PID, LOG_DAEMON);
    syslog(error ? LOG_ERR : LOG_WARNING, "%s", line);
    closelog();
}
