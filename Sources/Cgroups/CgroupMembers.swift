// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Quantities
package import Syscalls

extension FileDescriptor {
  /// Whether any process is in the cgroup whose directory this is, or in one below it.
  ///
  /// A group that is gone has none. A group that cannot be read has: its container must not be taken
  /// for ended.
  package var hasCgroupMembers: Bool {
    do throws(SystemError) {
      // Twice: a process may move between two groups while v1's are gone through.
      if try hasCgroupMembers(levels: 64) { return true }
      return try hasCgroupMembers(levels: 64)
    } catch { return !error.isGone }
  }

  /// The interface of the cgroup whose directory this is.
  package var cgroupVersion: CgroupVersion {
    guard let name = CgroupFile.controllers.name(.v2) else { return .v1 }
    // A directory that cannot be looked at has no file that could be opened either.
    return (try? status(of: name)) == nil ? .v1 : .v2
  }

  private func hasCgroupMembers(levels: Int) throws(SystemError) -> Bool {
    do throws(SystemError) {
      let events = try open("cgroup.events", O_RDONLY).contents(subject: "cgroup.events")
      if let isPopulated = CgroupEvents.isSet("populated", in: events) { return isPopulated }
    } catch { guard error.isGone else { throw error } }
    if !(try open("cgroup.procs", O_RDONLY).contents(subject: "cgroup.procs")).isEmpty {
      return true
    }
    for name in try subdirectories() {
      guard levels > 0 else { return true }
      do throws(SystemError) {
        let child = try open(name, O_RDONLY | O_DIRECTORY)
        if try child.hasCgroupMembers(levels: levels - 1) { return true }
      } catch { guard error.isGone else { throw error } }
    }
    return false
  }

  /// Whether any process is in the cgroup itself; a group that is gone has none.
  ///
  /// The list is opened for each look: v1 shows an open file what it made at the first read for up
  /// to a second (kernel/cgroup/cgroup-v1.c, CGROUP_PIDLIST_DESTROY_DELAY).
  package var hasCgroupProcesses: Bool {
    guard let file = try? open("cgroup.procs", O_RDONLY),
      let members = file.contentsIfReadable()
    else { return false }
    return !members.isEmpty
  }
}

extension SystemError {
  /// Whether a file, or the cgroup that it belonged to, is not there any more.
  package var isGone: Bool { errno == ENOENT || errno == ENODEV }
}

/// v2's cgroup.events: "populated 1" and "frozen 0", a line each
/// (Documentation/admin-guide/cgroup-v2.rst).
package enum CgroupEvents {
  /// What the line of that name says; nil where there is none.
  package static func isSet(_ name: String, in text: String) -> Bool? {
    for line in text.split(at: "\n") where line.utf8.starts(with: (name + " ").utf8) {
      return line.utf8.last == UInt8(ascii: "1")
    }
    return nil
  }
}
