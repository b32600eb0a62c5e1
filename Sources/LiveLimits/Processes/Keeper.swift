// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Cgroups
internal import Glibc
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

/// The one process a host that notices a supervisor's death and starts another.
///
/// It holds a connection to each supervisor; a connection that closes is a death notice. It keeps
/// no state that matters: killed, it is started again by the next call of the runtime, and finds
/// all there is to find in the state directories. It ends with the last of them.
final class Keeper {
  static let socketName = "socket"

  let root: StateRoot
  let directory: FileDescriptor
  private let listener: FileDescriptor
  let poller: Poller
  private var timer: DeadlineTimer
  /// Connections to supervisors, by descriptor, with the instance each belongs to.
  var watched: [Int32: String] = [:]
  /// Those of them whose history syslog was told about.
  private var saidUnrecorded: Set<String> = []
  /// What tells of the end of containers that were released, with the instance of each: init's pidfd,
  /// or cgroup.events.
  var released: [Int32: String] = [:]
  /// Instances to look at again, and when.
  private var due: [String: Nanoseconds] = [:]
  private var callers: [Int32] = []
  /// Those of them that have asked for something.
  var asked: Set<Int32> = []
  var crashes: [String: RestartBackoff] = [:]
  /// Reports that a container's own group was removed from one of ours.
  let groupWatch = FileWatch.ifAvailable()
  private var nextLook: Nanoseconds?
  var nextSweep: Nanoseconds?
  var isSeated = false
  /// A scope of its own, as long as it is asked for.
  private var scope: ScopeRequest?

  static let sweepDelay: Nanoseconds = 1_000_000_000
  /// For how long the last act of all is tried again.
  static let parentPatience: Nanoseconds = 20_000_000_000

  enum Token {
    static let listener: UInt64 = 1
    static let timer: UInt64 = 2
    static let scope: UInt64 = 3
    static let pressure: UInt64 = 4
    static let groups: UInt64 = 5
    static let connection: UInt64 = 1 << 32
    static let exit: UInt64 = 1 << 33
  }

  /// Becomes the keeper; nil when there is one.
  init?(_ root: StateRoot) throws(SystemError) {
    self.root = root
    // Before the lock: the kernel takes some 10 ms to remove a trigger, and closes the files of a process
    // that was killed from the last one opened to the first.
    let triggers = Self.watchPressure()
    if mkdir(root.keeper, 0o700) != 0 && errno != EEXIST {
      throw SystemError.last("make directory", root.keeper)
    }
    let keeper = try StateDirectory(opening: root.keeper)
    guard keeper.claim() else { return nil }
    directory = keeper.release()
    try directory.remove(Self.socketName)
    listener = try ControlSocket.listen(on: Self.socketName, in: directory)
    poller = try Poller()
    timer = try DeadlineTimer()
    try poller.addListener(listener.number, token: Token.listener)
    try poller.add(timer.descriptor.number, token: Token.timer)
    // Where the kernel has none, a supervisor that was stopped is not found.
    for number in triggers
    where !poller.addUrgentIfPossible(number, token: Token.pressure) { close(number) }
    try groupWatch.add(to: poller, token: Token.groups)
  }

  /// Keeps until there is nothing left to keep.
  func run() throws(SystemError) {
    scope = ScopeRequest(Role.keeper.rawValue, for: root.path)
    if let number = scope?.socket.number { try poller.add(number, token: Token.scope) }
    repeat {
      look()
      // Who is watched has an instance, also where no descriptor is left to look for one.
      while !watched.isEmpty || !callers.isEmpty || root.hasInstances || root.hasOuterGroups {
        // What is left of a container that no supervisor was connected for.
        if watched.isEmpty { sweepGroups() }
        let next = min(nextLook ?? .max, nextSweep ?? .max, due.values.min() ?? .max)
        try timer.set(next == .max ? nil : next)
        if next == .max { escra_trim_program() }
        var tokens: [UInt64] = []
        try poller.wait { tokens.append($0) }
        for token in tokens { try handle(token) }
      }
      CPUFence.letBack(root)
      ApplicationDirectory.sweep(root)
      leaveParents()
      sweepHooks(leavingNothing: true)
      // That takes a while, and who came meanwhile has found that there is a keeper.
    } while root.hasInstances || root.hasOuterGroups
    directory.removeIfPossible(Self.socketName)
    rmdir(root.keeper)
    // Who ends before it is in its scope leaves that behind.
    _ = scope?.answer(within: 5_000)
  }

