// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Quantities
package import Syscalls

/// The open file that counts the processes of a cgroup, with those in groups below it.
///
/// On v2 cgroup.events says whether there are any, and reports the end of the last one. On v1
/// pids.current also counts those that have ended and were not reaped: only 0 is an answer.
package struct GroupMembers: ~Copyable {
  private let file: FileDescriptor
  private let version: CgroupVersion

  /// Takes over an open cgroup.events or pids.current; no file is no answer.
  package init(owning file: consuming FileDescriptor, _ version: CgroupVersion) {
    self.file = file
    self.version = version
  }

  /// Opens that of a group; nil if nothing reports the end of its last process.
  ///
  /// As with ``watch(_:token:)``, the report may be lost.
  ///
  /// - Parameters:
  ///   - directory: The directory of the group.
  ///   - version: Its interface.
  package init?(reportedIn directory: String?, _ version: CgroupVersion?) {
    guard let directory, let version, version.reportsLastProcess,
      let file = FileDescriptor.openIfPossible(.events, of: directory, version, O_RDONLY)
    else { return nil }
    self.init(owning: file, version)
  }

  /// The same for a directory that is open.
  package init?(reportedIn directory: borrowing FileDescriptor, _ version: CgroupVersion) {
    guard version.reportsLastProcess,
      let file = directory.openIfPossible(.events, version, O_RDONLY)
    else { return nil }
    self.init(owning: file, version)
  }

  /// Whether the file belongs to the group itself; v1's is in another hierarchy and may outlive it.
  package var isOfGroup: Bool { version == .v2 }

  /// Whether there is a process.
  ///
  /// - Returns: nil if only a look at the groups below can tell.
  /// - Throws: ``SystemError``; ENODEV once the group is gone.
  package func areThere() throws(SystemError) -> Bool? {
    if version == .v2 {
      return CgroupEvents.isSet("populated", in: try file.contents(subject: Self.subject))
    }
    return try file.integer(subject: Self.subject) == 0 ? false : nil
  }

  /// Has a poller report the end of the last process, if the kernel reports that.
  ///
  /// The kernel delays a report within 10 ms of another, and drops the delayed one if the group is
  /// removed (cgroup_file_notify, cgroup_rm_file of kernel/cgroup/cgroup.c). So the caller also looks at
  /// intervals.
  ///
  /// - Returns: Whether it will.
  /// - Throws: ``SystemError``.
  @discardableResult
  package func watch(
    _ poller: borrowing Poller, token: UInt64
  ) throws(SystemError) -> Bool {
    guard version.reportsLastProcess, file.isOpen else { return false }
    try poller.addUrgent(file.number, token: token)
    return true
  }

  /// Takes note of what was reported: to read the file is enough.
  ///
  /// - Returns: Whether the group is still there.
  package func acknowledge() -> Bool { (try? file.contents(subject: Self.subject)) != nil }

  /// Gives the descriptor away.
  package consuming func release() -> Int32 { file.release() }

  private static let subject = "the container's members"
}
