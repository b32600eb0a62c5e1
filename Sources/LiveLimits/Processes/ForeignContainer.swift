// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Control
internal import Glibc
package import OCISpec
package import Quantities
package import State
package import Syscalls

/// A container that runs without a supervisor, of runc, of crun, or of any program that made a cgroup
/// for it: what is known of it, and what the kernel limits it to.
///
/// It has one group, which its engine writes too, so its limits move there.
package struct ForeignContainer {
  /// The low-level runtime's `--root`; "/" for a group that no runtime has told of.
  package let root: String
  /// What the low-level runtime calls it, else the group's name.
  package let id: String
  /// Its CPU limit: what it declares from now on.
  package let cpu: CFSBandwidth
  /// Its memory limit in bytes likewise; nil for none.
  package let memory: Int64?

  private let location: CgroupLocation
  private let inode: UInt64
  private let membership: String
  private let initProcess: ProcessIdentity
  private let swapAllowance: Int64?

  /// Why ``ContainerState/oneGroup`` is said of it.
  package static let reason = "it was started without escra-runc"

  /// Looks at a container.
  ///
  /// - Parameters:
  ///   - id: What it is called.
  ///   - root: The low-level runtime's `--root`.
  ///   - process: Its init, or any process in its group.
  /// - Throws: ``SystemError``: ESRCH if it has ended, EXDEV if it has no cgroup of its own with a CPU
  ///   limit.
  package init(id: String, root: String, process: Int32) throws(SystemError) {
    guard let initProcess = ProcessIdentity(pid: process),
      let text = FileDescriptor.textIfReadable(of: "/proc/\(process)/cgroup")
    else { throw SystemError("find", "its process \(process)", errno: ESRCH) }
    let membership = CgroupMembership.own(in: text, below: nil)
    let mounts = try FileDescriptor.text(of: "/proc/self/mountinfo")
    guard let location = CgroupLocation(membership: membership, mounts: mounts) else {
      throw SystemError("find", "a CPU limit of its own", errno: EXDEV)
    }
    let group = try FileDescriptor.open(location.cpu, O_RDONLY | O_DIRECTORY)
    (self.id, self.root, self.location) = (id, root, location)
    (self.membership, self.initProcess) = (membership, initProcess)
    inode = try group.status().identity.inode
    let scope = CgroupLocation.scope(around: location.cpu, named: Self.name(of: location))
    cpu = try CgroupWriter(
      directory: group, version: location.version, readOnly: true, in: scope
    ).current()
    let limits = try Self.memory(of: location)
    (memory, swapAllowance) = (limits.memory, limits.swap)
  }

  /// Its memory limit, and on cgroup v1 what it may have of swap beside that.
  private static func memory(
    of location: CgroupLocation
  ) throws(SystemError) -> (memory: Int64?, swap: Int64?) {
    guard let directory = location.memory else { return (nil, nil) }
    let found = try MemoryWriter(
      directory: directory, version: location.version, readOnly: true
    ).current()
    guard found < MemoryLimit.unlimited else { return (nil, nil) }
    let sum = CgroupFile.memoryAndSwapLimit.text(of: directory, location.version).flatMap {
      Int64($0.prefix { $0 != "\n" })
    }
    return (
      found, sum.map { $0 < MemoryLimit.unlimited ? max(0, $0 - found) : MemoryLimit.unlimited }
    )
  }

  /// What its group is called: the last part of the path, or the scope right around that, in which
  /// crun sets each limit, too (``CgroupLocation/scope(around:named:)``).
  private var name: String? { Self.name(of: location) }

  private static func name(of location: CgroupLocation) -> String? {
    let parts = location.cpu.utf8.split(separator: UInt8(ascii: "/")).suffix(2)
    let names = parts.compactMap { String($0) }
    return names.first { CgroupLocation.isScope($0) } ?? names.last
  }

  /// What a supervisor goes by.
  ///
  /// - Parameters:
  ///   - policy: What holds for it.
  ///   - hostReserve: What the machine keeps of memory, in bytes.
  /// - Returns: nil where this process is gone from /proc.
  private func state(_ policy: ContainerPolicy, hostReserve: Int64) -> ContainerState? {
    guard let caller = ProcessIdentity(pid: getpid()) else { return nil }
    let isMember = policy.name == .reactive && policy.app != nil
    let base = CPUBase(
      declared: cpu, floor: (isMember ? policy.ownCPUMinimum : policy.cpu.floor).nanocores,
      explicitCeiling: (isMember
        ? policy.ownCPUMaximum ?? policy.cpuLimit : policy.askedCPUCeiling)?.nanocores,
      limit: policy.cpuLimit.nanocores)
    var state = ContainerState(
      root: root, id: id, bundle: "/", policy: policy.name, runtime: caller,
      pidFile: "/", base: base)
    state.initProcess = initProcess
    state.cgroupName = name
    state.complete(with: location, inode: inode, groups: membership)
    state.oneGroup = Self.reason
    state.law = policy.law.rawValue
    state.usesHooks = policy.hooks == .auto
    state.declaredMemory = memory
    if policy.memoryIsManaged, location.memory != nil {
      let ceiling =
        isMember ? policy.ownMemoryMaximum ?? policy.memoryLimit : policy.askedMemoryCeiling
      let isScope = location.version.hasMemoryHigh && CgroupLocation.isScope(name)
      state.memory = MemoryBase(
        declared: memory, swapAllowance: swapAllowance,
        floor: isMember ? policy.ownMemoryMinimum : policy.memory.floor,
        explicitCeiling: ceiling.map { isScope ? min($0, memory ?? $0) : $0 },
        limit: policy.memoryLimit, hostReserve: hostReserve)
      if isScope { state.memory?.told = memory ?? MemoryLimit.unlimited }
    }
    state.app = policy.app
    if isMember, let app = policy.app {
      state.membership = ApplicationMembership(
        application: app, user: geteuid(), root: root, namespace: nil,
        isClusterScoped: policy.spansNodes, priority: 0, cpu: policy.appCPU?.nanocores,
        memory: policy.appMemory)
    }
    return state
  }

  /// Has it supervised from now on.
  ///
  /// - Parameters:
  ///   - policy: What holds for it.
  ///   - hostReserve: What the machine keeps of memory, in bytes.
  ///   - stateRoot: Where states are.
  /// - Returns: Its instance's path; a keeper that is called starts the supervisor.
  /// - Throws: ``ReleaseError``; then nothing has changed.
  package func adopt(
    _ policy: ContainerPolicy, hostReserve: Int64, _ stateRoot: StateRoot
  ) throws -> String {
    try forgetReleased(stateRoot)
    guard let state = state(policy, hostReserve: hostReserve) else { throw ReleaseError.ended }
    let directory = try StateDirectory.create(in: stateRoot, root: root, id: id)
    do {
      // Like a released container: until all is in its place, no keeper starts a supervisor.
      try directory.mark(.done)
      try directory.save(state)
      if state.policy != .observe,
        let reason = GroupOwner.reason(in: location.cpu, not: directory.nonce, stateRoot)
      {
        throw ReleaseError.owned(reason)
      }
      _ = try Release.adopt(directory, reserved: CPUSet(), stateRoot)
      return directory.path
    } catch {
      directory.remove()
      throw error
    }
  }

  /// Forgets an instance of the same container that was released: it gets another policy.
  ///
  /// - Throws: ``ReleaseError`` if it is supervised, or has a group of ours around its own.
  private func forgetReleased(_ stateRoot: StateRoot) throws(ReleaseError) {
    for path in stateRoot.instances() {
      guard let directory = StateDirectory.ifThere(path), let known = directory.load(),
        known.cpuInode == inode
          || known.innerName != nil && location.cpu == known.innerDirectory
      else { continue }
      guard directory.releaseStage == .done, known.innerName == nil, directory.claim() else {
        throw .known(known.policy.rawValue)
      }
      directory.remove()
    }
  }
}
