// SPDX-License-Identifier: Apache-2.0

/// A set of CPUs, or of memory nodes, by number.
package struct CPUSet: Equatable, Hashable, Sendable, CustomStringConvertible {
  /// A bit for each number, the lowest first; no zero word at the end, so that equal sets have equal
  /// words.
  package private(set) var words: [UInt64] = []

  /// The largest number that any kernel has: CONFIG_NR_CPUS is at most 8192 (arch/x86/Kconfig).
  static let largest: Int32 = 8191

  /// Makes the empty set.
  package init() {}

  /// Makes a set of these numbers; what cannot be the number of a CPU is left out.
  package init<S: Sequence>(_ cpus: S) where S.Element == Int32 {
    for cpu in cpus where (0...Self.largest).contains(cpu) { insert(Int(cpu)...Int(cpu)) }
  }

  /// Reads a list as the kernel takes it: "0-2,5" (bitmap_parselist of lib/bitmap.c).
  ///
  /// Numbers and ranges, with commas and white space between them; no text is the empty set. Nil for
  /// anything else, the kernel's strides ("0-6:2/4") and words ("all") among it.
  package init?(list: String) {
    var rest = list.utf8[...]
    while true {
      rest = rest.drop(while: Self.isSeparator)
      if rest.isEmpty { return }
      guard let first = Self.number(&rest) else { return nil }
      var last = first
      if rest.first == UInt8(ascii: "-") {
        rest.removeFirst()
        guard let end = Self.number(&rest), end >= first else { return nil }
        last = end
      }
      guard rest.first.map(Self.isSeparator) ?? true else { return nil }
      insert(first...last)
    }
  }

  private static func isSeparator(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: ",") || byte == UInt8(ascii: " ") || (9...13).contains(byte)
  }

  private static func number(_ rest: inout Substring.UTF8View) -> Int? {
    var number: Int?
    while let digit = rest.first.map({ Int($0) - 48 }), (0...9).contains(digit) {
      rest.removeFirst()
      number = (number ?? 0) * 10 + digit
      if number ?? 0 > Int(largest) { return nil }
    }
    return number
  }

  private mutating func insert(_ range: ClosedRange<Int>) {
    while words.count <= range.upperBound / 64 { words.append(0) }
    for word in range.lowerBound / 64...range.upperBound / 64 {
      let low = max(range.lowerBound - word * 64, 0)
      let high = min(range.upperBound - word * 64, 63)
      words[word] |= .max << low & .max >> (63 - high)
    }
  }

  /// The numbers, ascending.
  package var cpus: [Int32] {
    var cpus: [Int32] = []
    cpus.reserveCapacity(count)
    for (index, word) in words.enumerated() {
      var rest = word
      while rest != 0 {
        cpus.append(Int32(index * 64 + rest.trailingZeroBitCount))
        rest &= rest - 1
      }
    }
    return cpus
  }

  /// How many there are.
  package var count: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

  /// Whether there are none.
  package var isEmpty: Bool { words.isEmpty }

  /// Whether a number is one of them.
  package func contains(_ cpu: Int32) -> Bool {
    cpu >= 0 && cpu / 64 < words.count && words[Int(cpu / 64)] & 1 << UInt64(cpu % 64) != 0
  }

  /// What is in either.
  package func union(_ other: CPUSet) -> CPUSet { combined(with: other, |) }

  /// What is in both.
  package func intersection(_ other: CPUSet) -> CPUSet { combined(with: other, &) }

  /// What is in this one only.
  package func subtracting(_ other: CPUSet) -> CPUSet { combined(with: other) { $0 & ~$1 } }

  /// Whether the other set has all of these.
  package func isSubset(of other: CPUSet) -> Bool { subtracting(other).isEmpty }

  /// Whether the other set has none of these.
  package func isDisjoint(with other: CPUSet) -> Bool {
    zip(words, other.words).allSatisfy { $0 & $1 == 0 }
  }

  private func combined(with other: CPUSet, _ bits: (UInt64, UInt64) -> UInt64) -> CPUSet {
    var result = CPUSet()
    for index in 0..<max(words.count, other.words.count) {
      result.words.append(
        bits(
          index < words.count ? words[index] : 0,
          index < other.words.count ? other.words[index] : 0))
    }
    while result.words.last == 0 { result.words.removeLast() }
    return result
  }

  /// The list as the kernel writes it: "0-2,5"; no text for the empty set.
  package var description: String {
    var text = ""
    var first: Int32?
    for cpu in cpus {
      let start = first ?? cpu
      first = contains(cpu + 1) ? start : nil
      if first != nil { continue }
      if !text.isEmpty { text += "," }
      text += start == cpu ? "\(cpu)" : "\(start)-\(cpu)"
    }
    return text
  }
}
