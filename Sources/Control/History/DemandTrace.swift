// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// How much CPU time a container used in each quarter of a period, while it was busy.
///
/// A file of blocks. A block is a header of 40 bytes (magic, version, bytes of payload, when it
/// begins on the wall clock, the length of a step, a checksum) and tokens in LEB128: an even one is
/// the use of one step in units of half a millisecond, an odd one a number of steps without use.
package struct DemandTrace: Equatable, Sendable {
  /// The use of a number of steps.
  package struct Piece: Equatable, Sendable {
    /// When it begins, since the trace began.
    package var start: Nanoseconds
    /// CPU time that was used in the step.
    package var use: Nanoseconds

    /// Makes a piece.
    package init(start: Nanoseconds, use: Nanoseconds) {
      self.start = start
      self.use = use
    }
  }

  /// The length of a step.
  package var step: Nanoseconds
  /// The steps with use, in order.
  package var pieces: [Piece] = []
  /// The time from the first step to the end of the last one.
  package var duration: Nanoseconds = 0
  /// Whether some of the file's bytes are no block.
  package var isDamaged = false

  /// The CFS period of the container.
  package var period: Nanoseconds { 4 * step }

  /// Makes a trace of nothing.
  package init(step: Nanoseconds) { self.step = step }

  static let unit: Nanoseconds = 500_000
  static let magic: UInt32 = 0x5254_5345  // "ESTR"
  static let headerSize = 40
  /// Bytes of the longest payload.
  static let longest = 1024 - headerSize
  /// A trace is not read beyond ten years.
  private static let most: Nanoseconds = 3650 * 86_400_000_000_000
  /// What one step can use: 8192 CPUs.
  private static let mostUnits: UInt64 = 1 << 20

  /// Reads a file; nil where no block is in it.
  ///
  /// - Parameter bytes: Any bytes.
  package init?(decoding bytes: [UInt8]) {
    var place = 0
    var first: (time: Int64, step: Int64)?
    self.init(step: 0)
    while place + Self.headerSize <= bytes.count {
      guard let block = Block(bytes, at: place), block.step == first?.step ?? block.step else {
        isDamaged = true
        place += 1
        continue
      }
      let (time, step) = first ?? (block.time, block.step)
      first = (time, step)
      self.step = step
      // A wall clock that was set back does not take back what was recorded.
      let (offset, isTooMuch) = block.time.subtractingReportingOverflow(time)
      if isTooMuch || offset > Self.most { break }
      var position = max(duration, offset / step * step)
      for token in block.tokens where position <= Self.most - step {
        if token & 1 == 1 {
          position += Int64(min(token >> 1, UInt64((Self.most - position) / step))) * step
        } else {
          if token > 0 {
            let units = Int64(min(token >> 1, Self.mostUnits))
            pieces.append(Piece(start: position, use: units * Self.unit))
          }
          position += step
        }
      }
      duration = position
      place += Self.headerSize + block.length
    }
    if place < bytes.count { isDamaged = true }
    if first == nil { return nil }
  }

  /// One block of a file.
  private struct Block {
    let time: Int64
    let step: Int64
    let length: Int
    let tokens: [UInt64]

    init?(_ bytes: [UInt8], at place: Int) {
      func word(_ index: Int) -> UInt64 {
        (0..<8).reduce(0) { $0 | UInt64(bytes[place + 8 * index + $1]) << UInt64(8 * $1) }
      }
      let head = word(0)
      guard UInt32(truncatingIfNeeded: head) == DemandTrace.magic, head >> 32 & 0xff == 1 else {
        return nil
      }
      length = Int(head >> 48)
      time = Int64(bitPattern: word(1))
      step = Int64(bitPattern: word(2))
      let start = place + DemandTrace.headerSize
      guard length <= DemandTrace.longest, start + length <= bytes.count, time >= 0,
        step >= 250_000, step <= 1_000_000_000,
        word(4)
          == DemandTrace.checksum(
            [word(0), word(1), word(2), word(3)], bytes[start..<start + length])
      else { return nil }
      var tokens: [UInt64] = []
      var (token, shift): (UInt64, UInt64) = (0, 0)
      for byte in bytes[start..<start + length] {
        token |= UInt64(byte & 0x7f) << shift
        shift += 7
        if byte & 0x80 == 0 || shift > 56 {
          tokens.append(token)
          (token, shift) = (0, 0)
        }
      }
      self.tokens = tokens
    }
  }

  static func checksum(_ words: [UInt64], _ payload: ArraySlice<UInt8>) -> UInt64 {
    var sum = FNV1a()
    for word in words { sum.add(word) }
    for byte in payload { sum.add(UInt64(byte)) }
    return sum.value
  }
}
