// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Glibc
internal import State
internal import Syscalls

/// A container's own cgroup, found and held, and its init where that lives.
struct ContainerCgroup: ~Copyable {
  /// No process where init has ended.
  let initProcess: ProcessHandle
  let location: CgroupLocation
  /// The same, before ``CgroupLocation/aroundMemory()``.
  let ownLocation: CgroupLocation
  /// The container's group, or the one of ours around it: what is right above is another's.
  let outermost: CgroupLocation
  /// ``ContainerState/groups``.
  let groups: String
  /// The directory in the cpu hierarchy.
  let directory: FileDescriptor
  /// Its inode: the group's id.
  let inode: UInt64

  /// Finds them: by what was recorded, else by where init is.
  ///
  /// - Parameter state: Must have an ``ContainerState/initProcess`` or recorded groups.
  /// - Throws: ``SystemError``: ESRCH when the container has ended already, EXDEV when its init is
  ///   not in a cgroup of its own, and whatever opening a file says.
  init(of state: ContainerState) throws(SystemError) {
    let ended = SystemError("find", "the container's group", errno: ESRCH)
    let initProcess =
      state.initProcess.flatMap { ProcessHandle($0) } ?? ProcessHandle(owning: .none)
    guard let groups = state.groups ?? Self.groups(of: state, initProcess) else { throw ended }
    let mounts = try FileDescriptor.text(of: "/proc/self/mountinfo")
    guard let location = CgroupLocation(membership: groups, mounts: mounts),
      location.isNamed(state.cgroupName)
    else { throw SystemError("supervise", "a cgroup that is not the container's", errno: EXDEV) }
    let directory = try FileDescriptor.open(location.cpu, O_RDONLY | O_DIRECTORY)
    let inode = try directory.status().identity.inode
    // After a crash: the same path may be another container's by now.
    guard state.cpuInode ?? inode == inode, directory.hasCgroupMembers else { throw ended }
    self.initProcess = initProcess
    self.groups = groups
    ownLocation = location
    outermost = state.memoryInnerName == nil ? location : location.around()
    self.location = state.memoryInnerName == nil ? location : location.aroundMemory()
    self.directory = directory
    self.inode = inode
  }

  /// The container's own groups when it is looked for the first time.
  private static func groups(
    of state: ContainerState, _ initProcess: borrowing ProcessHandle
  ) -> String? {
    if let pid = state.initProcess?.pid, initProcess.descriptor.isOpen,
      let membership = FileDescriptor.textIfReadable(of: "/proc/\(pid)/cgroup"),
      !initProcess.hasEnded
    {
      // crun puts the processes into a group below a scope of systemd's, which has any name.
      let isScope = CgroupLocation.isScope(state.cgroupName)
      return CgroupMembership.own(
        in: membership, below: isScope ? nil : state.cgroupPath ?? state.cgroupName)
    }
    // Its init has ended before it was found; others may be left.
    return state.cgroupPath.map { CgroupMembership.own(path: $0) }
  }

  /// Gives init's pidfd away.
  consuming func release() -> Int32 { initProcess.release() }
}
