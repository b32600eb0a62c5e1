// SPDX-License-Identifier: Apache-2.0
internal import Application
internal import CLinux
internal import Cgroups
internal import Control
internal import Glibc
internal import OCISpec
internal import Quantities
internal import State
internal import Syscalls

extension Role {
  /// Runs one of our long-lived processes to its end.
  ///
  /// - Parameter arguments: What the launcher passed behind argv[0].
  /// - Returns: The exit code.
  package func run(_ arguments: [String]) -> Int32 {
    escra_set_name(self == .supervisor ? "escra-super" : rawValue)
    let start = arguments.count > 2 ? SupervisorStart(rawValue: arguments[2]) : nil
    // An image that follows another of the same process has these manners already.
    if start != .found {
      escra_clear_parent_death_signal()
      Manners.setOOMScore()
      signal(SIGHUP, SIG_IGN)
      signal(SIGPIPE, SIG_IGN)
      Manners.allowDescriptors()
    }
    do throws(SystemError) {
      switch self {
      case .keeper: try Self.keep(StateRoot(path: arguments.first ?? StateRoot.system.path))
      case .supervisor: try Self.supervise(arguments, start)
      case .hooks: try Self.serveHooks(arguments)
      }
      return 0
    } catch {
      escra_syslog(true, "escra: \(rawValue) \(arguments.first ?? ""): \(error.description)")
      return 1
    }
  }

  private static func keep(_ root: StateRoot) throws(SystemError) {
    Manners.leaveCallersGroups()
    guard let keeper = try Keeper(root) else { return }
    try Confinement.confineKeeper()
    try keeper.run()
  }

  private static func serveHooks(_ arguments: [String]) throws(SystemError) {
    guard arguments.count >= 2, let owner = ProcessIdentity(arguments[1]) else {
      throw SystemError("understand", "my arguments", errno: EINVAL)
    }
    let mindsMemory = arguments.dropFirst(2).first == Launcher.mindsMemory
    HookShare.serve(
      StateRoot(path: arguments[0]), owner,
      mindsMemory: mindsMemory && CgroupMount.hasUnifiedMemory,
      answering: FileDescriptor(owning: answerDescriptor))
  }

  // Descriptors, as the launcher arranges them.
  private static let answerDescriptor: Int32 = 3
  private static let directoryDescriptor: Int32 = 3
  private static let runtimeDescriptor: Int32 = 4
  private static let readyDescriptor: Int32 = 5
  private static let bundleDescriptor: Int32 = 6
  private static let lockDescriptor: Int32 = 7

