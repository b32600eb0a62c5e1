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

  private let root: StateRoot
  private let directory: FileDescriptor
  private let listener: FileDescriptor
  private let poller: Poller
  private var timer: DeadlineTimer
  /// Connections to supervisors, by descriptor, with the instance each belongs to.
  private var watched: [Int32: String] = [:]
  /// Those of them whose history syslog was told about.
  private var saidUnrecorded: Set<String> = []
  /// What tells of the end of containers that were released, with the instance of each: init's pidfd,
  /// or cgroup.events.
  private var released: [Int32: String] = [:]
  /// Instances to look at again, and when.
  private var due: [String: Nanoseconds] = [:]
  private var callers: [Int32] = []
  /// Those of them that have asked for something.
  private var asked: Set<Int32> = []
  private var crashes: [String: CrashCount] = [:]
  /// Reports that a container's own group was removed from one of ours.
  private let groupWatch = FileWatch.ifAvailable()
  private var nextLook: Nanoseconds?
  private var nextSweep: Nanoseconds?
  private var isSeated = false
  /// A scope of its own, as long as it is asked for.
  private var scope: ScopeRequest?

  private static let sweepDelay: Nanoseconds = 1_000_000_000
  /// For how long the last act of all is tried again.
  private static let parentPatience: Nanoseconds = 20_000_000_000

  private enum Token {
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
    where (try? poller.addUrgent(number, token: Token.pressure)) == nil { close(number) }
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
        var tokens: [UInt64] = []
        try poller.wait { tokens.append($0) }
        for token in tokens { try handle(token) }
      }
      CPUFence.letBack(root)
      ApplicationRoom.sweep(root)
      leaveParents()
      sweepHooks(leavingNothing: true)
      // That takes a while, and who came meanwhile has found that there is a keeper.
    } while root.hasInstances || root.hasOuterGroups
    try? directory.remove(Self.socketName)
    rmdir(root.keeper)
    // Who ends before it is in its scope leaves that behind.
    _ = scope?.answer(within: 5_000)
  }

  private func handle(_ token: UInt64) throws(SystemError) {
    switch token {
    case Token.listener: accept()
    case Token.timer:
      timer.acknowledge()
      let now = monotonicNow()
      if let moment = nextSweep, moment <= now {
        nextSweep = nil
        sweepHooks(leavingNothing: false)
        ApplicationRoom.sweep(root)
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
      if (try? poller.add(number, token: Token.connection + UInt64(number))) != nil {
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
        (try? StateDirectory(opening: path))?.load()?.isOver == true
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
        mourn(path)
      } else if asked.remove(number) == nil {
        // It adopts one of them, or has died over that.
        for path in Set(released.values) { look(at: path) }
      }
    }
  }

  /// Goes through all instances: connects to live supervisors, replaces dead ones.
  private func look() {
    // Without a descriptor to look with nobody is known to be gone.
    guard let paths = try? root.allInstances() else { return lookAgain(in: 1_000_000_000) }
    let known = Set(watched.values)
    for path in paths where !known.contains(path) { look(at: path) }
    ApplicationRoom.sweep(root)
    sweepParents()
    sweepGroups()
    keepOffStrictCPUs()
  }

  /// Removes the groups around those of containers that are gone.
  ///
  /// The low-level runtime removes the inner group; then the keeper tries the outer one again.
  private func sweepGroups() {
    let left = OuterGroups.sweep(root) { try? groupWatch.addChildren(of: $0) }
    if left == nil || (left ?? 0 > 0 && !groupWatch.hears) { lookAgain(in: 1_000_000_000) }
  }

  /// What a container held of its pod comes back when its instance is gone.
  private func sweepParents() {
    guard access(root.parents, F_OK) == 0 else { return }
    if ParentRegistry.sweep(root) { lookAgain(in: 500_000_000) }
  }

  /// The same when nobody is left.
  ///
  /// cgroup v1 compares a parent with a group below it also when that one has been removed, as long
  /// as a task that was in it has not been reaped (kernel/sched/core.c, sched_release_group). A
  /// supervisor lowers its container's limit when it ends; one that was killed has not.
  private func leaveParents() {
    let deadline = monotonicNow() + Self.parentPatience
    while access(root.parents, F_OK) == 0, ParentRegistry.sweep(root),
      root.instances().isEmpty, monotonicNow() < deadline
    {
      usleep(50_000)
    }
  }

  /// The keeper is in the root group as supervisors are, and no fence knows its pid.
  private func keepOffStrictCPUs() {
    let wasSeated = isSeated
    isSeated = CPUFence.seatCaller(root)
    if wasSeated && !isSeated { CPUFence.unseatCaller() }
  }

  /// Looks at the one instance that a call is about.
  ///
  /// - Parameter instance: The last two parts of its path.
  private func lookAt(_ instance: String) {
    let parts = instance.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, !parts.contains(where: { $0.isEmpty || $0 == "." || $0 == ".." })
    else { return }
    let path = root.containers + "/" + instance
    if !watched.values.contains(path) { look(at: path) }
    if CPUFence.isKept(root), (try? StateDirectory(opening: path))?.load()?.claim != nil {
      keepOffStrictCPUs()
    }
  }

  private func look(at path: String) {
    let directory: StateDirectory
    do throws(SystemError) {
      directory = try StateDirectory(opening: path)
    } catch {
      if !error.isGone { lookAgain(at: path, in: 1_000_000_000) }
      return
    }
    guard directory.claim() else {
      // Somebody holds it: a supervisor, or a shim that is about to start one.
      if !watch(directory) { lookAgain(at: path, in: 100_000_000) }
      return
    }
    resume(directory)
  }

  private func resume(_ directory: consuming StateDirectory) {
    let found: ContainerState?
    // One that cannot be read now is no reason to forget a container.
    do { found = try directory.read() } catch {
      return lookAgain(at: directory.path, in: 1_000_000_000)
    }
    guard let state = found else {
      // Between making the directory and writing the state there are microseconds.
      directory.remove()
      sweepGroups()
      return CPUFence.letBack(root)
    }
    if let stage = directory.releaseStage { return leaveAlone(state, stage, directory) }
    if directory.takeAdoption() { crashes[directory.path] = nil }
    replace(state, directory)
  }

  /// What is left to do for a container that nobody is to supervise: to give back what its releaser
  /// has not, and to forget it when it has ended.
  private func leaveAlone(
    _ state: ContainerState, _ stage: ReleaseStage, _ directory: consuming StateDirectory
  ) {
    crashes[directory.path] = nil
    let path = directory.path
    var state = state
    if state.initProcess == nil { findInit(&state, directory) }
    if state.isOver {
      if let membership = state.membership { FirstGrant.leave(membership, directory.nonce, root) }
      if stage == .done || state.claim == nil {
        directory.remove()
        return sweepGroups()
      }
      if (try? CPUFence(root: root).release(directory)) == nil {
        lookAgain(at: path, in: 1_000_000_000)
      }
      return
    }
    if stage == .asked, (try? Release.finish(state, directory, root)) == nil {
      lookAgain(at: path, in: 1_000_000_000)
    }
    guard !released.values.contains(path) else { return }
    if let number = watchEnd(of: state) {
      released[number] = path
    } else {
      // It has no init yet, or nothing tells of the end: on cgroup v1, once init has ended.
      lookAgain(at: path, in: state.phase == .starting ? 100_000_000 : 1_000_000_000)
    }
  }

  /// Finds the init of a container whose supervisor could not be started.
  private func findInit(_ state: inout ContainerState, _ directory: borrowing StateDirectory) {
    guard let found = (try? PidFileWait(state))?.look() else { return }
    state.initProcess = found
    if let group = try? FoundGroup(of: state) {
      state.complete(with: group.location, inode: group.inode, groups: group.groups)
    }
    try? directory.save(state)
  }

  /// Has the poller say when a container that nobody supervises may have ended: by init's pidfd, or
  /// by cgroup.events where init has ended before the others.
  ///
  /// - Returns: The descriptor; nil where nothing tells.
  private func watchEnd(of state: ContainerState) -> Int32? {
    let number: Int32
    if let handle = state.initProcess.flatMap({ ProcessHandle($0) }) {
      number = handle.release()
      if (try? poller.add(number, token: Token.exit + UInt64(number))) != nil { return number }
    } else {
      guard state.version == .v2, let path = state.cpuDirectory,
        let events = try? FileDescriptor.open(path + "/cgroup.events", O_RDONLY),
        // Reading takes note of what was said.
        (try? events.contents(subject: "a container's members")) != nil
      else { return nil }
      number = events.release()
      if (try? poller.addUrgent(number, token: Token.exit + UInt64(number))) != nil {
        return number
      }
    }
    close(number)
    return nil
  }

  /// The init of a container that was released has ended, or its last process.
  private func part(_ number: Int32) {
    poller.remove(number)
    close(number)
    // One that was adopted meanwhile has somebody else who notices.
    if let path = released.removeValue(forKey: number), !watched.values.contains(path) {
      look(at: path)
    }
  }

  /// Removes what dead supervisors have left in the hooks; that costs a little memory and no time,
  /// so it can wait until more have died.
  private func sweepHooks(leavingNothing isEmpty: Bool) {
    guard access(root.hooks, F_OK) == 0 else { return }
    // At the end somebody may just be loading for one who died, and nobody sweeps after us.
    let patience = isEmpty ? HookShare.longPatience : 0
    guard let share = try? HookShare(root, patience: patience) else {
      nextSweep = monotonicNow() + Self.sweepDelay
      return
    }
    share.sweep(leavingNothing: isEmpty)
  }

  /// A connection has closed: nearly always because its supervisor is dead, or done.
  private func mourn(_ path: String) {
    if nextSweep == nil { nextSweep = monotonicNow() + Self.sweepDelay }
    let directory: StateDirectory
    do throws(SystemError) {
      directory = try StateDirectory(opening: path)
    } catch {
      // Who cannot open it for another reason knows nothing of it.
      guard error.isGone else { return lookAgain(at: path, in: 100_000_000) }
      return forget(path)
    }
    // A dying process lets go of its files one by one; and one that merely hung up is not called
    // again and again.
    guard directory.claim() else { return lookAgain(at: path, in: 100_000_000) }
    if directory.isAbandoned {
      directory.remove()
      return forget(path)
    }
    resume(directory)
  }

  /// A container has ended, and its supervisor has removed all that it can reach.
  private func forget(_ path: String) {
    crashes[path] = nil
    ApplicationRoom.removeAbandoned(root)
    sweepParents()
    sweepGroups()
    keepOffStrictCPUs()
  }

  // MARK: supervisors that were stopped

  /// Has the kernel tell when tasks of the machine wait for a CPU, or for memory: that is when a
  /// supervisor may be needed, and one that was stopped does not come.
  ///
  /// 20 ms in 2 s, which the kernel allows without CAP_SYS_RESOURCE since Linux 6.5
  /// (Documentation/accounting/psi.rst). Tasks that a limit throttles count as waiting.
  ///
  /// - Returns: The triggers' descriptors.
  private static func watchPressure() -> [Int32] {
    ["cpu", "memory"].compactMap { name in
      guard let file = try? FileDescriptor.open("/proc/pressure/\(name)", O_RDWR | O_NONBLOCK),
        (try? file.write("some 20000 2000000\0")) != nil
      else { return nil }
      return file.release()
    }
  }

  /// Ends supervisors that were stopped; their deaths are noticed then.
  private func endStopped() {
    for (number, path) in watched {
      let socket = ControlSocket(owning: FileDescriptor(owning: number))
      let peer = socket.peer?.pid
      _ = socket.release()
      guard let pid = peer, ProcessIdentity.isStopped(pid: pid),
        let supervisor = (try? StateDirectory(opening: path))?.load()?.supervisor,
        supervisor.pid == pid, ProcessIdentity(pid: pid) == supervisor
      else { continue }
      _ = RegistryLock.evict(pid)
    }
  }

  private func watch(_ directory: borrowing StateDirectory) -> Bool {
    guard
      let socket = try? ControlSocket(
        connectingTo: StateDirectory.socketName, in: directory.descriptor)
    else { return false }
    socket.send(.keeperIsHere)
    let number = socket.release()
    guard (try? poller.add(number, token: Token.connection + UInt64(number))) != nil else {
      close(number)
      return false
    }
    watched[number] = directory.path
    return true
  }

  private func lookAgain(in delay: Nanoseconds) {
    nextLook = min(nextLook ?? .max, monotonicNow() + delay)
  }

  private func lookAgain(at path: String, in delay: Nanoseconds) {
    due[path] = min(due[path] ?? .max, monotonicNow() + delay)
  }

  private func replace(_ state: ContainerState, _ directory: consuming StateDirectory) {
    let now = monotonicNow()
    let path = directory.path
    var verdict = crashes[path, default: CrashCount()].verdict(at: now)
    // The share of an application that spans nodes has a deadline, which only a supervisor keeps.
    if state.membership?.isClusterScoped == true { verdict = .start }
    switch verdict {
    case .start:
      if (try? Launcher.resumeSupervisor(of: directory, id: state.id)) == nil {
        crashes[path]?.couldNotStart(at: now)
      }
      // It calls when it is up; should it not even come that far, we look for ourselves.
      lookAgain(at: path, in: 500_000_000)
    case .rest(let delay): lookAgain(at: path, in: delay)
    case .hopeless(let delay):
      guard state.membership != nil else {
        crashes[path] = nil
        return giveUp(state, directory)
      }
      // What it holds is its application's to give back, so it stays as it is.
      escra_syslog(
        true,
        Self.complaint(of: state)
          + "its limit stays as it is, and its application's, until one lives")
      lookAgain(at: path, in: delay)
    }
  }

  private static func complaint(of state: ContainerState) -> String {
    "escra: the supervisor of container \(state.id) died, or could not be started, "
      + "\(CrashCount.tooMany) times in a row; "
  }

  /// A container whose supervisors cannot live gets what it declared, and the log says so; the tool
  /// shows it until it has ended.
  ///
  /// A strict one keeps the CPUs it runs on, and from now on shares them. As long as the others cannot
  /// be told so, this is tried again.
  private func giveUp(_ state: ContainerState, _ directory: borrowing StateDirectory) {
    var state = state
    _ = try? state.openBundle().heal(timeout: 200_000_000)
    if state.initProcess == nil { findInit(&state, directory) }
    state.unsupervised = "its supervisor died, or could not be started, \(CrashCount.tooMany) times"
    try? directory.save(state)
    guard (try? Release.finish(state, directory, root)) != nil else {
      return lookAgain(at: directory.path, in: 1_000_000_000)
    }
    escra_syslog(
      true,
      Self.complaint(of: state)
        + "the container has its declared limits back and is no longer supervised")
    lookAgain(at: directory.path, in: 0)
  }
}
