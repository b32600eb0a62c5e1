// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
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
/// was met, or somebody was killed, at once and then once in 12 ms at the most
/// (mm/memcontrol.c, memcg_memory_event; Documentation/admin-guide/cgroup-v2.rst).
package struct MemoryCalls: ~Copyable {
  /// Readable when a threshold was crossed, or reclaim has begun; memory.events.local on v2.
  package let use: FileDescriptor
  /// Readable when the kernel found nothing to reclaim at the limit; none on v2.
  package let outOfMemory: FileDescriptor

  /// Registers with a group of cgroup v1.
  ///
  /// - Parameters:
  ///   - directory: The group's directory in the memory hierarchy.
  ///   - usage: Its memory.usage_in_bytes, open.
  ///   - thresholds: Bytes, the most urgent ones first. They are registered behind the caller's
  ///     back, 8 ms each; use that has passed one by then is not heard of.
  /// - Throws: ``SystemError``: ENOENT for a group that is gone, or of cgroup v2.
  package init(
    of directory: String, usage: borrowing FileDescriptor, thresholds: [Int64]
  ) throws(SystemError) {
    let control = try FileDescriptor.open(directory + "/cgroup.event_control", O_WRONLY)
    let use = try Self.eventDescriptor()
    // Page cache up to the limit hides the thresholds: then reclaim is what calls. Without it the
    // thresholds are what there is.
    if let file = try? FileDescriptor.open(directory + "/memory.pressure_level", O_RDONLY) {
      try? control.write("\(use.number) \(file.number) low,local")
    }
    let outOfMemory = try Self.eventDescriptor()
    let file = try FileDescriptor.open(directory + "/memory.oom_control", O_RDONLY)
    try control.write("\(outOfMemory.number) \(file.number)")
    _ = thresholds.withUnsafeBufferPointer { buffer in
      buffer.baseAddress.map {
        escra_register_thresholds(
          control.number, use.number, usage.number, $0, CInt(buffer.count))
      }
    }
    self.use = use
    self.outOfMemory = outOfMemory
  }

  /// Listens to a group of cgroup v2.
  ///
  /// - Parameters:
  ///   - directory: The group's directory.
  ///   - isHierarchical: Whether to hear what happens in the groups below, too.
  /// - Throws: ``SystemError``: ENOENT for a group that is gone, or without the memory controller.
  package init(unified directory: String, isHierarchical: Bool = false) throws(SystemError) {
    // Before Linux 5.2 there is the one that counts the groups below, too.
    let path = directory + "/memory.events"
    if !isHierarchical, let local = try? FileDescriptor.open(path + ".local", O_RDONLY) {
      use = local
    } else {
      use = try FileDescriptor.open(path, O_RDONLY)
    }
    outOfMemory = .none
  }

  /// Takes over what another image of this process has registered.
  package init(
    use: consuming FileDescriptor, outOfMemory: consuming FileDescriptor
  ) {
    self.use = use
    self.outOfMemory = outOfMemory
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
    if outOfMemory.isOpen { Self.drain(use.number) } else { _ = try? use.contents(subject: "") }
  }

  /// Takes note of the calls at the limit that came, however many.
  package func acknowledgeOutOfMemory() {
    if outOfMemory.isOpen { Self.drain(outOfMemory.number) }
  }

  private static func eventDescriptor() throws(SystemError) -> FileDescriptor {
    FileDescriptor(owning: try retrying("make", "an event descriptor") { escra_eventfd() })
  }

  private static func drain(_ number: Int32) {
    var count: UInt64 = 0
    _ = withUnsafeMutableBytes(of: &count) { Glibc.read(number, $0.baseAddress, 8) }
  }
}
