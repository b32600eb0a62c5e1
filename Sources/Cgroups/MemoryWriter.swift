// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Quantities
package import Syscalls

/// The one type that writes memory limits to the kernel: ``CgroupWriter``'s sister.
///
/// It works on files that were opened while there was the privilege to; opened for reading only, it
/// cannot write at all, which is what `observe` is.
package struct MemoryWriter: ~Copyable {
  /// memory.limit_in_bytes, or memory.max.
  private let limitFile: FileDescriptor
  /// memory.memsw.limit_in_bytes; ``FileDescriptor/none`` where swap is not accounted for, and on
  /// cgroup v2, where the limit of swap is one of its own.
  private let swapFile: FileDescriptor
  /// memory.high; ``FileDescriptor/none`` on cgroup v1.
  private let lineFile: FileDescriptor
  /// memory.max of the group that has the declared limit, as ``CgroupWriter/innerFile``.
  private let innerFile: FileDescriptor
  /// The same of the group that crun makes below a scope.
  private let innerCopy: FileDescriptor
  /// Whether the group whose limit moves is inside the group with the declared limit.
  private let isInside: Bool
  /// memory.memsw.limit_in_bytes of that group.
  private let innerSwapFile: FileDescriptor
  /// The limit of a member's application in bytes, as ``CgroupWriter/application`` has it.
  package var application: Int64?
  /// Whether this writer may change anything.
  package let isReadOnly: Bool
  /// Whether memory.high is the limit that moves, and memory.max is none: programs may read that.
  package let isLine: Bool

  /// Which interface it writes.
  package var version: CgroupVersion { lineFile.isOpen ? .v2 : .v1 }

  /// Opens the files of one group.
  ///
  /// - Parameters:
  ///   - directory: The group's directory in the memory hierarchy.
  ///   - version: Which interface it has.
  ///   - readOnly: Whether to open for reading only.
  ///   - scope: The directory of the scope around it, which has the declared limit, if there is one.
  ///   - inner: The directory of the container's own group, if this one is around it.
  ///   - isLine: Whether memory.high is the limit that moves.
  /// - Throws: ``SystemError``; ENOENT when the group is gone.
  package init(
    directory: String, version: CgroupVersion = .v1, readOnly: Bool,
    in scope: String? = nil, around inner: String? = nil, isLine: Bool = false
  ) throws(SystemError) {
    let flags = readOnly ? O_RDONLY : O_RDWR
    let isV1 = version == .v1
    let limitFile = try FileDescriptor.open(
      directory + (isV1 ? "/memory.limit_in_bytes" : "/memory.max"), flags)
    let lineFile =
      isV1 ? FileDescriptor.none : try FileDescriptor.open(directory + "/memory.high", flags)
    let innerFile =
      if let path = inner ?? scope {
        try FileDescriptor.open(
          path + (isV1 ? "/memory.limit_in_bytes" : "/memory.max"), flags)
      } else {
        FileDescriptor.none
      }
    self.limitFile = limitFile
    self.lineFile = lineFile
    self.innerFile = innerFile
    innerCopy = Self.file("memory.max", in: isV1 ? nil : CgroupLocation.below(inner), flags)
    swapFile = Self.file("memory.memsw.limit_in_bytes", in: isV1 ? directory : nil, flags)
    innerSwapFile = Self.file("memory.memsw.limit_in_bytes", in: isV1 ? inner : nil, flags)
    isInside = inner == nil && scope != nil
    isReadOnly = readOnly
    self.isLine = isLine
  }

  private static func file(_ name: String, in directory: String?, _ flags: CInt) -> FileDescriptor {
    guard let directory else { return .none }
    return FileDescriptor.openIfPossible(directory + "/" + name, flags) ?? .none
  }

  /// The files whose writes by other processes concern a container: the limits of its groups, and
  /// memory.high of the group whose limit moves.
  ///
  /// - Parameters: As for ``init(directory:version:readOnly:in:around:isLine:)``.
  /// - Returns: Their paths; those of files that this version has.
  package static func watched(
    _ directory: String, _ version: CgroupVersion, in scope: String?, around inner: String?
  ) -> [String] {
    let others = version == .v1 ? [inner] : [scope, inner, CgroupLocation.below(inner)]
    let groups = [directory] + others.compactMap(\.self)
    let limits = groups.compactMap { group in
      CgroupFile.memoryLimit.name(version).map { group + "/" + $0 }
    }
    return limits
      + [CgroupFile.memoryHigh.name(version).map { directory + "/" + $0 }]
      .compactMap(\.self)
  }

  /// Takes over files that are open already; `other` as ``CgroupWriter`` has it.
  package init(
    limit: consuming FileDescriptor, swap: consuming FileDescriptor,
    line: consuming FileDescriptor, other: consuming FileDescriptor = .none,
    inner: consuming FileDescriptor = .none, innerSwap: consuming FileDescriptor = .none,
    readOnly: Bool, isLine: Bool = false
  ) {
    limitFile = limit
    swapFile = swap
    lineFile = line
    isInside = other.isOpen && !inner.isOpen
    if inner.isOpen {
      innerFile = inner
      innerCopy = other
    } else {
      innerFile = other
      innerCopy = .none
    }
    innerSwapFile = innerSwap
    isReadOnly = readOnly
    self.isLine = isLine
  }

  /// The numbers of the files, for an image that takes them over.
  package consuming func release() -> Files {
    let (inner, copy) = (innerFile.release(), innerCopy.release())
    return Files(
      limit: limitFile.release(), swap: swapFile.release(), line: lineFile.release(),
      other: isInside ? inner : copy, inner: isInside ? -1 : inner,
      innerSwap: innerSwapFile.release())
  }

  /// The numbers of open files; -1 for one that is not there.
  package struct Files {
    /// One number for each file.
    package let limit, swap, line, other, inner, innerSwap: Int32
  }

  /// The declared limit in bytes, as ``CgroupWriter/inner()`` has it.
  ///
  /// - Throws: ``SystemError``; ENODEV once the group is gone.
  package func inner() throws(SystemError) -> Int64? {
    guard innerFile.isOpen else { return nil }
    let limit = try Self.number(innerFile)
    return innerCopy.isOpen ? min(limit, try Self.number(innerCopy)) : limit
  }

  /// Raises the limit of the container's own group, as ``CgroupWriter`` does.
  ///
  /// - Parameters:
  ///   - limit: Bytes.
  ///   - swap: Bytes of memory and swap together, on cgroup v1; nil for no more than memory.
  /// - Throws: ``SystemError``; ENODEV once the group is gone, EBADF where there is none, or for a
  ///   reader.
  package func raiseInner(to limit: Int64, swap: Int64? = nil) throws(SystemError) {
    if isReadOnly { throw SystemError("write", "the memory limit", errno: EBADF) }
    // What was in force stays so: the outer group gets it first.
    let held = try current()
    if held < limit, try Self.number(limitFile) >= MemoryLimit.unlimited {
      try write(held, to: limitFile)
    }
    if innerSwapFile.isOpen, try Self.number(innerSwapFile) < max(limit, swap ?? 0) {
      try write(max(limit, swap ?? 0), to: innerSwapFile)
    }
    try write(limit, to: innerFile)
    if innerCopy.isOpen { try write(limit, to: innerCopy) }
  }

  /// The limit that the kernel has now, in bytes; from ``MemoryLimit/unlimited`` on it is none.
  ///
  /// Where the group around the container's own has none, it is that of the own one.
  ///
  /// - Throws: ``SystemError``; ENODEV once the group is gone.
  package func current() throws(SystemError) -> Int64 {
    let found = try Self.number(limitFile)
    if found < MemoryLimit.unlimited { return found }
    let most = try inner() ?? found
    return isLine ? min(most, try Self.number(lineFile)) : most
  }

  /// Where cgroup v2 slows down now, in bytes; from ``MemoryLimit/unlimited`` on, as always on cgroup
  /// v1, nowhere.
  ///
  /// - Throws: ``SystemError``; ENODEV once the group is gone.
  package func line() throws(SystemError) -> Int64 {
    lineFile.isOpen && !isLine ? try Self.number(lineFile) : MemoryLimit.unlimited
  }

  /// Sets the limit.
  ///
  /// On cgroup v1, memory and swap together are never limited to less than memory is
  /// (mm/memcontrol-v1.c, mem_cgroup_resize_max): that limit is raised first and lowered last. The
  /// kernel does not set a limit below what is used: it reclaims until the use fits, and else
  /// refuses. It has compared both after it has set the limit, so tasks that allocate meanwhile are
  /// no race.
  ///
  /// On cgroup v2 a limit below what is used is a kill (mm/memcontrol.c, memory_max_write). So the
  /// line comes down first, which takes what can be reclaimed and slows down tasks that allocate,
  /// and the limit only where half of its room is free then; else the line goes back to where it
  /// was. Up it is the limit first.
  ///
  /// - Parameters:
  ///   - limit: Bytes.
  ///   - line: Where cgroup v2 is to slow down; nil for nowhere.
  ///   - swap: Bytes of memory and swap together; nil to leave that limit alone.
  ///   - use: Says what is used; asked on cgroup v2 before a limit is lowered.
  /// - Throws: ``SystemError``: EBUSY below what is used and cannot be reclaimed, EINVAL above what
  ///   memory and swap together are limited to, ENODEV once the group is gone, EBADF for a reader.
  package func set(
    _ limit: Int64, line: Int64? = nil, swap: Int64?, use: () throws(SystemError) -> Int64
  ) throws(SystemError) {
    if isReadOnly { throw SystemError("write", "the memory limit", errno: EBADF) }
    if lineFile.isOpen { return try setUnified(limit, line, use) }
    guard let swap, swapFile.isOpen else { return try write(limit, to: limitFile) }
    let found = try Self.number(swapFile)
    // No limit, and none is to be.
    if min(swap, found) >= MemoryLimit.unlimited { return try write(limit, to: limitFile) }
    let isRaised = swap >= found
    if isRaised { try write(swap, to: swapFile) }
    try write(limit, to: limitFile)
    if !isRaised { try write(swap, to: swapFile) }
  }

  /// Sets the limit and nothing beside it: of a group that has containers in it, whose line and swap
  /// are its maker's.
  ///
  /// - Throws: ``SystemError``, as ``set(_:line:swap:use:)``.
  package func setLimitAlone(_ limit: Int64) throws(SystemError) {
    if isReadOnly { throw SystemError("write", "the memory limit", errno: EBADF) }
    try write(limit, to: limitFile)
  }

  /// Takes over the limit of a group that has containers in it, and of cgroup v2 its line, which is
  /// never written: it says which interface this is.
  package init(limitAlone limit: consuming FileDescriptor, line: consuming FileDescriptor) {
    self.init(limit: limit, swap: .none, line: line, readOnly: false)
  }

  /// Nothing above a line is killed, so that nothing has to fit below it.
  private func setLine(
    _ limit: Int64, _ use: () throws(SystemError) -> Int64
  ) throws(SystemError) {
    let before = try Self.number(lineFile)
    try write(limit, to: lineFile)
    if limit < before, try use() > limit {
      try write(before, to: lineFile)
      throw SystemError("lower", "the memory limit", errno: EBUSY)
    }
    if try Self.number(limitFile) < MemoryLimit.unlimited { try write(nil, to: limitFile) }
  }

  private func setUnified(
    _ limit: Int64, _ line: Int64?, _ use: () throws(SystemError) -> Int64
  ) throws(SystemError) {
    // No limit around a group that has the same, or less.
    let most = isInside ? .max : max(try inner() ?? .max, application ?? 0)
    let written = limit >= most ? MemoryLimit.unlimited : limit
    if isLine { return try setLine(written, use) }
    if written >= (try current()) {
      try write(written, to: limitFile)
      return try write(line, to: lineFile)
    }
    let before = try self.line()
    // Also where there is to be none: tasks that allocate now are not to come as far as the limit.
    let brake = max(MemoryHigh.line(under: limit), limit / 2)
    try write(min(brake, line ?? brake), to: lineFile)
    guard try use() <= limit - (limit - brake) / 2 else {
      try write(before, to: lineFile)
      throw SystemError("lower", "the memory limit", errno: EBUSY)
    }
    try write(written, to: limitFile)
    if line != min(brake, line ?? brake) { try write(line, to: lineFile) }
  }

  /// Sets where cgroup v2 slows down, under the limit that is in force.
  ///
  /// - Parameter line: Bytes; nil for nowhere.
  /// - Throws: ``SystemError``; ENODEV once the group is gone, EBADF for a reader.
  package func set(line: Int64?) throws(SystemError) {
    if isReadOnly { throw SystemError("write", "memory.high", errno: EBADF) }
    if lineFile.isOpen, !isLine { try write(line, to: lineFile) }
  }

  /// Makes memory and swap together what they shall be under the limit that is in force; a crash
  /// between two writes leaves more.
  ///
  /// - Parameter swap: As for ``set(_:line:swap:use:)``.
  package func alignSwap(to swap: Int64?) {
    // ENODEV: the group is gone. What the kernel refuses is tried again with the next limit.
    guard !isReadOnly, let swap, swapFile.isOpen, let found = try? Self.number(swapFile),
      found != swap, min(found, swap) < MemoryLimit.unlimited
    else { return }
    // As above.
    try? write(swap, to: swapFile)
  }

  private func write(_ bytes: Int64?, to file: borrowing FileDescriptor) throws(SystemError) {
    let isNone = bytes.map { $0 >= MemoryLimit.unlimited } ?? true
    let none = lineFile.isOpen ? "max" : "-1"
    try file.overwrite(isNone ? none : "\(bytes ?? 0)", subject: "the memory limit")
  }

  private static func number(_ file: borrowing FileDescriptor) throws(SystemError) -> Int64 {
    if let limit = try file.integer(subject: "the memory limit") { return limit }
    guard let limit = limit(try file.contents(subject: "the memory limit")) else {
      throw SystemError("read", "the memory limit", errno: EINVAL)
    }
    return limit
  }

  /// A limit as the kernel writes it; "max" is ``MemoryLimit/unlimited``.
  package static func limit(_ text: String) -> Int64? {
    let word = Substring(text.utf8.prefix { $0 != UInt8(ascii: "\n") })
    return word == "max" ? MemoryLimit.unlimited : Int64(word)
  }
}
