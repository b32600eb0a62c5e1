// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import CSeccomp
internal import Glibc
internal import State
internal import Syscalls

/// What a process of ours gives up once it has opened what it needs.
///
/// It is meant to hold against code that an attacker runs inside of the process: each step that
/// fails ends the process.
enum Confinement {
  /// The system calls of a supervisor's loop, of its way out, and of Swift's and glibc's heap.
  private static let supervisorCalls = [
    // The loop.
    "epoll_create1", "epoll_wait", "epoll_pwait", "epoll_ctl", "timerfd_create", "timerfd_settime",
    "read", "pread64", "write", "clock_gettime", "accept4", "recvfrom", "recvmsg",
    "sendto", "getsockopt", "geteuid", "getpid", "poll",
    // State: replaced as a whole, removed at the end.
    "close", "fstat", "newfstatat", "renameat", "renameat2", "unlinkat",
    // The heap, hashing, and ending in order or in a trap.
    "brk", "munmap", "mremap", "madvise", "getrandom", "futex", "rt_sigreturn",
    "rt_sigprocmask", "restart_syscall", "exit", "exit_group",
  ]

  /// What a strict container's supervisor needs beside: it goes through the tree of cpusets for as
  /// long as it lives, under the registry's lock.
  private static let fenceCalls = [
    "getdents64", "inotify_add_watch", "flock", "sched_setaffinity", "mkdir", "mkdirat", "rename",
    "pidfd_open", "pidfd_send_signal", "clock_nanosleep", "lseek", "stat", "statx", "rmdir",
    "bind", "listen",
  ]

  /// What a member of an application needs beside: it finds the others, and they it, for as long as
  /// it lives, and ends who is silent.
  private static let memberCalls = [
    "connect", "bind", "listen", "getdents64", "mkdirat", "lseek", "access", "faccessat2",
  ]

  /// A system call, and what the lower half of some of its arguments has to be under a mask.
  private struct Limited {
    var name: String
    var arguments: [(index: UInt32, mask: UInt64, value: UInt64)]

    init(_ name: String, _ arguments: (index: UInt32, value: Int32)...) {
      self.name = name
      self.arguments = arguments.map {
        ($0.index, 0xffff_ffff, UInt64(UInt32(bitPattern: $0.value)))
      }
    }

    init(_ name: String, _ index: UInt32, mask: Int32, value: Int32 = 0) {
      self.name = name
      arguments = [(index, UInt64(UInt32(bitPattern: mask)), UInt64(UInt32(bitPattern: value)))]
    }
  }

  /// Calls that are kept from the files of the history, which nothing but write(2) may change, and
  /// that must not have another number or lose O_APPEND.
  ///
  /// - Parameter limited: The calls.
  /// - Returns: Each of them for the numbers below those files' and for those above. The kernel takes
  ///   the lower half of a word for a number, so that a comparison of words would let more through.
  private static func besidesHistory(_ limited: [Limited]) -> [Limited] {
    let first = UInt64(ReexecState.Place.history.rawValue)
    let last = UInt64(ReexecState.Place.historyTrace.rawValue)
    // Equal to the bound in all higher bits, and then less than the first or more than the last.
    let below = (UInt64(0)..<20).compactMap { bit -> (mask: UInt64, value: UInt64)? in
      let mask: UInt64 = ~0 << bit
      return first >> bit & 1 == 1 ? (mask, first & mask & ~(1 << bit)) : nil
    }
    let above = (UInt64(0)..<20).compactMap { bit -> (mask: UInt64, value: UInt64)? in
      let mask: UInt64 = ~0 << bit
      return last >> bit & 1 == 0 ? (mask, last & mask | 1 << bit) : nil
    }
    return limited.flatMap { call in
      (below + above).map { number in
        var call = call
        call.arguments.append((0, number.mask, number.value))
        return call
      }
    }
  }

  /// Calls of every supervisor that would otherwise do more than it needs: F_SETOWN and FIOSETOWN
  /// send signals to any process of root.
  private static let limitedCalls =
    [F_GETFD, F_SETFD, F_GETFL, F_SETLK, F_GETLK].map { Limited("fcntl", (1, $0)) }
    + [
      Limited("ioctl", (1, 0x2402)),  // PERF_EVENT_IOC_REFRESH
      Limited("mmap", 2, mask: PROT_EXEC),
      Limited("openat", 2, mask: 0x20_0000),  // O_PATH
    ]

  private static let fileCalls = besidesHistory([
    Limited("ftruncate"), Limited("pwrite64"), Limited("fcntl", (1, F_DUPFD_CLOEXEC)),
  ])

