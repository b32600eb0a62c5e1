// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
public import Syscalls

/// Where the kernel calls when a group of cgroup v1 uses more memory, or less.
///
/// Eventfds registered through cgroup.event_control
/// (Documentation/admin-guide/cgroup-v1/memory.rst, 9 to 11): one that is written when the usage
/// crosses any of many thresholds, up or down, and when the kernel begins to reclaim in the group;
/// another one when the group is at its limit and the kernel is about to kill. The registrations
/// are gone with the eventfds.
public struct MemoryCalls: ~Copyable {
  /// Readable when a threshold was crossed, or reclaim has begun.
  public let use: FileDescriptor
  /// Readable when the kernel found nothing to reclaim at the limit.
  public let outOfMemory: FileDescriptor

  /// Registers with a group.
  ///
  /// - Parameters:
  ///   - directory: The group's directory in the memory hierarchy.
  ///   - usage: Its memory.usage_in_bytes, open.
  ///   - thresholds: Bytes, the most urgent ones first. They are registered behind the caller's
  ///     back, 8 ms each; use that has passed one by then is not heard of.
  /// - Throws: ``SystemError``: ENOENT for a group that is gone, or of cgroup v2.
  public init(
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

  /// Takes over what another image of this process has registered.
  public init(
    use: consuming FileDescriptor, outOfMemory: consuming FileDescriptor
  ) {
    self.use = use
    self.outOfMemory = outOfMemory
  }

  /// Gives both away: for another image.
  public consuming func release() -> (use: Int32, outOfMemory: Int32) {
    (use.release(), outOfMemory.release())
  }

  /// Takes note of the calls for use that came, however many.
  public func acknowledgeUse() { Self.drain(use.number) }

  /// Takes note of the calls at the limit that came, however many.
  public func acknowledgeOutOfMemory() { Self.drain(outOfMemory.number) }

  private static func eventDescriptor() throws(SystemError) -> FileDescriptor {
    FileDescriptor(owning: try retrying("make", "an event descriptor") { escra_eventfd() })
  }

  private static func drain(_ number: Int32) {
    var count: UInt64 = 0
    _ = withUnsafeMutableBytes(of: &count) { Glibc.read(number, $0.baseAddress, 8) }
  }
}
