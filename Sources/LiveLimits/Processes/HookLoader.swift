// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import Hooks
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

/// The hooks in the scheduler that all supervisors of a root share.
///
/// `bpf/LAYOUT` below the root says by which ids they are found, and the flock(2) on `bpf/` is held
/// while one is at work on them: two that start at once load once, and no process sweeps away what
/// another one is just about to enter. The file is a hint: what it names may be gone.
struct HookLoader: ~Copyable {
  private let directory: FileDescriptor

  /// More than this no one is held up by another; without hooks a supervisor samples.
  static let patience: Nanoseconds = 5_000_000_000
  /// For a process that keeps none waiting: the kernel may verify a program for longer than
  /// ``patience`` where everything is emulated.
  static let longPatience: Nanoseconds = 60_000_000_000

  /// Takes the lock.
  ///
  /// - Parameters:
  ///   - root: Where the hooks are shared.
  ///   - patience: For how long to wait for it, in nanoseconds.
  ///   - isWanted: Whether it still is, which is asked before it is taken.
  /// - Throws: ``SystemError``; EBUSY when another process does not let go of it, ECANCELED when it
  ///   is not wanted any more.
  init(
    _ root: StateRoot, patience: Nanoseconds = patience, while isWanted: () -> Bool = { true }
  ) throws(SystemError) {
    if mkdir(root.hooks, 0o700) != 0 && errno != EEXIST {
      throw SystemError.last("make directory", root.hooks)
    }
    let directory = try FileDescriptor.open(root.hooks, O_RDONLY | O_DIRECTORY)
    let wait = LockWait(for: patience)
    while true {
      guard isWanted() else { throw SystemError("lock", root.hooks, errno: ECANCELED) }
      if try directory.lock(wait: false) { break }
      guard wait.pause() else { throw SystemError("lock", root.hooks, errno: EBUSY) }
    }
    self.directory = directory
  }

  /// The file that names hooks of our layout.
  private static var file: String { String(HookIDs.layout, radix: 16) }

  // Not by closing alone: a process that was just started may have the directory open still.
  deinit { flock(directory.number, LOCK_UN) }

  /// Writes down how others find the hooks.
  ///
  /// By their holder, under the lock of their loader: a process that dies before it leaves no file
  /// behind, and a process that dies after it has a directory that the keeper sees.
  static func note(_ identity: HookIDs, _ root: StateRoot) {
    try? FileDescriptor.open(root.hooks + "/" + file, O_WRONLY | O_CREAT | O_TRUNC)
      .write(identity.text)
  }

  /// Removes what dead supervisors left in the hooks that there are.
  ///
  /// - Parameter isEmpty: Whether no process is left that could use them: then nothing of them
  ///   stays.
  func sweep(leavingNothing isEmpty: Bool) {
    if isEmpty { return directory.removeIfPossible(Self.file) }
    // Who minded memory last may have taken that program along.
    guard let known, let hooks = try? SchedulerHooks(opening: known.withoutMemory) else { return }
    hooks.sweep { pid in
      // A process that was not reaped yet still has a pid.
      guard let identity = ProcessIdentity(pid: pid), let handle = ProcessHandle(identity),
        !handle.hasEnded
      else { return nil }
      return identity
    }
  }

  private var known: HookIDs? {
    guard let text = directory.openIfPossible(Self.file, O_RDONLY)?.contentsIfReadable() else {
      return nil
    }
    return HookIDs(text)
  }

  /// What a short-lived process does for a supervisor: makes sure that the hooks are loaded, hangs
  /// its ring in, says what they are, and keeps all of it until the supervisor has taken it.
  ///
  /// - Parameters:
  ///   - root: Where they are shared.
  ///   - owner: The supervisor.
  ///   - mindsMemory: Whether events of memory are wanted, too.
  ///   - socket: Where it listens, if it still does: one that does not wait is no failure.
  static func serve(
    _ root: StateRoot, _ owner: ProcessIdentity, mindsMemory: Bool,
    answering socket: borrowing FileDescriptor
  ) {
    do throws(SystemError) {
      var share: HookLoader? = try HookLoader(root, patience: longPatience) { isHeard(socket) }
      let found = try Found(share?.known, mindsMemory: mindsMemory)
      // Not kept for the ring, at which the kernel waits.
      if !found.isNew { share = nil }
      try offer(found, owner, root, socket)
      _ = consume share
    } catch {
      socket.writeIfPossible("\(error.errno)")
    }
  }

  private static func offer(
    _ found: consuming Found, _ owner: ProcessIdentity, _ root: StateRoot,
    _ socket: borrowing FileDescriptor
  ) throws(SystemError) {
    let (identity, isNew) = (found.identity, found.isNew)
    let hooks = found.release()
    let ring = try hooks.hangRing(of: owner)
    try socket.write("\(ring.id) \(isNew ? 1 : 0) " + identity.text)
    // It has taken them by what they are called and closed; or it went on without, and says so.
    if let order = WatchRequest(try word(from: socket)) {
      // Of new ones the lock is this process's already.
      let share =
        isNew ? nil : try HookLoader(root, patience: longPatience) { isHeard(socket) }
      try hooks.watch(order.group, outer: order.outer, order.limits, owner: owner)
      if isNew { note(identity, root) }
      _ = consume share
      let files = hooks.files(with: ring)
      let text = "\(hooks.nets.rawValue)"
      try retrying("send", "the hooks in the scheduler") {
        escra_send_files(socket.number, text, text.utf8.count, files, CInt(files.count))
      }
    }
    _ = consume ring
    _ = consume hooks
  }

