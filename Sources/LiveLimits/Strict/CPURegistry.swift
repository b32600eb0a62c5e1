// SPDX-License-Identifier: Apache-2.0
package import CPUSets
internal import Cgroups
internal import Glibc
package import Quantities
package import State
package import Syscalls

/// The one lock under which CPUs are given to strict containers and taken from all others.
///
/// It is a flock(2) on /run/escra/cpus, and a process that has a value of this type has it.
///
/// The states of the strict containers record who holds which CPUs (``CPUAllocation``). Beside the
/// lock is one file, ``NeighbourRecord``: what the groups that were narrowed had before.
package struct CPURegistry: ~Copyable {
  let root: StateRoot
  let directory: FileDescriptor

  /// How long the lock is kept where nothing is slow.
  private static let usual: Nanoseconds = 20_000_000

  /// Takes the lock.
  ///
  /// One of ours that has kept it for a second without doing anything was stopped, and is ended.
  ///
  /// - Parameter root: Whose registry.
  /// - Throws: ``SystemError``: EBUSY when another process keeps it, EACCES or EROFS where
  ///   /run/escra cannot be written.
  package init(locking root: StateRoot) throws(SystemError) {
    let start = monotonicNow()
    var patience = LockPatience(from: start)
    var evicted = 0
    while true {
      try StateDirectory.make(root.path)
      try StateDirectory.make(root.cpus)
      let directory = try FileDescriptor.open(root.cpus, O_RDONLY | O_DIRECTORY)
      // Another process may have emptied /run/escra: then this is a lock on nothing.
      if try directory.lock(wait: false),
        try directory.status().identity == FileStatus.ifThere(root.cpus)?.identity
      {
        self.root = root
        self.directory = directory
        return
      }
      // Its holder is left alone while it keeps the lock no longer than usual.
      guard monotonicNow() - start > Self.usual else {
        usleep(1000)
        continue
      }
      let holder = RegistryLock.holder(of: directory)
      let isAtWork = holder.map(ProcessIdentity.isAtWork(pid:)) ?? false
      if patience.isOver(at: monotonicNow(), holder: holder, isAtWork: isAtWork) {
        guard evicted < 3, let holder, RegistryLock.evict(holder) else {
          let who = holder.map { ", which process \($0) keeps locked" } ?? ""
          throw SystemError("lock", root.cpus + who, errno: EBUSY)
        }
        evicted += 1
      }
      usleep(20_000)
    }
  }

  /// What is written down of all containers there are, but for strict ones that are over.
  ///
  /// A dead container holds no CPUs, also while its supervisor has yet to notice. One that
  /// has no process left to clear up behind it is cleared up here.
  func states() -> [ContainerState] {
    root.instances().compactMap { path -> ContainerState? in
      guard let instance = StateDirectory.ifThere(path), var state = instance.load() else {
        return nil
      }
      guard state.claim != nil, state.isOver else {
        // From the moment on in which it shares its CPUs it is a container like any other.
        if state.claim?.held.isEmpty == true, instance.releaseStage != nil { state.claim = nil }
        return state
      }
      if instance.claim() { instance.remove() }
      return nil
    }
  }

  /// The strict containers there are.
  package func holders() -> [StrictContainerCPUs] { states().compactMap(StrictContainerCPUs.init) }

  /// All strict containers but one.
  func holders(except state: ContainerState) -> [StrictContainerCPUs] {
    states().filter { $0.runtime != state.runtime || $0.id != state.id }.compactMap(
      StrictContainerCPUs.init)
  }

  /// CPUs for a strict container.
  ///
  /// - Parameters:
  ///   - asked: What it asks for.
  ///   - group: The path of its group, from the root of the cpuset hierarchy.
  ///   - reserved: The operator's CPUs that no container is given.
  ///   - memory: What it declares, in bytes; nil for nothing.
  ///   - holders: All others.
  ///   - current: What it has already.
  /// - Returns: What it may hold; nothing is written down yet.
  /// - Throws: ``CPUGrantError``.
  package func grant(
    _ asked: CPURequest, group: String, reserved: CPUSet, memory: Int64?,
    holders: [StrictContainerCPUs], current: CPUSet = CPUSet()
  ) throws(CPUGrantError) -> CPUAllocation {
    guard let tree = CpusetTree.ofMachine() else { throw .noHierarchy }
    guard let request = asked.request else { throw .nothingAsked }
    if let populated = tree.firstPopulated(above: group) { throw .populatedAbove(populated) }
    let parent = tree.existing(above: group)
    let topology = CPUTopology(reading: "/sys/devices/system")
    let held = holders.reduce(CPUSet()) { $0.union($1.claim.held) }
    let lent = loadNeighbours()?.lent.values.reduce(CPUSet()) { $0.union($1) } ?? CPUSet()
    let strangers =
      tree.leftByPartitions(around: parent).map {
        topology.online.subtracting($0).subtracting(held.union(lent).union(current))
      } ?? CPUSet()
    do throws(CPUAllocationError) {
      let cpus = try CPUAllocator.allocate(
        request, topology: topology, allowed: tree.allowedCPUs(in: parent) ?? topology.online,
        reserved: reserved, taken: held.union(strangers), current: current)
      let nodes = topology.memoryNodes(for: cpus, declaredMemory: memory)
      let isAllowed = nodes.map { $0.isSubset(of: tree.nodes(of: parent) ?? $0) } ?? false
      return CPUAllocation(held: cpus, asked: asked, group: group, nodes: isAllowed ? nodes : nil)
    } catch {
      throw .refused(
        error,
        holders.map { (id: $0.id, cpus: $0.claim.held) }
          + [(id: "a partition that is not ours", cpus: strangers)])
    }
  }

  /// The group that this process is in, from the root of the cpuset hierarchy.
  package static func groupOfCaller() -> String {
    let text = FileDescriptor.textIfReadable(of: "/proc/self/cgroup") ?? ""
    let groups = CgroupMembership.parse(text)
    let group =
      groups.first { $0.controllers.contains("cpuset") }
      ?? groups.first { $0.controllers.isEmpty }
    return group.map { String($0.path) } ?? "/"
  }
}

