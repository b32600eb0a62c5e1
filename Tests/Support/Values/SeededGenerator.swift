// SPDX-License-Identifier: Apache-2.0

/// SplitMix64: the same random values in every run, so that a failure can be looked at.
package struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  /// Makes a generator; equal seeds give equal values.
  package init(seed: UInt64) { state = seed }

  /// The next 64 bits.
  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var value = state
    value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
    value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
    return value ^ (value >> 31)
  }

  /// A short text of what is hard for files of lines: separators, and characters that Swift takes
  /// as one with their neighbour.
  package mutating func text() -> String {
    let parts = [
      "a", "Z", "/", ".", " ", "=", "%", "%0A", "\n", "\r", "\r\n", "\0", "\t", "\\", "ä",
      "\u{301}",
      "\u{338}", "\u{600}", "\u{200d}", "\u{2028}", "日本", "👩‍👩‍👧", "🇩🇪",
    ]
    return (0..<Int.random(in: 0...6, using: &self)).map { _ in
      parts.randomElement(using: &self) ?? ""
    }.joined()
  }

  /// Any number, the extreme ones often.
  package mutating func number() -> Int64 {
    switch UInt8.random(in: 0...7, using: &self) {
    case 0: .max
    case 1: .min
    case 2: Int64.random(in: -2...2, using: &self)
    case 3: Int64.random(in: 1...1_000_000, using: &self)
    default:
      Int64.random(in: .min ... .max, using: &self) >> Int64.random(in: 0...63, using: &self)
    }
  }
}
