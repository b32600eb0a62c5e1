// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Cgroups
internal import Glibc
internal import OCISpec
internal import State
internal import Syscalls

extension Keeper {
  /// Goes through all instances: connects to live supervisors, replaces dead ones.
  func look() {
    // Without a descriptor to look with, no instance is known to be gone.
    guard let paths = try? root.allInstances() else { return lookAgain(in: 1_000_000_000) }
    let known = Set(watched.values)
    for path in paths where !known.contains(path) { look(at: path) }
    ApplicationDirectory.sweep(root)
    sweepParents()
    sweepGroups()
    keepOffStrictCPUs()
  }

  /// Looks at the one instance that a call is about.
  ///
  /// - Parameter instance: The last two parts of its path.
  func lookAt(_ instance: String) {
    let parts = instance.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, !parts.contains(where: { $0.isEmpty || $0 == "." || $0 == ".." })
    else { return }
    let path = root.containers + "/" + instance
    if !watched.values.contains(path) { look(at: path) }
    if CPUFence.isKept(root), StateDirectory.load(at: path)?.claim != nil {
      keepOffStrictCPUs()
    }
  }

  func look(at path: String) {
    let directory: StateDirectory
    do throws(SystemError) {
      directory = try StateDirectory(opening: path)
    } catch {
      if !error.isGone { lookAgain(at: path, in: 1_000_000_000) }
      return
    }
    guard directory.claim() else {
      // A process holds it: a supervisor, or a shim that is about to start one.
      if !watch(directory) { lookAgain(at: path, in: 100_000_000) }
      return
    }
    resume(directory)
  }

  private func resume(_ directory: consuming StateDirectory) {
    let found: ContainerState?
    // A state that cannot be read now is no reason to forget a container.
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

  /// What is left to do for a container without a supervisor: to give back what its releaser
  /// has not, and to forget it when it has ended.
  private func leaveAlone(
    _ state: ContainerState, _ stage: ReleaseStage, _ directory: consuming StateDirectory
  ) {
    crashes[directory.path] = nil
    let path = directory.path
    var state = state
    if state.initProcess == nil { findInit(&state, directory) }
    if state.isOver {
      stopWaiting(forEndOf: path)
      if let membership = state.membership {
        InitialAllocation.leave(membership, directory.nonce, root)
      }
      if stage == .done || state.claim == nil {
        directory.remove()
        return sweepGroups()
      }
      // Whatever is in the way, it is tried again in a second.
      if (try? CPUFence(root: root).release(directory)) == nil {
        lookAgain(at: path, in: 1_000_000_000)
      }
      return
    }
    // Whatever is in the way, it is tried again in a second.
    if stage == .asked, (try? Release.finish(state, directory, root)) == nil {
      lookAgain(at: path, in: 1_000_000_000)
    }
    let hasInit = state.initProcess.flatMap { ProcessHandle($0) } != nil
    if !released.values.contains(path), let number = watchEnd(of: state) { released[number] = path }
    if hasInit, released.values.contains(path) { return }
    // It has no init yet; or processes have outlived init, and the kernel may not report the end of
    // the last one (``GroupMembers/watch(_:token:)``).
    lookAgain(at: path, in: state.phase == .starting ? 100_000_000 : 1_000_000_000)
  }

  private func stopWaiting(forEndOf path: String) {
    for (number, each) in released where each == path { drop(number) }
  }

  /// Waits no more for the end of a container without a supervisor.
  ///
  /// - Returns: Its instance.
  @discardableResult
  private func drop(_ number: Int32) -> String? {
    poller.remove(number)
    close(number)
    return released.removeValue(forKey: number)
  }

  /// Finds the init of a container whose supervisor could not be started.
  private func findInit(_ state: inout ContainerState, _ directory: borrowing StateDirectory) {
    guard let found = (try? PidFileWait(state))?.look() else { return }
    state.initProcess = found
    // Not found or not saved, it is looked for again at the next look.
    if let group = try? ContainerCgroup(of: state) {
      state.complete(with: group.location, inode: group.inode, groups: group.groups)
    }
    // The same.
    try? directory.save(state)
  }

  /// Has the poller report that a container without a supervisor may have ended: by init's pidfd or
  /// by cgroup.events where init has ended before the others.
  ///
  /// - Returns: The descriptor; nil where nothing tells.
  private func watchEnd(of state: ContainerState) -> Int32? {
    let number: Int32
    if let handle = state.initProcess.flatMap({ ProcessHandle($0) }) {
      number = handle.release()
      if poller.addIfPossible(number, token: Token.exit + UInt64(number)) { return number }
    } else {
      guard let members = GroupMembers(reportedIn: state.cpuDirectory, state.version),
        members.acknowledge()
      else { return nil }
      number = members.release()
      if poller.addUrgentIfPossible(number, token: Token.exit + UInt64(number)) {
        return number
      }
    }
    close(number)
    return nil
  }

  /// The init of a container that was released has ended, or its last process.
  func part(_ number: Int32) {
    // The supervisor of a container that was adopted meanwhile notices.
    if let path = drop(number), !watched.values.contains(path) { look(at: path) }
  }

  /// A connection has closed: nearly always because its supervisor is dead, or done.
  func handleDeath(_ path: String) {
    if nextSweep == nil { nextSweep = monotonicNow() + Self.sweepDelay }
    let directory: StateDirectory
    do throws(SystemError) {
      directory = try StateDirectory(opening: path)
    } catch {
      // A keeper that cannot open it for another reason knows nothing of it.
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
    ApplicationDirectory.removeAbandoned(root)
    sweepParents()
    sweepGroups()
    keepOffStrictCPUs()
  }

  private func watch(_ directory: borrowing StateDirectory) -> Bool {
    guard
      let socket = ControlSocket.ifListening(StateDirectory.socketName, in: directory.descriptor)
    else { return false }
    socket.send(.keeperIsHere)
    let number = socket.release()
    guard poller.addIfPossible(number, token: Token.connection + UInt64(number)) else {
      close(number)
      return false
    }
    watched[number] = directory.path
    return true
  }

  private func replace(_ state: ContainerState, _ directory: consuming StateDirectory) {
    let now = monotonicNow()
    let path = directory.path
    var verdict = crashes[path, default: RestartBackoff()].verdict(at: now)
    // The share of an application that spans nodes has a deadline, which only a supervisor keeps.
    if state.membership?.isClusterScoped == true { verdict = .start }
    switch verdict {
    case .start:
      do throws(SystemError) {
        try Launcher.resumeSupervisor(of: directory, id: state.id)
      } catch {
        crashes[path]?.couldNotStart(at: now)
        escra_syslog(
          false,
          "escra: container \(state.id) has no supervisor: \(error.description); it is tried again")
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
      + "\(RestartBackoff.tooMany) times in a row; "
  }

  /// A container whose supervisors cannot live gets what it declared, and the log says so; the tool
  /// shows it until it has ended.
  ///
  /// A strict one keeps the CPUs it runs on, and from now on shares them. As long as the others cannot
  /// be told so, this is tried again.
  private func giveUp(_ state: ContainerState, _ directory: borrowing StateDirectory) {
    var state = state
    // Another process is at work on the bundle, and heals it.
    _ = try? state.openBundle().heal(timeout: 200_000_000)
    if state.initProcess == nil { findInit(&state, directory) }
    state.unsupervised =
      "its supervisor died, or could not be started, \(RestartBackoff.tooMany) times"
    // Not saved, the tool does not say why; the limits count. Not finished, it is tried again.
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
