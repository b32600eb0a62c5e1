// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Cgroups
internal import Glibc
internal import State
internal import Syscalls

extension Role {
  private static let directoryDescriptor: Int32 = 3

  static func supervise(
    _ arguments: [String], _ start: SupervisorStart?
  ) throws(SystemError) {
    guard let start else { throw SystemError("understand", "my arguments", errno: EINVAL) }
    let path = arguments[1]
    let descriptor = FileDescriptor(owning: directoryDescriptor)
    if start != .found {
      return try find(StateDirectory(path: path, owning: descriptor), start)
    }
    let handover = try ReexecState(argument: arguments.count > 3 ? arguments[3] : "")
    // Before other processes are noticed.
    try Confinement.enter(handover.take(.rules), handover.take(.filter))
    let supervisor = try Supervisor(
      directory: StateDirectory(path: path, owning: descriptor), handover)
    try supervisor.run()
  }

  /// Finds the container, opens what supervising it takes, and goes on as a fresh image.
  private static func find(
    _ directory: consuming StateDirectory, _ start: SupervisorStart
  ) throws(SystemError) {
    guard var state = directory.load() else {
      directory.remove()
      throw SystemError("read", directory.path + "/state", errno: EINVAL)
    }
    // Decided in the moment in which the keeper started us.
    if start == .resumed, directory.releaseStage != nil { return }
    if state.claim == nil || state.memory != nil { ProcessSetup.setRealtime() }
    let root = StateRoot(ofInstance: directory.path)
    // No process listens on a socket that a dead supervisor left; the name is ours to replace.
    try directory.descriptor.remove(StateDirectory.socketName)
    let listener = try ControlSocket.listen(
      on: StateDirectory.socketName, in: directory.descriptor)
    // What a full /run/escra refuses is refused before READY.
    try directory.makeFiles()

    let fence = state.claim == nil ? nil : try CPUFence(root: root, listening: true)
    var hooks = HookRequest.Answer.none
    var scope: ScopeRequest?
    do throws(SystemError) {
      switch start {
      case .fresh, .freshWithEdit:
        try awaitContainer(
          &state, directory, root, fence, &scope, &hooks,
          bundleIsLocked: start == .freshWithEdit)
      case .resumed, .found:
        let request = fence == nil ? HookRequest(root, for: state) : nil
        try resume(&state, directory.nonce, root, fence, &scope)
        if let request = consume request { hooks = request.hooks(for: state) }
      }
    } catch {
      settle(scope, of: state.id, within: patienceAtTheEnd)
      throw error
    }
    settle(scope, of: state.id, within: state.initProcess == nil ? patienceAtTheEnd : patience)
    // Without the directory of the pid file there is no stranger to name.
    if state.initProcess == nil, let stranger = (try? PidFileWait(state))?.unbelieved() {
      let reason =
        "its init, process \(stranger.pid), is in no cgroup called \(state.cgroupName ?? "")"
      state.unsupervised = reason
      escra_syslog(true, "escra: container \(state.id) runs unsupervised: \(reason)")
    }
    if let fence { return try superviseStrict(directory, state, fence, listener, root) }
    guard state.initProcess != nil else {
      leaveApplication(state, directory, root)
      // The tool shows it until the keeper sees it end.
      if state.unsupervised == nil || (try? directory.save(state)) == nil
        || (try? directory.mark(.done)) == nil
      {
        directory.remove()
      }
      return
    }

    state.unsupervised = nil
    var found: FoundContainer
    do throws(SystemError) {
      found = try FoundContainer(
        &state, nonce: directory.nonce, start, hooks: hooks, root)
    } catch {
      if state.unsupervised != nil { return try leaveUnsupervised(state, directory, root) }
      // ESRCH, ENOENT, ENODEV: it was over before it was found. That is no failure. After anything
      // else the keeper tries again, and says so when it gives up.
      let hasLostInit = state.initProcess.flatMap { ProcessHandle($0) }?.hasEnded ?? true
      let isOver =
        state.phase == .starting
        ? hasLostInit && (error.errno == ESRCH || error.isGone) : state.isOver
      guard isOver else { throw error }
      leaveApplication(state, directory, root)
      return directory.remove()
    }
    state.supervisor = ProcessIdentity(pid: getpid())
    try directory.save(state)
    // Who settles the fence from now on finds us in the state; who did before has not.
    CPUFence.seatCaller(root)
    let executable = try Launcher.executable()
    let isMember = state.membership != nil
    let room = state.membership.map { root.applications + "/" + $0.room }
    if let room { _ = try ApplicationDirectory(making: room) }
    let path = directory.path
    let rules = try Confinement.rules(
      for: directory.descriptor, room: room, reading: found.groups, found.readable)
    let filter = try Confinement.supervisorFilter(isMember: isMember)
    // What fails from here on is said through a socket that is open already.
    escra_open_syslog()
    try Confinement.confineSupervisor(to: room ?? path, path)
    try found.becomeSupervision(
      directory: directory.release(), listener: listener, id: state.id, path: path,
      rules: rules, filter: filter, executable: executable)
  }

