// SPDX-License-Identifier: Apache-2.0
internal import CPUSets
internal import Cgroups
internal import Glibc
internal import Quantities
internal import State
internal import Syscalls

/// A strict container that was found, with what its supervisor holds open of it.
final class StrictContainer {
  let state: ContainerState
  var quota: CgroupWriter
  /// Its memory, where an annotation asks for that to move.
  let memory: MemorySupervisor?
  private let initProcess: ProcessHandle
  private let group: FileDescriptor
  /// cgroup.events, once init has ended; no file before, and on v1.
  private var events = FileDescriptor.none
  private let tree: CpusetTree
  private let cpuset: String
  /// What is written in the outer group and in the container's own by others; nil for a container
  /// that has one group.
  let outer: StrictOuterGroup?

  /// Finds it, and writes down what was found, under the registry's lock: an update may have changed
  /// the state since it was read.
  ///
  /// A container that was found once is where it was then, wherever its init has gone since.
  ///
  /// - Parameters:
  ///   - initProcess: Its init, where it was not known yet.
  ///   - directory: Its instance.
  ///   - root: Whose registry.
  /// - Throws: ``SystemError``: ESRCH when there is no init, EXDEV when its init is not in a cgroup
  ///   of its own, and whatever opening a file says.
  init(
    initProcess: ProcessIdentity?, in directory: borrowing StateDirectory, _ root: StateRoot
  ) throws(SystemError) {
    let registry = try CPURegistry(locking: root)
    guard var state = directory.load() else {
      throw SystemError("read", directory.path + "/state", errno: EINVAL)
    }
    let isFirst = state.phase == .starting
    if isFirst {
      state.initProcess = initProcess
      try Self.find(&state)
    }
    guard let path = state.cpuDirectory, let tree = CpusetTree.ofMachine(),
      let claim = state.claim
    else { throw SystemError("find", "the container's group", errno: EXDEV) }
    let group = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
    guard try group.status().identity.inode == state.cpuInode else {
      throw SystemError("find", "the container's group", errno: ESRCH)
    }
    quota = try state.cpuWriter()
    guard GroupOwner.take(quota.quotaFile) else {
      try directory.save(state)
      throw SystemError("supervise", "a cgroup that has an owner", errno: EBUSY)
    }
    memory = Self.memory(of: &state, isFirst: isFirst, root)
    outer = StrictOuterGroup(state)
    self.group = group
    self.initProcess =
      state.initProcess.flatMap { ProcessHandle($0) } ?? ProcessHandle(owning: .none)
    self.tree = tree
    cpuset = tree.directory(claim.group)
    state.source = Self.source(state.version, cpuset)
    state.noteMemorySource(nil)
    state.supervisor = ProcessIdentity(pid: getpid())
    state.unsupervised = nil
    self.state = state
    try directory.save(state)
    _ = registry
  }

  /// Opens what supervising its memory takes; nil where nothing asks for that, or it has ended.
  private static func memory(
    of state: inout ContainerState, isFirst: Bool, _ root: StateRoot
  ) -> MemorySupervisor? {
    guard let location = try? FoundGroup(of: state).location else {
      return nil
    }
    state.findLimits(above: location, isFound: true, root)
    guard
      let found = try? FoundMemory.open(location, &state, isFirst: isFirst, isObserver: false)
    else { return nil }
    var open = found.files
    return try? MemorySupervisor(found.base, isObserver: false) { place in
      FileDescriptor(owning: open.removeValue(forKey: place) ?? -1)
    }
  }

  private static func find(_ state: inout ContainerState) throws(SystemError) {
    let found = try FoundGroup(of: state)
    guard found.location.cpuset != nil, let tree = CpusetTree.ofMachine() else {
      throw SystemError("find", "the container's cpuset", errno: EXDEV)
    }
    state.complete(with: found.location, inode: found.inode, groups: found.groups)
    if let claim = state.claim {
      state.claim?.inode = try FileStatus.following(tree.directory(claim.group)).identity.inode
    }
  }

  /// What keeps others off, and how changes are heard of, for people.
  var source: String { Self.source(quota.version, cpuset) }

  private static func source(_ version: CgroupVersion?, _ cpuset: String) -> String {
    guard version == .v2 else { return "inotify" }
    return partition(of: cpuset) == .root ? "partition, inotify" : "cpusets, inotify"
  }

  private static func partition(of cpuset: String) -> CpusetPartition {
    let text = (try? FileDescriptor.text(of: cpuset + "/cpuset.cpus.partition")) ?? ""
    return CpusetPartition(text)
  }

  /// Makes its group no partition any more where somebody has broken that.
  ///
  /// The kernel takes the group out of those that it undoes when they are removed, and keeps its
  /// CPUs from everybody: were it removed before, Linux 6.12 had lost them until it boots again
  /// (update_parent_effective_cpumask, cpuset_css_killed of kernel/cgroup/cpuset.c).
  func leaveBrokenPartition() {
    guard quota.version == .v2, Self.partition(of: cpuset) == .invalid else { return }
    _ = try? CgroupWriter.setPartition(isRoot: false, of: cpuset)
  }

  /// Says when init has ended.
  func watchExit(_ poller: borrowing Poller, token: UInt64) throws(SystemError) {
    if initProcess.descriptor.isOpen {
      try poller.add(initProcess.descriptor.number, token: token)
    }
  }

  /// No more of that.
  func unwatchExit(_ poller: borrowing Poller) {
    if initProcess.descriptor.isOpen { poller.remove(initProcess.descriptor.number) }
  }

  /// Whether no process is left in its group or below it.
  var hasEnded: Bool { !group.hasCgroupMembers }

  /// Has a poller say when the last process has left the group: cgroup v2 alone tells.
  ///
  /// - Returns: Whether it will.
  func watchMembers(_ poller: borrowing Poller, token: UInt64) -> Bool {
    if events.isOpen {
      // Reading takes note of what was said.
      return (try? events.contents(subject: "the container's members")) != nil
    }
    guard quota.version == .v2, let file = try? group.open("cgroup.events", O_RDONLY),
      (try? poller.addUrgent(file.number, token: token)) != nil
    else { return false }
    events = file
    return (try? events.contents(subject: "the container's members")) != nil
  }

  /// Whether its init has gone.
  var hasLostInit: Bool { !initProcess.descriptor.isOpen || initProcess.hasEnded }

  /// The CPUs its group has; nil when the group is gone.
  func cpus() -> CPUSet? { state.claim.flatMap { tree.cpus(of: $0.group) } }

  /// Gives its group these CPUs.
  func setCPUs(_ cpus: CPUSet) throws(SystemError) { try state.setCPUs(cpus, in: tree) }
}
