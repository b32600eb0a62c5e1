// SPDX-License-Identifier: Apache-2.0
internal import Glibc
public import Syscalls

extension FileDescriptor {
  /// Whether any process is in the cgroup whose directory this is, on v2 also in one below it; a
  /// group that is gone has none.
  public var hasCgroupMembers: Bool {
    if let file = try? open("cgroup.events", O_RDONLY),
      let events = try? file.contents(subject: "cgroup.events"),
      let isPopulated = CgroupEvents.isSet("populated", in: events)
    {
      return isPopulated
    }
    return hasCgroupProcesses
  }

  /// Whether any process is in the cgroup itself; a group that is gone has none.
  ///
  /// The list is opened for each look: v1 shows an open file what it made at the first read for up
  /// to a second (kernel/cgroup/cgroup-v1.c, CGROUP_PIDLIST_DESTROY_DELAY).
  public var hasCgroupProcesses: Bool {
    guard let file = try? open("cgroup.procs", O_RDONLY),
      let members = try? file.contents(subject: "cgroup.procs")
    else { return false }
    return !members.isEmpty
  }
}

/// v2's cgroup.events: "populated 1" and "frozen 0", a line each
/// (Documentation/admin-guide/cgroup-v2.rst).
enum CgroupEvents {
  /// What the line of that name says; nil where there is none.
  static func isSet(_ name: String, in text: String) -> Bool? {
    for line in text.split(at: "\n") where line.utf8.starts(with: (name + " ").utf8) {
      return line.utf8.last == UInt8(ascii: "1")
    }
    return nil
  }
}
