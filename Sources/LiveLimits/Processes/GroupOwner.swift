// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Glibc
internal import Quantities
package import State
internal import Syscalls

/// Which container's supervisor moves the limits of a cgroup: of two containers in one group, one.
///
/// The owner is the supervisor that has the flock(2) on the file of the group's CPU quota. The kernel
/// ends that with the process, and a group that was removed and made again has another file.
package enum GroupOwner {
  /// For how long a supervisor that is ending may have the lock.
  private static let patience: Nanoseconds = 1_000_000_000

  /// Becomes the owner, for as long as the file is open.
  ///
  /// - Returns: Whether the caller is the owner.
  static func take(_ quota: borrowing FileDescriptor) -> Bool {
    let wait = LockWait(for: patience, every: 10)
    while true {
      // A kernel without locks on this file is no reason to supervise nothing.
      guard let isOurs = try? quota.lock(wait: false) else { return true }
      if isOurs || !wait.pause() { return isOurs }
    }
  }

  /// Why a container is left unsupervised whose group has another owner.
  ///
  /// - Parameters:
  ///   - inode: The group's.
  ///   - nonce: Of the container's own instance.
  ///   - root: Where states are.
  /// - Returns: A clause that names the other container.
  static func reason(_ inode: UInt64?, not nonce: UInt64, _ root: StateRoot) -> String {
    for path in root.instances() {
      guard let directory = StateDirectory.ifThere(path), directory.nonce != nonce,
        let state = directory.load(), state.cpuInode == inode, state.unsupervised == nil
      else { continue }
      return sentence("\(state.id) of --root \(state.root)")
    }
    return sentence(nil)
  }

  /// The same before the container exists.
  ///
  /// - Parameters:
  ///   - path: The path of its group from the hierarchies' root.
  ///   - root: Where states are.
  /// - Returns: nil where the group is not there, or has no owner, or its owner is about to end.
  package static func reason(at path: String, _ root: StateRoot) -> String? {
    // Where hierarchies are mounted elsewhere the supervisor finds out.
    for mount in ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup"] {
      if let reason = reason(in: mount + path, not: 0, root) { return reason }
    }
    return nil
  }

  /// The same of the group in a directory of the cpu hierarchy.
  static func reason(in directory: String?, not nonce: UInt64, _ root: StateRoot) -> String? {
    guard let directory,
      let group = FileDescriptor.openIfPossible(directory, O_RDONLY | O_DIRECTORY)
    else { return nil }
    for version in [CgroupVersion.v1, .v2] {
      guard let quota = group.openIfPossible(.cpuQuota, version, O_RDONLY), group.hasCgroupMembers,
        RegistryLock.holder(of: quota) != nil
      else { continue }
      return reason(group.statusIfKnown?.identity.inode, not: nonce, root)
    }
    return nil
  }

  private static func sentence(_ id: String?) -> String {
    "its cgroup has another container\(id.map { ", \($0)," } ?? "") whose supervisor moves the "
      + "limits; give each container a cgroupsPath of its own"
  }
}
