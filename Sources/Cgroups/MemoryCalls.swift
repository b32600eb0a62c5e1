// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Quantities
package import Syscalls

/// Where the kernel calls when a group uses more memory, or less.
///
/// On cgroup v1, eventfds registered through cgroup.event_control
/// (Documentation/admin-guide/cgroup-v1/memory.rst, 9 to 11): one that is written when the usage
/// crosses any of many thresholds, up or down, and when the kernel begins to reclaim in the group;
/// another one when the group is at its limit and the kernel is about to kill. The registrations
/// are gone with the eventfds.
///
/// On cgroup v2, memory.events.local: it has urgent news when memory.high was crossed, memory.max
/// was met, or a process was killed, at once and then once in 12 ms at the most
/// (mm/memcontrol.c, memcg_memory_event; Documentation/admin-guide/cgroup-v2.rst).
package struct MemoryCalls: ~Copyable {
  /// Readable when a threshold was crossed, or reclaim has begun; memory.events.local on v2.
  package let use: FileDescriptor
  /// Readable when the kernel found nothing to reclaim at the limit; none on v2.
  package let outOfMemory: FileDescriptor

  /// Takes over what another image of this process has registered.
  package init(use: consuming FileDescriptor, outOfMemory: consuming FileDescriptor) {
    self.use = use
    self.outOfMemory = outOfMemory
  }

  /// Registers with a group.
  ///
  /// - Parameters:
  ///   - directory: The group's directory in the memory hierarchy.
  ///   - inner: The container's own group, if that group is around it: then the events of both
  ///     count.
  ///   - version: The interface.
  ///   - usage: The file of its use, open.
  ///   - thresholds: Bytes, the most urgent ones first; on cgroup v1 alone.
  /// - Throws: ``SystemError``; ENOENT when the group is gone.
  package init(
    of directory: String, around inner: String?, _ version: CgroupVersion,
    usage: borrowing FileDescriptor, thresholds: [Int64]
  ) throws(SystemError) {
    switch version {
    case .v1: try self.init(of: directory, usage: usage, thresholds: thresholds)
    case .v2: try self.init(unified: directory, isHierarchical: inner != nil)
    }
  }

  /// Opens the file that counts the OOM kills of a container.
  ///
  /// Cgroup v1 counts a kill in the group of the process alone.
  ///
  /// - Throws: ``SystemError``; ENOENT when the group is gone.
  package static func openKills(
    of directory: String, around inner: String?, _ version: CgroupVersion
  ) throws(SystemError) -> FileDescriptor {
    switch version {
    case .v1: try FileDescriptor.open(.memoryKills, of: inner ?? directory, version, O_RDONLY)
    case .v2:
      FileDescriptor(
        owning: try MemoryCalls(unified: directory, isHierarchical: inner != nil).release().use)
    }
  }

  /// Gives both away: for another image.
  package consuming func release() -> (use: Int32, outOfMemory: Int32) {
    (use.release(), outOfMemory.release())
  }

  /// Has a poller say when the kernel calls.
  ///
  /// - Parameters:
  ///   - poller: The poller.
  ///   - use: What it will say for ``use``.
  ///   - outOfMemory: What it will say for ``outOfMemory``.
  /// - Throws: ``SystemError``.
  package func add(
    to poller: borrowing Poller, use: UInt64, outOfMemory: UInt64
  ) throws(SystemError) {
    guard self.outOfMemory.isOpen else {
      return try poller.addUrgent(self.use.number, token: use)
    }
    try poller.add(self.use.number, token: use)
    try poller.add(self.outOfMemory.number, token: outOfMemory)
  }

  /// Takes note of the calls for use that came, however many.
  package func acknowledgeUse() {
    // A file of v2 has no more news once it was read from its start.
    if outOfMemory.isOpen { Self.drain(use.number) } else { _ = use.contentsIfReadable() }
  }

  /// Takes note of the calls at the limit that came, however many.
  package func acknowledgeOutOfMemory() {
    if outOfMemory.isOpen { Self.drain(outOfMemory.number) }
  }

  private static func drain(_ number: Int32) {
    var count: UInt64 = 0
    _ = withUnsafeMutableBytes(of: &count) { Glibc.read(number, $0.baseAddress, 8) }
  }
}
