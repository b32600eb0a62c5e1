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
  /// What reports the end of the last process, once init has ended; nil before, and on v1.
  private var members: GroupMembers?
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
    // A group that is gone: the container has ended.
    guard let location = try? ContainerCgroup(of: state).location else {
      return nil
    }
    state.findLimits(above: location, isFound: true, root)
    guard
      // Without its files the CPUs are kept all the same.
      let found = try? FoundMemory.open(location, &state, isFirst: isFirst, isObserver: false)
    else { return nil }
    var open = found.files
    // The same.
    return try? MemorySupervisor(found.base, isObserver: false) { place in
      FileDescriptor(owning: open.removeValue(forKey: place) ?? -1)
    }
  }

  private static func find(_ state: inout ContainerState) throws(SystemError) {
    let found = try ContainerCgroup(of: state)
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
    guard version?.hasPartitions == true else { return "inotify" }
    let isPartition = CpusetTree.partition(of: cpuset) == .root
    return isPartition ? "partition, inotify" : "cpusets, inotify"
  }

  /// Makes its group no partition any more if another process has broken that.
  func leaveBrokenPartition() { CpusetTree.leaveBrokenPartition(cpuset, quota.version) }

  /// The CPUs its group has; nil when the group is gone.
  func cpus() -> CPUSet? { state.claim.flatMap { tree.cpus(of: $0.group) } }

  /// Gives its group these CPUs.
  func setCPUs(_ cpus: CPUSet) throws(SystemError) { try state.setCPUs(cpus, in: tree) }
}

extension StrictContainer: LifetimeSource {
  var initDescriptor: Int32 { initProcess.descriptor.number }

  var hasLostInit: Bool { !initProcess.descriptor.isOpen || initProcess.hasEnded }

  var hasMembers: Bool? {
    _ = members?.acknowledge()
    return group.hasCgroupMembers
  }

  func watchMembers(_ poller: borrowing Poller, token: UInt64) -> Bool {
    members = GroupMembers(reportedIn: group, quota.version)
    // Without a report the supervisor looks once a second.
    return (try? members?.watch(poller, token: token)) == true
  }
}
