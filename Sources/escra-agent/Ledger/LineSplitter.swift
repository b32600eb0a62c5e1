// SPDX-License-Identifier: Apache-2.0

/// Cuts a stream into its lines, whatever the pieces it comes in.
struct LineSplitter {
  /// The longest line; a longer one is thrown away.
  static let longest = 8 << 20

  private var rest: [UInt8] = []
  private var isTooLong = false

  /// Takes a piece.
  ///
  /// - Parameter bytes: The piece.
  /// - Returns: The lines that are complete now, without their ends; no empty ones.
  mutating func take(_ bytes: [UInt8]) -> [[UInt8]] {
    var lines: [[UInt8]] = []
    var start = 0
    while let end = bytes[start...].firstIndex(of: 10) {
      rest += bytes[start..<end]
      if !isTooLong && !rest.isEmpty { lines.append(rest) }
      rest = []
      isTooLong = false
      start = end + 1
    }
    rest += bytes[start...]
    if rest.count > Self.longest {
      rest = []
      isTooLong = true
    }
    return lines
  }
}
