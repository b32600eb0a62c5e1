// SPDX-License-Identifier: Apache-2.0
package import Control
internal import Glibc
package import Quantities
package import Syscalls

/// One decision of a supervisor.
package struct RecordEntry: Equatable, Sendable {
  /// Its place in the order of all of them, from 1.
  package var sequence: UInt64
  /// When, on the wall clock, in nanoseconds.
  package var time: Nanoseconds
  /// Why.
  package var rule: Rule
  /// Whether the kernel was written to; false in `observe`.
  package var applied: Bool
  /// The quota before, in nanoseconds of CPU time a period.
  package var before: Nanoseconds
  /// The quota after.
  package var after: Nanoseconds
  /// The use it was decided from.
  package var use: Nanoseconds
  /// The period, in nanoseconds.
  package var period: Nanoseconds
  /// Whose write it answers; nil if that is not known, or it answers none.
  package var writer: Writer?

  /// A process that has written a limit.
  package enum Writer: Equatable, Sendable {
    /// What it was called; the first 14 bytes are kept.
    case named(String)
    /// It was gone before it could be asked for its name.
    case process(Int32)
  }

  /// Makes an entry.
  package init(
    sequence: UInt64 = 0, time: Nanoseconds, rule: Rule, applied: Bool, before: Nanoseconds,
    after: Nanoseconds, use: Nanoseconds, period: Nanoseconds, writer: Writer? = nil
  ) {
    self.sequence = sequence
    self.time = time
    self.rule = rule
    self.applied = applied
    self.before = before
    self.after = after
    self.use = use
    self.period = period
    self.writer = writer
  }

  /// Whether it raised a CPU limit, or under observe would have.
  var isRaise: Bool { movesQuota && after > before }
  /// Whether it lowered one.
  var isReturn: Bool { movesQuota && after < before }
  /// Whether it raised one before that was used up: what was due later, or was not decided from the
  /// use, did not.
  var isPrediction: Bool { isRaise && !(rule == .due) && use > 0 && use < before }

  /// What a supervisor finds is what it was, and what the kernel refuses was never in force.
  private var movesQuota: Bool { !(rule.isMemory || rule == .start || rule == .refused) }

  static let size = 64
  private static let nameLength = 14

  /// The 64 bytes of the file: little-endian words and a checksum, so that a torn entry shows.
  func encode(into buffer: UnsafeMutableRawBufferPointer) {
    var flags = UInt64(rule.rawValue) | (applied ? 256 : 0)
    var use = UInt64(bitPattern: use)
    // Who answers a write has not looked at the use, and a reader that knows no writers does not
    // show it.
    switch writer {
    case .named(let name)?:
      let bytes = Array(name.utf8.prefix(Self.nameLength))
      flags |= 512
      use = 0
      for (index, byte) in bytes.prefix(8).enumerated() { use |= UInt64(byte) << (8 * index) }
      for (index, byte) in bytes.dropFirst(8).enumerated() {
        flags |= UInt64(byte) << (16 + 8 * index)
      }
    case .process(let pid)?:
      flags |= 1024
      use = UInt64(UInt32(bitPattern: pid))
    case nil: break
    }
    let words: [UInt64] = [
      sequence, UInt64(bitPattern: time), flags, UInt64(bitPattern: before),
      UInt64(bitPattern: after), use, UInt64(bitPattern: period),
    ]
    var sum = FNV1a()
    for (index, word) in words.enumerated() {
      sum.add(word)
      buffer.storeBytes(of: word.littleEndian, toByteOffset: index * 8, as: UInt64.self)
    }
    buffer.storeBytes(of: sum.value.littleEndian, toByteOffset: 56, as: UInt64.self)
  }

  /// Reads 64 bytes back; nil for an empty, torn or newer entry.
  package init?(decoding buffer: UnsafeRawBufferPointer) {
    func word(_ index: Int) -> UInt64 {
      UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self))
    }
    var sum = FNV1a()
    for index in 0..<7 { sum.add(word(index)) }
    guard buffer.count >= Self.size, sum.value == word(7), word(0) > 0,
      let rule = Rule(rawValue: UInt8(truncatingIfNeeded: word(2)))
    else { return nil }
    self.init(
      sequence: word(0), time: Int64(bitPattern: word(1)), rule: rule,
      applied: word(2) & 256 != 0, before: Int64(bitPattern: word(3)),
      after: Int64(bitPattern: word(4)), use: Int64(bitPattern: word(5)),
      period: Int64(bitPattern: word(6)))
    if word(2) & 512 != 0 {
      var name = (0..<8).map { UInt8(truncatingIfNeeded: word(5) >> (8 * UInt64($0))) }
      name += (2..<8).map { UInt8(truncatingIfNeeded: word(2) >> (8 * UInt64($0))) }
      writer = .named(String(decoding: name.prefix { $0 != 0 }, as: UTF8.self))
      use = 0
    } else if word(2) & 1024 != 0 {
      writer = .process(Int32(truncatingIfNeeded: word(5)))
      use = 0
    }
  }
}

