// SPDX-License-Identifier: Apache-2.0
internal import Glibc
public import Syscalls

extension FileDescriptor {
  /// Whether any process is in the cgroup whose directory this is; a group that is gone has none.
  ///
  /// The list is opened for each look: v1 shows an open file what it made at the first read for up
  /// to a second (kernel/cgroup/cgroup-v1.c, CGROUP_PIDLIST_DESTROY_DELAY).
  public var hasCgroupMembers: Bool {
    guard let file = try? open("cgroup.procs", O_RDONLY),
      let members = try? file.contents(subject: "cgroup.procs")
    else { return false }
    return !members.isEmpty
  }
}
