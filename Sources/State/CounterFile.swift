// SPDX-License-Identifier: Apache-2.0
package import Control
internal import Glibc
internal import Quantities
package import Syscalls

/// What happened to one container's limits since it began, in a file of 128 bytes.
///
/// Words and a checksum; an earlier version has written the first seven words, and 64 bytes.
///
/// The kernel's own count of throttles stays 0 under a controller that lifts them within the
/// period. One pwrite(2) replaces all of it, and a supervisor goes on from what its predecessor
/// counted.
package struct CounterFile: ~Copyable {
  private let file: FileDescriptor
  private var before: CPUController.Counters
  private var written: [Int64] = []

  /// Opens the file for writing, behind what an earlier supervisor counted.
  ///
  /// - Parameter directory: An instance's directory.
  /// - Throws: ``SystemError``.
  package init(in directory: borrowing FileDescriptor) throws(SystemError) {
    before = Self.counters(in: directory) ?? CPUController.Counters()
    before.supervisors += 1
    file = try directory.open(StateDirectory.counterFile, O_WRONLY | O_CREAT)
  }

  /// Takes note of what this supervisor has counted, if anything has changed; not being able to is
  /// no reason to stop supervising.
  package mutating func note(_ counters: CPUController.Counters) {
    let words = (before + counters).words
    // Not the counters themselves: another target's comparison is looked up at run time, and stays in
    // the memory of every supervisor.
    if words == written { return }
    written = words
    withUnsafeTemporaryAllocation(byteCount: Self.size, alignment: 8) { buffer in
      var sum = FNV1a()
      for (index, word) in words.enumerated() {
        let bits = UInt64(bitPattern: word)
        sum.add(bits)
        buffer.storeBytes(of: bits.littleEndian, toByteOffset: index * 8, as: UInt64.self)
      }
      buffer.storeBytes(of: sum.value.littleEndian, toByteOffset: Self.size - 8, as: UInt64.self)
      _ = pwrite(file.number, buffer.baseAddress, buffer.count, 0)
    }
  }

  /// What was counted for a container.
  ///
  /// - Parameter directory: Its instance's directory.
  /// - Returns: nil where nothing was, or the file is torn.
  package static func counters(
    in directory: borrowing FileDescriptor
  ) -> CPUController.Counters? {
    guard let file = directory.openIfPossible(StateDirectory.counterFile, O_RDONLY),
      let bytes = file.bytesIfReadable(limit: 4096), bytes.count == size || bytes.count == oldSize
    else { return nil }
    return bytes.withUnsafeBytes { buffer in
      var words = (0..<bytes.count / 8).map {
        UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self))
      }
      var sum = FNV1a()
      let written = words.removeLast()
      for word in words { sum.add(word) }
      guard sum.value == written else { return nil }
      return CPUController.Counters(words: words.map { Int64(bitPattern: $0) })
    }
  }

  private static let size = 128
  private static let oldSize = 64
}

extension CPUController.Counters {
  fileprivate var words: [Int64] {
    [
      predictions, throttles, ancestorThrottles, raises, returns, deferrals, stalled,
      supervisors, refusals, memoryRaises, memoryReturns, memoryRefusals, 0, 0, 0,
    ]
  }

  fileprivate init(words: [Int64]) {
    self.init()
    (predictions, throttles, ancestorThrottles) = (words[0], words[1], words[2])
    (raises, returns, deferrals, stalled) = (words[3], words[4], words[5], words[6])
    guard words.count > 7 else { return }
    (supervisors, refusals) = (words[7], words[8])
    (memoryRaises, memoryReturns, memoryRefusals) = (words[9], words[10], words[11])
  }

  /// Counts what an entry of the record says of a limit, so that the two agree.
  package mutating func count(_ entry: RecordEntry) {
    if entry.isRaise { raises += 1 }
    if entry.isPrediction { predictions += 1 }
    if entry.isReturn { returns += 1 }
    switch entry.rule {
    // A second entry says what the kernel kept.
    case .refused: if entry.after > entry.before { refusals += 1 }
    case .memoryRefused, .memoryHostFull, .memoryNotTaken: memoryRefusals += 1
    case .memoryFound, .memoryKill: break
    case let rule where rule.isMemory:
      if entry.after > entry.before { memoryRaises += 1 }
      if entry.after < entry.before { memoryReturns += 1 }
    default: break
    }
  }

  /// Adds what another part of the supervisor has counted; by plain statements, as above.
  package mutating func add(_ other: Self) {
    predictions += other.predictions
    throttles += other.throttles
    ancestorThrottles += other.ancestorThrottles
    raises += other.raises
    returns += other.returns
    deferrals += other.deferrals
    stalled += other.stalled
    refusals += other.refusals
    memoryRaises += other.memoryRaises
    memoryReturns += other.memoryReturns
    memoryRefusals += other.memoryRefusals
  }

  /// Both together.
  static func + (one: Self, other: Self) -> Self {
    Self(words: zip(one.words, other.words).map { $0 &+ $1 })
  }
}