  func handle(_ token: UInt64) throws(SystemError) {
    switch token {
    case Token.listener: accept()
    case Token.timer:
      timer.acknowledge()
      let now = monotonicNow()
      if let moment = nextSweep, moment <= now {
        nextSweep = nil
        sweepHooks(leavingNothing: false)
        ApplicationDirectory.sweep(root)
        sweepParents()
        keepOffStrictCPUs()
      }
      if let moment = nextLook, moment <= now {
        nextLook = nil
        look()
      }
      for (path, moment) in due where moment <= now {
        due[path] = nil
        look(at: path)
      }
    case Token.scope:
      guard let outcome = scope?.receive(), outcome != .pending else { return }
      if let number = scope?.socket.number { poller.remove(number) }
      scope = nil
      if case .refused(let reason) = outcome {
        escra_syslog(
          false,
          "escra: systemd made no scope for the keeper (\(reason)); it ends with its caller's group"
        )
      }
    case Token.pressure: endStopped()
    case Token.groups:
      groupWatch.drain()
      sweepGroups()
    case Token.exit...: part(Int32(token - Token.exit))
    default: hear(Int32(token - Token.connection))
    }
  }

  /// Takes all waiting callers; without a descriptor to spare they wait until there is one.
  private func accept() {
    while let caller = ControlSocket.accept(from: listener) {
      let number = caller.release()
      if poller.addIfPossible(number, token: Token.connection + UInt64(number)) {
        callers.append(number)
      } else {
        close(number)
      }
    }
  }

  private func hear(_ number: Int32) {
    let socket = ControlSocket(owning: FileDescriptor(owning: number))
    switch socket.receive() {
    case .message(.lookAt(let instance)):
      lookAt(instance)
      asked.insert(number)
      socket.send(.looked)
      _ = socket.release()
    case .message(.askEnd):
      if let path = watched[number],
        StateDirectory.load(at: path)?.isOver == true
      {
        socket.send(.over)
      }
      _ = socket.release()
    case .message(.look):
      look()
      asked.insert(number)
      socket.send(.looked)
      _ = socket.release()
    case .message(.whoIs(let process)):
      socket.send(.named(process, ProcessIdentity.name(of: process) ?? ""))
      _ = socket.release()
    case .message(.unrecorded(let errno)):
      _ = socket.release()
      if let path = watched[number], saidUnrecorded.insert(path).inserted {
        // It may have removed its directory by now.
        let id = (try? StateDirectory(opening: path))?.load()?.id ?? path
        let error = SystemError("write", "its history", errno: errno)
        escra_syslog(true, "escra: a run of container \(id) is not recorded in full: \(error)")
      }
    case .nothing, .message, .nonsense:
      _ = socket.release()
    case .end:
      // Closing is not enough: a child that was just forked has a copy of it until it is another
      // program, and the poller would tell of a number that means something else by then.
      poller.remove(number)
      callers.removeAll { $0 == number }
      _ = consume socket
      // There is a descriptor to spare now.
      accept()
      if let path = watched.removeValue(forKey: number) {
        saidUnrecorded.remove(path)
        handleDeath(path)
      } else if asked.remove(number) == nil {
        // It adopts one of them, or has died over that.
        for path in Set(released.values) { look(at: path) }
      }
    }
  }

  func lookAgain(in delay: Nanoseconds) {
    nextLook = min(nextLook ?? .max, monotonicNow() + delay)
  }

  func lookAgain(at path: String, in delay: Nanoseconds) {
    due[path] = min(due[path] ?? .max, monotonicNow() + delay)
  }
}
