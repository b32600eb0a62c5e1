// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Control
internal import Glibc
internal import Quantities
internal import Syscalls

/// The file that a ``ParentAccount`` is in: `/run/escra/parents/RESOURCE-INODE`, and its lock.
///
/// Little-endian words of eight bytes, each of which is replaced by one pwrite(2), so that no
/// process that is killed leaves half of it: the head, the group's path from byte 64 on, and from
/// 512 on four words for each container, of which two are used. The lock is fcntl(2)'s, for a
/// supervisor that may call nothing else, and held for microseconds.
struct ParentRecord: ~Copyable {
  let file: FileDescriptor
  /// Whether the lock is the open file's, for tests in which all are one process.
  var locksDescription = false

  /// "ESPA", and the version in the upper half.
  private static let magic: Int64 = 1 << 32 | 0x4150_5345
  private static let pathOffset = 64
  private static let holdsOffset = 512
  private static let holdSize = 32
  private static let size = 16384
  private static let blockSize = 1024

  private enum Word {
    static let magic = 0
    static let inode = 1
    static let found = 2
    static let written = 4
    static let writing = 5
  }

  /// The longest path that fits, in bytes.
  static let longestPath = holdsOffset - pathOffset - 1

  init(owning file: consuming FileDescriptor, locksDescription: Bool = false) {
    self.file = file
    self.locksDescription = locksDescription
  }

  // MARK: the lock

  /// Takes the lock.
  ///
  /// A process keeps it for microseconds, unless it was stopped: no lock is taken from a living
  /// process, so the others try again later.
  ///
  /// - Parameter milliseconds: For how long to try.
  /// - Throws: ``SystemError``; EAGAIN where another process has it.
  func lock(within milliseconds: Int32 = 5) throws(SystemError) {
    let wait = LockWait(for: Nanoseconds(milliseconds) * 1_000_000, every: 1)
    while escra_lock_file(file.number, locksDescription) != 0 {
      guard wait.pause() else { throw SystemError("lock", "the parent's record", errno: EAGAIN) }
    }
  }

  func unlock() { escra_unlock_file(file.number, locksDescription) }

  // MARK: reading

  /// What is in it; nil for an empty file, a torn one, or one of another version.
  func load() -> (account: ParentAccount, inode: UInt64)? {
    // As much as stands on the stack: more would be a page of heap that stays.
    withUnsafeTemporaryAllocation(byteCount: Self.blockSize, alignment: 8) { buffer in
      func word(_ offset: Int) -> Int64 {
        Int64(littleEndian: buffer.loadUnaligned(fromByteOffset: offset, as: Int64.self))
      }
      var count = pread(file.number, buffer.baseAddress, Self.blockSize, 0)
      guard count >= Self.holdsOffset else { return nil }
      let scale = word(8 * Word.found + 8)
      guard word(0) == Self.magic, scale > 0 else { return nil }
      let found = word(8 * Word.found)
      var account = ParentAccount(found: ParentValue(found < 0 ? nil : found, scale: scale))
      account.written = word(8 * Word.written)
      account.writing = word(8 * Word.writing)
      let inode = UInt64(bitPattern: word(8 * Word.inode))
      var (block, offset) = (0, Self.holdsOffset)
      while offset + Self.holdSize <= count {
        account.holds.append(
          ParentAccount.Hold(
            nonce: UInt64(bitPattern: word(offset)), excess: word(offset + 8)))
        offset += Self.holdSize
        guard offset == Self.blockSize, block + offset < Self.size else { continue }
        (block, offset) = (block + Self.blockSize, 0)
        count = pread(file.number, buffer.baseAddress, Self.blockSize, block)
      }
      return (account, inode)
    }
  }

  /// The group's directory.
  var path: String {
    withUnsafeTemporaryAllocation(byteCount: Self.holdsOffset, alignment: 8) { buffer in
      let count = pread(file.number, buffer.baseAddress, Self.holdsOffset, 0)
      guard count == Self.holdsOffset else { return "" }
      return String(
        decoding: UnsafeRawBufferPointer(rebasing: buffer[Self.pathOffset...]).prefix { $0 != 0 },
        as: UTF8.self)
    }
  }

  // MARK: writing

  /// Begins an empty file.
  func begin(_ found: ParentValue, path: String, inode: UInt64) {
    withUnsafeTemporaryAllocation(byteCount: Self.holdsOffset, alignment: 8) { buffer in
      buffer.initializeMemory(as: UInt8.self, repeating: 0)
      let words: [Int64] = [
        Self.magic, Int64(bitPattern: inode), found.value ?? -1, found.scale,
        ParentAccount.nothing, ParentAccount.nothing, -1,
      ]
      for (index, word) in words.enumerated() {
        buffer.storeBytes(of: word.littleEndian, toByteOffset: 8 * index, as: Int64.self)
      }
      for (index, byte) in path.utf8.prefix(Self.longestPath).enumerated() {
        buffer[Self.pathOffset + index] = byte
      }
      _ = pwrite(file.number, buffer.baseAddress, buffer.count, 0)
    }
  }

  /// What its maker wants by now, and what of ours is known.
  func save(found account: ParentAccount) {
    write(
      (account.found.value ?? -1, account.found.scale, account.written, account.writing),
      at: 8 * Word.found)
  }

  func save(writing value: Int64) { write(value, at: 8 * Word.writing) }
  func save(written value: Int64) { write(value, at: 8 * Word.written) }

  /// Says what a container holds.
  ///
  /// - Parameters:
  ///   - hold: The container.
  ///   - place: Which of ``ParentAccount/holds`` it is, those that are none counted.
  func save(_ hold: ParentAccount.Hold, at place: Int) {
    let words: (Int64, Int64, Int64, Int64) = (Int64(bitPattern: hold.nonce), hold.excess, 0, 0)
    write(words, at: Self.holdsOffset + place * Self.holdSize)
  }

  func save(excess: Int64, at place: Int) {
    write(excess, at: Self.holdsOffset + place * Self.holdSize + 8)
  }

  /// Whether there is a place of that number.
  static func has(place: Int) -> Bool { holdsOffset + (place + 1) * holdSize <= size }

  private func write(_ word: Int64, at offset: Int) {
    var word = word.littleEndian
    _ = withUnsafeBytes(of: &word) { pwrite(file.number, $0.baseAddress, $0.count, offset) }
  }

  private func write(_ words: (Int64, Int64, Int64, Int64), at offset: Int) {
    var words = (
      words.0.littleEndian, words.1.littleEndian, words.2.littleEndian, words.3.littleEndian
    )
    _ = withUnsafeBytes(of: &words) { pwrite(file.number, $0.baseAddress, $0.count, offset) }
  }
}
