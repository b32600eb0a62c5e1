// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import CSeccomp
internal import Glibc
internal import Syscalls

/// What a process of ours gives up once it has opened what it needs.
enum Confinement {
  /// The system calls of a supervisor's loop, of its way out, and of Swift's and glibc's heap.
  private static let supervisorCalls = [
    // The loop.
    "epoll_wait", "epoll_pwait", "epoll_ctl", "timerfd_settime", "read", "pread64", "write",
    "pwrite64", "ioctl", "clock_gettime", "accept4", "recvfrom", "recvmsg", "sendto", "getsockopt",
    "geteuid",
    "poll",
    // State: replaced as a whole, removed at the end.
    "openat", "close", "fstat", "newfstatat", "rename", "renameat", "unlinkat", "rmdir", "fcntl",
    // The heap, hashing, and ending in order or in a trap.
    "brk", "mmap", "munmap", "mremap", "madvise", "getrandom", "futex", "rt_sigreturn",
    "rt_sigprocmask", "restart_syscall", "exit", "exit_group",
  ]

  /// What a strict container's supervisor needs beside: it goes through the tree of cpusets for as
  /// long as it lives, under the registry's lock.
  private static let fenceCalls = [
    "getdents64", "inotify_add_watch", "flock", "sched_setaffinity", "mkdir", "mkdirat",
    "pidfd_open", "pidfd_send_signal", "clock_nanosleep", "lseek", "getpid", "stat", "statx",
    "socket", "bind", "listen",
  ]

  /// What a member of an application needs beside: it finds the others, and they it, for as long as
  /// it lives, and ends who is silent.
  private static let memberCalls = [
    "socket", "connect", "bind", "listen", "pidfd_open", "pidfd_send_signal", "getpid",
    "getdents64", "mkdirat", "lseek", "access", "faccessat2", "epoll_create1", "timerfd_create",
  ]

  /// What ``confineSupervisor(to:)`` calls the file system.
  static let fileSystem = "the file system"

  /// Leaves a supervisor with the files it has open, its own directory and nothing else; the
  /// system calls are left to the image that supervises, which needs no execve(2) any more.
  ///
  /// - Parameter directory: What becomes the root of its file system: the state directories, and for
  ///   a member of an application those of applications beside them.
  /// - Returns: What could not be given up, for the log; empty when all was.
  static func confineSupervisor(to directory: String) -> [String] {
    var kept: [String] = []
    // It stays user 0, which may write root's files without any capability: so no such file is
    // in reach any more. What it writes to the kernel it has open already.
    if chroot(directory) != 0 || chdir("/") != 0 { kept.append(fileSystem) }
    if escra_keep_capabilities(0) != 0 { kept.append("capabilities") }
    return kept
  }

  /// Leaves a strict container's supervisor its system calls and CAP_DAC_OVERRIDE (1).
  ///
  /// The groups of others, which it has to narrow, may belong to other users. The file system stays in
  /// its reach, as any new group has to be.
  ///
  /// - Parameter makesPartitions: Whether CAP_SYS_ADMIN (21) stays as well: the kernel asks for it
  ///   when a partition is made below a group that is none (remote_partition_enable of
  ///   kernel/cgroup/cpuset.c). None of the calls that are left needs it for anything else.
  static func confineStrictSupervisor(makesPartitions: Bool) {
    let filter = filter(supervisorCalls + fenceCalls)
    _ = escra_keep_capabilities(1 << 1 | (makesPartitions ? 1 << 21 : 0))
    restrictSystemCalls(to: filter)
  }

  /// What a keeper may need later: CAP_DAC_OVERRIDE (1) for other users' bundles, CAP_SYS_CHROOT
  /// (18) and CAP_SYS_NICE (23) so that a supervisor it starts can be confined and let in at once,
  /// CAP_SYS_ADMIN (21), CAP_PERFMON (38) and CAP_BPF (39) to open what its supervisors watch.
  static func confineKeeper() {
    let keep = [1, 18, 21, 23, 38, 39].reduce(UInt64(0)) { $0 | 1 << UInt64($1) }
    _ = escra_keep_capabilities(keep)
  }

  /// The filter that leaves a supervisor its own system calls, as a file with the BPF program.
  ///
  /// Everything else fails with EPERM, so that a call nobody thought of is an error and no death.
  ///
  /// - Parameter isMember: Whether it takes part in an application.
  /// - Returns: ``FileDescriptor/none`` where it cannot be made.
  static func supervisorFilter(isMember: Bool = false) -> FileDescriptor {
    filter(supervisorCalls + (isMember ? memberCalls : []))
  }

  private static func filter(_ calls: [String]) -> FileDescriptor {
    let refuse: UInt32 = 0x0005_0000 | UInt32(EPERM)  // SCMP_ACT_ERRNO(EPERM)
    guard let filter = seccomp_init(refuse) else { return .none }
    defer { seccomp_release(filter) }
    for name in calls {
      let number = seccomp_syscall_resolve_name(name)
      if number >= 0 { seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, 0, nil) }
    }
    let file = FileDescriptor(owning: escra_anonymous_file("escra-filter"))
    return file.isOpen && seccomp_export_bpf(filter, file.number) == 0 ? file : .none
  }

  /// Loads what ``supervisorFilter(isMember:)`` made; there is no way back.
  static func restrictSystemCalls(to filter: borrowing FileDescriptor) {
    if filter.isOpen { _ = escra_load_filter(filter.number) }
  }
}