  private static let limitedSocket = Limited(
    "socket", (0, AF_UNIX),
    (1, CInt(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)), (2, 0))

  /// What ``ApplicationDirectory`` takes: a FIFO by which others end this process, and no other one.
  private static func limitedMemberCalls(_ process: Int32) -> [Limited] {
    [
      limitedSocket, Limited("mknodat", 2, mask: 0o170000, value: 0o010000),
      Limited("fcntl", (1, F_SETOWN), (2, process)),
      Limited("fcntl", (1, 10), (2, SIGKILL)),  // F_SETSIG
    ] + besidesHistory([Limited("fcntl", (1, F_SETFL), (2, O_ASYNC | O_NONBLOCK))])
  }

  // MARK: supervisors

  /// Takes the file system and all capabilities from a supervisor.
  ///
  /// It stays user 0, which may write root's files without any capability. So none is in reach: the
  /// root of its file system has nothing but what it needs, and its own directory, which may be
  /// outside of that root, is in a directory that only CAP_DAC_OVERRIDE gets through.
  ///
  /// - Parameters:
  ///   - root: What becomes the root: its own directory, or its application's.
  ///   - directory: Its own directory.
  /// - Throws: ``SystemError`` that says what it could not give up.
  static func confineSupervisor(to root: String, _ directory: String) throws(SystemError) {
    let slash = directory.utf8.lastIndex(of: UInt8(ascii: "/"))
    let shared = String(directory[..<(slash ?? directory.startIndex)])
    try retrying("close", shared) { chmod(shared, 0) }
    try retrying("make the root directory", root) { chroot(root) }
    try retrying("enter", "/") { chdir("/") }
    try giveUpCapabilities(keeping: 0)
  }

  /// What a supervisor may reach by name: for the image that supervises, which enters it.
  ///
  /// - Parameters:
  ///   - directory: Its own directory.
  ///   - room: Its application's; nil for a container alone.
  ///   - groups: Directories whose files the kernel opens for it, when it names the process that
  ///     has written one.
  ///   - files: Other files that it opens for it then.
  /// - Returns: ``FileDescriptor/none`` where the kernel has no landlock.
  /// - Throws: ``SystemError``.
  static func rules(
    for directory: borrowing FileDescriptor, room: String?, reading groups: [String],
    _ files: [Int32]
  ) throws(SystemError) -> FileDescriptor {
    let rules = try makeRules(allowsSignals: false)
    guard rules.isOpen else { return rules }
    try allow(rules, directory.number, ESCRA_KEEP_FILES)
    if let room { try allow(rules, below: room, ESCRA_KEEP_FILES | ESCRA_KEEP_ROOM) }
    for group in groups { try allow(rules, below: group, ESCRA_READ_FILES) }
    for number in files { try allow(rules, number, ESCRA_READ_FILES) }
    return rules
  }

  /// - Returns: ``FileDescriptor/none`` where the kernel has no landlock, or was started without.
  private static func makeRules(allowsSignals: Bool) throws(SystemError) -> FileDescriptor {
    let rules = FileDescriptor(owning: escra_landlock_rules(allowsSignals))
    guard rules.isOpen || errno == ENOSYS || errno == EOPNOTSUPP else {
      throw SystemError.last("make", "rules of landlock")
    }
    return rules
  }

  private static func allow(
    _ rules: borrowing FileDescriptor, below path: String, _ rights: Int
  ) throws(SystemError) {
    let directory = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
    try allow(rules, directory.number, rights)
  }

  private static func allow(
    _ rules: borrowing FileDescriptor, _ file: Int32, _ rights: Int
  ) throws(SystemError) {
    try retrying("add to", "the rules of landlock") {
      escra_landlock_allow(rules.number, file, UInt64(rights))
    }
  }

  /// Leaves this process what rules and a filter allow; there is no way back.
  ///
  /// - Parameters:
  ///   - rules: ``FileDescriptor/none`` where the kernel has no landlock.
  ///   - filter: What ``supervisorFilter(isMember:)`` made.
  /// - Throws: ``SystemError``.
  static func enter(
    _ rules: borrowing FileDescriptor, _ filter: borrowing FileDescriptor
  ) throws(SystemError) {
    if rules.isOpen {
      try retrying("enter", "the rules of landlock") { escra_landlock_enter(rules.number) }
    }
    try retrying("load", "the seccomp filter") { escra_load_filter(filter.number) }
  }