  /// Whether the other end is open: nothing is loaded for a supervisor that has died meanwhile, of
  /// which no process would sweep it away.
  private static func isHeard(_ socket: borrowing FileDescriptor) -> Bool {
    var entry = pollfd(fd: socket.number, events: 0, revents: 0)
    return poll(&entry, 1, 0) <= 0 || entry.revents & Int16(POLLHUP) == 0
  }

  /// One packet, as text; empty when the other end has closed.
  fileprivate static func word(
    from socket: borrowing FileDescriptor
  ) throws(SystemError) -> Substring {
    try withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) {
      buffer throws(SystemError) in
      let count = try socket.read(into: buffer)
      return Substring(
        decoding: UnsafeRawBufferPointer(rebasing: buffer[..<count]), as: UTF8.self)
    }
  }
}

/// Hooks that a supervisor can have: those that there are, or new ones.
///
/// The program that minds memory is loaded when a supervisor first wants it, on the maps that there
/// are, and goes with the last of them: it runs whenever a task of the machine is charged for
/// memory.
private struct Found: ~Copyable {
  private let hooks: SchedulerHooks
  let identity: HookIDs
  /// Whether something was loaded that others cannot find yet.
  let isNew: Bool

  init(_ known: HookIDs?, mindsMemory: Bool) throws(SystemError) {
    let isSettled =
      !mindsMemory || known.map { !$0.nets.isDisjoint(with: [.memory, .memoryRefused]) } == true
    let wanted = mindsMemory ? known : known?.withoutMemory
    // The file is a hint: hooks that are gone are loaded anew.
    if isSettled, let wanted, let hooks = try? SchedulerHooks(opening: wanted) {
      self.hooks = hooks
      (identity, isNew) = (wanted, false)
      return
    }
    // What is kept open here cannot go before others are on its maps.
    let rest = known?.withoutMemory
    let kept: SchedulerHooks?
    // Hooks that are gone need not be kept.
    if let rest { kept = try? SchedulerHooks(opening: rest) } else { kept = nil }
    var loaded: HookIDs
    if kept != nil, let rest { loaded = rest } else { loaded = try SchedulerHooks.load() }
    if mindsMemory { loaded = SchedulerHooks.loadMemory(onto: loaded) }
    hooks = try SchedulerHooks(opening: loaded)
    (identity, isNew) = (loaded, true)
    _ = consume kept
  }

  consuming func release() -> SchedulerHooks { hooks }
}

/// What a supervisor asks for before there is a container: hooks that it hears by.
///
/// Loading takes 20 ms, and a ring 10 (the kernel waits for an RCU grace period); libbpf's heap is
/// not to be kept. So a short-lived process does it while this one goes on.
struct HookRequest: ~Copyable {
  private let socket: FileDescriptor
  private let root: StateRoot

  /// For how long it may take: seconds where everything is emulated and several start at once.
  private static let patience: Int32 = 5000

  /// Asks; nil if no process can be asked.
  ///
  /// - Parameters:
  ///   - root: Where they are shared.
  ///   - state: The container.
  init?(_ root: StateRoot, for state: ContainerState) {
    // Where nothing is written there is no line to come near to.
    let mindsMemory = state.memory != nil && state.policy != .observe
    guard state.usesHooks, let owner = ProcessIdentity(pid: getpid()),
      // A supervisor without hooks samples.
      let socket = try? Launcher.startHookLoader(root, for: owner, mindsMemory: mindsMemory)
    else { return nil }
    self.socket = socket
    self.root = root
  }

  /// What became of the request.
  enum Answer: ~Copyable {
    /// The kernel takes no hooks.
    case none
    case ready(SchedulerHooks)
    /// Not yet; who leaves a ``WatchRequest`` in the socket gets them later.
    case later(FileDescriptor)
  }

  /// Takes what was asked for.
  ///
  /// - Parameter state: The container. One whose memory is minded may be growing already, and is not
  ///   kept waiting.
  /// - Returns: The hooks, or why there are none.
  consuming func hooks(for state: ContainerState) -> Answer {
    var entry = pollfd(fd: socket.number, events: Int16(POLLIN), revents: 0)
    guard poll(&entry, 1, state.memory == nil ? Self.patience : 0) > 0 else {
      return .later(socket)
    }
    // A loader that has ended has no hooks to offer, and a supervisor without hooks samples.
    let parts = ((try? HookLoader.word(from: socket)) ?? "").split(separator: " ", maxSplits: 2)
    guard parts.count == 3, let ring = UInt32(parts[0]), let identity = HookIDs(parts[2]),
      // Gone meanwhile, they are no hooks to hear by.
      let hooks = try? SchedulerHooks(opening: identity, ring: ring)
    else { return .none }
    if parts[1] == "1" { HookLoader.note(identity, root) }
    return .ready(hooks)
  }
}

extension StateRoot {
  /// Where it is written down how the hooks in the scheduler are found.
  var hooks: String { path + "/bpf" }
}
