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
    "pwrite64", "ioctl", "clock_gettime", "accept4", "recvfrom", "sendto", "getsockopt", "geteuid",
    "poll",
    // State: replaced as a whole, removed at the end.
    "openat", "close", "fstat", "newfstatat", "rename", "renameat", "unlinkat", "rmdir", "fcntl",
    // The heap, hashing, and ending in order or in a trap.
    "brk", "mmap", "munmap", "mremap", "madvise", "getrandom", "futex", "rt_sigreturn",
    "rt_sigprocmask", "restart_syscall", "exit", "exit_group",
  ]

  /// Leaves a supervisor with the files it has open, its own directory and nothing else.
  ///
  /// - Parameter directory: What becomes the root of its file system: the state directories.
  /// - Returns: What could not be given up, for the record; empty when all was.
  static func confineSupervisor(to directory: String) -> [String] {
    var kept: [String] = []
    // It stays user 0, which may write root's files without any capability: so no such file is
    // in reach any more. What it writes to the kernel it has open already.
    if chroot(directory) != 0 || chdir("/") != 0 { kept.append("the file system") }
    if escra_keep_capabilities(0) != 0 { kept.append("capabilities") }
    if !restrictSystemCalls(to: supervisorCalls) { kept.append("system calls") }
    return kept
  }

  /// What a keeper may need later: CAP_DAC_OVERRIDE (1) for other users' bundles, CAP_SYS_CHROOT
  /// (18) so that a supervisor it starts can be confined, CAP_SYS_ADMIN (21), CAP_PERFMON (38)
  /// and CAP_BPF (39) to open what its supervisors watch.
  static func confineKeeper() {
    let keep = [1, 18, 21, 38, 39].reduce(UInt64(0)) { $0 | 1 << UInt64($1) }
    _ = escra_keep_capabilities(keep)
  }

  /// Everything else fails with EPERM, so that a call nobody thought of is an error and no death.
  private static func restrictSystemCalls(to names: [String]) -> Bool {
    let refuse: UInt32 = 0x0005_0000 | UInt32(EPERM)  // SCMP_ACT_ERRNO(EPERM)
    guard let filter = seccomp_init(refuse) else { return false }
    defer {
      seccomp_release(filter)
      escra_trim_heap()
    }
    for name in names {
      let number = seccomp_syscall_resolve_name(name)
      if number >= 0 { seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, 0, nil) }
    }
    return seccomp_load(filter) == 0
  }
}