  /// Leaves a strict container's supervisor its system calls, CAP_DAC_OVERRIDE (1), and of the file
  /// system the writing of cpusets and of our own state.
  ///
  /// The groups of others, which it has to narrow, may belong to other users, and a container's state
  /// and pid file may be anywhere. It ends a process of ours that was stopped under the registry's lock.
  ///
  /// - Parameters:
  ///   - root: Where our state is.
  ///   - cpusets: The root of the hierarchy of cpusets.
  ///   - makesPartitions: Whether CAP_SYS_ADMIN (21) stays as well: the kernel asks for it when a
  ///     partition is made below a group that is none (remote_partition_enable of
  ///     kernel/cgroup/cpuset.c). None of the calls that are left needs it for anything else.
  /// - Throws: ``SystemError`` that says what it could not give up.
  static func confineStrictSupervisor(
    _ root: StateRoot, cpusets: String, makesPartitions: Bool
  ) throws(SystemError) {
    let rules = try makeRules(allowsSignals: true)
    if rules.isOpen {
      try allow(rules, below: "/", ESCRA_READ_FILES | ESCRA_LIST)
      try allow(rules, below: root.path, ESCRA_KEEP_FILES | ESCRA_KEEP_ROOM)
      try allow(rules, below: cpusets, ESCRA_WRITE_FILES)
    }
    let filter = try filter(
      supervisorCalls + fenceCalls + ["ftruncate", "pwrite64"],
      limitedCalls + [Limited("fcntl", (1, F_DUPFD_CLOEXEC)), limitedSocket])
    try giveUpCapabilities(keeping: 1 << 1 | (makesPartitions ? 1 << 21 : 0))
    try enter(rules, filter)
  }

  // MARK: the keeper

  /// What a keeper may need later: CAP_DAC_OVERRIDE (1) for other users' bundles, CAP_SYS_CHROOT
  /// (18) and CAP_SYS_NICE (23) so that a supervisor it starts can be confined and let in at once,
  /// CAP_SYS_ADMIN (21), CAP_PERFMON (38) and CAP_BPF (39) to open what its supervisors watch,
  /// CAP_SYS_RESOURCE (24) for PSI triggers before Linux 6.5.
  ///
  /// - Throws: ``SystemError``.
  static func confineKeeper() throws(SystemError) {
    let keep = [1, 18, 21, 23, 24, 38, 39].reduce(UInt64(0)) { $0 | 1 << UInt64($1) }
    try giveUpCapabilities(keeping: keep)
  }

  private static func giveUpCapabilities(keeping kept: UInt64) throws(SystemError) {
    try retrying("give up", "capabilities") { escra_keep_capabilities(kept) }
  }

  // MARK: system calls

  /// The filter that leaves a supervisor its own system calls, as a file with the BPF program.
  ///
  /// Everything else fails with EPERM, so that a call that was not thought of is an error and no
  /// death.
  ///
  /// - Parameter isMember: Whether it takes part in an application.
  /// - Returns: The program.
  /// - Throws: ``SystemError`` where it cannot be made.
  static func supervisorFilter(isMember: Bool = false) throws(SystemError) -> FileDescriptor {
    // Its lock goes before it does, so that the keeper need not wait for its end.
    let limited = limitedCalls + fileCalls + [Limited("flock", (1, LOCK_UN))]
    guard isMember else { return try filter(supervisorCalls, limited) }
    return try filter(supervisorCalls + memberCalls, limited + limitedMemberCalls(getpid()))
  }

  private static func filter(
    _ calls: [String], _ limited: [Limited]
  ) throws(SystemError) -> FileDescriptor {
    let failure = SystemError("make", "a seccomp filter", errno: EINVAL)
    let refuse: UInt32 = 0x0005_0000 | UInt32(EPERM)  // SCMP_ACT_ERRNO(EPERM)
    guard let filter = seccomp_init(refuse) else { throw failure }
    defer { seccomp_release(filter) }
    for call in calls.map({ Limited($0) }) + limited {
      let number = seccomp_syscall_resolve_name(call.name)
      // Older architectures have calls that newer ones do without.
      if number < 0 { continue }
      let arguments = call.arguments.map {
        scmp_arg_cmp(
          arg: $0.index, op: SCMP_CMP_MASKED_EQ, datum_a: $0.mask, datum_b: $0.value)
      }
      guard
        seccomp_rule_add_array(
          filter, SCMP_ACT_ALLOW, number, UInt32(arguments.count), arguments) == 0
      else { throw failure }
    }
    let file = FileDescriptor(owning: escra_anonymous_file("escra-filter"))
    guard file.isOpen, seccomp_export_bpf(filter, file.number) == 0 else { throw failure }
    return file
  }
}
