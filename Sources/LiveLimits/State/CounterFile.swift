// SPDX-License-Identifier: Apache-2.0
internal import Glibc
public import Syscalls

/// What happened to one container's CPU limit since it began, in a file of 64 bytes.
///
/// The kernel's own count of throttles stays 0 under a controller that lifts them within the
/// period. One pwrite(2) replaces all of it, and a supervisor goes on from what its predecessor
/// counted.
public struct CounterFile: ~Copyable {
  private let file: FileDescriptor
  private let before: CPUController.Counters
  private var written: CPUController.Counters?

  /// Opens the file for writing, behind what an earlier supervisor counted.
  ///
  /// - Parameter directory: An instance's directory.
  /// - Throws: ``SystemError``.
  public init(in directory: borrowing FileDescriptor) throws(SystemError) {
    before = Self.counters(in: directory) ?? CPUController.Counters()
    file = try directory.open(StateDirectory.counterFile, O_WRONLY | O_CREAT)
  }

  /// Takes note of what this supervisor has counted, if anything has changed; not being able to is
  /// no reason to stop supervising.
  public mutating func note(_ counters: CPUController.Counters) {
    guard counters != written else { return }
    written = counters
    let words = (before + counters).words
    withUnsafeTemporaryAllocation(byteCount: Self.size, alignment: 8) { buffer in
      var sum = FNV1a()
      for (index, word) in words.enumerated() {
        let bits = UInt64(bitPattern: word)
        sum.add(bits)
        buffer.storeBytes(of: bits.littleEndian, toByteOffset: index * 8, as: UInt64.self)
      }
      buffer.storeBytes(of: sum.value.littleEndian, toByteOffset: 56, as: UInt64.self)
      _ = pwrite(file.number, buffer.baseAddress, buffer.count, 0)
    }
  }

  /// What was counted for a container.
  ///
  /// - Parameter directory: Its instance's directory.
  /// - Returns: nil where nothing was, or the file is torn.
  public static func counters(
    in directory: borrowing FileDescriptor
  ) -> CPUController.Counters? {
    guard let file = try? directory.open(StateDirectory.counterFile, O_RDONLY),
      let bytes = try? file.readAll(limit: 4096), bytes.count == size
    else { return nil }
    return bytes.withUnsafeBytes { buffer in
      let words = (0..<8).map {
        UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self))
      }
      var sum = FNV1a()
      for word in words.dropLast() { sum.add(word) }
      guard sum.value == words[7] else { return nil }
      return CPUController.Counters(words: words.map { Int64(bitPattern: $0) })
    }
  }

  private static let size = 64
}

extension CPUController.Counters {
  fileprivate var words: [Int64] {
    [predictions, throttles, ancestorThrottles, raises, returns, deferrals, stalled]
  }

  fileprivate init(words: [Int64]) {
    (predictions, throttles, ancestorThrottles) = (words[0], words[1], words[2])
    (raises, returns, deferrals, stalled) = (words[3], words[4], words[5], words[6])
  }

  /// Counts what an entry of the record says of the limit, so that the two agree.
  mutating func count(_ entry: RecordEntry) {
    if entry.isRaise { raises += 1 }
    if entry.isPrediction { predictions += 1 }
    if entry.isReturn { returns += 1 }
  }

  /// Both together.
  static func + (one: Self, other: Self) -> Self {
    Self(words: zip(one.words, other.words).map { $0 &+ $1 })
  }
}
