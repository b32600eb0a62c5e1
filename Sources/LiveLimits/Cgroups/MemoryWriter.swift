// SPDX-License-Identifier: Apache-2.0
internal import Glibc
public import Syscalls

/// The one type that writes memory limits to the kernel: ``CgroupWriter``'s sister.
///
/// It works on files that were opened while there was the privilege to; opened for reading only, it
/// cannot write at all, which is what `observe` is.
public struct MemoryWriter: ~Copyable {
  private let limitFile: FileDescriptor
  /// memory.memsw.limit_in_bytes; ``FileDescriptor/none`` where swap is not accounted for.
  private let swapFile: FileDescriptor
  /// Whether this writer may change anything.
  public let isReadOnly: Bool

  /// Opens the files of one group of cgroup v1.
  ///
  /// - Parameters:
  ///   - directory: The group's directory in the memory hierarchy.
  ///   - readOnly: Whether to open for reading only.
  /// - Throws: ``SystemError``; ENOENT when the group is gone.
  public init(directory: String, readOnly: Bool) throws(SystemError) {
    let flags = readOnly ? O_RDONLY : O_RDWR
    limitFile = try FileDescriptor.open(directory + "/memory.limit_in_bytes", flags)
    swapFile =
      (try? FileDescriptor.open(directory + "/memory.memsw.limit_in_bytes", flags)) ?? .none
    isReadOnly = readOnly
  }

  /// Takes over files that are open already.
  init(limit: consuming FileDescriptor, swap: consuming FileDescriptor, readOnly: Bool) {
    limitFile = limit
    swapFile = swap
    isReadOnly = readOnly
  }

  /// The numbers of the files, for an image that takes them over; -1 for one that is not there.
  consuming func release() -> (limit: Int32, swap: Int32) {
    (limitFile.release(), swapFile.release())
  }

  /// The limit that the kernel has now, in bytes; one page less than 2^63 is none.
  ///
  /// - Throws: ``SystemError``; ENODEV once the group is gone.
  public func current() throws(SystemError) -> Int64 { try Self.number(limitFile) }

  /// Sets the limit.
  ///
  /// Memory and swap together are never limited to less than memory is (mm/memcontrol-v1.c,
  /// mem_cgroup_resize_max): that limit is raised first and lowered last. The kernel does not set a
  /// limit below what is used: it reclaims until the use fits, and else refuses. It has compared
  /// both after it has set the limit, so whoever allocates meanwhile is no race.
  ///
  /// - Parameters:
  ///   - limit: Bytes.
  ///   - swap: Bytes of memory and swap together; nil to leave that limit alone.
  /// - Throws: ``SystemError``: EBUSY below what is used and cannot be reclaimed, EINVAL above what
  ///   memory and swap together are limited to, ENODEV once the group is gone, EBADF for a reader.
  public func set(_ limit: Int64, swap: Int64?) throws(SystemError) {
    if isReadOnly { throw SystemError("write", "the memory limit", errno: EBADF) }
    guard let swap, swapFile.isOpen else { return try write(limit, to: limitFile) }
    let isRaised = swap >= (try Self.number(swapFile))
    if isRaised { try write(swap, to: swapFile) }
    try write(limit, to: limitFile)
    if !isRaised { try write(swap, to: swapFile) }
  }

  /// Makes memory and swap together what they shall be under the limit that is in force; a crash
  /// between two writes leaves more.
  ///
  /// - Parameter swap: As for ``set(_:swap:)``.
  public func alignSwap(to swap: Int64?) {
    guard !isReadOnly, let swap, swapFile.isOpen, (try? Self.number(swapFile)) != swap else {
      return
    }
    try? write(swap, to: swapFile)
  }

  private func write(_ bytes: Int64, to file: borrowing FileDescriptor) throws(SystemError) {
    try file.overwrite("\(bytes)", subject: "the memory limit")
  }

  private static func number(_ file: borrowing FileDescriptor) throws(SystemError) -> Int64 {
    let text = try file.contents(subject: "the memory limit")
    guard let number = Int64(Substring(text.utf8.prefix { $0 != UInt8(ascii: "\n") })) else {
      throw SystemError("read", "the memory limit", errno: EINVAL)
    }
    return number
  }
}
