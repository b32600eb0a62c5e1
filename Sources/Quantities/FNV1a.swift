// SPDX-License-Identifier: Apache-2.0

/// The 64-bit FNV-1a hash: tells names and torn or foreign bytes apart, and keeps no attacker out.
///
/// Fowler, Noll, Vo; draft-eastlake-fnv. It is no match for an attacker.
package struct FNV1a: Equatable, Sendable {
  /// The hash of what was added so far.
  package private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

  /// The hash of nothing.
  package init() {}

  /// A hash that was written down earlier.
  package init(value: UInt64) { self.value = value }

  /// The hash in 16 hexadecimal digits.
  package var digits: String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.utf8.count) + digits
  }

  /// Adds one step: a byte, or a whole word where words are what is checked.
  package mutating func add(_ step: UInt64) { value = (value ^ step) &* Self.prime }

  /// What each step multiplies by.
  @inlinable
  package static var prime: UInt64 { 0x100_0000_01b3 }

  /// Adds bytes.
  @inlinable
  package mutating func add(_ bytes: some Sequence<UInt8>) {
    for byte in bytes { add(UInt64(byte)) }
  }
}