  private static func supervise(
    _ arguments: [String], _ start: SupervisorStart?
  ) throws(SystemError) {
    guard let start else { throw SystemError("understand", "my arguments", errno: EINVAL) }
    let path = arguments[1]
    let descriptor = FileDescriptor(owning: directoryDescriptor)
    if start != .found {
      return try find(StateDirectory(path: path, owning: descriptor), start)
    }
    guard let handover = Handover(arguments, from: 3) else {
      throw SystemError("understand", "my arguments", errno: EINVAL)
    }
    // Before anything is heard of others.
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
    if state.claim == nil || state.memory != nil { Manners.hurry() }
    let root = StateRoot(ofInstance: directory.path)
    // A socket that a dead supervisor left has nobody behind it; the name is ours to replace.
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
    if let room { _ = try ApplicationRoom(making: room) }
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
      // Nobody was found, or not any more: that is no failure. Anything else is, and a container
      // that lives on keeps its CPUs for the next supervisor.
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

  /// Says READY, then waits for the low-level runtime to create the container.
  private static func awaitContainer(
    _ state: inout ContainerState, _ directory: borrowing StateDirectory, _ root: StateRoot,
    _ fence: CPUFence?, _ scope: inout ScopeRequest?, _ hooks: inout HookRequest.Answer,
    bundleIsLocked: Bool
  ) throws(SystemError) {
    let runtime = ProcessHandle(owning: FileDescriptor(owning: runtimeDescriptor))
    let bundle = FileDescriptor(owning: bundleIsLocked ? bundleDescriptor : -1)
    let lock = FileDescriptor(owning: bundleIsLocked ? lockDescriptor : -1)
    let wait = try PidFileWait(state)
    let outer = FirstOuter(state)
    // Its CPUs are its own at its first instruction.
    try fence?.settle()
    do {
      let ready = ControlSocket(owning: FileDescriptor(owning: readyDescriptor))
      guard let limits = firstLimits(&state, directory, root, outer, ready) else { return }
      ready.send(limits)
    }
    // Behind READY: nobody waits for this. Leaving a group waits for an RCU grace period, some
    // 10 ms (cgroup_attach_lock, kernel/cgroup/cgroup.c).
    scope = ScopeRequest(Role.supervisor.rawValue, for: state.id)
    let request = fence == nil ? HookRequest(root, for: state) : nil
    Manners.leaveCallersGroups()
    // From now on our death is noticed.
    Launcher.callKeeper(root, about: state, directory.nonce)
    state.initProcess = try wait.wait(until: runtime, keeping: fence, around: outer)
    if let request = consume request { hooks = request.hooks(for: state) }
    if bundle.isOpen {
      _ = try? BundleEdit(
        holding: bundle, lock: lock, path: state.bundle, config: state.config
      ).putBack()
    }
  }

  /// What the container begins with; a member of an application asks for it.
  ///
  /// - Returns: nil where there is no place for it, which the shim has heard.
  private static func firstLimits(
    _ state: inout ContainerState, _ directory: borrowing StateDirectory, _ root: StateRoot,
    _ outer: FirstOuter?, _ ready: borrowing ControlSocket
  ) -> ControlMessage? {
    guard let membership = state.membership else {
      return .ready(
        state.base.limit(of: state.base.initial()), memory: state.memory?.first)
    }
    if let path = state.cgroupPath,
      let mounts = try? FileDescriptor.text(of: "/proc/self/mountinfo"),
      let location = CgroupLocation(group: path, mounts: mounts)
    {
      state.findLimits(
        above: state.memoryInnerName == nil ? location : location.around(), isFound: false,
        root)
    }
    // It is charged what its earlier runs needed; and let in with nothing less, if that is asked for.
    let cpu = state.base.share.predicted(state.base.predicted, admits: state.admitsPrediction)
    let memory = state.memory?.share().predicted(
      state.memory?.predicted, admits: state.admitsPrediction)
    let record = MemberRecord(
      nonce: directory.nonce, priority: membership.priority, cpu: cpu, memory: memory)
    let outcome = try? FirstGrant.obtain(
      record, membership, most: (state.base.limit, state.memory?.limit ?? .max), root)
    switch outcome {
    case .granted(let cpu, let memory):
      var limit = state.base.limit(of: state.base.quota(ofCores: cpu))
      if let outer {
        guard enter(&state, outer, membership, limit, memory, directory, root) else { return nil }
        return .ready(limit, memory: memory)
      }
      // No more than was granted, also while systemd has its idea of it.
      let whole = limit.inWholePercents
      if CgroupLocation.isScope(state.cgroupName), whole.nanocores ?? .max >= state.base.floor {
        limit = whole
      }
      state.base.told = limit
      return .ready(limit, memory: memory)
    case .refused(let why): ready.send(.refused(why))
    case nil: ready.send(.refused(.silence))
    }
    return nil
  }

  /// Makes what was granted the limits of the group around the container's own, which gets those of the
  /// application.
  ///
  /// - Returns: Whether that could be done; else nothing is held any more.
  private static func enter(
    _ state: inout ContainerState, _ outer: FirstOuter, _ membership: ApplicationMembership,
    _ cpu: CPUQuota, _ memory: Int64?, _ directory: borrowing StateDirectory, _ root: StateRoot
  ) -> Bool {
    do throws(SystemError) {
      try outer.limit(cpu, memory, swap: memory.flatMap { state.memory?.memorySwap(at: $0) })
      let room = try ApplicationRoom(opening: root.applications + "/" + membership.room)
      let limits = room.limits()
      if state.innerName == nil {
        state.base.told = cpu
      } else if limits.cpu.most > 0 {
        state.base.application = limits.cpu.most
      }
      if limits.memory.most > 0 { state.memory?.application = limits.memory.most }
      state.takeFirstInner()
      try directory.save(state)
      return true
    } catch {
      FirstGrant.leave(membership, directory.nonce, root)
      return false
    }
  }

  /// Gives back what a container holds that has ended, or will never be.
  private static func leaveApplication(
    _ state: ContainerState, _ directory: borrowing StateDirectory, _ root: StateRoot
  ) {
    guard let membership = state.membership else { return }
    FirstGrant.leave(membership, directory.nonce, root)
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

  /// Continues where a dead supervisor was.
  private static func resume(
    _ state: inout ContainerState, _ nonce: UInt64, _ root: StateRoot, _ fence: CPUFence?,
    _ scope: inout ScopeRequest?
  ) throws(SystemError) {
    scope = ScopeRequest(Role.supervisor.rawValue, for: state.id)
    Manners.leaveCallersGroups()
    Launcher.callKeeper(root, about: state, nonce)
    guard state.phase == .starting else { return }
    // What has changed meanwhile; from here on changes are heard of.
    fence?.settleSoon()
    let wait = try PidFileWait(state)
    if let runtime = ProcessHandle(state.runtime) {
      state.initProcess = try wait.wait(until: runtime, keeping: fence)
    } else {
      state.initProcess = wait.look()
    }
    // Unless somebody else is at work on the bundle by now, who heals it first.
    _ = try? state.openBundle().heal(timeout: 200_000_000)
  }

  /// For how long a container that lives waits for its supervisor's scope, in milliseconds.
  private static let patience: Int32 = 500
  /// For how long a supervisor without a container does: who ends before it is in its scope leaves
  /// that behind.
  private static let patienceAtTheEnd: Int32 = 5_000

  /// Hears what became of the request for a scope; without one the caller's group is as good as
  /// before, and its end is ours.
  private static func settle(
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
