// SPDX-License-Identifier: Apache-2.0
//
// System calls and constants that Swift cannot import: variadics, function-like macros, calls
// glibc has no wrapper for, and everything that must happen between fork and exec.
//
// Every function returns what the system call returns: -1 and errno on failure.
#ifndef ESCRA_CLINUX_H
#define ESCRA_CLINUX_H

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/// argv as main got it, ended by NULL. CommandLine reads /proc/self/maps for it at its first use.
char *_Nullable *_Nonnull escra_arguments(void);

/// pidfd_open(2), Linux 5.3: a descriptor that becomes readable when the process ends.
int escra_pidfd_open(pid_t pid);

/// pidfd_send_signal(2), Linux 5.1: a signal that cannot hit a reused pid.
int escra_pidfd_send_signal(int pidfd, int signal);

/// prctl(PR_SET_NAME): the name that ps and top show, at most 15 bytes.
int escra_set_name(const char *_Nonnull name);

/// sched_setaffinity(2) with every CPU set, so that the cpuset alone decides.
int escra_reset_affinity(void);

/// sched_setaffinity(2): the CPUs whose bits are set in `count` words, the lowest first; 0 is the
/// caller. It needs the same user, or CAP_SYS_NICE.
int escra_set_affinity(pid_t pid, const uint64_t *_Nullable words, size_t count);

/// SO_PEERCRED of a Unix socket (unix(7)): who connected, as the kernel saw it then.
int escra_peer_credentials(int socket, pid_t *_Nonnull pid, uid_t *_Nonnull uid);

/// A SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK Unix socket bound to `path`; the name is
/// relative to the directory `dir`, because sun_path holds 108 bytes only.
int escra_seqpacket_listen(int dir, const char *_Nonnull name);

/// The other end of `escra_seqpacket_listen`.
int escra_seqpacket_connect(int dir, const char *_Nonnull name);

/// fcntl(F_SETLK): an exclusive lock of a whole file, which is the process's. It goes with the
/// process, and with the first descriptor of that file that the process closes; EAGAIN where
/// another process has it. Or F_OFD_SETLK, which is the open file's.
int escra_lock_file(int fd, bool of_description);

/// Lets go of it.
void escra_unlock_file(int fd, bool of_description);

/// fcntl(F_GETLK): which other process has `escra_lock_file` of this file; 0 where none has. The
/// kernel says who, so nobody has to be believed. Of an open file's lock it says no more than -1.
pid_t escra_lock_holder(int fd);

/// As `escra_seqpacket_listen`, for a process that sees no /proc: by a path of its own, which has
/// to fit into 107 bytes.
int escra_seqpacket_listen_at(const char *_Nonnull path);

/// The other end of `escra_seqpacket_listen_at`; EAGAIN where too many wait to be let in.
int escra_seqpacket_connect_to(const char *_Nonnull path);

/// getrlimit(2): the most files that this process may ever have open.
long escra_most_descriptors(void);

/// setrlimit(2): as many open files as this process may have.
int escra_allow_descriptors(void);

/// setrlimit(2): this process makes no file larger than that; it gets EFBIG and no signal.
int escra_limit_file_size(unsigned long bytes);

/// A connected SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK Unix socket; EAGAIN where its listener is
/// too busy to take another one.
int escra_stream_connect(const char *_Nonnull path);

/// memfd_create(2) with MFD_CLOEXEC: a file that has no name and goes with its last descriptor.
int escra_anonymous_file(const char *_Nonnull label);

/// accept4(2) with SOCK_CLOEXEC | SOCK_NONBLOCK; who it is, `escra_peer_credentials` tells.
int escra_accept(int listener);

/// Sends a text and open files as one packet (unix(7), SCM_RIGHTS), at most ESCRA_FILES of them.
ssize_t escra_send_files(int socket, const char *_Nonnull text, size_t length,
                         const int *_Nonnull files, int count);

/// The most files in one packet.
enum { ESCRA_FILES = 4 };

