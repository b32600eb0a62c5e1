// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Hooks
internal import Syscalls

/// The hooks in the scheduler that all supervisors of a root share.
///
/// `bpf/LAYOUT` below the root says by which ids they are found, and the flock(2) on `bpf/` is held
/// while one is at work on them: two that start at once load once, and nobody sweeps away what
/// somebody else is just about to enter. The file is a hint: what it names may be gone.
struct HookShare: ~Copyable {
  private let directory: FileDescriptor
  private let file: String

  /// More than this no one is held up by another; without hooks a supervisor samples.
  private static let patience: Nanoseconds = 1_000_000_000
  /// For how long a load may take: a quarter of a second where everything is emulated.
  private static let loadingTime: Nanoseconds = 2_000_000_000

  /// Takes the lock.
  ///
  /// - Throws: ``SystemError``; EBUSY when another process does not let go of it.
  init(_ root: StateRoot) throws(SystemError) {
    if mkdir(root.hooks, 0o700) != 0 && errno != EEXIST {
      throw SystemError.last("make directory", root.hooks)
    }
    let directory = try FileDescriptor.open(root.hooks, O_RDONLY | O_DIRECTORY)
    let deadline = monotonicNow() + Self.patience
    while try !directory.lock(wait: false) {
      guard monotonicNow() < deadline else {
        throw SystemError("lock", root.hooks, errno: EBUSY)
      }
      usleep(2000)
    }
    self.directory = directory
    file = String(HookIdentity.layout, radix: 16)
  }

  // Not by closing alone: a process that was just started may have the directory open still.
  deinit { flock(directory.number, LOCK_UN) }

  /// The hooks, loaded by a short-lived process where nobody has loaded them yet.
  ///
  /// - Throws: ``SystemError``: what the kernel says.
  func hooks() throws(SystemError) -> SchedulerHooks {
    if let known, let hooks = try? SchedulerHooks(opening: known) { return hooks }
    let loader = try Launcher.startHookLoader()
    let identity = try Self.answer(of: loader)
    // It keeps them until we hang up.
    let hooks = try SchedulerHooks(opening: identity)
    try directory.open(file, O_WRONLY | O_CREAT | O_TRUNC).write(identity.text)
    return hooks
  }

  /// Removes what dead supervisors left in the hooks that there are.
  ///
  /// - Parameter isEmpty: Whether nobody is left who could use them, so that nothing of them shall.
  func sweep(leavingNothing isEmpty: Bool) {
    if isEmpty { return (try? directory.remove(file)) ?? () }
    guard let known, let hooks = try? SchedulerHooks(opening: known) else { return }
    hooks.sweep { owner in
      // A process that nobody has reaped yet still has a pid.
      guard let handle = ProcessHandle(owner) else { return false }
      return !handle.hasEnded
    }
  }

  private var known: HookIdentity? {
    guard let text = try? directory.open(file, O_RDONLY).contents(subject: file) else {
      return nil
    }
    return HookIdentity(text)
  }

  private static func answer(
    of loader: borrowing FileDescriptor
  ) throws(SystemError) -> HookIdentity {
    var entry = pollfd(fd: loader.number, events: Int16(POLLIN), revents: 0)
    guard poll(&entry, 1, CInt(loadingTime / 1_000_000)) > 0 else {
      throw SystemError("load", "the hooks in the scheduler", errno: ETIMEDOUT)
    }
    var text = ""
    try withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) {
      buffer throws(SystemError) in
      let count = try loader.read(into: buffer)
      text = String(decoding: UnsafeRawBufferPointer(rebasing: buffer[..<count]), as: UTF8.self)
    }
    if let identity = HookIdentity(text) { return identity }
    throw SystemError("load", "the hooks in the scheduler", errno: Int32(text) ?? EPROTO)
  }

  /// What the short-lived process does: loads, says what, and keeps it until nobody listens.
  static func load(answering socket: borrowing FileDescriptor) throws(SystemError) {
    do throws(SystemError) {
      try socket.write(try SchedulerHooks.load().text)
    } catch {
      return try socket.write("\(error.errno)")
    }
    try withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) {
      buffer throws(SystemError) in
      _ = try socket.read(into: buffer)
    }
  }
}

extension StateRoot {
  /// Where it is written down how the hooks in the scheduler are found.
  var hooks: String { path + "/bpf" }
}
