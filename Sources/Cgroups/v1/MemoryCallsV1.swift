// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
package import Syscalls

extension MemoryCalls {
  /// Registers with a group of cgroup v1.
  ///
  /// - Parameters:
  ///   - directory: The group's directory in the memory hierarchy.
  ///   - usage: Its memory.usage_in_bytes, open.
  ///   - thresholds: Bytes, the most urgent ones first. They are registered behind the caller's
  ///     back, 8 ms each; use that has passed one by then is not reported.
  /// - Throws: ``SystemError``: ENOENT for a group that is gone, or of cgroup v2.
  package init(
    of directory: String, usage: borrowing FileDescriptor, thresholds: [Int64]
  ) throws(SystemError) {
    let control = try FileDescriptor.open(directory + "/cgroup.event_control", O_WRONLY)
    let use = try Self.eventDescriptor()
    // Page cache up to the limit hides the thresholds: then reclaim is what calls. Without it the
    // thresholds are what there is.
    if let file = FileDescriptor.openIfPossible(directory + "/memory.pressure_level", O_RDONLY) {
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

  private static func eventDescriptor() throws(SystemError) -> FileDescriptor {
    FileDescriptor(owning: try retrying("make", "an event descriptor") { escra_eventfd() })
  }
}