/// Takes one packet, and into `files` what came with it, close-on-exec; `count` says how many.
/// 0 when the other end has closed. errno: EAGAIN when there is nothing yet.
ssize_t escra_receive_files(int socket, char *_Nonnull text, size_t size, int *_Nonnull files,
                            int *_Nonnull count);

/// The symbolic name of an errno value ("ENOENT"), or NULL when glibc knows none.
const char *_Nullable escra_errno_name(int error);

/// Field 22 of /proc/PID/stat's clock: CLOCK_BOOTTIME now, in clock ticks (sysconf(_SC_CLK_TCK)).
int64_t escra_boottime_ticks(void);

/// WIFEXITED and friends of wait(2): the exit code, or 128 + the signal that ended the process.
int escra_exit_code(int status);

/// What a detached child is started with.
struct escra_spawn {
    /// An O_PATH or readable descriptor of the executable.
    int executable;
    char *_Nullable const *_Nonnull argv;
    char *_Nullable const *_Nonnull envp;
    /// Descriptors the child finds as 3, 4, 5, ... in this order.
    const int *_Nullable descriptors;
    int descriptor_count;
};

/// Starts a program that inherits nothing: no stdio (0-2 are /dev/null), no descriptor but the
/// ones named, default signal mask and dispositions, a session of its own, cwd /, umask 077.
/// It is not a child of the caller: a double fork hands it to the nearest subreaper, so that the
/// program the caller execs next has no child it did not start.
///
/// Returns the program's pid; that it works is told by its own first message.
pid_t escra_spawn_detached(const struct escra_spawn *_Nonnull spawn);

/// execveat(2) with descriptors from 3 on arranged as for `escra_spawn_detached`: the same process,
/// another image. Returns only on failure, with descriptors in disorder.
int escra_reexec(const struct escra_spawn *_Nonnull spawn);

/// seccomp(2): loads a filter that seccomp_export_bpf(3) wrote to `file`, read from its start.
/// Needs no_new_privs.
int escra_load_filter(int file);

/// fork(2) and execve(2) with stdout replaced by `stdout_fd` (-1: inherited). Returns the pid.
pid_t escra_fork_exec(const char *_Nonnull path, char *_Nullable const *_Nonnull argv,
                      char *_Nullable const *_Nonnull envp, int stdout_fd);

/// Gives up every capability but those in `keep` (bit N is capability N of capabilities(7)) in
/// all five sets, and sets no_new_privs. A bounding-set bit that is not ours to drop is left.
int escra_keep_capabilities(uint64_t keep);

/// perf_event_open(2): the CPU time that the tasks of one cgroup use on one CPU
/// (PERF_COUNT_SW_CPU_CLOCK, PERF_FLAG_PID_CGROUP), sampled each `period_ns`, disabled.
/// Each overflow queues `signal` (F_SETSIG) to the calling thread; see `escra_perf_arm`.
int escra_perf_cgroup_clock(int cgroup, int cpu, uint64_t period_ns, int signal);

/// PERF_EVENT_IOC_REFRESH by one: the event runs until its next overflow, then disables itself.
int escra_perf_arm(int event);

/// fanotify_init(2) and a mark for FAN_MODIFY on the inode of an open file, non-blocking; and on
/// that of another one, unless it is -1.
/// EPERM without CAP_SYS_ADMIN, EMFILE for one too many (fs.fanotify.max_user_groups).
int escra_fanotify_writes(int file, int other);

/// Has what `escra_fanotify_writes` has opened hear of writes to one more open file.
int escra_fanotify_add(int watch, int file);

/// The most events that one call of `escra_fanotify_take` gives.
enum { ESCRA_EVENTS = 64 };

/// Takes events off `escra_fanotify_writes`: whose writes they were, as pids of this namespace.
/// Returns how many, 0 for none; `writers` has room for ESCRA_EVENTS.
int escra_fanotify_take(int watch, pid_t *_Nullable writers);

