// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Hooks
internal import Syscalls

/// A container's init and the cgroup that it is in, found and held.
struct FoundGroup: ~Copyable {
  let initProcess: ProcessHandle
  let location: CgroupLocation
  /// The directory in the cpu hierarchy.
  let directory: FileDescriptor
  /// Its inode: the group's id.
  let inode: UInt64

  /// Finds them.
  ///
  /// - Parameter state: Must have an ``ContainerState/initProcess``.
  /// - Throws: ``SystemError``: ESRCH when the container has ended already, EXDEV when its init is
  ///   not in a cgroup of its own, and whatever opening a file says.
  init(of state: ContainerState) throws(SystemError) {
    let ended = SystemError("find", "the container's init", errno: ESRCH)
    guard let identity = state.initProcess, let handle = ProcessHandle(identity),
      let membership = try? FileDescriptor.text(of: "/proc/\(identity.pid)/cgroup"),
      !handle.hasEnded
    else { throw ended }
    let mounts = try FileDescriptor.text(of: "/proc/self/mountinfo")
    guard var location = CgroupLocation(membership: membership, mounts: mounts),
      location.isNamed(state.cgroupName)
    else { throw SystemError("supervise", "a cgroup that is not the container's", errno: EXDEV) }
    if let known = state.cpuDirectory,
      let before = location.moved(backTo: known, mounts: mounts)
    {
      location = before
    }
    let directory = try FileDescriptor.open(location.cpu, O_RDONLY | O_DIRECTORY)
    let inode = try directory.status().identity.inode
    // After a crash: the same path may be another container's by now.
    if let known = state.cpuInode, known != inode { throw ended }
    self.initProcess = handle
    self.location = location
    self.directory = directory
    self.inode = inode
  }

  /// Gives init's pidfd away.
  consuming func release() -> Int32 { initProcess.release() }
}