  /// Goes on in this image: going through a tree of groups is all that a strict container's
  /// supervisor ever does, and a fresh heap would not stay one.
  private static func superviseStrict(
    _ directory: consuming StateDirectory, _ state: ContainerState, _ fence: CPUFence,
    _ listener: consuming FileDescriptor, _ root: StateRoot
  ) throws(SystemError) {
    let container: StrictContainer
    do throws(SystemError) {
      container = try StrictContainer(initProcess: state.initProcess, in: directory, root)
    } catch {
      if error.errno == EBUSY, let state = directory.load() {
        let reason = GroupOwner.reason(state.cpuInode, not: directory.nonce, root)
        escra_syslog(true, "escra: container \(state.id) keeps no CPUs of its own: \(reason)")
        return try fence.release(directory)
      }
      // No container was found, or not any more: that is no failure. Anything else is, and a
      // container that lives on keeps its CPUs for the next supervisor.
      guard directory.load()?.isOver ?? true else { throw error }
      return try fence.release(directory)
    }
    let supervisor = try StrictSupervisor(
      directory: directory, fence: fence, container: container, listener: listener)
    escra_open_syslog()
    try Confinement.confineStrictSupervisor(
      root, cpusets: fence.tree.directory("/"), makesPartitions: fence.makesPartitions)
    try supervisor.run()
  }

  /// Gives back what a container holds that has ended, or will never be.
  private static func leaveApplication(
    _ state: ContainerState, _ directory: borrowing StateDirectory, _ root: StateRoot
  ) {
    guard let membership = state.membership else { return }
    InitialAllocation.leave(membership, directory.nonce, root)
  }

  /// Ends supervising a container whose cgroup has an owner already.
  ///
  /// Its instance stays, as that of a container that was released, and says why.
  private static func leaveUnsupervised(
    _ state: ContainerState, _ directory: borrowing StateDirectory, _ root: StateRoot
  ) throws(SystemError) {
    try directory.save(state)
    leaveApplication(state, directory, root)
    try directory.mark(.done)
    escra_syslog(
      true,
      "escra: container \(state.id) is left unsupervised: \(state.unsupervised ?? "")")
  }

  /// For how long a container that lives waits for its supervisor's scope, in milliseconds.
  private static let patience: Int32 = 500

  /// For how long a supervisor without a container does: who ends before it is in its scope leaves
  /// that behind.
  private static let patienceAtTheEnd: Int32 = 5_000

  /// Hears what became of the request for a scope; without one the caller's group is as good as
  /// before, and its end is ours.
  static func settle(
    _ scope: consuming ScopeRequest?, of id: String, within milliseconds: Int32
  ) {
    guard var scope = consume scope else { return }
    guard case .refused(let reason) = scope.answer(within: milliseconds) else { return }
    escra_syslog(
      false,
      "escra: systemd made no scope for the supervisor of \(id) (\(reason)); it stays in its "
        + "caller's cgroup, and ends with that")
  }
}