/// A strict container, as its state file tells of it.
package struct StrictContainerCPUs: Sendable {
  /// The container's id, for people.
  package let id: String
  /// The CPUs it holds.
  package let claim: CPUAllocation
  /// Whether it has been found in its group.
  let isRunning: Bool

  init?(_ state: ContainerState) {
    guard let claim = state.claim else { return nil }
    id = state.id
    self.claim = claim
    isRunning = state.phase == .running
  }

  /// What the fence knows it by.
  var fenced: StrictOwner { StrictOwner(cpus: claim.held, path: claim.group, inode: claim.inode) }
}

extension ContainerState {
  /// Whether nothing can come of it any more: its runtime has ended without a container, or no
  /// process is left in the group that was recorded, or below it.
  ///
  /// Where init is, or whether it lives, says nothing about a container that was found.
  var isOver: Bool {
    switch phase {
    case .starting:
      // In this order: a runtime that has ended has written the pid file, or never will.
      if ProcessHandle(runtime) != nil { return false }
      // The pid file is there before its process is recorded.
      let found = initProcess ?? (try? PidFileWait(self))?.look()
      return found.flatMap { ProcessHandle($0) } == nil
    case .running: return !groupHasMembers
    }
  }

  private var groupHasMembers: Bool {
    guard let group = cpuDirectory else { return false }
    do throws(SystemError) {
      let directory = try FileDescriptor.open(group, O_RDONLY | O_DIRECTORY)
      return try directory.status().identity.inode == cpuInode && directory.hasCgroupMembers
    } catch { return !error.isGone }
  }
}

extension StateRoot {
  /// Where the CPUs of strict containers are kept account of.
  var cpus: String { path + "/cpus" }
}

/// Why a container does not get CPUs of its own.
package enum CPUGrantError: Error, CustomStringConvertible {
  /// No hierarchy has the cpuset controller.
  case noHierarchy
  /// It asks for nothing.
  case nothingAsked
  /// Processes above the container's group would run on its CPUs.
  case populatedAbove(String)
  /// There are not enough, or not these.
  case refused(CPUAllocationError, [(id: String, cpus: CPUSet)])

  /// The sentence.
  package var description: String {
    switch self {
    case .noHierarchy:
      "strict CPU sets need the cpuset controller, which no cgroup hierarchy has here; mount a hierarchy "
        + "with it, or use the policy reactive"
    case .nothingAsked:
      "no CPUs are asked for; write a CPU limit of whole CPUs, or a CPU set"
    case .populatedAbove(let group):
      "processes run in the cgroup \(group) above the container's, and they cannot be kept off its "
        + "CPUs; start it below a cgroup without processes of its own"
    case .refused(let error, let holders):
      error.description + Self.held(by: holders)
    }
  }

  private static func held(by holders: [(id: String, cpus: CPUSet)]) -> String {
    let list = holders.filter { !$0.cpus.isEmpty }.map { "\($0.cpus) by \($0.id)" }
    return list.isEmpty ? "" : " (held: \(list.joined(separator: ", ")))"
  }
}
