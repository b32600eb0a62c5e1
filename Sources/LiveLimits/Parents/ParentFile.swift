// SPDX-License-Identifier: Apache-2.0
internal import Cgroups
internal import Control
internal import Glibc
internal import Quantities
internal import Syscalls

/// The kernel's limit of a parent; tests have others.
protocol ParentFile: AnyObject {
  /// What it is; ENODEV once the group is gone.
  func read() throws(SystemError) -> ParentValue
  /// Makes it another value of the same scale.
  ///
  /// - Throws: ``SystemError``: EINVAL where cgroup v1 has less above it, or more below; EBUSY where
  ///   more memory is in use.
  func write(_ value: ParentValue, over old: ParentValue) throws(SystemError)
}

/// A parent's CPU limit.
final class ParentQuota: ParentFile {
  private var writer: CgroupWriter

  init(_ writer: consuming CgroupWriter) { self.writer = writer }

  func read() throws(SystemError) -> ParentValue {
    let limit = try writer.current()
    return ParentValue(limit.quota, scale: limit.period)
  }

  func write(_ value: ParentValue, over old: ParentValue) throws(SystemError) {
    try writer.set(
      CFSBandwidth(quota: value.value, period: value.scale),
      from: CFSBandwidth(quota: old.value, period: old.scale))
  }
}

/// A parent's memory limit.
final class ParentMemory: ParentFile {
  private let writer: MemoryWriter
  /// memory.usage_in_bytes or memory.current.
  private let usage: FileDescriptor

  init(_ writer: consuming MemoryWriter, usage: consuming FileDescriptor) {
    self.writer = writer
    self.usage = usage
  }

  func read() throws(SystemError) -> ParentValue {
    let limit = try writer.current()
    return ParentValue(limit >= MemoryLimit.unlimited ? nil : limit, scale: ParentValue.bytes)
  }

  func write(_ value: ParentValue, over old: ParentValue) throws(SystemError) {
    let limit = value.value ?? MemoryLimit.unlimited
    if limit < old.value ?? MemoryLimit.unlimited {
      // cgroup v2 would kill for it, and v1 takes a limit that has a page to spare.
      let text = try usage.contents(subject: "the parent's memory usage")
      let used = Int64(Substring(text.utf8.prefix { $0 != UInt8(ascii: "\n") })) ?? .max
      guard used <= limit - limit / 16 else {
        throw SystemError("lower", "the parent's memory limit", errno: EBUSY)
      }
    }
    try writer.setLimitAlone(limit)
  }
}
