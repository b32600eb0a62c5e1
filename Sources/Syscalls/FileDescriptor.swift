// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc

/// An open file descriptor with exactly one owner, closed when the owner goes.
///
/// Everything opened here is close-on-exec: what the runtime opens must not leak into runc
/// (CVE-2024-21626 was such a leak).
package struct FileDescriptor: ~Copyable, Sendable {
  /// The number that the kernel knows the open file by.
  package let number: CInt

  /// Takes over an open descriptor; nothing else may close it.
  package init(owning number: CInt) { self.number = number }

  deinit { if number >= 0 { close(number) } }

  /// No file at all: what holds the place of one that a machine does not have.
  package static var none: FileDescriptor { FileDescriptor(owning: -1) }

  /// Whether there is a file.
  package var isOpen: Bool { number >= 0 }

  /// Opens a file: open(2) with O_CLOEXEC.
  ///
  /// - Parameters:
  ///   - path: The file; a relative path is taken from the working directory.
  ///   - flags: O_RDONLY and friends.
  ///   - mode: Permissions of a file that this call creates.
  /// - Returns: The open file.
  /// - Throws: ``SystemError`` with open's errno.
  package static func open(
    _ path: UnsafePointer<CChar>, _ flags: CInt, mode: UInt32 = 0o600
  ) throws(SystemError) -> FileDescriptor {
    let number = try retrying("open", String(cString: path)) {
      Glibc.open(path, flags | O_CLOEXEC, mode)
    }
    return FileDescriptor(owning: number)
  }

  /// The text of a whole small file, such as those of /proc and /sys.
  ///
  /// - Parameter path: The file.
  /// - Returns: Its bytes as UTF-8, what is none replaced.
  /// - Throws: ``SystemError``.
  package static func text(of path: String) throws(SystemError) -> String {
    String(decoding: try open(path, O_RDONLY).readAll(), as: UTF8.self)
  }

  /// Opens a name below this directory: openat(2) with O_CLOEXEC.
  package func open(
    _ name: UnsafePointer<CChar>, _ flags: CInt, mode: UInt32 = 0o600
  ) throws(SystemError) -> FileDescriptor {
    let number = try retrying("open", String(cString: name)) {
      Glibc.openat(self.number, name, flags | O_CLOEXEC, mode)
    }
    return FileDescriptor(owning: number)
  }

  /// A second descriptor of the same open file: fcntl(F_DUPFD_CLOEXEC).
  package func duplicate() throws(SystemError) -> FileDescriptor {
    FileDescriptor(
      owning: try retrying("duplicate", "a descriptor") { fcntl(number, F_DUPFD_CLOEXEC, 3) })
  }

  /// Gives the number away: the caller closes it, or lets an exec do so.
  package consuming func release() -> CInt {
    let number = self.number
    discard self
    return number
  }

  /// Reads what one read(2) gives.
  ///
  /// - Parameter buffer: Where the bytes go.
  /// - Returns: How many came; 0 at the end of the file.
  /// - Throws: ``SystemError``; EAGAIN for a non-blocking descriptor with nothing to read.
  package func read(into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int {
    try retrying("read", "descriptor \(number)") {
      Glibc.read(number, buffer.baseAddress, buffer.count)
    }
  }

  /// Reads to the end of the file.
  ///
  /// - Parameter limit: The most bytes to accept; a longer file throws EFBIG.
  /// - Returns: The bytes from here to the end.
  /// - Throws: ``SystemError``.
  package func readAll(limit: Int = .max) throws(SystemError) -> [UInt8] {
    var bytes: [UInt8] = []
    // One byte more than stat says, so that the end of most files is seen at once; a file of
    // /proc says 0. What grows on behind that doubles.
    let expected = (try? status().size) ?? 0
    if expected > limit { throw SystemError("read", "descriptor \(number)", errno: EFBIG) }
    var size = max(expected + 1, 4096)
    while true {
      if bytes.count > limit { throw SystemError("read", "descriptor \(number)", errno: EFBIG) }
      var failure: SystemError?
      let chunk = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
        do throws(SystemError) {
          count = try read(into: UnsafeMutableRawBufferPointer(buffer))
        } catch { failure = error }
      }
      if let failure { throw failure }
      if chunk.isEmpty { return bytes }
      if bytes.isEmpty { bytes = chunk } else { bytes += chunk }
      size = chunk.count < size ? 512 : min(bytes.count, 1 << 20)
    }
  }

  /// The last bytes of a file; fewer where it is shorter: pread(2).
  package func end(_ count: Int) throws(SystemError) -> [UInt8] {
    try bytes(at: max(0, try status().size - count), count)
  }

  /// The bytes of a file from a place on; fewer where it ends: pread(2).
  package func bytes(at start: Int, _ count: Int) throws(SystemError) -> [UInt8] {
    var bytes: [UInt8] = []
    try retrying("read", "descriptor \(number)") {
      var found = 0
      bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
        found = pread(number, buffer.baseAddress, count, start)
        filled = max(0, found)
      }
      return found
    }
    return bytes
  }

  /// Writes every byte, however many write(2) calls it takes.
  package func write(_ bytes: some Sequence<UInt8>) throws(SystemError) {
    let array = Array(bytes)
    var written = 0
    while written < array.count {
      written += try retrying("write", "descriptor \(number)") {
        array.withUnsafeBytes { buffer in
          Glibc.write(
            number, buffer.baseAddress.map { $0 + written }, array.count - written)
        }
      }
    }
  }

  /// Writes a string as UTF-8.
  package func write(_ text: String) throws(SystemError) { try write(text.utf8) }

  /// Writes all of `text` in one pwrite(2) at the start: how a cgroup file is set.
  package func overwrite(_ text: String, subject: String) throws(SystemError) {
    var text = text
    let count = text.utf8.count
    let written = try retrying("write", subject) {
      text.withUTF8 { pwrite(number, $0.baseAddress, $0.count, 0) }
    }
    if written != count { throw SystemError("write", subject, errno: EIO) }
  }

  /// Reads a small file from its start in one pread(2): how a cgroup file is read.
  ///
  /// - Parameter subject: The file's name, for the error.
  /// - Returns: At most 4096 bytes, as text.
  /// - Throws: ``SystemError``; ENODEV for a file of a cgroup that is gone.
  package func contents(subject: String) throws(SystemError) -> String {
    try withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) {
      buffer throws(SystemError) in
      let count = try retrying("read", subject) { pread(number, buffer.baseAddress, 4096, 0) }
      return String(decoding: UnsafeRawBufferPointer(rebasing: buffer[..<count]), as: UTF8.self)
    }
  }

  /// Reads a small file with one number in one pread(2).
  ///
  /// What a supervisor reads some hundred times a second is no text on its way.
  ///
  /// - Parameter subject: The file's name, for the error.
  /// - Returns: nil where there is anything else in its first line, or more than 63 bits.
  /// - Throws: ``SystemError``; ENODEV for a file of a cgroup that is gone.
  package func integer(subject: String) throws(SystemError) -> Int64? {
    var bytes: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
    let count = try retrying("read", subject) {
      withUnsafeMutableBytes(of: &bytes) { pread(number, $0.baseAddress, $0.count, 0) }
    }
    return withUnsafeBytes(of: &bytes) { Self.integer($0, count) }
  }

  private static func integer(_ bytes: UnsafeRawBufferPointer, _ count: Int) -> Int64? {
    var place = 0
    let isNegative = count > 0 && bytes[0] == UInt8(ascii: "-")
    if isNegative { place = 1 }
    let start = place
    var value: Int64 = 0
    while place < count, bytes[place] >= UInt8(ascii: "0"), bytes[place] <= UInt8(ascii: "9") {
      let (tens, isTooMuch) = value.multipliedReportingOverflow(by: 10)
      let (sum, isTooMany) = tens.addingReportingOverflow(Int64(bytes[place] - UInt8(ascii: "0")))
      if isTooMuch || isTooMany { return nil }
      value = sum
      place += 1
    }
    let isAll = place == count || bytes[place] == UInt8(ascii: "\n")
    guard place > start, isAll else { return nil }
    return isNegative ? -value : value
  }

  /// What fstat(2) says.
  package func status() throws(SystemError) -> FileStatus {
    var status = stat()
    try retrying("stat", "descriptor \(number)") { fstat(number, &status) }
    return FileStatus(status)
  }

  /// What fstatat(2) says of a name below this directory; nil when there is no such name.
  ///
  /// - Parameters:
  ///   - name: The name.
  ///   - following: Whether to say it of the file that a symbolic link leads to.
  /// - Returns: Its status.
  /// - Throws: ``SystemError``.
  package func status(
    of name: UnsafePointer<CChar>, following: Bool = false
  ) throws(SystemError) -> FileStatus? {
    var status = stat()
    do throws(SystemError) {
      try retrying("stat", String(cString: name)) {
        escra_fstatat(number, name, &status, following)
      }
    } catch {
      if error.errno == ENOENT { return nil }
      throw error
    }
    return FileStatus(status)
  }

  /// Takes a flock(2) on the open file, waiting for it unless told otherwise.
  ///
  /// - Parameters:
  ///   - exclusive: LOCK_EX, else LOCK_SH.
  ///   - wait: Whether to wait while another holder has it.
  /// - Returns: Whether the lock is ours; false only when not waiting.
  /// - Throws: ``SystemError``.
  package func lock(exclusive: Bool = true, wait: Bool = true) throws(SystemError) -> Bool {
    let operation = (exclusive ? LOCK_EX : LOCK_SH) | (wait ? 0 : LOCK_NB)
    do throws(SystemError) {
      try retrying("lock", "descriptor \(number)") { flock(number, operation) }
      return true
    } catch {
      if error.errno == EWOULDBLOCK { return false }
      throw error
    }
  }

  /// Leaves nothing in the file: ftruncate(2).
  package func truncate() throws(SystemError) {
    try retrying("truncate", "descriptor \(number)") { ftruncate(number, 0) }
  }

  /// Makes the file's bytes durable: fsync(2).
  package func sync() throws(SystemError) {
    try retrying("sync", "descriptor \(number)") { fsync(number) }
  }

  /// Renames a name of this directory to another: renameat(2), which replaces atomically.
  package func rename(
    _ old: UnsafePointer<CChar>, to new: UnsafePointer<CChar>
  ) throws(SystemError) {
    try retrying("rename", String(cString: old)) { renameat(number, old, number, new) }
  }

  /// Removes a name of this directory; one that is not there is fine.
  package func remove(
    _ name: UnsafePointer<CChar>, directory: Bool = false
  ) throws(SystemError) {
    do throws(SystemError) {
      try retrying("remove", String(cString: name)) {
        unlinkat(number, name, directory ? AT_REMOVEDIR : 0)
      }
    } catch {
      if error.errno != ENOENT { throw error }
    }
  }

  /// Makes a directory below this one; one that exists is fine.
  package func makeDirectory(
    _ name: UnsafePointer<CChar>, mode: UInt32 = 0o700
  ) throws(SystemError) {
    do throws(SystemError) {
      try retrying("make directory", String(cString: name)) { mkdirat(number, name, mode) }
    } catch {
      if error.errno != EEXIST { throw error }
    }
  }
}

/// The part of stat(2) that this project asks for.
package struct FileStatus: Equatable, Sendable {
  /// Device and inode: what a file *is*, whatever its name.
  package struct Identity: Hashable, Sendable {
    /// The device number.
    package let device: UInt64
    /// The inode number; for a cgroup directory it is the cgroup's id.
    package let inode: UInt64
    /// Makes an identity from its parts.
    package init(device: UInt64, inode: UInt64) {
      self.device = device
      self.inode = inode
    }
  }

  /// Which file it is.
  package let identity: Identity
  /// Type and permissions.
  package let mode: UInt32
  /// The owner's user id.
  package let user: UInt32
  /// The owner's group id.
  package let group: UInt32
  /// Size in bytes.
  package let size: Int
  /// When its contents last changed, in nanoseconds since 1970.
  package let modified: Int64

  init(_ status: stat) {
    identity = Identity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    mode = status.st_mode
    user = status.st_uid
    group = status.st_gid
    size = Int(status.st_size)
    modified = Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec)
  }

  /// Whether it is a regular file.
  package var isRegularFile: Bool { mode & S_IFMT == S_IFREG }
  /// Whether it is a directory.
  package var isDirectory: Bool { mode & S_IFMT == S_IFDIR }
}
