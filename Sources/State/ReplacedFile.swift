// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import Syscalls

/// Small files that are replaced as a whole, and have to be replaceable on a full file system.
///
/// Beside each file lies a spare with as many pages. It is written in place and exchanged with the
/// file only where a new one cannot be made: then no page and no inode is needed.
extension FileDescriptor {
  static func spare(of name: String) -> String { ".spare." + name }

  /// Replaces a file of this directory: a process that opens it reads the old text or the new one.
  ///
  /// - Parameters:
  ///   - name: The file.
  ///   - text: What it holds from now on.
  ///   - temporary: The name under which the new file is written.
  /// - Throws: ``SystemError``: ENOSPC where there is neither space nor a spare that is large enough.
  func replace(
    _ name: String, with text: String, by temporary: String
  ) throws(SystemError) {
    do throws(SystemError) {
      // In a scope of its own: the file is closed before it has its name.
      do { try open(temporary, O_WRONLY | O_CREAT | O_TRUNC).write(text) }
      try rename(temporary, to: name)
    } catch {
      removeIfPossible(temporary)
      guard error.errno == ENOSPC || error.errno == EDQUOT else { throw error }
      try exchangeSpare(of: name, for: text)
    }
  }

  /// Makes sure that a file can be replaced by as many bytes, whatever becomes of the free space.
  ///
  /// - Throws: ``SystemError``: ENOSPC where there is no space for that.
  func reserve(_ name: String, bytes: Int) throws(SystemError) {
    let spare = Self.spare(of: name)
    guard try capacity(of: spare) < bytes else { return }
    do throws(SystemError) {
      // Room for a few numbers more.
      try open(spare, O_WRONLY | O_CREAT | O_TRUNC).write(
        [UInt8](repeating: UInt8(ascii: "\n"), count: bytes + 256))
    } catch {
      removeIfPossible(spare)
      throw error
    }
  }

  /// Writes the spare, and makes it the file.
  ///
  /// - Throws: ``SystemError``: ENOSPC where the spare is too small, or not there.
  func exchangeSpare(of name: String, for text: String) throws(SystemError) {
    let spare = Self.spare(of: name)
    guard try capacity(of: spare) >= text.utf8.count else {
      throw SystemError("write", name, errno: ENOSPC)
    }
    let file = try open(spare, O_WRONLY)
    try file.overwrite(text, subject: spare)
    try retrying("cut", spare) { ftruncate(file.number, text.utf8.count) }
    try retrying("exchange", spare) { escra_exchange(number, spare, name) }
  }

  /// What can be written into a file without another page.
  private func capacity(of name: String) throws(SystemError) -> Int {
    (Int(try status(of: name)?.size ?? 0) + 4095) & ~4095
  }
}