/// The last decisions of one supervisor, in a file of fixed size: 512 entries, 32 KiB.
///
/// A ring without a header: an entry's place is its number modulo the capacity, and the reader
/// finds the newest by number. So one pwrite(2) is one entry, and a crash loses that one at most.
package struct Record: ~Copyable {
  static let capacity: UInt64 = 512
  private let file: FileDescriptor
  private var next: UInt64

  /// Opens the record for writing, behind what an earlier supervisor wrote.
  package init(in directory: borrowing FileDescriptor) throws(SystemError) {
    let file = try directory.open(StateDirectory.recordFile, O_RDWR | O_CREAT)
    // Nearly always it is new, and what sorts entries need not be touched.
    let size = try file.status().size
    let last = size == 0 ? nil : Self.entries(in: file.bytesIfReadable() ?? []).last
    next = (last?.sequence ?? 0) + 1
    self.file = file
  }

  /// Adds an entry; not being able to is no reason to stop supervising.
  package mutating func append(_ entry: RecordEntry) {
    var entry = entry
    entry.sequence = next
    next += 1
    withUnsafeTemporaryAllocation(byteCount: RecordEntry.size, alignment: 8) { buffer in
      entry.encode(into: buffer)
      let offset = Int((entry.sequence - 1) % Self.capacity) * RecordEntry.size
      _ = pwrite(file.number, buffer.baseAddress, buffer.count, offset)
    }
  }

  /// What a record holds, oldest first.
  ///
  /// - Parameter directory: An instance's directory.
  /// - Returns: At most 512 entries; a torn one is left out.
  package static func entries(in directory: borrowing FileDescriptor) -> [RecordEntry] {
    guard let file = directory.openIfPossible(StateDirectory.recordFile, O_RDONLY),
      let bytes = file.bytesIfReadable(limit: 1 << 20)
    else { return [] }
    return entries(in: bytes)
  }

  /// When it was written last, on the wall clock.
  ///
  /// - Parameter directory: An instance's directory.
  /// - Returns: nil where there is none.
  package static func modified(in directory: borrowing FileDescriptor) -> Nanoseconds? {
    directory.statusIfThere(of: StateDirectory.recordFile)?.modified
  }

  static func entries(in bytes: [UInt8]) -> [RecordEntry] {
    var entries: [RecordEntry] = []
    bytes.withUnsafeBytes { buffer in
      for offset in stride(
        from: 0, through: buffer.count - RecordEntry.size, by: RecordEntry.size)
      {
        let slot = UnsafeRawBufferPointer(rebasing: buffer[offset..<offset + RecordEntry.size])
        if let entry = RecordEntry(decoding: slot) { entries.append(entry) }
      }
    }
    return entries.sorted { $0.sequence < $1.sequence }
  }
}
