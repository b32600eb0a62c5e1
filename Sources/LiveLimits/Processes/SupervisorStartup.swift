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
  private static let runtimeDescriptor: Int32 = 4

  private static let readyDescriptor: Int32 = 5

  private static let bundleDescriptor: Int32 = 6

  private static let lockDescriptor: Int32 = 7

  /// Says READY, then waits for the low-level runtime to create the container.
  static func awaitContainer(
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
    // Behind READY: no process waits for this. Leaving a group waits for an RCU grace period, some
    // 10 ms (cgroup_attach_lock, kernel/cgroup/cgroup.c).
    scope = ScopeRequest(Role.supervisor.rawValue, for: state.id)
    let request = fence == nil ? HookRequest(root, for: state) : nil
    ProcessSetup.moveToRootCgroups()
    // From now on our death is noticed.
    Launcher.callKeeper(root, about: state, directory.nonce)
    state.initProcess = try wait.wait(until: runtime, keeping: fence, around: outer)
    if let request = consume request { hooks = request.hooks(for: state) }
    if bundle.isOpen {
      do throws(ConfigError) {
        try BundleEdit(
          holding: bundle, lock: lock, path: state.bundle, config: state.config
        ).putBack()
      } catch {
        escra_syslog(
          false,
          "escra: config.json of container \(state.id) stays edited (\(error.description)) until "
            + "the next call that uses the bundle")
      }
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
      let mounts = FileDescriptor.textIfReadable(of: "/proc/self/mountinfo"),
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
    let outcome: InitialAllocation.Outcome
    do throws(SystemError) {
      outcome = try InitialAllocation.obtain(
        record, membership, most: (state.base.limit, state.memory?.limit ?? .max), root)
    } catch {
      escra_syslog(
        false,
        "escra: container \(state.id) could not join its application: \(error.description)")
      outcome = .refused(.silence)
    }
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
      // In a scope the runtime writes the most that it may have; what was granted follows.
      state.memory?.needed = memory
      return .ready(limit, memory: memory)
    case .refused(let why): ready.send(.refused(why))
    }
    return nil
  }

  /// Makes what was granted the limits of the group around the container's own, which gets those of the
  /// application.
  ///
  /// - Returns: Whether that could be done; else nothing is held any more.
  static func enter(
    _ state: inout ContainerState, _ outer: FirstOuter, _ membership: ApplicationMembership,
    _ cpu: CFSBandwidth, _ memory: Int64?, _ directory: borrowing StateDirectory, _ root: StateRoot
  ) -> Bool {
    do throws(SystemError) {
      try outer.limit(cpu, memory, swap: memory.flatMap { state.memory?.memorySwap(at: $0) })
      let room = try ApplicationDirectory(opening: root.applications + "/" + membership.room)
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
      InitialAllocation.leave(membership, directory.nonce, root)
      return false
    }
  }

  /// Continues where a dead supervisor was.
  static func resume(
    _ state: inout ContainerState, _ nonce: UInt64, _ root: StateRoot, _ fence: CPUFence?,
    _ scope: inout ScopeRequest?
  ) throws(SystemError) {
    scope = ScopeRequest(Role.supervisor.rawValue, for: state.id)
    ProcessSetup.moveToRootCgroups()
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
}
