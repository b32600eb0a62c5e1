// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Hooks
internal import Syscalls

/// A strict container that was found, with what its supervisor holds open of it.
final class StrictContainer {
  let initProcess: ProcessHandle
  let quota: CgroupWriter
  let quotaWatch: FileWatch
  private let group: FileDescriptor
  private let cpuset: String

  /// Finds it, and completes the state with what was found.
  ///
  /// - Parameter state: Must have an ``ContainerState/initProcess`` and a ``ContainerState/claim``.
  /// - Throws: ``SystemError``: ESRCH when the container has ended already, EXDEV when its init is
  ///   not in a cgroup of its own, and whatever opening a file says.
  init(_ state: inout ContainerState) throws(SystemError) {
    let found = try FoundGroup(of: state)
    let location = found.location
    guard let cpuset = location.cpuset else {
      throw SystemError("find", "the container's cpuset", errno: EXDEV)
    }
    quota = try CgroupWriter(
      directory: found.directory, version: location.version, readOnly: false)
    quotaWatch = try FileWatch()
    try quotaWatch.addWrites(to: quota.quotaFile)
    state.complete(with: location, inode: found.inode)
    state.claim?.inode = try FileStatus.following(cpuset).identity.inode
    state.source = "inotify"
    self.cpuset = cpuset
    let files = found.release()
    initProcess = ProcessHandle(owning: FileDescriptor(owning: files.initProcess))
    group = FileDescriptor(owning: files.directory)
  }

  /// The CPUs its group has; nil when the group is gone.
  func cpus() -> CPUSet? {
    (try? FileDescriptor.text(of: cpuset + "/cpuset.cpus")).flatMap { CPUSet(list: $0) }
  }

  /// Gives its group these CPUs.
  func setCPUs(_ cpus: CPUSet) throws(SystemError) {
    try CgroupWriter.setCPUs(cpus, of: cpuset)
  }

  /// Whether any process is left in it.
  var hasMembers: Bool { group.hasCgroupMembers }
}