/// Has the kernel kill this process with SIGKILL when another one writes to a FIFO that this one
/// has open for reading: F_SETOWN, F_SETSIG, O_ASYNC of fcntl(2). A stopped process dies as well.
int escra_die_on_input(int fifo);

/// Rights on files and directories of landlock(7): bits of LANDLOCK_ACCESS_FS_*.
enum {
    ESCRA_READ_FILES = 1 << 2,
    /// List directories; read, replace and remove regular files.
    ESCRA_KEEP_FILES = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 8 | 1 << 14,
    /// Make and remove directories, sockets and FIFOs.
    ESCRA_KEEP_ROOM = 1 << 4 | 1 << 7 | 1 << 9 | 1 << 10,
    ESCRA_LIST = 1 << 3,
    ESCRA_WRITE_FILES = 1 << 1,
};

/// landlock_create_ruleset(2): rules that deny every access to files by name, TCP, and where the
/// kernel can (Linux 6.12) abstract Unix sockets of others and, unless `allows_signals`, signals to
/// others. errno: ENOSYS or EOPNOTSUPP where the kernel has no landlock.
int escra_landlock_rules(bool allows_signals);

/// landlock_add_rule(2): allows rights below an open directory, or on an open file; those that the
/// kernel does not know are left out.
int escra_landlock_allow(int rules, int file, uint64_t rights);

/// landlock_restrict_self(2), which needs no_new_privs; there is no way back.
int escra_landlock_enter(int rules);

/// The number the kernel's real-time signals start at, as glibc leaves them (SIGRTMIN is a call).
int escra_sigrtmin(void);

/// Exchanges two names of a directory: renameat2(2) with RENAME_EXCHANGE.
int escra_exchange(int dir, const char *_Nonnull one, const char *_Nonnull other);

/// stat(2) of a name in a directory, without the symbol versions that confuse the importer.
int escra_fstatat(int dir, const char *_Nonnull name, struct stat *_Nonnull status, bool follow);

/// ioctl(TIOCGWINSZ): columns and rows of a terminal; -1 where there is none.
int escra_terminal_size(int fd, int *_Nonnull columns, int *_Nonnull rows);

/// madvise(2), MADV_DONTNEED: gives back the pages of the stack below its caller, which hold what
/// earlier calls have left and nobody will read.
void escra_trim_stack(void);

/// madvise(2), MADV_DONTNEED: unmaps the read-only pages of the program and of its libraries from
/// its own process. They stay in the page cache, and each is mapped again, with the 64 KiB around
/// it (fault_around_bytes), when it is used.
void escra_trim_program(void);

/// prctl(PR_SET_PDEATHSIG, 0): forget the signal an earlier parent arranged.
int escra_clear_parent_death_signal(void);

/// syslog(3) at LOG_ERR or LOG_WARNING, facility daemon, without keeping a descriptor open.
void escra_syslog(bool error, const char *_Nonnull message);

/// Connects to syslog now, for a message of a process that cannot do so later.
void escra_open_syslog(void);

/// eventfd(2), non-blocking and close-on-exec.
int escra_eventfd(void);

/// Registers usage thresholds of cgroup v1 at an eventfd: one write of "<eventfd> <usage file>
/// <bytes>" to cgroup.event_control each (Documentation/admin-guide/cgroup-v1/memory.rst, 9).
/// Each waits for an RCU grace period, so a process of its own does it, which has these three
/// descriptors and nothing else, and ends when it is through or the group is gone. Returns at once.
int escra_register_thresholds(int control, int event, int usage,
                              const int64_t *_Nonnull thresholds, int count);

/// sched_setattr(2): has this process, and none that it forks, let in at once when it wakes:
/// SCHED_FIFO at its least priority, as long as it never runs for half a second without a wait
/// (RLIMIT_RTTIME); where that is refused the nice value -10 and slices of 0.1 ms (Linux 6.12).
int escra_set_realtime(void);

#endif
